# SPDX-License-Identifier: Apache-2.0
"""A network that the user brings: loaded from a manifest or a file of weights, run on the persons of a picture.

Imports: torch, numpy, crops, the picture network, the manifest.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ikol.camera import Camera
from ikol.errors import InputError
from ikol.regressor.crops import Crops, sample_crops
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS
from ikol.regressor.manifest import decoding
from ikol.regressor.manifest.joint_sets import JOINT_SETS, hip_indices
from ikol.regressor.manifest.manifest import Input, Manifest, read_manifest, read_network_file
from ikol.regressor.manifest.person import NetworkPerson
from ikol.regressor.manifest.programs import (
    Answers,
    Program,
    check_trust,
    load_program,
    onnx_answers,
    torch_answers,
)
from ikol.regressor.networks import PoseNetwork, load_pose_network
from ikol.regressor.networks.camera_space import root_depth, uvd_to_camera, uvd_to_pixels
from ikol.regressor.networks.joints import LEAVES, SMPL24
from ikol.regressor.networks.pose_network import OUTSIDE
from ikol.regressor.person import PersonLandmarks

MANIFEST_SUFFIXES = (".toml", ".json")
WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".tar")
Box = tuple[float, float, float, float]
_Picture = UInt8[np.ndarray, "height width 3"]
_HIPS = BLAZEPOSE_LANDMARKS.index("left_hip"), BLAZEPOSE_LANDMARKS.index("right_hip")
_SHOULDERS = BLAZEPOSE_LANDMARKS.index("left_shoulder"), BLAZEPOSE_LANDMARKS.index("right_shoulder")
_USUAL_DEPTH = 4.0  # metres, for networks that do not say: it changes a relative joint by its depth over it
_TWISTS = tuple(name for name in SMPL24[1:] if name not in (*LEAVES, "Spine3"))
"""Of a 24- or 29-joint network: bones of one child. The ends' bones are others here, and Spine3's is held by three."""
_CONFIDENT = 0.2  # a joint of confidence c has 1/c of the standard deviation, but for less than this


def load_own_network(path: Path, *, trust: bool = False, device: str = "cpu") -> "OwnNetwork":
    """Load a user's network, ready to run.

    Args:
        path: a manifest (.toml, .json), weights of a HybrIK or IKOL network (.safetensors, .pth, ...), or the folder
            of a training of `ikol train`.
        trust: load files that are programs (TorchScript, exported programs) and so can do anything.
        device: what torch calls it; ONNX networks run on the CPU.

    Raises:
        InputError: the file is a program and is not trusted, or needs a package that is missing.
        FileFormatError: the manifest or the network cannot be read, or is not the one that is meant.
    """
    if path.suffix in WEIGHT_SUFFIXES or path.is_dir():
        name = f"{path.resolve().stem[:58]} (own)"  # never that of one of ours
        weights = Manifest(name=name, format="state_dict", file=path.name or ".", sha256="0" * 64)
        return OwnNetwork(weights, network=load_pose_network(path), device=device)
    if path.suffix not in MANIFEST_SUFFIXES:
        raise InputError(
            f"{path} is neither a manifest (.toml, .json) nor weights ({', '.join(WEIGHT_SUFFIXES)}); other networks "
            "need a manifest, see docs/models/bring_your_own.md"
        )
    manifest = read_manifest(path)
    check_trust(manifest.name, manifest.format, trust=trust)
    data = read_network_file(manifest, path.parent)
    match manifest.format:
        case "state_dict":
            network = load_pose_network(path.parent / manifest.file, manifest.network)
            return OwnNetwork(manifest, network=network, device=device)
        case "onnx":
            return OwnNetwork(manifest, program=onnx_answers(data), device=device)
        case "torchscript" | "exported_program":
            module = load_program(data, manifest.format, device)
            return OwnNetwork(manifest, module=module, program=torch_answers(module, device), device=device)


class OwnNetwork:
    """A user's network. No state between calls."""

    def __init__(
        self,
        manifest: Manifest,
        *,
        network: PoseNetwork | None = None,
        program: Program | None = None,
        module: Any = None,
        device: str = "cpu",
    ) -> None:
        """Take what was loaded; see `load_own_network`.

        Raises:
            InputError: a module has no `detect_smpl_batched` although the manifest says so.
        """
        self.manifest = manifest
        self.device = device
        self._network = None if network is None else network.to(device).eval()
        self._program = program
        self._module = module
        if network is None:
            self._points = JOINT_SETS[manifest.joint_set]
        else:
            self._points = JOINT_SETS["smpl24" if network.config.num_joints == len(SMPL24) else "smpl29"]
        if manifest.call == "detect_smpl_batched" and not hasattr(module, "detect_smpl_batched"):
            raise InputError(f"{manifest.name} has no method detect_smpl_batched; use call = forward")

    @property
    def name(self) -> str:
        """For menus and messages."""
        return self.manifest.name

    @property
    def finds_persons(self) -> bool:
        """Whether it looks at whole pictures and needs no boxes."""
        return self.manifest.call == "detect_smpl_batched"

    def look_at_boxes(
        self,
        rgb: _Picture,
        boxes: Sequence[Box],
        camera: Camera,
        rotation_deg: float = 0.0,
        landmarks: Sequence[PersonLandmarks] = (),
    ) -> list[NetworkPerson]:
        """Return what the network says of the persons in boxes, in their order.

        Args:
            rgb: the upright picture.
            boxes: x0, y0, x1, y1 around persons, pixels.
            camera: the picture's lens.
            rotation_deg: by how much the persons are turned clockwise from upright.
            landmarks: of the persons in the boxes, if there are any, for networks that see circles around bodies.

        Raises:
            InputError: the answers are not what the manifest says.
        """
        camera, rotation = camera.to(dtype=torch.float32), math.radians(rotation_deg)
        if self._network is not None:
            config = self._network.config
            crops = [
                _crop_of(box, (config.input_size, config.input_size), config.crop_scale, rotation) for box in boxes
            ]
            if config.framing == "circle" and landmarks:
                crops = [Crops.around_body(one.image_points, _HIPS, _SHOULDERS) for one in landmarks]
            pairs = zip(boxes, crops, strict=True)
            return [self._look_by_heatmaps(self._network, rgb, box, crop, camera) for box, crop in pairs]
        return [self._look(rgb, box, rotation) for box in boxes]

    def look_at_picture(self, rgb: _Picture, camera: Camera, max_persons: int = 8) -> list[NetworkPerson]:
        """Return the persons whom the network finds by itself, the surest first.

        Raises:
            InputError: the answers are not those of `detect_smpl_batched`.
        """
        height, width = rgb.shape[:2]
        fov = math.degrees(2.0 * math.atan(max(height, width) / (2.0 * float(camera.focal.mean()))))
        batch = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)[None].to(self.device)
        try:
            with torch.inference_mode():
                found = self._module.detect_smpl_batched(batch, default_fov_degrees=fov)
        except (RuntimeError, TypeError) as error:
            raise InputError(f"{self.name} cannot run detect_smpl_batched on this picture: {error}") from error
        answers = _first_picture(found)
        if "boxes" not in answers or "joints3d" not in answers:
            raise InputError(
                f"detect_smpl_batched of {self.name} gives {', '.join(answers) or 'nothing'}; expected boxes and "
                "joints3d"
            )
        counts = {name: len(value) for name, value in answers.items()}
        if len({*counts.values()}) > 1:
            raise InputError(
                f"detect_smpl_batched of {self.name} gives answers of different numbers of persons: {counts}"
            )
        count = min(len(answers["boxes"]), max_persons)
        return [self._found_person({name: value[i] for name, value in answers.items()}) for i in range(count)]

    def _look(self, rgb: _Picture, box: Box, rotation: float) -> NetworkPerson:
        manifest, size = self.manifest, self.manifest.input
        crops = _crop_of(box, size.size, size.crop_scale, rotation)
        assert self._program is not None
        answers = self._program(_network_input(rgb, crops, size))
        conf = torch.ones(len(self._points))
        person: dict[str, Any] = {}
        if manifest.outputs.joints2d:
            plane = decoding.decode_plane(answers, manifest.outputs, size, len(self._points))
            conf = plane.conf
            person |= self._plane_part(_to_picture(plane.points, crops, size.size), conf, float(crops.side))
        elif manifest.outputs.conf:
            conf = decoding.confidence(answers, manifest.outputs.conf, len(self._points)).clamp(0.0, 1.0)
        if manifest.outputs.joints3d:
            space = self._camera_axes(decoding.decode_space(answers, manifest.outputs.joints3d, len(self._points)))
            person |= self._space_part(crops.directions_to_picture(space[None])[0], conf)
        return NetworkPerson(
            score=_score(conf), box=box, **person, **self._shared_part(answers, with_rotations=rotation == 0.0)
        )

    def _shared_part(self, answers: Answers, *, with_rotations: bool) -> dict[str, Any]:
        """Return twist and shape; rotations are local, so a turned crop changes the root's only."""
        outputs, sigma = self.manifest.outputs, self.manifest.sigma
        part: dict[str, Any] = {}
        if outputs.twist:
            part |= _twist_part(decoding.decode_twist(answers, outputs.twist))
        if outputs.smpl_rotmats:
            rotmat = decoding.decode_rotations(decoding.pick(answers, outputs.smpl_rotmats, "smpl_rotmats"))
            part["local_rotmat"] = rotmat if with_rotations else torch.cat([rotmat[:1] * torch.nan, rotmat[1:]])
        if outputs.betas:
            part |= {"betas": decoding.pick(answers, outputs.betas, "betas").flatten(), "betas_sigma": sigma.betas,
                     "betas_body": self.manifest.betas_body}  # fmt: skip
        return part | {"twist_sigma": sigma.twist}

    def _plane_part(
        self, pixels: Float[Tensor, "joints 2"], conf: Float[Tensor, "joints"], side: float
    ) -> dict[str, Any]:
        names, used = self._used(pixels, conf)
        sigma = self.manifest.sigma.image * side / conf[used].clamp_min(_CONFIDENT)
        return {"names2d": names, "points2d": pixels[used], "sigma2d": sigma} if names else {}

    def _space_part(self, points: Float[Tensor, "joints 3"], conf: Float[Tensor, "joints"]) -> dict[str, Any]:
        """Return 3D joints relative to the middle of the hips, those that are seen; none where the hips are unknown."""
        hips = points[list(hip_indices(self._points))].mean(0)
        names, used = self._used(points - hips, conf)
        sigma = self.manifest.sigma
        each = points.new_tensor([sigma.plane, sigma.plane, sigma.depth]) / conf[used, None].clamp_min(_CONFIDENT)
        return {"names3d": names, "points3d": (points - hips)[used], "sigma3d": each} if names else {}

    def _used(self, points: Tensor, conf: Float[Tensor, "joints"]) -> tuple[tuple[str, ...], list[int]]:
        """Return the joints that our body has, that are numbers and that the network is sure enough of."""
        good = points.isfinite().all(-1) & (conf >= self.manifest.sigma.min_conf)
        names = self._points
        used = [i for i, name in enumerate(names) if name is not None and bool(good[i])]
        return tuple(name for i in used if (name := names[i]) is not None), used

    def _camera_axes(self, points: Float[Tensor, "joints 3"]) -> Float[Tensor, "joints 3"]:
        metres = points * {"m": 1.0, "cm": 0.01, "mm": 0.001}[self.manifest.units]
        return metres * metres.new_tensor([1.0, -1.0, -1.0]) if self.manifest.axes == "y_up" else metres

    def _found_person(self, one: Mapping[str, Tensor]) -> NetworkPerson:
        """Return one of the persons that NLF finds: joints in millimetres in the camera's axes, rotation vectors."""
        box = one["boxes"].float().flatten()
        if len(box) < 4 or not bool(box[:4].isfinite().all()):
            raise InputError(f"boxes must be x, y, width and height of each person, got {box.tolist()[:8]}")
        x, y, wide, high, *rest = box.tolist()
        joints = one["joints3d"].float()[: len(SMPL24)] * {"m": 1.0, "cm": 0.01, "mm": 0.001}[self.manifest.units]
        if joints.shape != (len(SMPL24), 3):
            raise InputError(f"joints3d must be of SMPL's 24 joints, got {tuple(one['joints3d'].shape)}")
        conf = torch.ones(len(SMPL24))
        parts: dict[str, Any] = self._space_part(joints, conf)
        if "joints2d" in one:
            pixels = one["joints2d"].float()[: len(SMPL24)]
            if pixels.shape != (len(SMPL24), 2):
                raise InputError(f"joints2d must be of SMPL's 24 joints, got {tuple(one['joints2d'].shape)}")
            parts |= self._plane_part(pixels, conf, max(wide, high))
        if "pose" in one:
            parts["local_rotmat"] = decoding.decode_rotations(one["pose"].flatten())
        if "betas" in one:
            parts |= {"betas": one["betas"].float().flatten(), "betas_sigma": self.manifest.sigma.betas,
                      "betas_body": self.manifest.betas_body}  # fmt: skip
        score = min(max(rest[0], 0.0), 1.0) if rest and math.isfinite(rest[0]) else 1.0
        return NetworkPerson(score, (x, y, x + wide, y + high), **parts, twist_sigma=self.manifest.sigma.twist)

    def _look_by_heatmaps(
        self, network: PoseNetwork, rgb: _Picture, box: Box, crops: Crops, camera: Camera
    ) -> NetworkPerson:
        config, sigma = network.config, self.manifest.sigma
        pictures = sample_crops(rgb, crops, config.input_size, OUTSIDE[config.framing])
        with torch.inference_mode():
            found = network.flip_test(network.prepare(pictures.to(self.device)))
        uvd = found.uvd.cpu()
        depth = torch.full((1,), _USUAL_DEPTH)
        if found.camera is not None:
            depth = root_depth(found.camera[:, 0].cpu(), crops, camera)
        points = uvd_to_camera(uvd, crops, config.input_size, config.depth_extent, camera, depth)[0]
        # what lies at a crop's edge is not found there, it is only nearest to where it is
        inside = (uvd[0, :, :2].abs() < 0.49).all(-1)
        conf = torch.ones(config.num_joints) if found.sigma is None else 1.0 - found.sigma[0].cpu()
        conf = torch.where(inside, conf, torch.zeros_like(conf))
        person = self._plane_part(uvd_to_pixels(uvd, crops, config.input_size)[0], conf, float(crops.side))
        person |= self._space_part(points, conf)
        twist = torch.cat([torch.full((1,), torch.nan), found.twist_angle[0].cpu()])
        return NetworkPerson(
            score=_score(conf), box=box, **person, **_twist_part(twist), twist_sigma=sigma.twist,
            betas=found.betas[0].cpu(), betas_sigma=sigma.betas, betas_body=self.manifest.betas_body,
        )  # fmt: skip


def _crop_of(box: Box, size: tuple[int, int], scale: float, rotation: float) -> Crops:
    """Return the square window, of the input's longer side, whose middle part of the input's shape holds the box."""
    x0, y0, x1, y1 = box
    longer = max(size)
    side = scale * max((x1 - x0) * longer / size[1], (y1 - y0) * longer / size[0])
    return Crops.upright([((x0 + x1) / 2, (y0 + y1) / 2)], [side], rotation)


def _network_input(rgb: _Picture, crops: Crops, size: Input) -> Tensor:
    rows, columns = size.size
    longer = max(rows, columns)
    square = sample_crops(rgb, crops, longer, "zeros")
    top, left = (longer - rows) // 2, (longer - columns) // 2
    batch = square[:, :, top : top + rows, left : left + columns] * size.maximum
    if size.channels == "bgr":
        batch = batch.flip(1)
    mean, std = (torch.tensor(each)[:, None, None] for each in (size.mean, size.std))
    batch = (batch - mean) / std
    return (batch if size.layout == "nchw" else batch.permute(0, 2, 3, 1)).contiguous()


def _to_picture(points: Float[Tensor, "joints 2"], crops: Crops, size: tuple[int, int]) -> Float[Tensor, "joints 2"]:
    """Map places on the input (0 to 1) to pixels of the picture."""
    longer = max(size)
    share = points.new_tensor([size[1] / longer, size[0] / longer])
    offset = points.new_tensor([(longer - size[1]) // 2 / longer, (longer - size[0]) // 2 / longer])
    return crops.to_picture((points * share + offset)[None])[0]


def _twist_part(angles: Float[Tensor, "24"]) -> dict[str, Any]:
    known = [i for i, name in enumerate(SMPL24) if name in _TWISTS and bool(angles[i].isfinite())]
    return {"twist_names": tuple(SMPL24[i] for i in known), "twist": angles[known]} if known else {}


def _score(conf: Float[Tensor, "joints"]) -> float:
    known = conf[conf.isfinite()]
    return float(known.mean().clamp(0.0, 1.0)) if len(known) else 0.0


def _first_picture(found: Any) -> Answers:
    """Return the persons of the only picture: each answer is a list with a tensor a picture, or a tensor of one."""
    if not isinstance(found, Mapping):
        raise InputError(f"detect_smpl_batched answers with a {type(found).__name__}; expected a dictionary")
    firsts = {str(name): value[0] for name, value in found.items() if isinstance(value, list | Tensor) and len(value)}
    return {name: value.cpu() for name, value in firsts.items() if isinstance(value, Tensor) and value.ndim > 0}

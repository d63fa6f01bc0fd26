# SPDX-License-Identifier: Apache-2.0
"""The rendered data set: pictures of the default body with exact truth, made in shards, read one by one.

A shard is a safetensors file: the truth as arrays, the pictures as JPEG files one after the other. A sample depends on
its shard's number and the seed only, so shards can be made in any order, by several processes, or again. Here: making,
writing and reading. Not here: where poses come from. Imports: numpy, torch, safetensors, Pillow, ikol.body,
ikol.camera, ikol.geometry, ikol.regressor, ikol.rendering.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ikol.body import BodyModel, forward_kinematics, linear_blend_skinning
from ikol.body.bone_axes import bone_axes
from ikol.camera import Camera
from ikol.errors import FileFormatError, InputError
from ikol.geometry.swing_twist import twist_angle
from ikol.regressor.crops import PERSON_MARGIN
from ikol.rendering.scene import render_scene
from ikol.rendering.viewpoint import View, body_circle, draw_view

CROP_SIZE = 256  # pixels of the detector's square in a picture around a person
_WINDOW = 1.3  # the picture over that square: crops that are larger and turned find something at their edges
_FORMAT = "ikol rendered 1"
_KEYS = (
    "picture", "picture_end", "size", "focal", "center", "R_camera_world", "t_camera_world", "local_rotmat", "transl",
    "betas", "joints_camera", "landmarks_camera", "landmarks_px", "twist", "motion_id", "subject_id",
)  # fmt: skip
_FIRST_SIDE = 1280  # pixels of the picture whose part around the person is kept
_TRIES = 10  # to find a camera that sees enough of the body
_LEAST_SEEN = 14  # of the 22 landmarks below the face
_CHUNK = 32  # bodies skinned at once: 20 MB


@dataclass(frozen=True, eq=False)
class RenderedSample:
    """One picture and what is true about it. Metres and radians; camera axes are x right, y down, z forward."""

    picture: UInt8[np.ndarray, "height width 3"]
    camera: Camera
    """Of this picture; its extrinsics take the SMPL world (the floor at y = 0) to camera axes."""
    local_rotmat: Float[Tensor, "24 3 3"]
    """The root's is relative to the SMPL world."""
    transl: Float[Tensor, "3"]
    betas: Float[Tensor, "10"]
    joints_camera: Float[Tensor, "24 3"]
    landmarks_camera: Float[Tensor, "33 3"]
    landmarks_px: Float[Tensor, "33 2"]
    twist: Float[Tensor, "24"]
    """About each joint's bone at rest (`ikol.body.bone_axes`)."""
    motion_id: int
    subject_id: int


class RenderedDataset:
    """A folder of shards, read lazily: one open shard at a time, nothing of it in memory but what is asked for."""

    def __init__(self, folder: Path) -> None:
        """Find the shards.

        Raises:
            InputError: the folder has none.
            FileFormatError: a file is not a shard.
        """
        self.paths = sorted(folder.glob("shard_*.safetensors"))
        if not self.paths:
            raise InputError(f"{folder} holds no shard_*.safetensors; make them with scripts/render_dataset")
        self._ends = np.cumsum([_shard_length(path) for path in self.paths])

    def __len__(self) -> int:
        """Return how many samples there are."""
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> RenderedSample:
        """Return one sample; opens its shard, so neighbours are read faster by iterating."""
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        shard = int(np.searchsorted(self._ends, index, side="right"))
        with safe_open(self.paths[shard], framework="pt") as opened:
            return _read_sample(opened, index - int(self._ends[shard - 1]) * (shard > 0))

    def __iter__(self) -> Iterator[RenderedSample]:
        """Yield all samples in order."""
        for path in self.paths:
            yield from read_shard(path)


def read_shard(path: Path) -> Iterator[RenderedSample]:
    """Yield the samples of a shard."""
    with safe_open(path, framework="pt") as opened:
        for row in range(opened.get_slice("focal").get_shape()[0]):
            yield _read_sample(opened, row)


def shard_path(folder: Path, number: int) -> Path:
    """Return where a shard lies."""
    return folder / f"shard_{number:05d}.safetensors"


def write_shard(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a shard so that no half-written one is ever seen under its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file(tensors, part, metadata={"format": _FORMAT})
    part.replace(path)


def render_shard(
    body: BodyModel,
    local_rotmat: Float[Tensor, "samples 24 3 3"],
    betas: Float[Tensor, "samples 10"],
    motion_id: Int[Tensor, "samples"],
    subject_id: Int[Tensor, "samples"],
    *,
    seed: int,
    long_side: int | None = None,
    crop_size: int = CROP_SIZE,
) -> dict[str, Tensor]:
    """Return a shard's arrays: every pose photographed once.

    Args:
        body: the default body, float32.
        local_rotmat: the root's is relative to the SMPL world, upright.
        betas: of the default body.
        motion_id: kept with the samples.
        subject_id: kept with the samples.
        seed: what cameras, outfits, light and backgrounds are drawn from.
        long_side: pixels of whole pictures; None for pictures around the person.
        crop_size: pixels of the detector's square in these; the landmark network's own size is the default.
    """
    rest_joints = body.rest_joints(betas)
    rest, faces = body.v_template.numpy(), body.faces.numpy()
    posed = [
        linear_blend_skinning(body, betas[i : i + _CHUNK], local_rotmat[i : i + _CHUNK], torch.zeros(1, 3))
        for i in range(0, len(betas), _CHUNK)
    ]
    vertices = torch.cat(posed)
    transl = torch.zeros(len(betas), 3)
    transl[:, 1] = -vertices[..., 1].amin(-1)  # the lowest point is on the floor
    vertices = vertices + transl[:, None]
    pose = forward_kinematics(body.tree, rest_joints, local_rotmat, transl)
    points = body.points.posed_points(body.points.rest_points(betas), rest_joints, pose).numpy()
    files: list[bytes] = []
    views: list[View] = []
    for i in range(len(betas)):
        rng = np.random.default_rng([seed, i])
        views.append(_draw_view(rng, points[i, 24:], long_side, crop_size))
        files.append(render_scene(rng, rest, faces, vertices[i].numpy(), views[-1]))
    camera_points = torch.from_numpy(np.stack([v.to_camera(p) for v, p in zip(views, points, strict=True)])).float()
    pixels = np.stack([v.project(p) for v, p in zip(views, camera_points[:, 24:].double().numpy(), strict=True)])
    return {
        "picture": torch.frombuffer(bytearray(b"".join(files)), dtype=torch.uint8),
        "picture_end": torch.tensor([len(file) for file in files]).cumsum(0),
        "size": torch.tensor([(view.width, view.height) for view in views]),
        "focal": torch.tensor([view.focal for view in views], dtype=torch.float32),
        "center": torch.tensor([view.center for view in views], dtype=torch.float32),
        "R_camera_world": torch.from_numpy(np.stack([view.R_camera_world for view in views])).float(),
        "t_camera_world": torch.from_numpy(np.stack([view.t_camera_world for view in views])).float(),
        "local_rotmat": local_rotmat.contiguous(),
        "transl": transl,
        "betas": betas.contiguous(),
        "joints_camera": camera_points[:, :24].contiguous(),
        "landmarks_camera": camera_points[:, 24:].contiguous(),
        "landmarks_px": torch.from_numpy(pixels).float(),
        "twist": twist_angle(local_rotmat, bone_axes(body)),
        "motion_id": motion_id.clone(),
        "subject_id": subject_id.clone(),
    }


def _draw_view(
    rng: np.random.Generator, landmarks: Float[np.ndarray, "33 3"], long_side: int | None, crop_size: int
) -> View:
    """Return a camera that sees most of the body; of its surroundings only, unless a whole picture is asked for."""
    view = draw_view(rng, landmarks, long_side or _FIRST_SIDE)
    for _ in range(_TRIES - 1):
        x, y = view.project(view.to_camera(landmarks)).T
        is_seen = (x >= 0) & (x < view.width) & (y >= 0) & (y < view.height)
        if is_seen[11:].sum() >= _LEAST_SEEN and is_seen[:11].all():
            break
        view = draw_view(rng, landmarks, long_side or _FIRST_SIDE)
    if long_side is not None:
        return view
    circle = body_circle(view.project(view.to_camera(landmarks)))
    side = 2.0 * PERSON_MARGIN * circle.radius
    x, y = (float(value) for value in circle.center)
    half = _WINDOW * side / 2
    return view.window((x - half, y - half), (x + half, y + half), crop_size / side)


def _shard_length(path: Path) -> int:
    try:
        with safe_open(path, framework="pt") as opened:
            if (opened.metadata() or {}).get("format") == _FORMAT and {*_KEYS} <= {*opened.keys()}:
                return int(opened.get_slice("focal").get_shape()[0])
    except (SafetensorError, OSError) as error:
        raise FileFormatError(f"{path} cannot be read: {error}; remove it and render it again") from error
    raise FileFormatError(f"{path} is not a shard of a rendered data set; remove it")


def _read_sample(opened: safe_open, row: int) -> RenderedSample:
    def one(key: str) -> Tensor:
        return opened.get_slice(key)[row : row + 1][0]

    end = int(one("picture_end"))
    start = int(opened.get_slice("picture_end")[row - 1 : row][0]) if row else 0
    file = opened.get_slice("picture")[start:end].numpy().tobytes()
    width, height = one("size").tolist()
    camera = Camera(one("focal").expand(2), one("center"), one("R_camera_world"), one("t_camera_world"), width, height)
    return RenderedSample(
        picture=np.asarray(Image.open(BytesIO(file))),
        camera=camera,
        local_rotmat=one("local_rotmat"),
        transl=one("transl"),
        betas=one("betas"),
        joints_camera=one("joints_camera"),
        landmarks_camera=one("landmarks_camera"),
        landmarks_px=one("landmarks_px"),
        twist=one("twist"),
        motion_id=int(one("motion_id")),
        subject_id=int(one("subject_id")),
    )

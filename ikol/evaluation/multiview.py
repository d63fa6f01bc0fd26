# SPDX-License-Identifier: Apache-2.0
"""Accuracy of one-picture poses on a calibrated recording of several synchronised views.

The truth is triangulated from all views, one camera's picture is what the pipeline sees. It is in the landmark
definition of the network that made it, so the body's own landmark points (`ikol.body.points`) are compared with it,
never its joint centres. Everything is in the axes of the camera that took the picture, relative to the middle of the
two hip landmarks.
"""

import json
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ikol.errors import FileFormatError, InputError
from ikol.evaluation.metrics import bone_angles_deg, mpjpe, pa_mpjpe
from ikol.pipeline import Intrinsics, Model, PosePipeline
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS

LIMB_LANDMARKS = tuple(
    f"{side}_{joint}" for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in ("left", "right")
)
LIMB_BONES = (
    *((f"{s}_{a}", f"{s}_{b}") for a, b in (("shoulder", "elbow"), ("elbow", "wrist")) for s in ("left", "right")),
    *((f"{s}_{a}", f"{s}_{b}") for a, b in (("hip", "knee"), ("knee", "ankle")) for s in ("left", "right")),
    ("left_shoulder", "right_shoulder"),
    ("left_hip", "right_hip"),
)
MIN_VIEWS = 3  # a point that fewer cameras agree on is not a truth
MAX_REPROJECTION_PX = 12.0  # the triangulation's own limit: half a wrist's width in these pictures
MIN_VALID_POINTS = 10


@dataclass(frozen=True)
class PoseErrors:
    """Means over the pictures (MPJPE, PA-MPJPE), over all bones of all pictures (the two bone numbers)."""

    mpjpe_mm: float
    pa_mpjpe_mm: float
    bone_deg_median: float
    bone_over_45deg: float


@dataclass(frozen=True)
class MultiviewReport:
    """`raw`: the network's world landmarks. `solved`: the body's landmark points after the solve."""

    raw: PoseErrors
    solved: PoseErrors
    pictures: int
    pictures_without_person: int
    seconds_per_picture_median: float
    up_error_deg_median: float
    """Between the vertical that the pipeline places the person by and the recording's."""

    def to_json(self) -> str:
        """Return the report as indented JSON."""
        return json.dumps(asdict(self), indent=2)


@dataclass(frozen=True)
class _View:
    clip: Path
    frame: int
    intrinsics: Intrinsics
    distortion: np.ndarray
    truth: Float[Tensor, "33 3"]
    valid: Tensor
    up: Float[Tensor, "3"]


def _opened(path: Path) -> np.lib.npyio.NpzFile:
    try:
        data = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise FileFormatError(f"{path.name} is no .npz file: {error}") from error
    if not isinstance(data, np.lib.npyio.NpzFile):
        raise FileFormatError(f"{path.name} holds one array, expected an .npz with several")
    return data


def _views(folder: Path, every: int) -> Iterator[_View]:
    truth_file = next(iter(sorted(folder.glob("*_pseudo_gt_*.npz"))), None)
    if truth_file is None:
        raise InputError(f"{folder} holds no *_pseudo_gt_*.npz; give the folder of the multi-view recording")
    with _opened(truth_file) as data:
        missing = {"frames", "joints", "reproj_px", "n_views", "cam", "K", "dist", "R", "t"} - set(data.files)
        if missing:
            raise FileFormatError(f"{truth_file.name} lacks {sorted(missing)}")
        arrays = {key: data[key] for key in data.files}
    good = (arrays["n_views"] >= MIN_VIEWS) & (arrays["reproj_px"] < MAX_REPROJECTION_PX)
    limb = [BLAZEPOSE_LANDMARKS.index(name) for name in LIMB_LANDMARKS]
    for camera, name in enumerate(arrays["cam"]):
        clip = next(iter(sorted(folder.glob(f"*{name}.mp4"))), None)
        if clip is None:
            raise InputError(f"{folder} holds no clip of camera {name}")
        K, R, t = arrays["K"][camera], arrays["R"][camera], arrays["t"][camera]
        for index in range(0, len(arrays["frames"]), every):
            if good[index][limb].sum() < MIN_VALID_POINTS:
                continue
            yield _View(
                clip=clip,
                frame=int(arrays["frames"][index]),
                intrinsics=Intrinsics(0, 0, (K[0, 0], K[1, 1]), (K[0, 2], K[1, 2]), "given"),
                distortion=arrays["dist"][camera],
                truth=torch.from_numpy(arrays["joints"][index] @ R.T + t),
                valid=torch.from_numpy(good[index]),
                up=torch.from_numpy(R[:, 2].copy()),  # the recording's world has Z up
            )


def _frames(clip: Path, wanted: set[int]) -> Iterator[tuple[int, np.ndarray]]:
    try:
        import av  # noqa: PLC0415 - only evaluation reads video; the optional extra `dev` brings it
    except ImportError as error:
        raise InputError("reading the clips needs PyAV: pip install -c constraints.txt av") from error
    with av.open(str(clip)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                yield number, frame.to_ndarray(format="rgb24")


def _undistorted(pixels: Float[Tensor, "points 2"], view: _View) -> Float[Tensor, "points 2"]:
    """Return where an ideal pinhole would see the pixels (radial k1 k2, tangential p1 p2), by fixed-point iteration."""
    K = torch.tensor([*view.intrinsics.focal], dtype=pixels.dtype)
    centre = torch.tensor([*view.intrinsics.center], dtype=pixels.dtype)
    k1, k2, p1, p2 = (float(value) for value in view.distortion)
    distorted = (pixels - centre) / K
    point = distorted
    for _ in range(5):  # the distortion is about 1e-3: two iterations reach float precision
        x, y = point.unbind(-1)
        r2 = x * x + y * y
        radial = 1 + k1 * r2 + k2 * r2 * r2
        tangential = torch.stack((2 * p1 * x * y + p2 * (r2 + 2 * x * x), p1 * (r2 + 2 * y * y) + 2 * p2 * x * y), -1)
        point = (distorted - tangential) / radial[..., None]
    return point * K + centre


class _Errors:
    """Collects one picture after the other and sums them up."""

    def __init__(self) -> None:
        self._mpjpe: list[float] = []
        self._pa: list[float] = []
        self._bones: list[Tensor] = []
        self._limb = [BLAZEPOSE_LANDMARKS.index(name) for name in LIMB_LANDMARKS]
        self._bone_index = torch.tensor([[LIMB_LANDMARKS.index(a), LIMB_LANDMARKS.index(b)] for a, b in LIMB_BONES])

    def add(self, predicted: Float[Tensor, "33 3"], view: _View) -> None:
        predicted, truth, valid = predicted[self._limb].double(), view.truth[self._limb], view.valid[self._limb]
        hips = [LIMB_LANDMARKS.index("left_hip"), LIMB_LANDMARKS.index("right_hip")]
        predicted, truth = predicted - predicted[hips].mean(0), truth - truth[hips].mean(0)
        self._mpjpe.append(1000 * float(mpjpe(predicted, truth, valid)))
        self._pa.append(1000 * float(pa_mpjpe(predicted, truth, valid)))
        angles = bone_angles_deg(predicted, truth, self._bone_index)
        self._bones.append(angles[valid[self._bone_index].all(-1)])

    def summary(self) -> PoseErrors:
        bones = torch.cat(self._bones)
        return PoseErrors(
            mpjpe_mm=float(np.mean(self._mpjpe)),
            pa_mpjpe_mm=float(np.mean(self._pa)),
            bone_deg_median=float(bones.median()),
            bone_over_45deg=float((bones > 45).double().mean()),
        )


def _bone(direction: Float[Tensor, "3"]) -> Float[Tensor, "2 3"]:
    return torch.stack((torch.zeros_like(direction), direction))


def evaluate_multiview(
    folder: Path,
    pipeline: PosePipeline,
    *,
    model: Model = "heavy",
    every: int = 1,
    progress: Callable[[float, str], None] | None = None,
) -> MultiviewReport:
    """Run the pipeline on every `every`-th picture of each view and compare it with the triangulated landmarks.

    The pipeline is given the calibrated focal length and centre and nothing else of the calibration.

    Raises:
        InputError: the folder is not a recording of this layout.
    """
    views = list(_views(folder, every))
    raw, solved, missed = _Errors(), _Errors(), 0
    seconds: list[float] = []
    up_error: list[float] = []
    done = 0
    for clip in sorted({view.clip for view in views}):
        of_clip = {view.frame: view for view in views if view.clip == clip}
        for number, rgb in _frames(clip, set(of_clip)):
            view = of_clip[number]
            start = time.perf_counter()
            result = _solve_picture(pipeline, rgb, view, model)
            seconds.append(time.perf_counter() - start)
            done += 1
            if progress is not None:
                progress(done / len(views), f"{clip.stem} frame {number}")
            if result is None:
                missed += 1
                continue
            raw.add(result[0], view)
            solved.add(result[1], view)
            up_error.append(float(bone_angles_deg(_bone(result[2]), _bone(view.up), torch.tensor([[0, 1]]))[0]))
    if done == missed:
        raise InputError("no person was found on any picture of the recording")
    return MultiviewReport(
        raw.summary(), solved.summary(), done, missed, float(np.median(seconds)), float(np.median(up_error))
    )


def _solve_picture(
    pipeline: PosePipeline, rgb: np.ndarray, view: _View, model: Model
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return raw and solved landmarks (33, 3) and up (3), in camera axes, or None when no person was found."""
    height, width = rgb.shape[:2]
    intrinsics = Intrinsics(width, height, view.intrinsics.focal, view.intrinsics.center, "given")
    detection = pipeline.detect_rgb(rgb, intrinsics=intrinsics, model=model, max_persons=1)
    if not detection.persons:
        return None
    person = detection.persons[0].with_pixels(lambda pixels: _undistorted(pixels, view))
    solution = pipeline.solve(person.evidence, intrinsics=intrinsics)
    assert solution.camera is not None
    solved = solution.camera.to_camera(pipeline.landmark_positions(solution.pose))
    return person.landmarks.world_points, solved, solution.camera.R_camera_world[:, 1]

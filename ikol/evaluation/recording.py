# SPDX-License-Identifier: Apache-2.0
"""A calibrated recording of several synchronised views, as a data set: clips, and an .npz with cameras and landmarks.

The truth is triangulated from all views and is in the landmark definition of the network that made it, so the body's
own landmark points are compared with it, never its joint centres. Each sample is one picture of one camera.
Imports: numpy, torch, PyAV (when a picture is read).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ikol.body.array_archive import read_arrays
from ikol.errors import FileFormatError, InputError
from ikol.evaluation.samples import EvaluationSample, Truth
from ikol.files import read_limited
from ikol.pipeline import Intrinsics
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS, LIMB_LANDMARKS, NUM_LANDMARKS

MIN_VIEWS = 3  # a point that fewer cameras agree on is not a truth
MAX_REPROJECTION_PX = 12.0  # the triangulation's own limit: half a wrist's width in these pictures
MIN_VALID_POINTS = 10
MAX_TRUTH_BYTES = 1 << 28  # a frame takes a kilobyte
LAYOUT: dict[str, tuple[str | int, ...]] = {  # key: its axes; F frames, C cameras
    "frames": ("F",),
    "joints": ("F", NUM_LANDMARKS, 3),
    "reproj_px": ("F", NUM_LANDMARKS),
    "n_views": ("F", NUM_LANDMARKS),
    "cam": ("C",),
    "K": ("C", 3, 3),
    "dist": ("C", 4),
    "R": ("C", 3, 3),
    "t": ("C", 3),
}
KEYS = frozenset(LAYOUT)
Y_UP = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))  # takes the SMPL world (Y up) to the recording's (Z up)


@dataclass(frozen=True, eq=False)
class RecordedCamera:
    """One calibrated camera; x_camera = R x + t with the recording's world, whose Z is up."""

    name: str
    clip: Path
    K: Float[np.ndarray, "3 3"]
    dist: Float[np.ndarray, "4"]
    """Radial k1 k2, tangential p1 p2."""
    R: Float[np.ndarray, "3 3"]
    t: Float[np.ndarray, "3"]

    @property
    def projection(self) -> Float[np.ndarray, "3 4"]:
        """K [R t], without the lens distortion."""
        return self.K @ np.concatenate((self.R, self.t[:, None]), axis=-1)

    def intrinsics(self, width: int, height: int) -> Intrinsics:
        """Return the lens for pictures of this size."""
        K, (k1, k2, p1, p2) = self.K, (float(value) for value in self.dist)
        focal, center = (float(K[0, 0]), float(K[1, 1])), (float(K[0, 2]), float(K[1, 2]))
        return Intrinsics(width, height, focal, center, "given", (k1, k2, p1, p2))


class Clip:
    """Frames of a video by number; reading them in order decodes each once. Not for several threads at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._frames: Iterator[np.ndarray] | None = None
        self._next = 0

    def frame(self, number: int) -> UInt8[np.ndarray, "height width 3"]:
        """Return one frame.

        Raises:
            InputError: the clip is shorter, or nothing here can read videos.
        """
        if self._frames is None or number < self._next:
            self._frames, self._next = self._decoded(), 0
        for rgb in self._frames:
            self._next += 1
            if self._next == number + 1:
                return rgb
        self._frames = None
        raise InputError(f"{self.path.name} has {self._next} frames, frame {number} was asked for")

    def _decoded(self) -> Iterator[np.ndarray]:
        try:
            import av  # noqa: PLC0415 - only evaluation reads video; the optional extra `dev` brings it
        except ImportError as error:
            raise InputError("reading the clips needs PyAV: pip install -c constraints.txt av") from error
        with av.open(str(self.path)) as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")


class Recording:
    """The pictures of a recording for which there is a truth, camera by camera.

    Args:
        folder: clips whose names end in the cameras' names, and a *_pseudo_gt_*.npz.
        truth: another .npz of the same layout, such as `scripts/annotate_multiview` writes.
        every: take every n-th annotated frame only.

    Raises:
        InputError: the folder is not a recording of this layout.
    """

    name = "multiview"
    scored = LIMB_LANDMARKS
    origin = ("left_hip", "right_hip")
    body = None

    def __init__(self, folder: Path, truth: Path | None = None, every: int = 1) -> None:
        arrays = read_truth(truth or find_truth(folder))
        self.cameras = recorded_cameras(folder, arrays)
        good = (arrays["n_views"] >= MIN_VIEWS) & (arrays["reproj_px"] < MAX_REPROJECTION_PX)
        limb, origin = ([BLAZEPOSE_LANDMARKS.index(name) for name in names] for names in (self.scored, self.origin))
        # without a place of the origin there is nothing to compare, and one such frame would undo all means
        is_placed = np.asarray(np.isfinite(arrays["joints"][:, origin]).all(axis=(1, 2)))
        used = [
            index
            for index in range(0, len(arrays["frames"]), every)
            if is_placed[index] and good[index][limb].sum() >= MIN_VALID_POINTS
        ]
        self.frames: tuple[int, ...] = tuple(int(arrays["frames"][index]) for index in used)
        self._joints = torch.from_numpy(arrays["joints"][used].astype(np.float64))
        self._good = torch.from_numpy(good[used])
        self._clips = [Clip(camera.clip) for camera in self.cameras]
        self._sizes: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self.frames) * len(self.cameras)

    def __iter__(self) -> Iterator[EvaluationSample]:
        """Give all pictures of the first camera, then those of the next."""
        for view in range(len(self.cameras)):
            for index in range(len(self.frames)):
                yield self.sample(view, index)

    def sample(self, view: int, index: int) -> EvaluationSample:
        """Return the picture of one camera for one of `frames`."""
        camera, frame = self.cameras[view], self.frames[index]
        if view not in self._sizes:
            height, width = self._clips[view].frame(frame).shape[:2]
            self._sizes[view] = (width, height)
        points = self._joints[index] @ torch.from_numpy(camera.R.T) + torch.from_numpy(camera.t)
        return EvaluationSample(
            name=f"{camera.name} frame {frame}",
            intrinsics=camera.intrinsics(*self._sizes[view]),
            truth=Truth(BLAZEPOSE_LANDMARKS, points, self._good[index], up=torch.from_numpy(camera.R[:, 2].copy())),
            picture=partial(self._clips[view].frame, frame),
        )

    def extrinsics(self, view: int) -> tuple[Float[Tensor, "3 3"], Float[Tensor, "3"]]:
        """Return R_camera_world and t_camera_world of a camera in a world whose Y is up."""
        camera = self.cameras[view]
        return torch.from_numpy(camera.R) @ torch.tensor(Y_UP, dtype=torch.float64), torch.from_numpy(camera.t)


def find_truth(folder: Path) -> Path:
    """Return the annotation that lies in a recording's folder.

    Raises:
        InputError: there is none.
    """
    found = next(iter(sorted(folder.glob("*_pseudo_gt_*.npz"))), None)
    if found is None:
        raise InputError(f"{folder} holds no *_pseudo_gt_*.npz; give the folder of the multi-view recording")
    return found


def read_truth(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays `KEYS` of an annotation.

    Raises:
        FileFormatError: it is no .npz, lacks one, or one has the wrong type or shape.
    """
    arrays = read_arrays(read_limited(path, MAX_TRUTH_BYTES, "annotation"), KEYS, path.name, MAX_TRUTH_BYTES)
    lengths: dict[str, int] = {}
    for key, axes in LAYOUT.items():
        array = arrays[key]
        expected = tuple(
            lengths.setdefault(axis, size) if isinstance(axis, str) else axis
            for axis, size in zip(axes, array.shape, strict=False)
        )
        if (
            array.ndim != len(axes)
            or array.shape != expected
            or array.dtype.kind not in ("U" if key == "cam" else "iuf")
        ):
            raise FileFormatError(f"{path.name}: {key} is {array.dtype} {array.shape}, expected {axes}")
    return arrays


def recorded_cameras(folder: Path, arrays: dict[str, np.ndarray]) -> tuple[RecordedCamera, ...]:
    """Return the cameras of an annotation with their clips.

    Raises:
        InputError: a clip is missing.
    """
    cameras: list[RecordedCamera] = []
    for index, name in enumerate(arrays["cam"]):
        clip = next(iter(sorted(folder.glob(f"*{name}.mp4"))), None)
        if clip is None:
            raise InputError(f"{folder} holds no clip of camera {name}")
        K, dist, R, t = (arrays[key][index].astype(np.float64) for key in ("K", "dist", "R", "t"))
        cameras.append(RecordedCamera(str(name), clip, K, dist, R, t))
    return tuple(cameras)

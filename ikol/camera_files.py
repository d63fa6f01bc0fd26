# SPDX-License-Identifier: Apache-2.0
"""The cameras of several pictures out of an .npz in the layout that `ikol pose --out` writes for them.

Imports: numpy, torch, ikol.body.array_archive, ikol.distortion, ikol.errors, ikol.files, ikol.pipeline.evidence.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float

from ikol.body.array_archive import array_names, read_arrays
from ikol.distortion import UNDISTORTED, Coefficients, check_distortion
from ikol.errors import FileFormatError
from ikol.files import read_limited
from ikol.pipeline.evidence import Extrinsics, Intrinsics

MAX_FILE_BYTES: Final = 64 << 20  # the file may hold a pose as well, or what other programs have put beside the cameras
MAX_ARRAY_BYTES: Final = 1 << 20  # a camera takes 168 bytes, and there are at most eight
ROTATION_TOLERANCE: Final = 1e-3  # of R Rᵀ - 1: numbers typed with four digits pass, another unit or a scale does not
LAYOUT: Final[dict[str, tuple[int, ...]]] = {  # of one camera
    "focal": (2,),
    "center": (2,),
    "R_camera_world": (3, 3),
    "t_camera_world": (3,),
}
LENS: Final[dict[str, tuple[int, ...]]] = {"distortion": (4,)}  # may be missing: none


@dataclass(frozen=True, eq=False)
class KnownCamera:
    """A camera whose lens and place somebody knows; x_camera = R_camera_world @ x_world + t_camera_world."""

    focal: tuple[float, float]
    """Pixels of the upright picture, along x and y."""
    center: tuple[float, float]
    """Pixels."""
    distortion: Coefficients
    R_camera_world: Float[np.ndarray, "3 3"]
    """OpenCV's axes: x right, y down, z forward. The world's Y is up."""
    t_camera_world: Float[np.ndarray, "3"]
    """Metres."""

    @property
    def extrinsics(self) -> Extrinsics:
        """R_camera_world and t_camera_world in float64."""
        return torch.from_numpy(self.R_camera_world), torch.from_numpy(self.t_camera_world)

    def intrinsics(self, width: int, height: int) -> Intrinsics:
        """Return the lens for a picture of this size."""
        return Intrinsics(width, height, self.focal, self.center, "given", self.distortion)


def read_cameras(path: Path, count: int) -> tuple[KnownCamera, ...]:
    """Return the cameras of some pictures, in their order.

    Args:
        path: an .npz with focal (N, 2), center (N, 2), R_camera_world (N, 3, 3), t_camera_world (N, 3), and
            maybe distortion (N, 4): k1, k2, p1, p2 as OpenCV has them.
        count: how many pictures there are.

    Raises:
        InputError: the file cannot be read, lacks an array, or one has another shape, or numbers that are no camera's.
    """
    arrays = _checked_arrays(path, count)
    _check_cameras(arrays, path.name)
    lenses = arrays.get("distortion", np.tile(UNDISTORTED, (count, 1)))
    return tuple(
        KnownCamera(_pair(focal), _pair(center), _coefficients(distortion), R, t)
        for focal, center, distortion, R, t in zip(
            arrays["focal"], arrays["center"], lenses, arrays["R_camera_world"], arrays["t_camera_world"], strict=True
        )
    )


def _checked_arrays(path: Path, count: int) -> dict[str, np.ndarray]:
    """Return the arrays in float64, each with as many rows as there are pictures, all finite."""
    arrays = _arrays(path)
    for key, array in arrays.items():
        expected = (count, *(LAYOUT | LENS)[key])
        if array.shape != expected or array.dtype.kind not in "iuf":
            raise FileFormatError(
                f"{path.name}: {key} is {array.dtype} {array.shape}, expected numbers {expected}; "
                "give one camera for each picture, in the pictures' order"
            )
        arrays[key] = array.astype(np.float64)
        if not np.isfinite(arrays[key]).all():
            raise FileFormatError(
                f"{path.name}: {key} has nan or inf, expected finite numbers; give cameras that are all known"
            )
    return arrays


def _arrays(path: Path) -> dict[str, np.ndarray]:
    data = read_limited(path, MAX_FILE_BYTES, "camera file")
    try:
        optional = {*LENS} & {*array_names(data, path.name)}
        return read_arrays(data, (*LAYOUT, *optional), path.name, MAX_ARRAY_BYTES)
    except FileFormatError as error:
        raise FileFormatError(
            f"{error}; expected {', '.join(LAYOUT)} of each camera, as `ikol pose --same-pose --out` writes them"
        ) from error


def _check_cameras(arrays: dict[str, np.ndarray], source: str) -> None:
    """Refuse numbers that are no camera's."""
    for number, (focal, R) in enumerate(zip(arrays["focal"], arrays["R_camera_world"], strict=True), 1):
        if not (focal > 0.0).all():
            raise FileFormatError(
                f"{source}: the focal length of camera {number} must be positive, got {focal.tolist()}; "
                "give it in pixels along x and y"
            )
        with np.errstate(over="ignore", invalid="ignore"):  # of numbers as large as those, nan and inf are refused too
            wrong, determinant = float(np.abs(R @ R.T - np.eye(3)).max()), float(np.linalg.det(R))
        if not (wrong <= ROTATION_TOLERANCE and determinant > 0.0):
            raise FileFormatError(
                f"{source}: R_camera_world of camera {number} is no rotation (R Rᵀ is off by {wrong:.2g}, its "
                f"determinant is {determinant:.3g}, expected at most {ROTATION_TOLERANCE:g}, and 1); give a "
                "rotation matrix from the world to OpenCV's camera axes"
            )


def _coefficients(distortion: Float[np.ndarray, "4"]) -> Coefficients:
    k1, k2, p1, p2 = (float(value) for value in distortion)
    check_distortion((k1, k2, p1, p2))
    return k1, k2, p1, p2


def _pair(values: Float[np.ndarray, "2"]) -> tuple[float, float]:
    return float(values[0]), float(values[1])

# SPDX-License-Identifier: Apache-2.0
"""Named points over frames as an .npz, with all their digits: how the Blender add-on hands over what it exports.

Arrays: `names` (K), `points` (F, K, 3) in SMPL's world, metres, or (F, K, 2) on a picture, pixels; and where there is
something to say `confidence` (F, K), `fps`, `size` (width, height). One frame may lack its axis, so that the files of
the add-on's *Solve Keypoints* are read as well.
Imports: numpy, torch, ikol.body, ikol.errors, ikol.exchange.{files, motion, npz_values}.
"""

from pathlib import Path
from typing import Final

import numpy as np
import torch

from ikol.body.array_archive import array_names
from ikol.errors import FileFormatError
from ikol.exchange.files import write_bytes
from ikol.exchange.motion import MAX_FRAMES, Keypoints
from ikol.exchange.npz_values import npz_bytes, read_number, read_numbers, read_texts
from ikol.files import read_limited

MAX_FILE_BYTES: Final = 1 << 30
MAX_SIDE: Final = 100_000  # pixels of a picture


def read_points(path: Path) -> Keypoints:
    """Return the points of a file.

    Raises:
        FileFormatError: it cannot be read, or an array is missing or has the wrong shape.
    """
    data, source = read_limited(path, MAX_FILE_BYTES), path.name
    present = array_names(data, source)
    names, points = read_texts(data, "names", source), read_numbers(data, "points", source)
    if points.ndim == 2:
        points = points[None]
    if points.ndim != 3 or points.shape[1] != len(names) or points.shape[2] not in (2, 3):
        raise FileFormatError(f"{source}: points has shape {points.shape}, expected (frames, {len(names)}, 2 or 3)")
    if not 0 < len(points) <= MAX_FRAMES:
        raise FileFormatError(f"{source} has {len(points)} frames, expected 1 to {MAX_FRAMES}")
    sure = np.ones(points.shape[:2])
    if "confidence" in present:
        sure = read_numbers(data, "confidence", source)
        sure = sure[None] if sure.ndim == 1 else sure
        if sure.shape != points.shape[:2]:
            raise FileFormatError(f"{source}: confidence has shape {sure.shape}, expected {points.shape[:2]}")
    fps = read_number(data, "fps", source) if "fps" in present else 30.0
    if not 0 < fps <= 100_000:
        raise FileFormatError(f"{source}: fps is {fps}, expected a positive number")
    size = _size(read_numbers(data, "size", source), source) if "size" in present else None
    return Keypoints(tuple(names), torch.from_numpy(points), torch.from_numpy(sure), fps, size)


def _size(array: np.ndarray, source: str) -> tuple[int, int]:
    if array.shape != (2,) or not bool(((array >= 1) & (array <= MAX_SIDE)).all()):
        raise FileFormatError(f"{source}: size must be the width and the height of a picture in pixels")
    return int(array[0]), int(array[1])


def write_points(path: Path, keypoints: Keypoints) -> None:
    """Write points with all their digits."""
    arrays = {
        "names": np.array(keypoints.names),
        "points": keypoints.points.numpy(),
        "confidence": keypoints.confidence.numpy(),
        "fps": np.array(keypoints.fps),
    }
    write_bytes(path, npz_bytes(arrays if keypoints.size is None else arrays | {"size": np.array(keypoints.size)}))

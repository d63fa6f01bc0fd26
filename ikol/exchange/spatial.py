# SPDX-License-Identifier: Apache-2.0
"""What marker files of all formats share: units, axes, and names. Imports: numpy, torch, ikol.exchange."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch

from ikol.body.smpl_trees import SMPL_TREE, SMPLX_TREE
from ikol.errors import FileFormatError
from ikol.exchange.motion import Axes, Keypoints
from ikol.exchange.point_names import BLAZEPOSE, our_names

UNITS: Final = {"m": 1.0, "meters": 1.0, "metres": 1.0, "cm": 0.01, "mm": 0.001, "millimeters": 0.001, "": 0.001}
"""Metres of a unit; most marker files are in millimetres, also those that do not say so."""
KNOWN: Final = tuple(dict.fromkeys((*SMPL_TREE.names, *SMPLX_TREE.names, *BLAZEPOSE)))
_UP: Final[dict[Axes, tuple[int, int]]] = {"y": (1, 1), "z": (2, 1), "camera": (1, -1)}


def keypoints_in_space(
    names: Sequence[str], points: np.ndarray, fps: float, unit: str, axes: Axes | None, default: Axes, source: str
) -> Keypoints:
    """Return markers in SMPL's world.

    Args:
        names: as the file has them.
        points: (F, K, 3) in the file's units and axes, NaN where a marker is missing.
        fps: frames a second.
        unit: what the file says.
        axes: which way is up; None to see it from heads and feet, or else `default`.
        default: what files of this format mostly have.
        source: what to call the file in messages.

    Raises:
        FileFormatError: the unit is unknown.
    """
    if unit.strip().lower() not in UNITS:
        raise FileFormatError(f"{source} has the unit {unit[:40]!r}; m, cm and mm are read")
    ours = our_names(names, KNOWN)
    is_there = np.asarray(np.isfinite(points).all(axis=-1))
    metres = np.where(is_there[..., None], points, 0.0) * UNITS[unit.strip().lower()]
    chosen = axes or _likely_axes(ours, metres, is_there) or default
    x, y, z = (metres[..., axis] for axis in range(3))
    turned = {"y": (x, y, z), "z": (x, z, -y), "camera": (x, -y, -z)}[chosen]
    return Keypoints(
        names=ours,
        points=torch.from_numpy(np.stack(turned, -1)),
        confidence=torch.from_numpy(is_there.astype(np.float64)),
        fps=fps,
    )


def _likely_axes(names: tuple[str, ...], points: np.ndarray, is_there: np.ndarray) -> Axes | None:
    """Return which way heads are from feet most of the time; None without such markers."""

    def mean(parts: tuple[str, ...]) -> np.ndarray | None:
        columns = [names.index(name) for name in parts if name in names]
        seen = points[:, columns][is_there[:, columns]]
        return seen.mean(0) if len(seen) else None

    feet = mean(("left_ankle", "right_ankle", "L_Ankle", "R_Ankle", "left_heel", "right_heel"))
    head = mean(("nose", "Head", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "Neck"))
    if feet is None or head is None:
        return None
    line = head - feet
    return max(_UP, key=lambda axes: line[_UP[axes][0]] * _UP[axes][1])

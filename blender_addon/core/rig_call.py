# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of the solver about a skeleton that is not SMPL's, and what it answers: plain arrays."""

from collections.abc import Container
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .record import Keypoints2D, PhotoCamera

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TurnLimits:
    """How far some joints may turn from rest, radians; see `LimitsSpec` of the protocol."""

    joints: tuple[int, ...]
    axes: FloatArray
    """(K, 3, 3)"""
    swing: FloatArray
    """(K, 4)"""
    twist: FloatArray
    """(K, 2)"""

    def without(self, numbers: Container[int]) -> "TurnLimits | None":
        """Return the limits of the other joints; None where there are none."""
        rows = [row for row, joint in enumerate(self.joints) if joint not in numbers]
        if not rows:
            return None
        joints = tuple(self.joints[row] for row in rows)
        return TurnLimits(joints, self.axes[rows], self.swing[rows], self.twist[rows])


@dataclass(frozen=True, eq=False)
class SeenOnPicture:
    """What a photograph says of joints and points."""

    camera: PhotoCamera
    """Placed in the space of the call."""
    keypoints: tuple[Keypoints2D, ...]


@dataclass(frozen=True, eq=False)
class TreeCall:
    """Pose a skeleton: joints with parents and rest places, points that ride on them, and the evidence."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    rest: FloatArray
    """(J, 3) metres"""
    point_names: tuple[str, ...]
    point_joints: tuple[int, ...]
    point_rest: FloatArray
    """(P, 3)"""
    keypoint_names: tuple[str, ...]
    """Joints and points that have a place to be."""
    keypoints: FloatArray
    """(K, 3) metres"""
    keypoint_sigma: FloatArray
    """(K) metres"""
    turned: tuple[str, ...]
    """Joints that have a rotation to take."""
    turns: FloatArray
    """(T, 4) of the joint from rest, wxyz"""
    turn_sigma: FloatArray
    """(T) radians"""
    transl: FloatArray
    """(3) of the pose to begin with"""
    local_quat: FloatArray
    """(J, 4) of the pose to begin with, wxyz"""
    free: tuple[str, ...] = ()
    """Joints that may turn; none for all. The others keep the rotations of the pose to begin with."""
    limits: TurnLimits | None = None
    seen: SeenOnPicture | None = None


@dataclass(frozen=True, eq=False)
class TreeSolution:
    """The pose of a skeleton."""

    transl: FloatArray
    """(3) metres, from the root's rest place"""
    local_quat: FloatArray
    """(J, 4) wxyz"""
    places: FloatArray
    """(J, 3) metres"""
    status: str
    iterations: int
    seconds: float

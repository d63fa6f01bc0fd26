# SPDX-License-Identifier: GPL-3.0-or-later
"""The default body as the armature builder needs it: template, shape directions, weights, joints. numpy only."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import FileError
from .rig import JOINT_NAMES

FloatArray = NDArray[np.float64]

WEIGHT_THRESHOLD = 1e-4
"""Skinning weights below it move a vertex by less than 0.1 mm over a metre and are left out of the vertex groups."""


@dataclass(frozen=True)
class BodyData:
    """A body in SMPL's layout and axes, metres."""

    v_template: FloatArray
    """(V, 3)"""
    shapedirs: FloatArray
    """(V, 3, B)"""
    faces: NDArray[np.int64]
    """(F, 3)"""
    lbs_weights: FloatArray
    """(V, J)"""
    joints_template: FloatArray
    """(J, 3)"""
    joints_shapedirs: FloatArray
    """(J, 3, B)"""

    @property
    def num_betas(self) -> int:
        """Number of shape coefficients."""
        return self.shapedirs.shape[2]

    def rest_joints(self, betas: ArrayLike) -> FloatArray:
        """Return the joints (J, 3) of the unposed body of that shape."""
        return self.joints_template + self.joints_shapedirs @ np.asarray(betas, dtype=np.float64)


def load_body(path: Path) -> BodyData:
    """Return the body stored at `path`.

    Raises:
        FileError: The file is missing or is not a body of 24 joints.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return _build(arrays)
    except (OSError, KeyError, ValueError) as error:
        raise FileError(
            f"the add-on's body file {path.name} cannot be read ({error}); install the add-on again"
        ) from error


def _build(arrays: Any) -> BodyData:
    v_template = np.asarray(arrays["v_template"], dtype=np.float64)
    shapedirs = np.asarray(arrays["shapedirs"], dtype=np.float64)
    regressor = np.asarray(arrays["J_regressor"], dtype=np.float64)
    weights = np.asarray(arrays["weights"], dtype=np.float64)
    num_vertices, num_joints = len(v_template), len(JOINT_NAMES)
    if weights.shape != (num_vertices, num_joints) or regressor.shape != (num_joints, num_vertices):
        raise ValueError(f"expected {num_joints} joints, got weights {weights.shape}")
    return BodyData(
        v_template=v_template,
        shapedirs=shapedirs,
        faces=np.asarray(arrays["f"], dtype=np.int64),
        lbs_weights=weights,
        joints_template=regressor @ v_template,
        joints_shapedirs=np.einsum("jv,vcb->jcb", regressor, shapedirs),
    )

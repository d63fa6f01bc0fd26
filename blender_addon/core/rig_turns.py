# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotations of bones as matrices, unit quaternions (wxyz) and rotation vectors (radians)."""

import numpy as np

from .rig_bones import FloatArray


def matrix_of(quat: FloatArray) -> FloatArray:
    """Return the rotation matrix of a unit quaternion, wxyz."""
    w, x, y, z = (float(value) for value in quat)
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def quat_of(turn: FloatArray) -> FloatArray:
    """Return the unit quaternion (wxyz) of a rotation matrix, also of half a turn."""
    vector = rotvec_of(turn)
    angle = float(np.linalg.norm(vector))
    axis = vector / angle if angle > 1e-12 else vector
    return np.concatenate(([np.cos(0.5 * angle)], np.sin(0.5 * angle) * axis))


def turn_of(rotvec: FloatArray) -> FloatArray:
    """Return the rotation matrix of a rotation vector."""
    angle = float(np.linalg.norm(rotvec))
    if angle < 1e-12:
        return np.eye(3)
    return matrix_of(np.concatenate(([np.cos(0.5 * angle)], np.sin(0.5 * angle) * rotvec / angle)))


def rotvec_of(turn: FloatArray) -> FloatArray:
    """Return the rotation vector of a rotation matrix, of at most half a turn."""
    twice_sine = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    sine, cosine = 0.5 * float(np.linalg.norm(twice_sine)), 0.5 * (float(np.trace(turn)) - 1.0)
    angle = float(np.arctan2(sine, cosine))
    if sine > 1e-4:
        return twice_sine * (0.5 * angle / sine)
    if cosine > 0:
        return 0.5 * twice_sine
    outer = 0.5 * (turn + np.eye(3))  # near half a turn: axis times itself
    axis = outer[int(np.argmax(np.diag(outer)))]
    return angle * axis / np.linalg.norm(axis)

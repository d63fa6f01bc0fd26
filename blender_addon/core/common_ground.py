# SPDX-License-Identifier: GPL-3.0-or-later
"""One up and one floor: for the persons of one picture, and for a person before the scene's own camera.

How far away somebody stands follows from how tall somebody is, which one picture does not tell; where the feet meet a
known floor does. All in the SMPL world (metres, Y up), whose floor is at height 0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from .errors import SolverError
from .pose_conversion import FloatArray, as_quaternion, as_rotation, as_vector
from .record import Evidence, Keypoints2D, Keypoints3D, PhotoCamera, Pose, Record, Solution

FEET = ("left_heel", "left_foot_index", "right_heel", "right_foot_index")
SOLE = 0.03
"""Metres of heel and toes above the floor: they are points of the skin's inside, and shoes have soles."""

FEET_SIGMA = 0.02
"""Metres: the floor counts as much as a good landmark of the picture."""

MIN_CAMERA_HEIGHT = 0.5
"""Metres above the feet; from lower down the floor is seen edge on, and says nothing of distance."""

MAX_FACTOR = 1.3
"""Of distances: beyond it the person does not stand on this floor, but on a stair, in the air, or is a child."""

MAX_TILT = math.radians(25.0)
"""Between one person's up and that of all: beyond it the person is not upright."""


@dataclass(frozen=True)
class Standing:
    """Where the solve of a person on the floor begins, and what it has to meet."""

    pose: Pose
    feet: Keypoints3D


def on_floor(solution: Solution, evidence: Sequence[Evidence], height: float = 0.0) -> Standing | None:
    """Return a person moved along the camera's rays until the lower foot is on the floor.

    Args:
        solution: Of the person, with a placed camera.
        evidence: Of the picture; it must show a foot.
        height: Of the floor, metres.

    Returns:
        None where the feet are not seen, or the floor is so far from them that the person stands elsewhere.
    """
    camera = solution.camera
    if camera is None or camera.rotation is None or camera.translation is None:
        return None
    seen = {name for block in evidence if isinstance(block, Keypoints2D) for name in block.names}
    feet = [name for name in FEET if name in seen and name in solution.points]
    if not feet:
        return None
    eye = camera_place(camera)
    lowest = min(feet, key=lambda name: solution.points[name][1])
    drop, wanted = eye[1] - solution.points[lowest][1], eye[1] - height - SOLE
    if min(drop, wanted) < MIN_CAMERA_HEIGHT:
        return None
    factor = wanted / drop
    if not 1.0 / MAX_FACTOR < factor < MAX_FACTOR:
        return None
    side = lowest.split("_")[0]
    names = tuple(name for name in feet if name.startswith(side))
    places = tuple(as_vector(eye + factor * (np.array(solution.points[name]) - eye)) for name in names)
    shift = (factor - 1.0) * (np.array(solution.points["Pelvis"]) - eye)
    pose = msgspec.structs.replace(solution.pose, transl=as_vector(np.array(solution.pose.transl) + shift))
    return Standing(pose, Keypoints3D(names, places, (FEET_SIGMA,) * len(names)))


def camera_place(camera: PhotoCamera) -> FloatArray:
    """Return where a placed camera is in the world.

    Raises:
        SolverError: Nobody has placed it.
    """
    if camera.rotation is None or camera.translation is None:
        raise SolverError("the solver did not place the camera; update the solver")
    return -np.array(camera.rotation).reshape(3, 3).T @ np.array(camera.translation)


def on_common_ground(records: Sequence[Record]) -> list[Record]:
    """Return persons who were solved apart from each other, each with a camera of its own, in one world.

    Up is the mean of all who stand upright; the floor lies under the feet of the first person, over whose origin
    nothing moves but for the tilt.
    """
    cameras = [record.solution.camera for record in records]
    if len(records) < 2 or any(camera is None or camera.rotation is None for camera in cameras):
        return list(records)
    turns = [np.array(camera.rotation).reshape(3, 3) for camera in cameras if camera is not None]
    up = common_up(np.array([turn[:, 1] for turn in turns]))
    first = records[0].solution
    assert first.camera is not None
    tilt = _rotation_between(turns[0].T @ up, np.array([0.0, 1.0, 0.0]))
    pelvis = tilt @ np.array(first.points["Pelvis"])
    floor = min(float((tilt @ np.array(place))[1]) for place in first.points.values())
    shift = -np.array([pelvis[0], min(floor, 0.0), pelvis[2]])
    rotation = turns[0] @ tilt.T
    translation = np.array(first.camera.translation) - rotation @ shift
    place = msgspec.structs.replace(first.camera, rotation=as_rotation(rotation), translation=as_vector(translation))
    return [msgspec.structs.replace(record, solution=_moved(record.solution, place)) for record in records]


def common_up(ups: FloatArray) -> FloatArray:
    """Return the mean direction (3) of several (N, 3), without those that are far from the one in the middle."""
    middle = ups[int(np.argmax((ups @ ups.T).sum(axis=1)))]
    kept = ups[ups @ middle > math.cos(MAX_TILT)]
    mean = kept.mean(axis=0)
    return mean / np.linalg.norm(mean)


def _moved(solution: Solution, camera: PhotoCamera) -> Solution:
    """Return a solution in the world of another camera that sees it at the same pixels."""
    old = solution.camera
    assert old is not None
    assert old.rotation is not None
    assert camera.rotation is not None
    to_new = np.array(camera.rotation).reshape(3, 3).T
    turn = to_new @ np.array(old.rotation).reshape(3, 3)
    shift = to_new @ (np.array(old.translation) - np.array(camera.translation))
    points = {name: as_vector(turn @ np.array(place) + shift) for name, place in solution.points.items()}
    transl = np.array(solution.pose.transl) + np.array(points["Pelvis"]) - np.array(solution.points["Pelvis"])
    quats = (_turned(turn, solution.pose.local_quat[0]), *solution.pose.local_quat[1:])
    pose = msgspec.structs.replace(solution.pose, transl=as_vector(transl), local_quat=quats)
    return msgspec.structs.replace(solution, pose=pose, camera=camera, points=points)


def _turned(turn: FloatArray, quat: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Return the rotation (wxyz) followed by a rotation matrix."""
    w, x, y, z = _quaternion(turn)
    a, b, c, d = quat
    return as_quaternion(
        (
            w * a - x * b - y * c - z * d,
            w * b + x * a + y * d - z * c,
            w * c - x * d + y * a + z * b,
            w * d + x * c - y * b + z * a,
        )
    )


def _quaternion(matrix: FloatArray) -> FloatArray:
    """Return a rotation matrix as wxyz. Source: Bar-Itzhack 2000: the largest eigenvector of a symmetric matrix."""
    m = matrix
    symmetric = np.array(
        [
            [m[0, 0] + m[1, 1] + m[2, 2], 0.0, 0.0, 0.0],
            [m[2, 1] - m[1, 2], m[0, 0] - m[1, 1] - m[2, 2], 0.0, 0.0],
            [m[0, 2] - m[2, 0], m[1, 0] + m[0, 1], m[1, 1] - m[0, 0] - m[2, 2], 0.0],
            [m[1, 0] - m[0, 1], m[2, 0] + m[0, 2], m[2, 1] + m[1, 2], m[2, 2] - m[0, 0] - m[1, 1]],
        ]
    )
    return np.linalg.eigh(symmetric, UPLO="L")[1][:, -1]


def _rotation_between(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the smallest rotation that takes one unit vector to another that is not opposite."""
    axis, cosine = np.cross(first, second), float(first @ second)
    cross = np.array([[0.0, -axis[2], axis[1]], [axis[2], 0.0, -axis[0]], [-axis[1], axis[0], 0.0]])
    return np.eye(3) + cross + cross @ cross / (1.0 + cosine)

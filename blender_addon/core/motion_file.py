# SPDX-License-Identifier: GPL-3.0-or-later
"""Motions: what the solver's Python has read of another program's file, and AMASS's arrays of a body. numpy only.

The files of other programs are read by `ikol convert` and `ikol solve`, which write them as `.smpl`: Y up, axis-angles.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .body import BodyData, FloatArray
from .errors import FileError
from .keypoint_files import UNREADABLE
from .pose_conversion import as_quaternion, as_vector
from .record import Pose, Record, Solution
from .rig import SMPL, SMPLH, SMPLX, Tree

MOTION_SUFFIXES = (".npz", ".smpl", ".pk", ".bvh")
"""Rotations: AMASS, Meshcapade, HybrIK, Biovision."""

POINT_SUFFIXES = (".trc", ".c3d", ".json")
"""Markers, and keypoints of OpenPose, COCO, COCO-WholeBody and BlazePose: a body is solved to them."""

BODY_JOINTS = 22
"""Of all models: those before hands and face."""

_PARTS: Mapping[int, tuple[Tree, tuple[str, ...]]] = MappingProxyType(
    {
        0: (SMPL, ("bodyPose",)),
        1: (SMPLH, ("bodyPose", "leftHandPose", "rightHandPose")),
        2: (SMPLX, ("bodyPose", "headPose", "leftHandPose", "rightHandPose")),
    }
)
"""By smplVersion: the arrays that hold the joints, in their order."""


SMPL_PELVIS = (-0.0018, -0.2233, 0.0282)
"""Where the pelvis of SMPL's mean body rests: `ikol convert` counts from it where no body is named."""


@dataclass(frozen=True)
class FileMotion:
    """Rotations of a tree's joints over frames, in the SMPL world."""

    tree: Tree
    quats: FloatArray
    """(F, J, 4) wxyz, each relative to its parent; the signs go on from frame to frame."""
    transl: FloatArray
    """(F, 3) metres, added to the pelvis of the rest pose."""
    betas: tuple[float, ...]
    fps: float

    def on(self, tree: Tree) -> "FileMotion":
        """Return the motion of another tree: joints of the same name go along, others stay at rest."""
        quats = np.tile((1.0, 0.0, 0.0, 0.0), (len(self.quats), len(tree.names), 1))
        for joint, name in enumerate(tree.names):
            if name in self.tree.names:
                quats[:, joint] = self.quats[:, self.tree.names.index(name)]
        return FileMotion(tree, quats, self.transl, self.betas, self.fps)

    def pose(self, frame: int, betas: tuple[float, ...]) -> Pose:
        """Return one frame on a body of that shape."""
        quats = tuple(as_quaternion(quat) for quat in self.quats[frame])
        return Pose(as_vector(self.transl[frame]), quats, betas)


def read_motion(path: Path) -> FileMotion:
    """Return the motion of a `.smpl` file.

    Raises:
        FileError: It is not what `ikol` writes.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            return _motion(data)
    except UNREADABLE as error:
        raise FileError(f"the motion that the solver wrote cannot be read ({error}); update the solver") from error


def _motion(data: Mapping[str, NDArray[Any]]) -> FileMotion:
    tree, keys = _PARTS[int(data["smplVersion"])]
    rotvec = np.concatenate([np.asarray(data[key], dtype=np.float64) for key in keys], axis=1)
    transl = np.asarray(data["bodyTranslation"], dtype=np.float64)
    if rotvec.shape != (len(transl), len(tree.names), 3) or transl.shape != (len(transl), 3) or not len(transl):
        raise ValueError(f"it has rotations of shape {rotvec.shape} and translations of shape {transl.shape}")
    betas = tuple(np.asarray(data["shapeParameters"], dtype=np.float64).tolist())
    fps = float(data["frameRate"])
    if not (np.isfinite(rotvec).all() and np.isfinite(transl).all() and np.isfinite(betas).all() and fps > 0):
        raise ValueError("it holds infinite or undefined numbers")
    return FileMotion(tree, _quaternions(rotvec), transl, betas, fps)


def _quaternions(rotvec: FloatArray) -> FloatArray:
    """Return quaternions (F, J, 4) of axis-angles, each of the sign that is nearer to the frame before."""
    angle = np.linalg.norm(rotvec, axis=-1, keepdims=True)
    share = np.where(angle > 1e-9, np.sin(0.5 * angle) / np.maximum(angle, 1e-9), 0.5)
    quats = np.concatenate([np.cos(0.5 * angle), share * rotvec], axis=-1)
    signs = np.where(np.einsum("fji,fji->fj", quats[1:], quats[:-1]) < 0, -1.0, 1.0)
    quats[1:] *= np.cumprod(signs, axis=0)[..., None]
    return quats


def amass_arrays(
    tree: Tree, quats: FloatArray, pelvis: FloatArray, rest_pelvis: FloatArray, betas: Sequence[float], fps: float
) -> dict[str, NDArray[Any]]:
    """Return AMASS's arrays, in both of its families of keys: Z up.

    Args:
        tree: The joints.
        quats: (F, J, 4) rotations in Blender's world of bones whose axes are SMPL's, wxyz.
        pelvis: (F, 3) where it is there, metres.
        rest_pelvis: (3,) where it is on the unposed body, SMPL's axes.
        betas: The shape.
        fps: Frames a second.
    """
    local = quats.copy()
    for joint, parent in enumerate(tree.parents):
        if parent >= 0:
            local[:, joint] = _relative(quats[:, parent], quats[:, joint])
    rotvec = _rotvecs(local).reshape(len(local), -1)
    names, body = tree.names, 3 * BODY_JOINTS
    arrays: dict[str, NDArray[Any]] = {
        "poses": rotvec,
        "root_orient": rotvec[:, :3],
        "pose_body": rotvec[:, 3:body],
        "trans": pelvis - rest_pelvis,
        "betas": np.array(betas, dtype=np.float64),
        "mocap_frame_rate": np.array(fps),
        "mocap_framerate": np.array(fps),
    }
    if len(names) > len(SMPL.names):
        first_finger = 3 * names.index("L_Index1")
        arrays["pose_hand"] = rotvec[:, first_finger:]
        arrays["surface_model_type"] = np.array(tree.model.replace("-", "").lower())
        if first_finger > body:
            arrays |= {"pose_jaw": rotvec[:, body : body + 3], "pose_eye": rotvec[:, body + 3 : first_finger]}
    return arrays


def _relative(parent: FloatArray, child: FloatArray) -> FloatArray:
    """Return the rotations of children in their parents' axes, (F, 4) wxyz."""
    w, x, y, z = (parent * (1.0, -1.0, -1.0, -1.0)).T
    a, b, c, d = child.T
    rows = (w * a - x * b - y * c - z * d, w * b + x * a + y * d - z * c)
    rows += (w * c - x * d + y * a + z * b, w * d + x * c - y * b + z * a)
    return np.stack(rows, axis=1)


def _rotvecs(quats: FloatArray) -> FloatArray:
    """Return axis-angles of at most half a turn."""
    near = quats * np.where(quats[..., :1] < 0, -1.0, 1.0)
    length = np.linalg.norm(near[..., 1:], axis=-1, keepdims=True)
    return 2 * np.arctan2(length, near[..., :1]) * near[..., 1:] / np.maximum(length, 1e-300)


def spread_frames(count: int, fps: float, scene_fps: float, start: int) -> tuple[list[int], FloatArray]:
    """Return which frames of a file get keys, and where on the timeline; the speed stays as it was recorded.

    A file with more frames a second than the scene gives every second, third, ... of them.
    """
    stride = max(1, math.floor(fps / scene_fps + 0.5))
    chosen = list(range(0, count, stride))
    return chosen, start + np.array(chosen, dtype=np.float64) * scene_fps / fps


def joint_places(body: BodyData, pose: Pose) -> FloatArray:
    """Return where the joints (J, 3) of a posed body are in the SMPL world."""
    rest = body.rest_joints(pose.betas)
    places, turns = np.empty_like(rest), np.empty((len(rest), 3, 3))
    for joint, (quat, parent) in enumerate(zip(pose.local_quat, body.tree.parents, strict=True)):
        turn = _matrix(quat)
        if parent < 0:
            places[joint], turns[joint] = rest[joint] + pose.transl, turn
        else:
            places[joint] = places[parent] + turns[parent] @ (rest[joint] - rest[parent])
            turns[joint] = turns[parent] @ turn
    return places


def _matrix(quat: tuple[float, float, float, float]) -> FloatArray:
    w, x, y, z = np.array(quat) / math.hypot(*quat)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def motion_record(name: str, body: BodyData, pose: Pose) -> Record:
    """Return what is stored with a body whose motion comes from a file: its first pose, and no evidence."""
    places = joint_places(body, pose)
    points = {joint: as_vector(place) for joint, place in zip(body.tree.names, places, strict=True)}
    return Record(name, (), Solution(pose, None, points, {}, "converged", 0, -1.0, 0.0))

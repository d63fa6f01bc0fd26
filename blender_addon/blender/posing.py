# SPDX-License-Identifier: GPL-3.0-or-later
"""Posing the bones: in whatever rotation mode each has, without touching what the user has locked. No keys here."""

from dataclasses import dataclass
from typing import NamedTuple

import bpy
from mathutils import Euler, Quaternion, Vector

from ..core.errors import SceneError
from ..core.pose_conversion import as_quaternion, as_vector, continuous_quaternion
from ..core.record import Pose
from ..core.record import Quaternion as PlainQuaternion
from ..core.rig import JOINT_NAMES, TREES, Tree, tree_of_bones
from .correctives import set_by_pose

ROOT_JOINT = JOINT_NAMES[0]
"""The bone that carries the translation."""


def body_tree(armature: bpy.types.Object) -> Tree:
    """Return the joints of a body in the scene, by its bones."""
    return tree_of_bones(armature.pose.bones.keys())


def read_pose(armature: bpy.types.Object, betas: tuple[float, ...]) -> Pose:
    """Return the pose that the bones have now, whatever their rotation mode; constraints are not looked at."""
    bones = armature.pose.bones
    quats = tuple(as_quaternion(bones[name].matrix_basis.to_quaternion()) for name in body_tree(armature).names)
    return Pose(as_vector(bones[ROOT_JOINT].location), quats, tuple(betas))


def apply_pose(armature: bpy.types.Object, pose: Pose) -> None:
    """Turn the bones and move the pelvis: no keys, no operators, some 0.1 ms."""
    bones = armature.pose.bones
    for name, quat in zip(TREES[len(pose.local_quat)].names, pose.local_quat, strict=True):
        turn_bone(bones[name], quat)
    pelvis = bones[ROOT_JOINT]
    locks = pelvis.lock_location
    now = pelvis.location
    pelvis.location = [now[i] if locks[i] else pose.transl[i] for i in range(3)]
    set_by_pose(armature, pose)


def turn_bone(bone: "bpy.types.PoseBone", quat: PlainQuaternion) -> None:
    """Give a bone a local rotation in its own rotation mode, near the numbers that it has, around its locks."""
    mode = bone.rotation_mode
    if all(bone.lock_rotation):
        return
    if mode == "QUATERNION":
        wanted = unlocked(rotation_locks(bone), quat)
        w, x, y, z = bone.rotation_quaternion
        bone.rotation_quaternion = continuous_quaternion(wanted, (w, x, y, z))
    elif mode == "AXIS_ANGLE":
        axis, angle = Quaternion(unlocked(rotation_locks(bone), quat)).to_axis_angle()
        bone.rotation_axis_angle = (angle, *axis)
    else:
        now = bone.rotation_euler
        euler = Quaternion(quat).to_euler(mode, now)
        bone.rotation_euler = [now[i] if bone.lock_rotation[i] else euler[i] for i in range(3)]


class RotationLocks(NamedTuple):
    """What is locked of a bone's rotation."""

    order: str
    """Of the Euler angles that are locked, in other modes too, unless four numbers are locked apart."""
    axes: tuple[bool, bool, bool]
    w: bool
    is_by_number: bool
    """Whether the four numbers of a quaternion are locked, as Blender has it for new bones, or of axis and angle."""
    now: Quaternion


def rotation_locks(bone: "bpy.types.PoseBone") -> RotationLocks:
    """Return what is locked of a bone's rotation, and where it is."""
    mode = bone.rotation_mode
    is_euler = mode not in ("QUATERNION", "AXIS_ANGLE")
    now = bone.rotation_quaternion.copy() if mode == "QUATERNION" else bone.matrix_basis.to_quaternion()
    return RotationLocks(
        mode if is_euler else "XYZ",
        tuple(bone.lock_rotation),
        bone.lock_rotation_w and not is_euler,
        bone.lock_rotations_4d and not is_euler,
        _axis_angle(bone) if mode == "AXIS_ANGLE" else now,
    )


def unlocked(locks: RotationLocks, quat: PlainQuaternion) -> PlainQuaternion:
    """Return a local rotation with what is locked of it as it is now: Euler angles or numbers, as in Blender."""
    now = locks.now
    if all(locks.axes):
        return as_quaternion(now)
    if not any(locks.axes) and not locks.w:
        return quat
    if locks.is_by_number:
        near = continuous_quaternion(quat, as_quaternion(now))
        numbers = (locks.w, *locks.axes)
        mixed = Quaternion([now[i] if numbers[i] else near[i] for i in range(4)])
        return as_quaternion(mixed.normalized()) if mixed.magnitude > 0 else as_quaternion(now)
    before = now.to_euler(locks.order)
    after = Quaternion(quat).to_euler(locks.order, before)
    kept = Euler([before[i] if locks.axes[i] else after[i] for i in range(3)], locks.order)
    return as_quaternion(kept.to_quaternion())


def _axis_angle(bone: "bpy.types.PoseBone") -> Quaternion:
    angle, *axis = bone.rotation_axis_angle
    return Quaternion(Vector(axis), angle)


def rotation_path(bone: "bpy.types.PoseBone") -> str:
    """Return the name of the property that holds the rotation in the bone's mode."""
    return {"QUATERNION": "rotation_quaternion", "AXIS_ANGLE": "rotation_axis_angle"}.get(
        bone.rotation_mode, "rotation_euler"
    )


def free_joints(armature: bpy.types.Object, joints: tuple[str, ...]) -> tuple[str, ...]:
    """Return the joints that a solve may move: none (= all), or those of `joints` whose bones are not locked.

    The solver turns around a locked bone; a lock that is only kept when the pose is written would spoil the pose.

    Raises:
        SceneError: All of them are locked.
    """
    bones = armature.pose.bones
    names = body_tree(armature).names
    chosen = tuple(name for name in joints or names if not _is_locked(bones[name]))
    if not chosen:
        raise SceneError(f"all bones of {armature.name} that could move are locked; unlock some of their rotations")
    return () if len(chosen) == len(names) else chosen


def _is_locked(bone: "bpy.types.PoseBone") -> bool:
    can_move = bone.name == ROOT_JOINT and not all(bone.lock_location)
    return all(bone.lock_rotation) and not can_move


@dataclass(frozen=True)
class BoneValues:
    """The numbers of a bone as they are stored, to be put back."""

    mode: str
    rotation: tuple[float, ...]
    location: tuple[float, ...]


def remember_bones(armature: bpy.types.Object) -> dict[str, BoneValues]:
    """Return the numbers of all bones of the body."""
    bones = [armature.pose.bones[name] for name in body_tree(armature).names]
    return {
        bone.name: BoneValues(bone.rotation_mode, tuple(getattr(bone, rotation_path(bone))), tuple(bone.location))
        for bone in bones
    }


def restore_bones(armature: bpy.types.Object, values: dict[str, BoneValues]) -> None:
    """Put the numbers of all bones back."""
    for name, kept in values.items():
        bone = armature.pose.bones[name]
        bone.rotation_mode = kept.mode
        setattr(bone, rotation_path(bone), kept.rotation)
        bone.location = kept.location

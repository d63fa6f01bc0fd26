# SPDX-License-Identifier: GPL-3.0-or-later
"""Posing the bones: in whatever rotation mode each has, without touching what the user has locked. No keys here."""

from dataclasses import dataclass

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
    is_locked = any(bone.lock_rotation)
    if is_locked and all(bone.lock_rotation):
        return
    if mode == "QUATERNION":
        wanted = quat if not is_locked and not bone.lock_rotation_w else _unlocked(bone, bone.rotation_quaternion, quat)
        w, x, y, z = bone.rotation_quaternion
        bone.rotation_quaternion = continuous_quaternion(wanted, (w, x, y, z))
    elif mode == "AXIS_ANGLE":
        if is_locked or bone.lock_rotation_w:
            quat = _unlocked(bone, _axis_angle(bone), quat)
        axis, angle = Quaternion(quat).to_axis_angle()
        bone.rotation_axis_angle = (angle, *axis)
    else:
        now = bone.rotation_euler
        euler = Quaternion(quat).to_euler(mode, now)
        bone.rotation_euler = [now[i] if bone.lock_rotation[i] else euler[i] for i in range(3)]


def _unlocked(bone: "bpy.types.PoseBone", now: Quaternion, quat: PlainQuaternion) -> PlainQuaternion:
    """Return `quat` with the locked part of `now`: Euler angles, as in Blender, unless four are locked apart."""
    if bone.lock_rotations_4d:
        near = continuous_quaternion(quat, as_quaternion(now))
        locks = (bone.lock_rotation_w, *bone.lock_rotation)
        mixed = Quaternion([now[i] if locks[i] else near[i] for i in range(4)])
        return as_quaternion(mixed.normalized()) if mixed.magnitude > 0 else as_quaternion(now)
    before = now.to_euler("XYZ")
    after = Quaternion(quat).to_euler("XYZ", before)
    kept = Euler([before[i] if bone.lock_rotation[i] else after[i] for i in range(3)], "XYZ")
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

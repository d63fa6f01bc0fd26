# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of a whole motion at once: thousands of frames in a blink, where one key after the other takes minutes."""

from collections.abc import Sequence

import bpy
import numpy as np
from mathutils import Quaternion

from ..core.body import FloatArray
from ..core.rig import Tree
from .posing import ROOT_JOINT, rotation_path

_LINEAR = 1
"""`LINEAR` among the numbers of Blender's interpolations."""


def new_action(thing: bpy.types.Object | bpy.types.Key, name: str) -> bpy.types.Action:
    """Give an object, or the shape keys of a mesh, a new, empty action; the one that it had is kept in the file."""
    animation = thing.animation_data or thing.animation_data_create()
    if animation.action is not None:
        animation.action.use_fake_user = True
    action = bpy.data.actions.new(name)
    animation.action = action
    if hasattr(action, "slots"):  # since Blender 4.4
        animation.action_slot = action.slots.new(thing.id_type, thing.name)
    return action


def key_values(
    thing: bpy.types.Object,
    action: bpy.types.Action,
    bone: str,
    path: str,
    frames: Sequence[float] | FloatArray,
    values: FloatArray,
) -> None:
    """Set keys of one property of a bone on many frames.

    Args:
        thing: The armature, whose action it is.
        action: Its action, without keys of this property.
        bone: The bone.
        path: The property, such as rotation_quaternion.
        frames: (F,) rising.
        values: (F, N) the numbers of the property.
    """
    key_property(thing, action, f'pose.bones["{bpy.utils.escape_identifier(bone)}"].{path}', frames, values, bone)


def key_property(
    thing: bpy.types.Object | bpy.types.Key,
    action: bpy.types.Action,
    full: str,
    frames: Sequence[float] | FloatArray,
    values: FloatArray,
    group: str,
) -> None:
    """Set keys of a property by its full path; the other arguments are those of `key_values`."""
    for index in range(values.shape[1]):
        if hasattr(action, "fcurves"):  # until Blender 5
            curve = action.fcurves.new(full, index=index, action_group=group)
        else:
            curve = action.fcurve_ensure_for_datablock(thing, full, index=index, group_name=group)
        points = curve.keyframe_points
        points.add(len(frames))
        points.foreach_set("co", np.stack([frames, values[:, index]], axis=1).astype(np.float32).ravel())
        points.foreach_set("interpolation", np.full(len(frames), _LINEAR, dtype=np.int32))
        curve.update()


def continuous(quats: FloatArray) -> FloatArray:
    """Return quaternions (F, 4) of signs that do not change from one frame to the next."""
    signs = np.sign(np.einsum("fi,fi->f", quats[1:], quats[:-1]))
    signs[signs == 0] = 1.0
    return quats * np.concatenate([[1.0], np.cumprod(signs)])[:, None]


def key_motion(
    armature: bpy.types.Object, tree: Tree, name: str, frames: FloatArray, quats: FloatArray, transl: FloatArray
) -> None:
    """Give a body a new action with a motion, in whatever rotation mode each bone has; locked bones get no keys.

    Args:
        armature: The body.
        tree: Its joints.
        name: Of the action.
        frames: (F,) on the timeline.
        quats: (F, J, 4) local rotations, signs as they go on.
        transl: (F, 3) of the root, metres.
    """
    action = new_action(armature, name)
    for joint, bone_name in enumerate(tree.names):
        bone = armature.pose.bones[bone_name]
        if not all(bone.lock_rotation):
            values = _in_mode(bone.rotation_mode, quats[:, joint])
            key_values(armature, action, bone_name, rotation_path(bone), frames, values)
    if not all(armature.pose.bones[ROOT_JOINT].lock_location):
        key_values(armature, action, ROOT_JOINT, "location", frames, transl)


def _in_mode(mode: str, quats: FloatArray) -> FloatArray:
    """Return rotations as a bone in that mode has them, without jumps from one frame to the next."""
    if mode == "QUATERNION":
        return quats
    turns = [Quaternion(quat) for quat in quats.tolist()]
    if mode == "AXIS_ANGLE":
        pairs = [turn.to_axis_angle() for turn in turns]
        return np.array([(angle, *axis) for axis, angle in pairs])
    eulers = [turns[0].to_euler(mode)]
    for turn in turns[1:]:
        eulers.append(turn.to_euler(mode, eulers[-1]))
    return np.array([tuple(euler) for euler in eulers])

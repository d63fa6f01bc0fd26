# SPDX-License-Identifier: GPL-3.0-or-later
"""Which joints a solve may turn, by the user's choice of a part of the body."""

import bpy

from ..core.body_parts import PARTS, joints_of_bones
from ..core.errors import SceneError


def selected_bones(armature: bpy.types.Object) -> list[str]:
    """Return the bones that are selected in pose mode; they stay so in object mode."""
    # Blender 5 keeps the selection with the pose, earlier ones with the armature's data
    return [bone.name for bone in armature.pose.bones if (bone if hasattr(bone, "select") else bone.bone).select]


def part_joints(context: bpy.types.Context, armature: bpy.types.Object, part: str = "") -> tuple[str, ...]:
    """Return the joints that may turn by `part`, or by the panel's choice when it is empty; () for all of them.

    Raises:
        SceneError: The selected bones are to move and none is selected.
    """
    part = part or context.scene.ikol.part
    if part == "ALL":
        return ()
    if part != "BONES":
        return PARTS[part.lower()]
    joints = joints_of_bones(selected_bones(armature))
    if not joints:
        raise SceneError(
            "no bone is selected, and only selected bones are to move; select bones in pose mode, or choose Whole "
            "Body in the panel under Solve"
        )
    return joints

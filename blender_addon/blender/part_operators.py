# SPDX-License-Identifier: GPL-3.0-or-later
"""Which joints a solve may turn, by the user's choice of a part of the body; solving a part once."""

import bpy
from bpy.props import EnumProperty

from ..core.body_parts import joints_of_bones, joints_of_part
from ..core.errors import SceneError
from .bodies import find_body
from .posing import body_tree
from .settings import PART_ITEMS
from .text import CONTEXT, iface


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
        return joints_of_part(part.lower(), body_tree(armature))
    joints = joints_of_bones(selected_bones(armature))
    if not joints:
        raise SceneError(
            "no bone is selected, and only selected bones are to move; select bones in pose mode, or choose Whole "
            "Body in the panel under Solve"
        )
    return joints


class IKOL_OT_solve_part(bpy.types.Operator):
    """The command *Solve Part*."""

    bl_idname = "ikol.solve_part"
    bl_label = "Solve Part"
    bl_description = "Solve again from the current pose, once for this part of the body; nothing else moves"

    part: EnumProperty(
        name="Move",
        description="Which part of the body may move",
        items=PART_ITEMS,
        default="BONES",
        translation_context=CONTEXT,
    )

    @classmethod
    def description(cls, _context: bpy.types.Context, properties: "bpy.types.OperatorProperties") -> str:
        """Return what of the body moves."""
        item = properties.bl_rna.properties["part"].enum_items[properties.part]
        return f"{iface(cls.bl_description)}. {iface(item.name)}: {iface(item.description)}"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a body that has evidence."""
        if find_body(context) is None:
            cls.poll_message_set(iface("Select a body that was made by Pose from Image or Solve Keypoints"))
            return False
        return True

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Have it solved; in background mode, wait for that."""
        how = "EXEC_DEFAULT" if bpy.app.background else "INVOKE_DEFAULT"
        try:
            bpy.ops.ikol.resolve(how, part=self.part)
        except RuntimeError:  # it has reported why
            return {"CANCELLED"}
        return {"FINISHED"}

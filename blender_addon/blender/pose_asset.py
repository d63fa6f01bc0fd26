# SPDX-License-Identifier: GPL-3.0-or-later
"""The command *Save Pose Asset*: the pose of a body in Blender's pose library, with a picture of it."""

import bpy
import numpy as np
from bpy.props import StringProperty

from ..core.body import FloatArray
from ..core.errors import AddonError, SceneError
from ..core.pose_preview import SIZE, draw_preview
from . import runtime
from .armature import find_mesh
from .bodies import check_bones, find_body
from .motion_keys import key_values
from .posing import ROOT_JOINT, body_tree, rotation_path
from .text import iface


def build_asset(context: bpy.types.Context, armature: bpy.types.Object, name: str) -> bpy.types.Action:
    """Make an action of one frame with the pose that the bones have, marked as an asset.

    Raises:
        SceneError: A bone is gone.
    """
    check_bones(armature)
    action = bpy.data.actions.new(name)
    owner = bpy.data.objects.new(name, armature.data)  # whose action it is while it gets its keys
    try:
        animation = owner.animation_data_create()
        animation.action = action
        if hasattr(action, "slots"):  # since Blender 4.4
            animation.action_slot = action.slots.new("OBJECT", armature.name)
        for joint in body_tree(armature).names:
            bone = armature.pose.bones[joint]
            path = rotation_path(bone)
            key_values(owner, action, joint, path, (1.0,), np.array([getattr(bone, path)], dtype=np.float64))
        place = np.array([armature.pose.bones[ROOT_JOINT].location], dtype=np.float64)
        key_values(owner, action, ROOT_JOINT, "location", (1.0,), place)
    finally:
        bpy.data.objects.remove(owner)
    action.asset_mark()
    action.asset_data.description = f"{armature.name}, IKOL"
    action.asset_data.tags.new("IKOL", skip_if_exists=True)
    _draw(context, armature, action)
    return action


def _draw(context: bpy.types.Context, armature: bpy.types.Object, action: bpy.types.Action) -> None:
    """Give the asset a picture of the mesh as it is posed now; without a mesh it has none."""
    mesh = find_mesh(armature)
    if mesh is None:
        return
    evaluated = mesh.evaluated_get(context.evaluated_depsgraph_get())
    data = evaluated.data
    data.calc_loop_triangles()
    points = np.empty(3 * len(data.vertices), dtype=np.float32)
    data.vertices.foreach_get("co", points)
    triangles = np.empty(3 * len(data.loop_triangles), dtype=np.int32)
    data.loop_triangles.foreach_get("vertices", triangles)
    places: FloatArray = points.reshape(-1, 3).astype(np.float64)  # in the armature's own axes: always from the front
    preview = action.preview_ensure()
    preview.image_size = (SIZE, SIZE)
    preview.image_pixels_float.foreach_set(draw_preview(places, triangles.reshape(-1, 3)).ravel())


class IKOL_OT_save_pose(bpy.types.Operator):
    """The command *Save Pose Asset*."""

    bl_idname = "ikol.save_pose"
    bl_label = "Save Pose Asset"
    bl_description = (
        "Put the pose into this file's pose library: an action of one frame, marked as an asset, with a picture. The "
        "asset browser and the pose library's shelf show it"
    )
    bl_options = {"REGISTER", "UNDO"}

    name: StringProperty(name="Name", description="Of the pose; empty for that of the body", options={"SKIP_SAVE"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a body."""
        if find_body(context) is None:
            cls.poll_message_set(iface("Select a body that was made by Pose from Image or Solve Keypoints"))
            return False
        return True

    def invoke(self, context: bpy.types.Context, _event: "bpy.types.Event") -> set[str]:
        """Ask for a name."""
        self.name = self.name or find_body(context).name
        return context.window_manager.invoke_props_dialog(self)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Make the asset."""
        try:
            armature = find_body(context)
            if armature is None:
                raise SceneError("no IKOL body is active; select one")
            action = build_asset(context, armature, self.name or armature.name)
        except AddonError as error:
            self.report({"ERROR"}, runtime.sentence(error))
            return {"CANCELLED"}
        self.report({"INFO"}, iface("Saved the pose {name}", name=action.name))
        return {"FINISHED"}

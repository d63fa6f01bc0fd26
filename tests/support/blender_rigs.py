# SPDX-License-Identifier: Apache-2.0
"""Rigs in Blender for the tests: from plain bones (humanoid_rigs), and Rigify's own."""

import addon_utils
import bpy
from humanoid_rigs import add_fingers, humanoid


def build_rig(
    style: str,
    legs: float = 1.0,
    arms_down_deg: float = 0.0,
    mode: str = "QUATERNION",
    finger_curl_deg: float | None = None,
) -> bpy.types.Object:
    """Make an armature of a style of names, and make it active; with fingers that curl at rest, None for none."""
    plain = humanoid(style, legs, arms_down_deg)
    if finger_curl_deg is not None:
        add_fingers(plain, style, finger_curl_deg)
    rig = bpy.data.objects.new(style, bpy.data.armatures.new(style))
    bpy.context.scene.collection.objects.link(rig)
    activate(rig)
    bpy.ops.object.mode_set(mode="EDIT")
    for name, bone in plain.items():
        made = rig.data.edit_bones.new(name)
        made.head, made.tail, made.roll = bone.head, bone.tail, bone.roll
        if bone.parent is not None:
            made.parent = rig.data.edit_bones[bone.parent]
    bpy.ops.object.mode_set(mode="OBJECT")
    for bone in rig.pose.bones:
        bone.rotation_mode = mode
    return rig


def rigify_rigs() -> tuple[bpy.types.Object, bpy.types.Object]:
    """Return Rigify's human metarig and the rig that it generates from it."""
    addon_utils.enable("rigify", default_set=True)
    if bpy.context.object is not None and bpy.context.object.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    bpy.ops.object.armature_human_metarig_add()
    metarig = bpy.context.object
    bpy.ops.pose.rigify_generate()
    return metarig, bpy.context.object


def activate(thing: bpy.types.Object) -> None:
    """Make an object the active one."""
    active = bpy.context.view_layer.objects.active
    if active is not None and active.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    for other in bpy.context.selected_objects:
        other.select_set(False)
    thing.select_set(True)
    bpy.context.view_layer.objects.active = thing

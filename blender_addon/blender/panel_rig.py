# SPDX-License-Identifier: GPL-3.0-or-later
"""The sub-panel *My Rig*: posing an armature of the user's, and the bones that were found for its joints."""

from collections.abc import Collection

import bpy

from ..core.rig_fingers import FINGER_JOINTS
from ..core.rig_mapping import NEEDED, RIG_JOINTS
from .bodies import is_body
from .panel_parts import SidebarPanel, SubPanel
from .rig_operators import find_rig, find_source
from .text import draw_sentence, iface, sidebar_width

POSE_SCALE = 1.4


class IKOL_PT_rig(SubPanel, bpy.types.Panel):
    """Which rig, like what, where."""

    bl_label = "My Rig"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the panel."""
        layout, rig = self.layout, find_rig(context)
        if rig is None:
            text = "Select your own rig, to pose it like an IKOL body"
            draw_sentence(layout, iface(text), sidebar_width(context))
            return
        settings = rig.ikol_rig
        layout.label(text=rig.name, icon="ARMATURE_DATA", translate=False)
        column = layout.column()
        column.use_property_split = True
        column.use_property_decorate = False
        source = find_source(context, rig)
        row = column.row(align=True)
        row.prop(settings, "source")
        if source is not None and is_body(source):
            icon = "HIDE_OFF" if source.visible_get() else "HIDE_ON"
            row.operator("ikol.show_rig_source", text="", icon=icon)
        if settings.source is None and source is not None:
            column.label(text=source.name, icon="BLANK1", translate=False)
        column.prop(settings, "place")
        column.prop(settings, "stride")
        column.prop(settings, "set_keys")
        row = layout.row(align=True)
        row.scale_y = POSE_SCALE
        row.operator("ikol.pose_rig", icon="ARMATURE_DATA")
        row.operator("ikol.pose_rig", text="", icon="PREVIEW_RANGE").whole_range = True
        layout.operator("ikol.pick_rig_image", icon="IMAGE_DATA")
        layout.operator("ikol.export_rig", icon="EXPORT")


class IKOL_PT_rig_bones(SidebarPanel, bpy.types.Panel):
    """Which bone is which joint."""

    bl_label = "Bones"
    bl_parent_id = "IKOL_PT_rig"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a rig."""
        return find_rig(context) is not None

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the panel."""
        layout, rig = self.layout, find_rig(context)
        layout.operator("ikol.find_rig_bones", icon="VIEWZOOM")
        row = layout.row(align=True)
        row.operator("ikol.save_rig_preset", icon="FILE_TICK")
        row.operator("ikol.load_rig_preset", icon="FILE_FOLDER")
        settings = rig.ikol_rig
        if not settings.joints:
            return
        draw_sentence(layout, iface("Found by: {way}", way=iface(settings.way)), sidebar_width(context))
        _draw_rows(layout, rig, RIG_JOINTS)


class IKOL_PT_rig_fingers(SidebarPanel, bpy.types.Panel):
    """Which bone is which joint of a finger."""

    bl_label = "Fingers"
    bl_parent_id = "IKOL_PT_rig_bones"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a rig whose bones were looked for."""
        rig = find_rig(context)
        return rig is not None and FINGER_JOINTS[0] in rig.ikol_rig.joints

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the panel."""
        _draw_rows(self.layout, find_rig(context), FINGER_JOINTS)


def _draw_rows(layout: bpy.types.UILayout, rig: bpy.types.Object, joints: Collection[str]) -> None:
    column = layout.column(align=True)
    column.use_property_split = True
    column.use_property_decorate = False
    for joint in rig.ikol_rig.joints:
        if joint.name in joints:
            row = column.row(align=True)
            row.alert = joint.name in NEEDED and joint.bone not in rig.data.bones
            row.prop_search(joint, "bone", rig.data, "bones", text=joint.name, translate=False)
            row.label(text="", icon="QUESTION" if joint.is_guessed else "BLANK1")


CLASSES = (IKOL_PT_rig, IKOL_PT_rig_bones, IKOL_PT_rig_fingers)

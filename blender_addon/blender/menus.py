# SPDX-License-Identifier: GPL-3.0-or-later
"""Menus: entries of Blender's Add, Object, Pose and File menus, parts of the body, presets, and the pie menu."""

import bpy

from ..core.keypoints import PRESETS
from .text import iface

PIE_MENU = "IKOL_MT_pie"

PART_ICONS = {"ALL": "OUTLINER_OB_ARMATURE", "BONES": "BONE_DATA"}


class IKOL_MT_parts(bpy.types.Menu):
    """Solve a part of the body, once."""

    bl_idname = "IKOL_MT_parts"
    bl_label = "Solve Part"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the menu."""
        for item in context.scene.ikol.bl_rna.properties["part"].enum_items:
            icon = PART_ICONS.get(item.identifier, "DOT")
            self.layout.operator("ikol.solve_part", text=iface(item.name), icon=icon).part = item.identifier


class IKOL_MT_presets(bpy.types.Menu):
    """Sets of weights and locks."""

    bl_idname = "IKOL_MT_presets"
    bl_label = "Keypoint Presets"

    def draw(self, _context: bpy.types.Context) -> None:
        """Draw the menu."""
        for name, preset in PRESETS.items():
            self.layout.operator("ikol.apply_preset", text=iface(preset.label)).preset = name


class IKOL_MT_body(bpy.types.Menu):
    """What can be done with the active body."""

    bl_idname = "IKOL_MT_body"
    bl_label = "IKOL"

    def draw(self, _context: bpy.types.Context) -> None:
        """Draw the menu."""
        layout = self.layout
        layout.operator("ikol.resolve", icon="FILE_REFRESH")
        layout.menu("IKOL_MT_parts")
        layout.operator("ikol.key_pose", icon="KEY_HLT")
        layout.operator("ikol.solve_range", icon="PREVIEW_RANGE")
        layout.operator("ikol.show_handles", icon="EMPTY_AXIS")
        layout.operator("ikol.save_pose", icon="ASSET_MANAGER")
        layout.operator("ikol.export", icon="EXPORT")
        layout.operator("ikol.export_keypoints", icon="EXPORT")
        layout.separator()
        layout.operator("ikol.lock_points", icon="LOCKED")
        layout.operator("ikol.mute_points", icon="HIDE_ON")
        layout.operator("ikol.solo_points", icon="SOLO_ON")
        layout.operator("ikol.reset_points", icon="LOOP_BACK")
        layout.menu("IKOL_MT_presets")
        layout.separator()
        layout.operator("ikol.look_through", icon="VIEW_CAMERA")
        layout.operator("ikol.edit_photo", icon="RESTRICT_SELECT_OFF")
        layout.operator("ikol.alternatives", icon="GHOST_ENABLED")
        layout.operator("ikol.next_keypoint", icon="ZOOM_SELECTED")
        layout.operator("ikol.explain", icon="QUESTION")


class IKOL_MT_add(bpy.types.Menu):
    """Ways to a new body."""

    bl_idname = "IKOL_MT_add"
    bl_label = "IKOL Body"

    def draw(self, _context: bpy.types.Context) -> None:
        """Draw the menu."""
        self.layout.operator("ikol.pick_image", icon="IMAGE_DATA")
        self.layout.operator("ikol.pick_images", icon="RENDERLAYERS")
        self.layout.operator("ikol.pick_keypoints", icon="EMPTY_DATA")
        self.layout.operator("ikol.pick_motion", icon="ACTION")


class IKOL_MT_pie(bpy.types.Menu):
    """What is used all the time, around the pointer."""

    bl_idname = PIE_MENU
    bl_label = "IKOL"

    def draw(self, _context: bpy.types.Context) -> None:
        """Draw the pie: left, right, bottom, top, then the corners."""
        pie = self.layout.menu_pie()
        pie.operator("ikol.mute_points", icon="HIDE_ON")
        pie.operator("ikol.lock_points", icon="LOCKED")
        pie.menu("IKOL_MT_parts", icon="BONE_DATA")
        pie.operator("ikol.resolve", icon="FILE_REFRESH")
        pie.operator("ikol.look_through", icon="VIEW_CAMERA")
        pie.operator("ikol.pick_image", icon="IMAGE_DATA")
        pie.operator("ikol.reset_points", icon="LOOP_BACK")
        pie.operator("ikol.alternatives", icon="GHOST_ENABLED")


def draw_add(self: bpy.types.Menu, _context: bpy.types.Context) -> None:
    """Add the submenu to Blender's Add menu."""
    self.layout.menu("IKOL_MT_add", icon="OUTLINER_OB_ARMATURE")


def draw_body(self: bpy.types.Menu, _context: bpy.types.Context) -> None:
    """Add the submenu to Blender's Object and Pose menus."""
    self.layout.separator()
    self.layout.menu("IKOL_MT_body", icon="OUTLINER_OB_ARMATURE")


def draw_import(self: bpy.types.Menu, _context: bpy.types.Context) -> None:
    """Add the entry to Blender's menu of importers."""
    self.layout.operator("ikol.pick_motion", text=iface("Motion on a Body (IKOL)"))


def draw_export(self: bpy.types.Menu, _context: bpy.types.Context) -> None:
    """Add the entries to Blender's menu of exporters."""
    self.layout.operator("ikol.export", text=iface("Body for Other Programs (IKOL)"))
    self.layout.operator("ikol.export_keypoints", text=iface("Keypoints of a Photograph (IKOL)"))


ENTRIES = (
    ("VIEW3D_MT_add", draw_add),
    ("VIEW3D_MT_object", draw_body),
    ("VIEW3D_MT_pose", draw_body),
    ("TOPBAR_MT_file_import", draw_import),
    ("TOPBAR_MT_file_export", draw_export),
)


def register() -> None:
    """Add the entries to Blender's menus."""
    for menu, draw in ENTRIES:
        getattr(bpy.types, menu).append(draw)


def unregister() -> None:
    """Take the entries back; those that were never added are no error."""
    for menu, draw in ENTRIES:
        getattr(bpy.types, menu).remove(draw)

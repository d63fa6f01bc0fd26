# SPDX-License-Identifier: GPL-3.0-or-later
"""The sub-panel *Body*: which armature it is, what it was made from, its keys and its shape."""

import bpy

from ..core.wording import count_text
from .armature import find_mesh, read_betas
from .bodies import find_body
from .measuring import measures
from .panel_parts import SidebarPanel, SubPanel, draw_body_or_hint, draw_rows
from .shape_properties import SLIDERS, first_slider
from .text import iface


class IKOL_PT_body(SubPanel, bpy.types.Panel):
    """The active body."""

    bl_label = "Body"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the panel."""
        layout = self.layout
        armature, record = draw_body_or_hint(layout, context)
        if armature is None:
            return
        rows = [("Armature", armature.name), ("Made from", record.source)]
        if record.edits:
            text = count_text(len(record.edits), "{number} keypoint", "{number} keypoints", iface)
            rows.append(("Edited by you", text))
        draw_rows(layout, rows)
        column = layout.column(align=True)
        column.operator("ikol.key_pose", icon="KEY_HLT")
        column.operator("ikol.solve_range", icon="PREVIEW_RANGE")
        column.operator("ikol.show_handles", icon="EMPTY_AXIS")
        column = layout.column(align=True)
        column.operator("ikol.save_pose", icon="ASSET_MANAGER")
        column.operator("ikol.pick_motion", icon="ACTION")
        column.operator("ikol.export", icon="EXPORT")
        column.operator("ikol.export_keypoints", icon="EXPORT")


class IKOL_PT_shape(SidebarPanel, bpy.types.Panel):
    """The shape of the active body: whether solves keep it, its measurements, the sliders of its shape keys."""

    bl_label = "Shape"
    bl_parent_id = "IKOL_PT_body"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only for a body whose mesh is there."""
        armature = find_body(context)
        return armature is not None and find_mesh(armature) is not None

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the panel."""
        layout = self.layout
        armature = find_body(context)
        shape = context.window_manager.ikol_shape
        row = layout.row(align=True)
        row.prop(armature.ikol, "keep_shape", icon="LOCKED" if armature.ikol.keep_shape else "UNLOCKED")
        row.operator("ikol.resolve", text="Fit Shape", icon="MOD_ARMATURE").fit_shape = True
        measured = measures(armature)
        if measured:
            column = layout.column(align=True)
            column.use_property_split, column.use_property_decorate = True, False
            for name in measured:
                column.prop(shape, name)
        count, first = len(read_betas(armature, ())), first_slider(armature, shape.page)
        last = min(first + SLIDERS, count)
        column = layout.column(align=True)
        column.use_property_split, column.use_property_decorate = True, False
        if count > SLIDERS:
            shown = iface("{first} to {last} of {count}", first=first + 1, last=last, count=count)
            column.prop(shape, "page", text=shown)
            column.separator()
        for index in range(first, last):
            text = iface("Shape {number}", number=index + 1)
            column.prop(shape, "betas", index=index - first, text=text)

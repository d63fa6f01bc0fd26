# SPDX-License-Identifier: GPL-3.0-or-later
"""The sub-panel *Picture*: what is made of the next picture, and the picture of the active body with its camera."""

import bpy

from ..core.errors import AddonError
from ..core.solver_state import big_button
from ..core.wording import focal_text
from . import runtime
from .bodies import body_camera, find_body, read_record
from .panel_parts import SubPanel, draw_rows
from .text import iface


class IKOL_PT_picture(SubPanel, bpy.types.Panel):
    """Choices for the next picture; the active body's picture and camera."""

    bl_label = "Picture"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the panel."""
        layout = self.layout
        column = layout.column()
        column.use_property_split = True
        column.use_property_decorate = False  # no dots for keys: these choices are for the next command
        column.prop(context.scene.ikol, "persons")
        column.prop(context.scene.ikol, "target")
        column.prop(runtime.get_preferences(), "model")
        actions = layout.column(align=True)
        if big_button(runtime.get().solver.state).operator != "ikol.pick_image":
            actions.operator("ikol.pick_image", icon="IMAGE_DATA")
        actions.operator("ikol.pick_keypoints", icon="EMPTY_DATA")
        self._draw_camera(context)

    def _draw_camera(self, context: bpy.types.Context) -> None:
        armature = find_body(context)
        camera = None if armature is None else body_camera(armature)
        if camera is None:
            return
        layout = self.layout
        layout.separator()
        try:
            record = read_record(armature)
        except AddonError:
            return  # the panel Body says what is wrong with it
        rows = [("Picture", record.source)]
        if record.camera is not None:
            rows.append(("Focal length", focal_text(record.camera, iface)))
        draw_rows(layout, rows)
        column = layout.column()
        column.use_property_split = True
        column.use_property_decorate = False
        column.prop(camera.data, "angle", text=iface("Field of View"))
        layout.operator("ikol.look_through", icon="VIEW_CAMERA")
        layout.operator("ikol.edit_photo", icon="RESTRICT_SELECT_OFF")
        row = layout.row(align=True)
        row.prop(context.scene.ikol, "show_points", toggle=True, icon="HIDE_OFF")
        row.prop(context.scene.ikol, "show_residuals", toggle=True, icon="DRIVER_DISTANCE")

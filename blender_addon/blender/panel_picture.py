# SPDX-License-Identifier: GPL-3.0-or-later
"""The sub-panel *Picture*: what is made of the next picture, and the picture of the active body with its camera."""

import bpy

from ..core.errors import AddonError
from ..core.people import doubt_help, doubt_text
from ..core.record import Record
from ..core.solver_state import big_button
from ..core.wording import focal_text
from . import runtime
from .bodies import body_camera, find_body, picture_camera, read_record
from .panel_parts import SubPanel, draw_rows
from .people_scene import has_people
from .text import draw_sentence, iface, sidebar_width


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
        column.prop(context.scene.ikol, "camera")
        column.prop(runtime.get_preferences(), "model")
        actions = layout.column(align=True)
        if big_button(runtime.get().solver.state).operator != "ikol.pick_image":
            actions.operator("ikol.pick_image", icon="IMAGE_DATA")
        actions.operator("ikol.pick_images", icon="RENDERLAYERS")
        actions.operator("ikol.pick_people", icon="COMMUNITY")
        if has_people(context.scene.camera):
            actions.operator("ikol.choose_people", icon="RESTRICT_SELECT_OFF")
        actions.operator("ikol.pick_keypoints", icon="EMPTY_DATA")
        self._draw_lens(context)
        self._draw_camera(context)

    def _draw_lens(self, context: bpy.types.Context) -> None:
        """Draw what few need: the distortion of the next picture's lens, folded away."""
        header, body = self.layout.panel("IKOL_lens", default_closed=True)
        header.label(text="Lens Distortion")
        if body is not None:
            row = body.row(align=True)
            for index, name in enumerate(("k1", "k2", "p1", "p2")):
                row.prop(context.scene.ikol, "distortion", index=index, text=name)

    def _draw_camera(self, context: bpy.types.Context) -> None:
        armature = find_body(context)
        if armature is None:
            return
        try:
            record = read_record(armature)
        except AddonError:
            return  # the panel Body says what is wrong with it
        camera = body_camera(armature)
        if camera is None and not record.pictures:
            return
        layout = self.layout
        layout.separator()
        rows = [("Picture", record.source)]
        if record.camera is not None:
            rows.append(("Focal length", focal_text(record.camera, iface)))
        draw_rows(layout, rows)
        _draw_pictures(layout, armature, record)
        _draw_doubts(layout, context, record)
        if camera is None:
            return
        column = layout.column()
        column.use_property_split = True
        column.use_property_decorate = False
        column.prop(camera.data, "angle", text=iface("Field of View"))
        layout.operator("ikol.look_through", icon="VIEW_CAMERA")
        layout.operator("ikol.edit_photo", icon="RESTRICT_SELECT_OFF")
        row = layout.row(align=True)
        row.prop(context.scene.ikol, "show_points", toggle=True, icon="HIDE_OFF")
        row.prop(context.scene.ikol, "show_residuals", toggle=True, icon="DRIVER_DISTANCE")


def _draw_pictures(layout: bpy.types.UILayout, armature: bpy.types.Object, record: Record) -> None:
    """Draw which of several pictures of the pose is edited, to choose another one."""
    column = layout.column(align=True)
    for number, picture in enumerate(record.pictures):
        row = column.row(align=True)
        row.enabled = picture_camera(armature, number) is not None
        is_shown = number == record.shown
        icon = "RADIOBUT_ON" if is_shown else "RADIOBUT_OFF"
        button = row.operator("ikol.show_picture", text=picture.name, icon=icon, depress=is_shown, translate=False)
        button.number = number


def _draw_doubts(layout: bpy.types.UILayout, context: bpy.types.Context, record: Record) -> None:
    """Draw in a box why the pose may be wrong as a whole, and what helps."""
    text = doubt_text(record.doubts, iface)
    if not text:
        return
    box, width = layout.box(), sidebar_width(context)
    draw_sentence(box, text, width, icon="ERROR")
    draw_sentence(box, doubt_help(record.doubts, iface), width)
    if "swapped" in record.doubts:
        box.operator("ikol.alternatives", text=iface("Swap Left and Right"), icon="ARROW_LEFTRIGHT").limb = "sides"

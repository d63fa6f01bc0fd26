# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidebar tab *IKOL*: one line of state, one big button that follows it, progress, the active body's numbers."""

import bpy

from ..core.errors import EvidenceError, Fix
from ..core.record import PhotoCamera
from ..core.solver_state import Button, Phase, big_button, fix_button, status_line
from . import runtime
from .bodies import find_body, read_record
from .text import capitalised, draw_sentence, sidebar_width

BIG_BUTTON_SCALE = 1.8

_ICONS = {
    Phase.NOT_INSTALLED: "ERROR",
    Phase.STOPPED: "RADIOBUT_OFF",
    Phase.STARTING: "SORTTIME",
    Phase.RUNNING: "RADIOBUT_ON",
    Phase.ERROR: "ERROR",
}


def _draw_button(layout: bpy.types.UILayout, button: Button, scale: float = 1.0) -> None:
    row = layout.row()
    row.scale_y = scale
    row.enabled = button.is_enabled
    row.operator(button.operator, text=button.label, icon=button.icon)


def focal_text(camera: PhotoCamera) -> str:
    """Return the focal length as photographers say it, and where it comes from."""
    equivalent = 36.0 * camera.focal_x / max(camera.width, camera.height)
    source = {"exif": "from the photograph", "default": "assumed", "given": "set by hand"}[camera.focal_source]
    return f"{equivalent:.0f} mm, {source}"


class IKOL_PT_main(bpy.types.Panel):
    """State, big button, what to do with a picture."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "IKOL"
    bl_label = "IKOL"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the panel."""
        living = runtime.get()
        state = living.solver.state
        layout, width = self.layout, sidebar_width(context)
        layout.label(text=status_line(state), icon=_ICONS[state.phase])
        if state.message:
            draw_sentence(layout, capitalised(state.message), width)
        button = big_button(state)
        _draw_button(layout, button, BIG_BUTTON_SCALE)
        job = living.solver.job
        if job is not None:
            layout.progress(factor=job.fraction, text=capitalised(job.text), type="BAR")
        self._draw_notice(layout, width)
        column = layout.column()
        column.use_property_split = True
        column.use_property_decorate = False  # no dots for keys: these choices are for the next command
        column.prop(context.scene.ikol, "persons")
        column.prop(context.scene.ikol, "target")
        actions = layout.column(align=True)
        actions.enabled = state.phase is not Phase.NOT_INSTALLED
        if button.operator != "ikol.pick_image":
            actions.operator("ikol.pick_image", icon="IMAGE_DATA")
        actions.operator("ikol.pick_keypoints", icon="EMPTY_DATA")

    def _draw_notice(self, layout: bpy.types.UILayout, width: int) -> None:
        """Draw what the last command failed with, and what of it did not work."""
        living = runtime.get()
        notice = living.notice
        if notice is not None and str(notice) != living.solver.state.message:
            box = layout.box()
            draw_sentence(box, runtime.sentence(notice), width, icon="ERROR")
            if notice.fix is not Fix.NONE:
                _draw_button(box, fix_button(notice.fix))
        warnings = () if living.result is None else living.result.warnings
        for warning in warnings:
            draw_sentence(layout.box(), capitalised(warning), width, icon="INFO")


class IKOL_PT_body(bpy.types.Panel):
    """The active body: how well it meets its picture, and solving it again."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "IKOL"
    bl_label = "Body"
    bl_parent_id = "IKOL_PT_main"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the panel."""
        layout = self.layout
        armature = find_body(context)
        if armature is None:
            draw_sentence(layout, "Drop a photograph into the 3D view, or select a body", sidebar_width(context))
            return
        try:
            record = read_record(armature)
        except EvidenceError as error:
            draw_sentence(layout, runtime.sentence(error), sidebar_width(context), icon="ERROR")
            return
        solution = record.solution
        rows = [("Armature", armature.name), ("Made from", record.source)]
        if solution.reprojection_px >= 0:
            rows.append(("Reprojection", f"{solution.reprojection_px:.1f} px (median)"))
        if record.camera is not None:
            rows.append(("Focal length", focal_text(record.camera)))
        if record.edits:
            rows.append(("Placed by you", f"{len(record.edits)} keypoint{'' if len(record.edits) == 1 else 's'}"))
        split = layout.split(factor=0.4)
        names, values = split.column(), split.column()
        for name, value in rows:
            names.label(text=name)
            values.label(text=value, translate=False)
        row = layout.row()
        row.scale_y = 1.4
        row.operator("ikol.resolve", icon="FILE_REFRESH")


class IKOL_PT_solver(bpy.types.Panel):
    """The solver process."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "IKOL"
    bl_label = "Solver"
    bl_parent_id = "IKOL_PT_main"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, _context: bpy.types.Context) -> None:
        """Draw the panel."""
        state = runtime.get().solver.state
        column = self.layout.column(align=True)
        if state.device:
            column.label(text=f"Device: {state.device}")
        if state.phase in (Phase.STARTING, Phase.RUNNING):
            column.operator("ikol.stop_solver", icon="PAUSE")
        column.operator("ikol.open_log", icon="TEXT")
        column.operator("ikol.open_preferences", icon="PREFERENCES")

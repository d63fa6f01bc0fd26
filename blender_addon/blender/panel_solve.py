# SPDX-License-Identifier: GPL-3.0-or-later
"""The sub-panel *Solve*: what may move, solving again, how well the body meets its evidence, how fast it answers."""

import bpy

from ..core.record import Record
from ..core.wording import median_residual, out_of_reach, residual_text
from . import runtime
from .insight import draw_insight
from .panel_parts import SubPanel, draw_body_or_hint, draw_rows
from .part_operators import selected_bones
from .text import draw_sentence, iface, sidebar_width

RESOLVE_SCALE = 1.4

NOTHING = "–"
"""In place of a number that there is none of yet."""

_STATUS = {
    "converged": "Converged",
    "max_iterations": "Stopped at the limit of steps",
    "stalled": "No better pose found",
}


class IKOL_PT_solve(SubPanel, bpy.types.Panel):
    """Solving again, and what came of it."""

    bl_label = "Solve"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the panel."""
        layout = self.layout
        armature, record = draw_body_or_hint(layout, context)
        if armature is None:
            return
        settings = context.scene.ikol
        column = layout.column()
        column.use_property_split = True
        column.use_property_decorate = False
        column.prop(settings, "part")
        if settings.part == "BONES":
            number = len(selected_bones(armature))
            text = iface("{number} bones selected", number=number) if number else iface("Select bones in pose mode")
            column.label(text=text, icon="INFO" if number else "ERROR", translate=False)
        row = layout.row()
        row.scale_y = RESOLVE_SCALE
        row.operator("ikol.resolve", icon="FILE_REFRESH")
        lines = out_of_reach(record, iface)
        if lines:
            box = layout.box()
            box.label(text=iface("Out of reach"), icon="ERROR")
            for line in lines:
                draw_sentence(box, line, sidebar_width(context))
        draw_rows(layout, _numbers(record))
        self._draw_insight(context, armature)

    def _draw_insight(self, context: bpy.types.Context, armature: bpy.types.Object) -> None:
        """Draw what the solver knows of its answer."""
        layout, settings = self.layout, context.scene.ikol
        column = layout.column(align=True)
        column.operator("ikol.alternatives", icon="GHOST_ENABLED")
        column.operator("ikol.next_keypoint", icon="ZOOM_SELECTED")
        column.operator("ikol.explain", icon="QUESTION")
        row = layout.row(align=True)
        row.prop(settings, "show_uncertainty", toggle=True, icon="MOD_PHYSICS")
        row.prop(settings, "show_heat", toggle=True, icon="COLOR")
        draw_insight(layout, context, armature)


def _numbers(record: Record) -> list[tuple[str, str]]:
    solution, live = record.solution, runtime.get().solver.live
    status = iface(_STATUS.get(solution.status, solution.status))
    rows = [
        ("Residual", residual_text(median_residual(record)) or iface("no keypoints")),
        ("Result", iface("{status}, {number} steps", status=status, number=solution.iterations)),
        ("Solved in", f"{1e3 * solution.seconds:.1f} ms"),
    ]
    delay = iface("{median:.0f} ms, 95 % in {most:.0f}", median=live.latency_ms, most=live.latency_p95_ms)
    # always as many rows: while a button is held, Blender does not move the panels below one that grows
    rows.append(("Rate", f"{live.rate_hz:.0f} Hz" if live.rate_hz > 0 else NOTHING))
    rows.append(("Delay", delay if live.latency_ms > 0 else NOTHING))
    return rows

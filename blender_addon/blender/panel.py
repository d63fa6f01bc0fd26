# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidebar tab *IKOL*: one line of state, one big button that follows it, progress, what went wrong and the fix."""

from dataclasses import replace

import bpy

from ..core.errors import Fix
from ..core.solver_state import SolverState, big_button, fix_button, status_line
from . import runtime
from .panel_parts import SidebarPanel, draw_button
from .text import capitalised, draw_sentence, iface, sidebar_width

BIG_BUTTON_SCALE = 1.8

_ICONS = {
    "stopped": "RADIOBUT_OFF",
    "starting": "SORTTIME",
    "running": "RADIOBUT_ON",
    "busy": "RADIOBUT_ON",
}
"""By phase; all others are something to look at."""


def state_text(state: SolverState) -> str:
    """Return the line of state in the user's language."""
    text = iface(status_line(replace(state, device="")))
    return f"{text} ({state.device})" if status_line(state).endswith(f"({state.device})") else text


class IKOL_PT_main(SidebarPanel, bpy.types.Panel):
    """State, big button, progress, and what the last command failed with."""

    bl_label = "IKOL"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the panel."""
        living = runtime.get()
        state = living.solver.state
        layout, width = self.layout, sidebar_width(context)
        layout.label(text=state_text(state), icon=_ICONS.get(state.phase.value, "ERROR"), translate=False)
        _draw_problem(layout, width)
        draw_button(layout, big_button(state), BIG_BUTTON_SCALE)
        job = living.solver.job
        if job is not None:
            layout.progress(factor=job.fraction, text=iface(capitalised(job.text)), type="BAR")
        for warning in () if living.result is None else living.result.warnings:
            draw_sentence(layout.box(), capitalised(warning), width, icon="INFO")


def _draw_problem(layout: bpy.types.UILayout, width: int) -> None:
    """Draw in one box what is wrong with the solver, else what the last command failed with, and what helps."""
    living = runtime.get()
    state, notice = living.solver.state, living.notice or living.solver.live.error
    if state.message:
        # the big button is the fix of such a state
        message, fix = capitalised(state.message), Fix.NONE
    elif notice is not None:
        message, fix = runtime.sentence(notice), notice.fix
    else:
        return
    box = layout.box()
    draw_sentence(box, iface(message), width, icon="ERROR")
    if fix is not Fix.NONE:
        draw_button(box, fix_button(fix))
    row = box.row(align=True)
    row.operator("ikol.copy_report", icon="COPYDOWN")
    if living.notice is not None:
        row.operator("ikol.dismiss", text="", icon="X")

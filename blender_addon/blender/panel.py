# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidebar tab *IKOL*: one line of state, one big button that follows it, progress, what went wrong and the fix."""

from dataclasses import replace

import bpy

from ..core.errors import AddonError, Fix
from ..core.solver_state import Phase, SolverState, big_button, fix_button, status_line
from . import installation, runtime
from .install_operators import size_text
from .panel_parts import SidebarPanel, draw_button
from .text import capitalised, draw_sentence, iface, progress_text, sidebar_width

BIG_BUTTON_SCALE = 1.8

_ICONS = {
    "stopped": "RADIOBUT_OFF",
    "starting": "SORTTIME",
    "installing": "IMPORT",
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
        if state.phase is Phase.INSTALLING:
            draw_sentence(layout, capitalised(state.work), width)
            layout.progress(factor=state.fraction, text=f"{state.fraction:.0%}", type="BAR")
        elif living.installation.is_running:  # a look at what is installed, or its removal
            draw_sentence(layout, capitalised(living.installation.text), width)
        draw_button(layout, big_button(state), BIG_BUTTON_SCALE)
        if state.phase is Phase.NOT_INSTALLED:
            _draw_ways(layout, width, big_button(state).operator)
        job = living.solver.job
        if job is not None:
            layout.progress(factor=job.fraction, text=progress_text(job.text), type="BAR")
        for warning in () if living.result is None else living.result.warnings:
            draw_sentence(layout.box(), progress_text(warning), width, icon="INFO")


def _draw_ways(layout: bpy.types.UILayout, width: int, big: str) -> None:
    """Draw how much the installation fetches, and the ways to a solver beside that of the big button."""
    try:
        draw_sentence(layout, size_text(*installation.sizes(runtime.get_preferences().variant)), width)
    except AddonError as error:
        if runtime.get().installation.error is None:
            draw_sentence(layout, runtime.sentence(error), width, icon="ERROR")
    column = layout.column(align=True)
    for fix in (Fix.INSTALL, Fix.INSTALL_FROM_DISK, Fix.OPEN_PREFERENCES):
        button = fix_button(fix)
        if button.operator != big:
            column.operator(button.operator, text=button.label, icon=button.icon)


def _draw_problem(layout: bpy.types.UILayout, width: int) -> None:
    """Draw in one box what is wrong with the solver, else what the last command failed with, and what helps."""
    living = runtime.get()
    state, notice = living.solver.state, living.notice or living.solver.live.error
    error = living.installation.error
    is_fresh = state.phase is Phase.NOT_INSTALLED and state.fix is Fix.INSTALL and error is None
    if state.message and not is_fresh:
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
    if error is not None and (state.phase is Phase.NOT_INSTALLED or notice is error):
        row.operator("ikol.open_install_log", text="Log", icon="TEXT")
    if living.notice is not None:
        row.operator("ikol.dismiss", text="", icon="X")

# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands around the solver process: start, stop, cancel, its log, its Python."""

import time

import bpy

from ..core.errors import AddonError
from ..core.solver_state import Phase
from . import runtime
from .identity import BASE_PACKAGE
from .text import capitalised

START_SECONDS = 60.0
CHECK_SECONDS = 30.0


class IKOL_OT_start_solver(bpy.types.Operator):
    """The command *Start Solver*."""

    bl_idname = "ikol.start_solver"
    bl_label = "Start Solver"
    bl_description = "Start the solver process; the commands that need it also start it by themselves"

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Start it; in background mode, where no timer looks after it, wait until it answers."""
        state = runtime.get()
        state.notice = None
        try:
            state.solver.start(state.config())
        except AddonError as error:
            return self._failed(error)
        if bpy.app.background:
            deadline = time.monotonic() + START_SECONDS
            while state.solver.state.phase is Phase.STARTING and time.monotonic() < deadline:
                state.pump()
                time.sleep(0.005)
        runtime.redraw()
        if state.solver.state.phase is Phase.ERROR:
            self.report({"ERROR"}, capitalised(state.solver.state.message))
            return {"CANCELLED"}
        return {"FINISHED"}

    def _failed(self, error: AddonError) -> set[str]:
        runtime.get().notice = error
        self.report({"ERROR"}, runtime.sentence(error))
        return {"CANCELLED"}


class IKOL_OT_stop_solver(bpy.types.Operator):
    """The command *Stop Solver*."""

    bl_idname = "ikol.stop_solver"
    bl_label = "Stop Solver"
    bl_description = "End the solver process and free its memory"

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Ask it to leave; it has a few seconds."""
        runtime.get().solver.stop()
        runtime.redraw()
        return {"FINISHED"}


class IKOL_OT_cancel(bpy.types.Operator):
    """The command *Cancel*."""

    bl_idname = "ikol.cancel"
    bl_label = "Cancel"
    bl_description = "Give up the command that runs"

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """Only while a command runs."""
        return runtime.get().solver.job is not None

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Cancel the job; its own operator notices."""
        runtime.get().solver.cancel()
        runtime.redraw()
        return {"FINISHED"}


class IKOL_OT_open_log(bpy.types.Operator):
    """The command *Open Log*."""

    bl_idname = "ikol.open_log"
    bl_label = "Open Log"
    bl_description = "Open what the solver process wrote"

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Open it with the program that the system has for it."""
        path = runtime.log_path()
        if not path.is_file():
            self.report({"ERROR"}, "There is no log yet: the solver has not been started")
            return {"CANCELLED"}
        try:
            bpy.ops.wm.path_open(filepath=str(path))
        except RuntimeError:  # no desktop, or nothing that opens text
            self.report({"WARNING"}, f"The log is at {path}")
        return {"FINISHED"}


class IKOL_OT_open_preferences(bpy.types.Operator):
    """The command *Open Preferences*."""

    bl_idname = "ikol.open_preferences"
    bl_label = "Open Preferences"
    bl_description = "Show the page on which the solver's Python is named"

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Open Blender's preferences at this add-on."""
        if not bpy.app.background:
            bpy.ops.screen.userpref_show()
        bpy.ops.preferences.addon_show(module=BASE_PACKAGE)
        return {"FINISHED"}


class IKOL_OT_check_python(bpy.types.Operator):
    """The command *Check Solver's Python*."""

    bl_idname = "ikol.check_python"
    bl_label = "Check Solver's Python"
    bl_description = "Look whether the solver's Python has everything that the solver needs"

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Start the look; the timer shows its result, in background mode this waits for it."""
        state = runtime.get()
        try:
            state.begin_check()
        except AddonError as error:
            self.report({"ERROR"}, runtime.sentence(error))
            return {"CANCELLED"}
        if bpy.app.background:
            deadline = time.monotonic() + CHECK_SECONDS
            while state.check is not None and time.monotonic() < deadline:
                state.pump()
                time.sleep(0.01)
            self.report({"INFO"}, state.check_result)
        return {"FINISHED"}

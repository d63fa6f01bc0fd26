# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands around the solver process: start, stop, restart, cancel, its log, its Python, a report of an error."""

import platform
import time
from pathlib import Path

import bpy

from ..core.errors import AddonError
from ..core.report import build_report, read_log_end
from ..core.solver_state import Phase, status_line
from . import installation, runtime
from .identity import BASE_PACKAGE
from .text import capitalised, iface

START_SECONDS = 60.0
CHECK_SECONDS = 30.0


class IKOL_OT_start_solver(bpy.types.Operator):
    """The command *Start Solver*."""

    bl_idname = "ikol.start_solver"
    bl_label = "Start Solver"
    bl_description = "Start the solver process; the commands that need it also start it by themselves"

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """Not while it is being replaced."""
        if runtime.get().solver.state.phase is Phase.INSTALLING:
            cls.poll_message_set(iface("An installation runs"))
            return False
        return True

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Start it; in background mode, where no timer looks after it, wait until it answers."""
        state = runtime.get()
        state.notice = None
        try:
            if state.solver.state.phase is Phase.UNRESPONSIVE:  # it would still count as started
                state.solver.restart(state.config())
            else:
                state.solver.start(state.config())
        except AddonError as error:
            return _failed(self, error)
        if bpy.app.background:
            deadline = time.monotonic() + START_SECONDS
            while state.solver.state.phase is Phase.STARTING and time.monotonic() < deadline:
                state.pump()
                time.sleep(0.005)
        runtime.redraw()
        if state.solver.state.phase in (Phase.ERROR, Phase.UPDATE_NEEDED):
            self.report({"ERROR"}, capitalised(state.solver.state.message))
            return {"CANCELLED"}
        return {"FINISHED"}


def _failed(operator: bpy.types.Operator, error: AddonError) -> set[str]:
    runtime.get().notice = error
    operator.report({"ERROR"}, runtime.sentence(error))
    return {"CANCELLED"}


class IKOL_OT_stop_solver(bpy.types.Operator):
    """The command *Stop Solver*."""

    bl_idname = "ikol.stop_solver"
    bl_label = "Stop Solver"
    bl_description = "End the solver process and free its memory"

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """Only while there is a process."""
        if runtime.get().solver.pid is None:
            cls.poll_message_set(iface("The solver does not run"))
            return False
        return True

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Ask it to leave; it has a few seconds."""
        runtime.get().solver.stop()
        runtime.redraw()
        return {"FINISHED"}


class IKOL_OT_restart_solver(bpy.types.Operator):
    """The command *Restart Solver*."""

    bl_idname = "ikol.restart_solver"
    bl_label = "Restart Solver"
    bl_description = "End the solver process and start a new one; what is in the scene stays as it is"

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """End it and start another one, which is asked again what was out."""
        state = runtime.get()
        state.notice = None
        try:
            state.solver.restart(state.config())
        except AddonError as error:
            return _failed(self, error)
        runtime.redraw()
        return {"FINISHED"}


class IKOL_OT_dismiss(bpy.types.Operator):
    """The command *Dismiss*."""

    bl_idname = "ikol.dismiss"
    bl_label = "Dismiss"
    bl_description = "Take the message away"
    bl_options = {"INTERNAL"}

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Forget the notice."""
        runtime.get().notice = None
        runtime.redraw()
        return {"FINISHED"}


class IKOL_OT_copy_report(bpy.types.Operator):
    """The command *Copy Report*."""

    bl_idname = "ikol.copy_report"
    bl_label = "Copy Report"
    bl_description = (
        "Put versions, state, the last message and the end of the solver's log on the clipboard, to be sent to someone "
        "who helps; your home folder is written as ~"
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Fill the clipboard."""
        is_install = runtime.get().installation.error is not None
        log = read_log_end(installation.log_path() if is_install else runtime.log_path())
        context.window_manager.clipboard = build_report(_facts(), log, Path.home())
        self.report({"INFO"}, iface("The report is on the clipboard"))
        return {"FINISHED"}


def _facts() -> dict[str, str]:
    living = runtime.get()
    statistics = living.solver.statistics
    return {
        "Add-on": f"{BASE_PACKAGE} {runtime.version()}",
        "Blender": bpy.app.version_string,
        "System": f"{platform.platform()}, Python {platform.python_version()}",
        "Solver's Python": runtime.solver_python(),
        "Device": living.solver.state.device,
        "Solver": status_line(living.solver.state),
        "Solver's message": living.solver.state.message,
        "Last message": "" if living.notice is None else str(living.notice),
        "Check": living.check_result,
        "Installation": str(living.installation.error or living.installation.text or living.installation.result),
        "Versions": "" if statistics is None else ", ".join(f"{k} {v}" for k, v in statistics.versions.items()),
    }


class IKOL_OT_cancel(bpy.types.Operator):
    """The command *Cancel*."""

    bl_idname = "ikol.cancel"
    bl_label = "Cancel"
    bl_description = "Give up the command that runs"

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """Only while a command runs."""
        if runtime.get().solver.job is None:
            cls.poll_message_set(iface("No command runs"))
            return False
        return True

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

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """Only when there is one."""
        if not runtime.log_path().is_file():
            cls.poll_message_set(iface("There is no log yet: the solver has not been started"))
            return False
        return True

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Open it with the program that the system has for it."""
        path = runtime.log_path()
        try:
            bpy.ops.wm.path_open(filepath=str(path))
        except RuntimeError:  # no desktop, or nothing that opens text
            self.report({"WARNING"}, iface("The log is at {path}", path=path))
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

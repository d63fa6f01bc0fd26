# SPDX-License-Identifier: GPL-3.0-or-later
"""What all commands that ask the solver have in common: modal in a window, waiting in the background, cancellable.

A command prepares a job, the job runs while Blender stays free, its result is applied as one undo step. In background
mode timers never fire, so that `execute` pumps until the job has ended.
"""

import time

import bpy
from bpy.app.handlers import persistent

from ..core.errors import AddonError, SolverError
from ..core.jobs import Job, JobResult, JobState, Steps
from . import runtime
from .text import iface, progress_text

TIMER_SECONDS = 1 / 30
WAIT_SECONDS = 600.0
"""In background mode, until the solver has started, loaded its weights and answered; for a script without a user."""


class SolveOperator:
    """Mixin for operators with `prepare` and `apply`. It keeps names of Blender's objects, never the objects."""

    bl_options = {"REGISTER", "UNDO"}

    is_of_pose = False
    """Whether it starts from a body's pose as it is: undo and redo end it, because they bring another one back."""

    _job: Job | None = None
    _timer: "bpy.types.Timer | None" = None

    def prepare(self, context: bpy.types.Context) -> Steps:
        """Read what the command needs and return its steps; raises AddonError."""
        raise NotImplementedError

    def apply(self, context: bpy.types.Context, result: JobResult) -> str:
        """Change the scene and return what to tell the user; raises AddonError."""
        raise NotImplementedError

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Run to the end before returning: for scripts and background mode."""
        if not self._begin(context):
            return {"CANCELLED"}
        state, deadline = runtime.get(), time.monotonic() + WAIT_SECONDS
        while not self._job.has_ended:
            state.pump()
            if time.monotonic() > deadline:
                state.solver.cancel()
                return self._fail(SolverError(f"the solver did not answer within {WAIT_SECONDS:.0f} seconds"))
            time.sleep(0.002)
        return self._finish(context)

    def invoke(self, context: bpy.types.Context, _event: "bpy.types.Event") -> set[str]:
        """Start and let Blender go on; `modal` finishes."""
        if bpy.app.background or context.window is None:
            return self.execute(context)
        if not self._begin(context):
            return {"CANCELLED"}
        self._timer = context.window_manager.event_timer_add(TIMER_SECONDS, window=context.window)
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: "bpy.types.Event") -> set[str]:
        """Look after the job; everything but Esc goes on to Blender."""
        if event.type == "ESC" and event.value == "PRESS" and not self._job.has_ended:
            self._cancel_job()
            self._leave(context)
            self.report({"INFO"}, iface("Cancelled"))
            return {"CANCELLED"}
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        runtime.get().pump()
        if not self._job.has_ended:
            work, share = progress_text(self._job.text), self._job.fraction
            context.workspace.status_text_set(
                iface("IKOL: {work} ({share:.0%}).  Esc to cancel", work=work, share=share)
            )
            return {"PASS_THROUGH"}
        self._leave(context)
        return self._finish(context)

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender itself ends the command: a file is loaded, the window closes."""
        self._cancel_job()
        self._leave(context)

    def _begin(self, context: bpy.types.Context) -> bool:
        state = runtime.get()
        state.notice = state.result = None
        try:
            config = state.config()
            steps = self.prepare(context)
        except AddonError as error:
            self._fail(error)
            return False
        self._job = Job(steps)
        _Holder.of_pose = self._job if self.is_of_pose else None
        state.solver.submit(self._job, config)
        return True

    def _finish(self, context: bpy.types.Context) -> set[str]:
        match self._job.state:
            case JobState.DONE:
                return self._apply(context, self._job.result)
            case JobState.FAILED:
                return self._fail(self._job.error)
            case _:  # another command took its place, or the Cancel button was pressed
                self.report({"INFO"}, iface("Cancelled"))
                return {"CANCELLED"}

    def _apply(self, context: bpy.types.Context, result: JobResult) -> set[str]:
        try:
            message = self.apply(context, result)
        except AddonError as error:
            return self._fail(error)
        runtime.get().result = result
        for warning in result.warnings:
            self.report({"WARNING"}, progress_text(warning))
        self.report({"INFO"}, message)
        runtime.redraw()
        return {"FINISHED"}

    def _fail(self, error: AddonError) -> set[str]:
        runtime.get().notice = error
        runtime.redraw()
        self.report({"ERROR"}, runtime.sentence(error))
        return {"CANCELLED"}

    def _cancel_job(self) -> None:
        solver = runtime.get().solver
        if self._job is not None and solver.job is self._job:
            solver.cancel()

    def _leave(self, context: bpy.types.Context) -> None:
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None
        if context.workspace is not None:
            context.workspace.status_text_set(None)
        runtime.redraw()


class _Holder:
    """The job that undo ends; none once it has ended."""

    of_pose: Job | None = None


@persistent
def on_undo(*_: object) -> None:
    """Cancel the job whose pose undo or redo takes away; its operator tells the user."""
    solver = runtime.get().solver
    if _Holder.of_pose is not None and solver.job is _Holder.of_pose:
        solver.cancel()


_HANDLERS = ("undo_pre", "redo_pre")


def register() -> None:
    """Watch for undo and redo."""
    for name in _HANDLERS:
        getattr(bpy.app.handlers, name).append(on_undo)


def unregister() -> None:
    """Take the handlers back."""
    _Holder.of_pose = None
    for name in _HANDLERS:
        handlers = getattr(bpy.app.handlers, name)
        if on_undo in handlers:
            handlers.remove(on_undo)

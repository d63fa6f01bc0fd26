# SPDX-License-Identifier: GPL-3.0-or-later
"""What commands on other programs' files share: the solver's Python works, Blender goes on, Esc ends it."""

import time
from pathlib import Path

import bpy

from ..client.file_reader import FileProcess
from ..core.errors import AddonError, SolverError
from . import runtime
from .text import iface

TIMER_SECONDS = 0.1
WAIT_SECONDS = 600.0
"""In background mode; a sequence of some thousand frames of keypoints takes a minute."""


class FileOperator:
    """Mixin: runs a process on a file, modal or to its end; subclasses begin it and finish."""

    _process: FileProcess | None = None
    _timer: "bpy.types.Timer | None" = None

    def begin(self, context: bpy.types.Context) -> FileProcess:
        """Start the process; an AddonError is reported."""
        raise NotImplementedError

    def finish(self, context: bpy.types.Context, path: Path) -> set[str]:
        """Use what the process has written; an AddonError is reported."""
        raise NotImplementedError

    def waiting(self) -> str:
        """Return what is shown meanwhile."""
        raise NotImplementedError

    def run(self, context: bpy.types.Context, *, is_modal: bool) -> set[str]:
        """Start, and let Blender go on where it can; scripts and background mode wait for the end."""
        runtime.get().notice = None
        try:
            self._process = self.begin(context)
        except AddonError as error:
            return self._fail(error)
        if not is_modal or bpy.app.background or context.window is None:
            return self._run_to_the_end(context)
        self._timer = context.window_manager.event_timer_add(TIMER_SECONDS, window=context.window)
        context.window_manager.modal_handler_add(self)
        context.workspace.status_text_set(self.waiting())
        return {"RUNNING_MODAL"}

    def _run_to_the_end(self, context: bpy.types.Context) -> set[str]:
        deadline = time.monotonic() + WAIT_SECONDS
        try:
            while (found := self._process.poll()) is None:
                if time.monotonic() > deadline:
                    raise SolverError(f"the file was not done within {WAIT_SECONDS:.0f} seconds")
                time.sleep(0.01)
            return self.finish(context, found)
        except AddonError as error:
            return self._fail(error)
        finally:
            self._leave(context)

    def modal(self, context: bpy.types.Context, event: "bpy.types.Event") -> set[str]:
        """Look after the process; everything but Esc goes on to Blender."""
        if event.type == "ESC" and event.value == "PRESS":
            self._leave(context)
            self.report({"INFO"}, iface("Cancelled"))
            return {"CANCELLED"}
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        try:
            found = self._process.poll()
            if found is None:
                return {"PASS_THROUGH"}
            answer = self.finish(context, found)
        except AddonError as error:
            answer = self._fail(error)
        self._leave(context)
        return answer

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender itself ends the command."""
        self._leave(context)

    def _fail(self, error: AddonError) -> set[str]:
        runtime.get().notice = error
        runtime.redraw()
        self.report({"ERROR"}, runtime.sentence(error))
        return {"CANCELLED"}

    def _leave(self, context: bpy.types.Context) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None
            context.workspace.status_text_set(None)

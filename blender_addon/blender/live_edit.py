# SPDX-License-Identifier: GPL-3.0-or-later
"""An edit of the evidence from the panel: a drag that is over at once, or, of a slider, soon after its last change."""

import time
from collections.abc import Callable

import bpy
from bpy.app.handlers import persistent

from ..core.errors import AddonError, SolverError
from ..core.record import Record
from ..core.rig import EVIDENCE_PROPERTY
from . import runtime
from .bodies import get_body, read_record, write_record
from .live import LiveDrag
from .part_operators import part_joints

Change = Callable[[Record], Record]

TICK_SECONDS = 1 / 60

SLIDER_SECONDS = 0.4
"""Without a further change, a slider counts as let go: Blender tells no add-on when it is."""

LOOK_SECONDS = 0.5
"""A look counts for no more of a pause than that: while a heavy scene is drawn, nobody can go on with a slider."""

SETTLE_SECONDS = 2.0
"""The answer to the last change is waited for so much longer; a later one comes late."""

BACKGROUND_SECONDS = 60.0
"""Without a window nothing else can be done meanwhile; a cold solver has taken 10 s to start."""


class _Edit:
    """What a slider or repeated keys are doing to a body.

    The record is stored at every change: another drag may begin at any moment.
    """

    def __init__(self, drag: LiveDrag, message: str) -> None:
        self.drag = drag
        self.message = message
        self.pause = 0.0
        self.quiet = 0.0
        """Seconds without a change."""
        self._looked_at = 0.0
        self._stored = ""
        self._has_step = False

    def change(self, change: Change) -> None:
        """Take a change and store it."""
        self.drag.update(change(self.drag.record))
        self.quiet, self._looked_at = 0.0, time.monotonic()
        armature = get_body(self.drag.name)
        write_record(armature, self.drag.record)
        self._stored = str(armature[EVIDENCE_PROPERTY])
        self.drag.remember()

    def look(self) -> None:
        """Count the time since the last look as quiet."""
        now = time.monotonic()
        self.quiet += min(now - self._looked_at, LOOK_SECONDS)
        self._looked_at = now

    def begin_step(self, context: bpy.types.Context) -> None:
        """Make the undo step of all changes, unless it is made: undo may come before the pause is over."""
        if not self._has_step:
            self.drag.begin_step(context, self.message)
            self._has_step = True
            self._stored = str(get_body(self.drag.name)[EVIDENCE_PROPERTY])

    def finish(self, context: bpy.types.Context) -> None:
        """Store the end of it."""
        self.drag.finish(context, "" if self._has_step else self.message)

    @property
    def is_overtaken(self) -> bool:
        """Whether something else has stored another record since."""
        return str(get_body(self.drag.name)[EVIDENCE_PROPERTY]) != self._stored


class _Holder:
    edit: _Edit | None = None


def begin(
    context: bpy.types.Context,
    armature: bpy.types.Object,
    change: Change,
    message: str,
    pause: float = 0.0,
    asks: bool = True,
) -> None:
    """Change the evidence of a body, have it solved, and make it one undo step; in background mode, wait for that.

    Args:
        context: Blender's context.
        armature: The body.
        change: What becomes of its record.
        message: Name of the undo step.
        pause: Seconds without a change of that name after which it is over; until then all belong to one step.
        asks: Whether there is anything to solve.

    Raises:
        AddonError: The change cannot be made, or there is nothing to solve it with.
    """
    edit = _Holder.edit
    if edit is None or (edit.drag.name, edit.message) != (armature.name, message) or edit.is_overtaken:
        finish()
        edit = _Edit(LiveDrag(context, armature, part_joints(context, armature), asks=asks), message)
    edit.change(change)
    if bpy.app.background:
        _wait(edit.drag)
        edit.drag.finish(context, message)
    elif pause > 0:
        edit.pause = pause
        _Holder.edit = edit
        if not bpy.app.timers.is_registered(_tick):
            bpy.app.timers.register(_tick)
    else:
        edit.drag.finish(context, message)


def newest_record(armature: bpy.types.Object) -> Record:
    """Return the record of a body as a slider that is being moved has it, else as it is stored.

    Raises:
        EvidenceError: What is stored cannot be read.
    """
    edit = _Holder.edit
    return edit.drag.record if edit is not None and edit.drag.name == armature.name else read_record(armature)


def finish() -> None:
    """End what a slider is doing; the last answer may come later."""
    edit, _Holder.edit = _Holder.edit, None
    if edit is None:
        return
    try:
        if not edit.is_overtaken:
            edit.finish(bpy.context)
    except AddonError as error:  # its body is gone
        edit.drag.drop()
        runtime.get().notice = error


@persistent
def forget(*_: object) -> None:
    """Drop what a slider is doing: its body is about to be another one (undo, a file is loaded)."""
    edit, _Holder.edit = _Holder.edit, None
    if edit is not None:
        edit.drag.drop()


def _wait(drag: LiveDrag) -> None:
    deadline = time.monotonic() + BACKGROUND_SECONDS
    while not drag.is_settled:
        drag.pump(bpy.context)
        if time.monotonic() > deadline:
            drag.cancel(bpy.context)
            raise SolverError("the solver did not answer in time; nothing was changed")
        time.sleep(0.002)


def _tick() -> float | None:
    edit = _Holder.edit
    if edit is None:
        return None
    try:
        if edit.drag.pump(bpy.context):
            edit.drag.remember()
            runtime.redraw()
        edit.look()
        if edit.is_overtaken or edit.quiet >= edit.pause + (0.0 if edit.drag.is_settled else SETTLE_SECONDS):
            finish()
        else:
            edit.begin_step(bpy.context)
    except AddonError as error:
        forget()
        runtime.get().notice = error
        runtime.redraw()
    return None if _Holder.edit is None else TICK_SECONDS


_HANDLERS = ("undo_pre", "redo_pre", "load_pre")


def register() -> None:
    """Watch for what makes an edit void."""
    for name in _HANDLERS:
        getattr(bpy.app.handlers, name).append(forget)


def unregister() -> None:
    """Drop what runs and take the handlers back."""
    _Holder.edit = None
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    for name in _HANDLERS:
        handlers = getattr(bpy.app.handlers, name)
        if forget in handlers:
            handlers.remove(forget)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Handles that are moved by Blender's own tools, or by whatever else moves objects: the body follows.

A handler of the depsgraph only notes that handles were touched; a timer, which runs also while Blender's move tool
does, looks where they are, asks and applies. What the add-on itself has placed is no movement.

Undo: Blender makes the step when its tool ends, with the handle; by then record, pose and keys are as of the newest
answer; while a newer one is waited for, the armature has a mark. A step with that mark is completed when undo or redo
comes back to it.
"""

import time
from collections.abc import Callable

import bpy
from bpy.app.handlers import persistent

from ..core.errors import AddonError, Fix
from ..core.handles import HANDLE_OF_POINT, Placement
from ..core.keypoints import move_positions, turn
from ..core.rig import DRAG_PROPERTY, POINT_PROPERTY
from . import runtime
from .bodies import find_bodies, handle_body, is_body, read_record
from .handles import (
    find_handles,
    follow_bones,
    handle_points,
    placed_handles,
    read_handles,
    record_with_handles,
)
from .live import LIVE_SECONDS, LiveDrag, let_go
from .live_memory import read_mark
from .part_operators import part_joints
from .selection import select_points

QUIET_SECONDS = 0.5
"""Without Blender's move tool, a movement is over when nothing was touched for so long: a number field in the sidebar
tells nobody that it is dragged."""

SETTLE_SECONDS = 0.4
"""After Blender's tool has ended, the answer to the last movement is waited for so long; a later one comes late."""

BUSY_SECONDS = 0.1
"""Between two looks while something else runs that must not be disturbed."""

_COMMANDS = frozenset(
    f"IKOL_OT_{name}" for name in ("pose_from_image", "solve_keypoints", "resolve", "solve_part", "solve_range")
)


class _HandleDrag:
    """One movement of handles of one body, from the first touch until it is stored."""

    def __init__(self, drag: LiveDrag, start: dict[str, Placement], is_completion: bool = False) -> None:
        self.drag = drag
        self.start = start
        self.is_completion = is_completion
        """It completes an undo step of Blender's, so that it makes none."""
        self.moved: set[str] = set()
        self.turned: set[str] = set()
        self.by_tool = False
        """Blender's move tool ran."""
        self.answers_by_tool = 0
        """How many answers were applied before the tool ended, and with it Blender made the undo step."""
        self.has_tool_step = False
        """Blender has made such a step; the next movement makes one of its own."""
        self.touched_at = self.tool_at = time.monotonic()

    def look(self, now: dict[str, Placement]) -> None:
        """Compare the handles with where they were, and ask when there is something new."""
        for point in self.drag.held & now.keys() & self.start.keys():
            if now[point].is_moved_from(self.start[point]):
                self.moved.add(point)
            if HANDLE_OF_POINT[point].turns and now[point].is_turned_from(self.start[point]):
                self.turned.add(point)
        record = move_positions(self.drag.record, {point: now[point].position for point in self.moved & now.keys()})
        for point in self.turned & now.keys():
            record = turn(record, point, now[point].quat)
        if record != self.drag.record:
            self.touched_at = time.monotonic()
            self.drag.update(record)
            self.drag.mark()

    def is_back(self, now: dict[str, Placement]) -> bool:
        """Whether all handles are where they were: Blender's tool was cancelled, or did nothing."""
        return not any(
            point in now and (now[point].is_moved_from(at) or now[point].is_turned_from(at))
            for point, at in self.start.items()
            if point in self.moved | self.turned
        )

    def is_over(self) -> bool:
        """Whether nothing more is to be expected of the movement."""
        now = time.monotonic()
        if self.by_tool or self.is_completion:
            return self.drag.is_settled or now - self.tool_at > SETTLE_SECONDS
        return now - self.touched_at > QUIET_SECONDS


class HandleWatch:
    """Knows where the handles were last, and the movements that run; by the names of their armatures."""

    def __init__(self) -> None:
        self._touched: set[str] = set()
        self._posed: set[str] = set()
        self._known: dict[str, dict[str, Placement]] = {}
        self._drags: dict[str, _HandleDrag] = {}
        self._unfinished: set[str] = set()
        self._is_stale = False

    def touch(self, name: str) -> None:
        """Note that handles of a body may have been moved."""
        self._touched.add(name)

    def note_pose(self, name: str) -> None:
        """Note that the bones of a body may have been posed."""
        self._posed.add(name)

    def note_frame(self) -> None:
        """Note that another frame is shown: what keys have moved, nobody has dragged."""
        self._is_stale = True

    def forget(self) -> None:
        """Forget movements: the scene is another one, by undo or from a file."""
        self._touched.clear()
        self._posed.clear()
        self._known.clear()
        self._drags.clear()
        self._unfinished.clear()
        self._is_stale = False

    def resume(self, context: bpy.types.Context) -> bool:
        """Take the scene as it is now after undo; return whether a step has to be completed."""
        self.forget()
        for armature in find_bodies(context.scene):
            if DRAG_PROPERTY in armature:
                self._unfinished.add(armature.name)
            else:
                self._guarded(armature.name, lambda name: self._learn(context, name))
        return bool(self._unfinished)

    def step(self, context: bpy.types.Context) -> float | None:
        """Do what is due; return the seconds until the next look, None when there is nothing to look after."""
        if command_runs(context):
            return BUSY_SECONDS
        self._drags = {name: running for name, running in self._drags.items() if not running.drag.is_let_go}
        touched, self._touched = sorted(self._touched), set()
        posed, self._posed = sorted(self._posed - self._drags.keys()), set()
        by_tool = tool_runs(context)
        if self._is_stale and not self._drags:
            self._resync(context)
            touched = []
        self._is_stale = False
        for name in sorted(self._unfinished):
            self._guarded(name, lambda name: self._complete(context, name))
        self._unfinished.clear()
        for name in touched:
            self._guarded(name, lambda name: self._look(context, name, by_tool))
        for name in () if by_tool else posed:
            self._guarded(name, lambda name: self._follow(context, name))
        # the longest waiting first: all share one solver
        for name in sorted(self._drags, key=lambda name: self._drags[name].drag.answers):
            self._guarded(name, lambda name: self._advance(context, name, by_tool))
        return LIVE_SECONDS if self._drags else None

    def _guarded(self, name: str, work: Callable[[str], None]) -> None:
        """Do something for a body; when that fails, give up its movement and no other's, and tell the user."""
        try:
            work(name)
        except AddonError as error:
            self._known.pop(name, None)
            running = self._drags.pop(name, None)
            if running is not None:
                running.drag.drop()
            armature = bpy.data.objects.get(name)
            if armature is not None:
                let_go(armature)
            runtime.get().notice = error
            runtime.redraw()

    def _follow(self, context: bpy.types.Context, name: str) -> None:
        """Have the handles go along with bones that keys or the user have posed."""
        armature = bpy.data.objects.get(name)
        if is_body(armature) and name not in self._drags:
            follow_bones(context.scene, armature, read_record(armature))

    def _resync(self, context: bpy.types.Context) -> None:
        for name in list(self._known):
            self._guarded(name, lambda name: self._learn(context, name))

    def _learn(self, context: bpy.types.Context, name: str) -> None:
        """Take the places of the handles as those from which movements are counted."""
        armature = bpy.data.objects.get(name)
        if armature is not None:
            self._known[name] = read_handles(armature, find_handles(context.scene, armature))

    def _look(self, context: bpy.types.Context, name: str, by_tool: bool) -> None:
        armature = bpy.data.objects.get(name)
        if armature is None:
            return
        handles = find_handles(context.scene, armature)
        now, placed = read_handles(armature, handles), placed_handles(handles)
        known = self._known.setdefault(name, dict(placed))
        changed = {point for point, at in now.items() if _differs(at, known.get(point), placed.get(point))}
        running = self._drags.get(name)
        held = changed if running is None else changed | running.drag.held
        if by_tool and held:
            held |= handle_points(context.view_layer.objects.selected, armature) & now.keys()
        if changed and running is None:
            drag = LiveDrag(context, armature, part_joints(context, armature))
            running = self._drags[name] = _HandleDrag(drag, {**now, **known})
        if running is not None and by_tool and running.has_tool_step:
            running.has_tool_step = False
            running.drag.renew_mark()
        if running is not None:
            running.drag.held = held
            running.look(now)
        seen = {point for point, at in now.items() if point in changed or not _differs(at, None, placed.get(point))}
        known.update({point: now[point] for point in seen})

    def _complete(self, context: bpy.types.Context, name: str) -> None:
        """Go on with the movement in whose middle Blender made its undo step."""
        armature = bpy.data.objects.get(name)
        if armature is None:
            return
        handles = find_handles(context.scene, armature)
        drag = LiveDrag(context, armature, part_joints(context, armature), read_mark(armature))
        self._drags[name] = _HandleDrag(drag, placed_handles(handles), is_completion=True)
        if not drag.recall():
            drag.update(record_with_handles(context, armature, drag.record))
        self._known[name] = read_handles(armature, handles)

    def _advance(self, context: bpy.types.Context, name: str, by_tool: bool) -> None:
        running = self._drags[name]
        if running.drag.pump(context):
            running.answers_by_tool += by_tool
            running.drag.store_step(context)
        running.has_tool_step = running.by_tool and not by_tool
        if by_tool:
            running.by_tool, running.tool_at = True, time.monotonic()
        elif running.by_tool and self._is_back(context, running):
            del self._drags[name]
            running.drag.cancel(context)
        elif running.is_over():
            del self._drags[name]
            has_step = running.is_completion or running.answers_by_tool > 0
            running.drag.finish(context, "" if has_step else "Move Handle")

    def _is_back(self, context: bpy.types.Context, running: _HandleDrag) -> bool:
        armature = bpy.data.objects.get(running.drag.name)
        handles = {} if armature is None else find_handles(context.scene, armature)
        return armature is not None and running.is_back(read_handles(armature, handles))


def _differs(at: Placement, known: Placement | None, placed: Placement | None) -> bool:
    """Whether a handle is neither where it was seen last nor where the add-on has put it."""
    others = [other for other in (known, placed) if other is not None]
    return all(at.is_moved_from(other) or at.is_turned_from(other) for other in others)


def tool_runs(context: bpy.types.Context) -> bool:
    """Return whether one of Blender's move, rotate or scale tools runs in some window."""
    return any(name.startswith("TRANSFORM_OT_") for name in _modal_operators(context))


def command_runs(context: bpy.types.Context) -> bool:
    """Return whether a command runs that will pose bodies, with the handles as they were when it began."""
    return not _COMMANDS.isdisjoint(_modal_operators(context))


def _modal_operators(context: bpy.types.Context) -> list[str]:
    windows = context.window_manager.windows
    return [operator.bl_idname for window in windows for operator in window.modal_operators]


class _Holder:
    """Where the watch is kept between `register` and `unregister`."""

    watch: HandleWatch | None = None


def watch() -> HandleWatch:
    """Return the watch; it is there while the add-on is registered."""
    if _Holder.watch is None:
        raise RuntimeError("the add-on is not registered")
    return _Holder.watch


def tick() -> float | None:
    """Look after the handles from Blender's timer."""
    context = bpy.context
    if context.window_manager.is_interface_locked:
        return BUSY_SECONDS
    return watch().step(context)


def _wake() -> None:
    if not bpy.app.timers.is_registered(tick):
        bpy.app.timers.register(tick, first_interval=0.0)


@persistent
def on_depsgraph(_scene: bpy.types.Scene, depsgraph: "bpy.types.Depsgraph") -> None:
    """Note which bodies' handles were touched; nothing is changed here."""
    if depsgraph.mode != "VIEWPORT" or not depsgraph.id_type_updated("OBJECT"):
        return
    for update in depsgraph.updates:
        thing = update.id.original
        if not isinstance(thing, bpy.types.Object):
            continue
        if update.is_updated_transform and thing.type == "EMPTY":
            body = handle_body(thing)
            if body is not None:
                watch().touch(body.name)
                _wake()
        elif update.is_updated_geometry and is_body(thing):
            watch().note_pose(thing.name)
            _wake()


@persistent
def on_frame(scene: bpy.types.Scene, *_: object) -> None:
    """Note that keys may have moved handles and bodies, and that an unkeyed pose is gone."""
    if bpy.app.is_job_running("RENDER"):
        return
    watch().note_frame()
    for armature in find_bodies(scene):
        watch().note_pose(armature.name)
        _wake()
    living = runtime.get()
    if living.notice is not None and living.notice.fix is Fix.KEY_POSE:
        living.notice = None


@persistent
def on_undo(*_: object) -> None:
    """Go on from the scene that undo or redo has brought back."""
    runtime.get().free_live()
    if watch().resume(bpy.context):
        _wake()


@persistent
def on_load(*_: object) -> None:
    """Forget the scene that is no longer open; Blender has forgotten the subscription."""
    watch().forget()
    _subscribe()


def on_active() -> None:
    """Let the panel speak of the handles that are selected."""
    context = bpy.context
    active = context.view_layer.objects.active
    body = None if active is None else handle_body(active)
    if body is not None:
        points = handle_points(context.view_layer.objects.selected, body)
        chosen = str(active[POINT_PROPERTY])
        select_points(body, sorted(points | {chosen}), chosen)


def _subscribe() -> None:
    key = (bpy.types.LayerObjects, "active")
    bpy.msgbus.subscribe_rna(key=key, owner=_Holder, args=(), notify=on_active, options={"PERSISTENT"})


_HANDLERS = (
    ("depsgraph_update_post", on_depsgraph),
    ("frame_change_post", on_frame),
    ("undo_post", on_undo),
    ("redo_post", on_undo),
    ("load_post", on_load),
)


def register() -> None:
    """Begin to watch the handles."""
    _Holder.watch = HandleWatch()
    for name, handler in _HANDLERS:
        getattr(bpy.app.handlers, name).append(handler)
    _subscribe()


def unregister() -> None:
    """Take handlers, subscription and timer back."""
    bpy.msgbus.clear_by_owner(_Holder)
    for name, handler in _HANDLERS:
        handlers = getattr(bpy.app.handlers, name)
        if handler in handlers:
            handlers.remove(handler)
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)
    _Holder.watch = None

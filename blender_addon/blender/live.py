# SPDX-License-Identifier: GPL-3.0-or-later
"""One drag: whoever moves what, the body follows while the mouse moves.

Evidence goes to the solver as often as it changes, the newest answer goes to the bones as often as one comes; nothing
waits. Here: the way of one drag. Not here: who drags (live_handles.py, the tools), what is asked (core), the socket.
"""

import time
import uuid
import weakref
from collections.abc import Iterable

import bpy
import msgspec

from ..core.errors import AddonError, Fix, SceneError
from ..core.handles import placements
from ..core.jobs import edit_call
from ..core.record import Record, Solution
from ..core.rig import DRAG_PROPERTY
from . import live_memory, runtime
from .armature import check_writable, find_mesh, match_bones, read_betas, set_shape_keys
from .bodies import get_body, read_record, write_record
from .camera import current_photo_camera
from .handles import color_handles, find_handles, is_driven, place_handle, with_driven_handles
from .keys import KeyPlan, plan_by_settings
from .posing import apply_pose, free_joints, read_pose, remember_bones, restore_bones

LATE_SECONDS = 30.0
"""How long after a drag its last answer is waited for: a solver that was killed has started again by then."""

LIVE_SECONDS = 1 / 250
"""Between two looks at the socket in a drag. Blender's window sleeps 5 ms between two rounds, so that it is 8 ms."""


class LiveDrag:
    """One drag of one body.

    Invariants: `record` holds the newest edits and the newest solution; the solver's `live` belongs to at most one
    drag at a time, the others wait with their newest wish. It keeps names of Blender's objects, never the objects.
    """

    def __init__(
        self,
        context: bpy.types.Context,
        armature: bpy.types.Object,
        joints: tuple[str, ...] = (),
        mark: live_memory.Mark | None = None,
        asks: bool = True,
    ) -> None:
        """Remember the body as it is and start the solver when it does not run.

        Args:
            context: For the scene.
            armature: The body.
            joints: The only joints that may move; none for all.
            mark: Of the drag that is gone on with; None: a new one begins.
            asks: Whether there is anything to solve; without it only the shape changes, and no solver is needed.

        Raises:
            AddonError: There is no solver, the evidence cannot be read, or the body cannot be changed.
        """
        living = runtime.get()
        self.name = armature.name
        self._later = live_memory.kept(mark)
        asks = asks and (self._later is None or self._later.bones is None)
        self._config = living.config() if asks else None
        check_writable(get_body(self.name))
        self.record = read_record(armature)
        if self._later is not None:
            self.record = self._later.record
            mesh = find_mesh(armature)
            if mesh is not None:
                set_shape_keys(mesh, self._later.betas)
        self._stored = self.record
        betas = match_bones(context, armature, self.record.solution.pose.betas)
        self._newest = read_pose(armature, betas)
        self._initial = self._newest if mark is None else mark.initial
        self._token = uuid.uuid4().hex if mark is None else mark.token
        self._camera = current_photo_camera(armature, self.record)
        self._joints = free_joints(armature, joints)
        self._bones = remember_bones(armature)
        self._plan = plan_by_settings(context, armature, self._joints)
        self._handles = {point: thing.name for point, thing in find_handles(context.scene, armature).items()}
        self._wanted = self._is_keyed = False
        self.held: set[str] = set()
        """Joints whose handles the user holds: these are not placed."""
        self.answers = 0
        """How many answers have been applied."""
        self.is_let_go = False
        """A command has given the body another pose: what was asked before it is of no interest."""
        _DRAGS.add(self)
        self._deadline = 0.0
        if self._config is not None:
            living.solver.start(self._config)
        self._overtaken = _stop_following(self.name)
        if _owner() is None:
            living.live_owner = None
            living.solver.live.reset()

    def update(self, record: Record) -> None:
        """Take new edits and ask for a solve; the newest wish wins."""
        self.record = msgspec.structs.replace(record, solution=self.record.solution)
        self._wanted = True
        self._send()

    def recall(self) -> bool:
        """Make body and handles as they were when the drag that is gone on with ended; whether that is known.

        Solving it again would do for the evidence, but from another start, and could end elsewhere.
        """
        later = self._later
        if later is None or later.bones is None:
            return False
        armature = get_body(self.name)
        restore_bones(armature, later.bones)
        self.answers = later.answers
        self._place_handles(armature)
        return True

    def pump(self, context: bpy.types.Context) -> bool:
        """Look at the socket; give the newest answer to bones and handles. Whether something changed.

        Raises:
            SceneError: The body is gone.
        """
        _pump_late(context)
        return self._take(context)

    def _take(self, context: bpy.types.Context) -> bool:
        living = runtime.get()
        living.solver.pump()
        solution = None
        if _owner() is self:
            solution = living.solver.live.take()
            if living.solver.live.is_settled:
                living.live_owner = None
        self._send()
        if solution is None:
            return False
        self._apply(context, solution)
        return True

    @property
    def is_settled(self) -> bool:
        """Whether every wish has been answered and every answer applied."""
        return not self._wanted and _owner() is not self

    @property
    def error(self) -> AddonError | None:
        """Why the last wish was not fulfilled."""
        return runtime.get().solver.live.error

    def finish(self, context: bpy.types.Context, message: str) -> None:
        """End the drag: store the record, set keys by the user's settings, make one undo step.

        It does not wait: a caller who can pumps until `is_settled`. An answer that comes later is applied by a timer
        and belongs to this step, which is completed when undo or redo comes back to it.

        Args:
            context: For scene and window.
            message: The name of the undo step; empty: no step is made, as there is one.
        """
        self._store(context)
        if message:
            push_undo(message)
        if not self.is_settled:
            _follow(self)

    def begin_step(self, context: bpy.types.Context, message: str) -> None:
        """Make the undo step in the middle of the drag: the user may undo before its end, which Blender does not tell.

        What comes later belongs to this step; `remember` keeps it for the case that undo or redo comes back.
        """
        armature = get_body(self.name)
        write_record(armature, self.record)
        color_handles(context.scene, armature, self.record)
        self.mark()
        push_undo(message)

    def cancel(self, context: bpy.types.Context) -> None:
        """Make everything as it was before the drag."""
        armature = get_body(self.name)
        self.drop()
        if self._is_keyed:
            self._plan.take_back(armature)
        restore_bones(armature, self._bones)
        self.record = self._stored
        if read_record(armature) != self.record:
            write_record(armature, self.record)
        _unmark(armature, self._handles.values())
        self.held.clear()
        self._place_handles(armature)
        if self._overtaken is not None:  # its answer is still due
            self._overtaken.mark()
            self._overtaken.update(self._overtaken.record)
            _follow(self._overtaken)
        runtime.redraw()

    def drop(self) -> None:
        """Want nothing any more."""
        self._wanted = False
        if _owner() is self:
            living = runtime.get()
            living.live_owner = None
            living.solver.live.reset()

    def remember(self) -> None:
        """Keep what has come after the undo step that was made in the middle of the drag.

        Raises:
            SceneError: The body is gone.
        """
        armature = get_body(self.name)
        betas = read_betas(armature, self.record.solution.pose.betas)
        bones = remember_bones(armature) if self.is_settled else None
        live_memory.keep(self._token, live_memory.Later(self.record, betas, bones, self.answers))

    def renew_mark(self) -> None:
        """Have the marks from now on belong to another undo step: the next movement begins before the drag is over."""
        self._token = uuid.uuid4().hex

    def mark(self) -> None:
        """Mark the armature: an undo step that is made now lacks an answer.

        Undo gives back only what differs between two steps: what the answer will change is marked too.
        """
        armature = get_body(self.name)
        for thing in _changing(armature, self._handles.values()):
            thing[DRAG_PROPERTY] = True
        live_memory.write_mark(armature, live_memory.Mark(self._token, self._initial))

    def store_step(self, context: bpy.types.Context) -> None:
        """Write down where the drag is, for an undo step that Blender makes at any moment: record, colours and keys.

        Undo gives back only what differs between two steps: what changes after the step must have changed before.
        """
        armature = get_body(self.name)
        write_record(armature, self.record)
        color_handles(context.scene, armature, self.record)
        if self.is_settled:
            _unmark(armature, self._handles.values())
        if self.answers:
            self._set_keys(context, armature)

    def _store(self, context: bpy.types.Context) -> None:
        armature = get_body(self.name)
        write_record(armature, self.record)
        if self.is_settled:
            _unmark(armature, self._handles.values())
        else:
            self.mark()
        self.held.clear()
        self._place_handles(armature)
        color_handles(context.scene, armature, self.record)
        if self.answers:
            self._set_keys(context, armature)
        self.remember()
        if self.error is not None:
            runtime.get().notice = self.error
        elif self._plan.is_dropped:
            warn_of_drop(armature)
        runtime.redraw()

    def _set_keys(self, context: bpy.types.Context, armature: bpy.types.Object) -> None:
        if not self._plan:
            return
        if self._plan.frame != context.scene.frame_current:  # the user went on to another frame meanwhile
            self._plan = KeyPlan(armature, context.scene.frame_current, lambda _channel, is_keyed: is_keyed)
        try:
            self._plan.insert(armature)
        except SceneError as error:
            runtime.get().notice = error
        else:
            self._is_keyed = True

    def _send(self) -> None:
        living, owner = runtime.get(), _owner()
        if not self._wanted or owner not in (None, self):
            return
        betas = match_bones(bpy.context, get_body(self.name), self._newest.betas)  # a slider may be what is dragged
        initial, start = (msgspec.structs.replace(pose, betas=betas) for pose in (self._initial, self._newest))
        if self._config is None:
            self._wanted = False
            return
        if owner is None and living.live_owner is not None:
            living.solver.live.reset()  # it worked for a drag that was dropped
        living.live_owner = weakref.ref(self)
        self._wanted = False
        record = with_driven_handles(self.name, self._handles, self.record)
        living.solver.ask(edit_call(record, self._camera, initial, self._joints, start), self._config)
        living.solver.pump()

    def _apply(self, context: bpy.types.Context, solution: Solution) -> None:
        armature = get_body(self.name)
        self.answers += 1
        self._newest = solution.pose
        self.record = msgspec.structs.replace(self.record, solution=solution)
        apply_pose(armature, solution.pose)
        self._place_handles(armature)

    def _place_handles(self, armature: bpy.types.Object) -> None:
        """Put the handles where they belong, except those that the user holds or that something else drives."""
        for point, at in placements(self.record).items():
            thing = bpy.data.objects.get(self._handles.get(point, ""))
            if thing is not None and point not in self.held and not is_driven(thing, armature):
                place_handle(thing, at)


_DRAGS: "weakref.WeakSet[LiveDrag]" = weakref.WeakSet()
"""All drags that somebody holds."""


def _owner() -> LiveDrag | None:
    """Return the drag that the solver's `live` works for; one that nobody holds any more is none."""
    owner = runtime.get().live_owner
    return None if owner is None else owner()


def _changing(armature: bpy.types.Object, handles: Iterable[str]) -> list[bpy.types.ID]:
    """Return what else than the armature an answer changes: its keys and its handles, which have these names."""
    animation = armature.animation_data
    action = None if animation is None else animation.action
    things = (*(bpy.data.objects.get(name) for name in handles), action)
    return [thing for thing in things if thing is not None and thing.library is None]


def _unmark(armature: bpy.types.Object, handles: Iterable[str]) -> None:
    for thing in (armature, *_changing(armature, handles)):
        if DRAG_PROPERTY in thing:
            del thing[DRAG_PROPERTY]


def warn_of_drop(armature: bpy.types.Object) -> None:
    """Tell the user that the pose is lost when another frame is shown."""
    runtime.get().notice = SceneError(
        f"the pose of {armature.name} has no key on this frame, and another frame drops it; press Key Pose",
        Fix.KEY_POSE,
    )


def push_undo(message: str) -> None:
    """Make an undo step of what is there now; in a timer Blender has no window in its context."""
    windows = bpy.context.window_manager.windows
    if windows:
        with bpy.context.temp_override(window=bpy.context.window or windows[0]):
            bpy.ops.ed.undo_push(message=message)


def _late() -> dict[str, LiveDrag]:
    """Return the drags that have ended and still wait for an answer, by their bodies."""
    late = runtime.get().late_drag
    return late if isinstance(late, dict) else {}


def _follow(drag: LiveDrag) -> None:
    """Apply the late answers of a drag that has ended."""
    drag._deadline = time.monotonic() + LATE_SECONDS
    runtime.get().late_drag = {**_late(), drag.name: drag}
    if not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=LIVE_SECONDS)


def _stop_following(name: str) -> LiveDrag | None:
    """Let go of the drag of a body that waits for its answer, and return it."""
    late = dict(_late())
    drag = late.pop(name, None)
    if drag is not None:
        drag.drop()
        runtime.get().late_drag = late or None
    return drag


def let_go(armature: bpy.types.Object) -> None:
    """Want no answer for a body any more, late or from a drag that still runs: a command gives it another pose."""
    _stop_following(armature.name)
    for drag in list(_DRAGS):
        if drag.name == armature.name:
            drag.drop()
            drag.is_let_go = True
    _unmark(armature, [thing.name for thing in find_handles(bpy.context.scene, armature).values()])


def _pump_late(context: bpy.types.Context) -> None:
    for name, drag in _late().items():
        try:
            if drag._take(context):
                drag._store(context)
            is_over = drag.is_settled or time.monotonic() >= drag._deadline
            if is_over:
                _unmark(get_body(name), drag._handles.values())
        except AddonError:  # its body is gone
            is_over = True
        if is_over:
            _stop_following(name)


def _tick() -> float | None:
    _pump_late(bpy.context)
    return LIVE_SECONDS if _late() else None

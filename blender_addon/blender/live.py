# SPDX-License-Identifier: GPL-3.0-or-later
"""One drag: whoever moves what, the body follows while the mouse moves.

Evidence goes to the solver as often as it changes, the newest answer goes to the bones as often as one comes; nothing
waits. Here: the way of one drag. Not here: who drags (live_handles.py, the tools), what is asked (core), the socket.
"""

import time
import weakref

import bpy
import msgspec

from ..core.errors import AddonError, Fix, SceneError
from ..core.handles import placements
from ..core.jobs import edit_call
from ..core.record import Pose, Record, Solution
from ..core.rig import DRAG_PROPERTY
from . import runtime
from .armature import check_writable, read_betas
from .bodies import get_body, read_record, write_record
from .camera import current_photo_camera
from .handles import color_handles, find_handles, is_driven, place_handle
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
        initial: Pose | None = None,
    ) -> None:
        """Remember the body as it is and start the solver when it does not run.

        Args:
            context: For the scene.
            armature: The body.
            joints: The only joints that may move; none for all.
            initial: The pose at the start of a drag that is gone on with; None: that of the bones.

        Raises:
            AddonError: There is no solver, the evidence cannot be read, or the body cannot be changed.
        """
        living = runtime.get()
        self.name = armature.name
        self.config = living.config()
        check_writable(get_body(self.name))
        self.record = read_record(armature)
        self._stored = self.record
        self._newest = read_pose(armature, read_betas(armature, self.record.solution.pose.betas))
        self._initial = initial or self._newest
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
        if living.late_drag is not None or _owner() is None:
            living.free_live()
        living.solver.start(self.config)

    def update(self, record: Record) -> None:
        """Take new edits and ask for a solve; the newest wish wins."""
        self.record = msgspec.structs.replace(record, solution=self.record.solution)
        self._wanted = True
        self._send()

    def pump(self, context: bpy.types.Context) -> bool:
        """Look at the socket; give the newest answer to bones and handles. Whether something changed.

        Raises:
            SceneError: The body is gone.
        """
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
        and belongs to this step; if nothing at all has come yet, the step is made then.

        Args:
            context: For scene and window.
            message: The name of the undo step; empty: no step is made, as Blender has made one.
        """
        self._store(context)
        is_late = not self.is_settled
        if message and (self.answers > 0 or not is_late):
            push_undo(message)
            message = ""
        if is_late:
            _follow(self, message)

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
        _unmark(armature)
        self.held.clear()
        self._place_handles(armature)
        runtime.redraw()

    def drop(self) -> None:
        """Want nothing any more."""
        self._wanted = False
        if _owner() is self:
            living = runtime.get()
            living.live_owner = None
            living.solver.live.reset()

    def mark(self) -> None:
        """Mark the armature: an undo step that Blender makes now lacks an answer. The mark is the pose at the start."""
        get_body(self.name)[DRAG_PROPERTY] = msgspec.json.encode(self._initial).decode("ascii")

    def store_step(self, context: bpy.types.Context) -> None:
        """Write down where the drag is, for an undo step that Blender makes at any moment: record and keys.

        Undo gives back only what differs between two steps: what changes after the step must have changed before.
        """
        armature = get_body(self.name)
        write_record(armature, self.record)
        if self.is_settled:
            _unmark(armature)
        if self.answers:
            self._set_keys(context, armature)

    def _store(self, context: bpy.types.Context) -> None:
        armature = get_body(self.name)
        write_record(armature, self.record)
        _unmark(armature)
        self.held.clear()
        self._place_handles(armature)
        color_handles(context.scene, armature, self.record)
        if self.answers:
            self._set_keys(context, armature)
        if self.error is not None:
            runtime.get().notice = self.error
        elif self._plan.is_dropped:
            runtime.get().notice = SceneError(
                f"the pose of {self.name} has no key on this frame, and another frame drops it; press Key Pose",
                Fix.KEY_POSE,
            )
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
        if owner is None and living.live_owner is not None:
            living.solver.live.reset()  # it worked for a drag that was dropped
        living.live_owner = weakref.ref(self)
        self._wanted = False
        call = edit_call(self.record, self._camera, self._initial, self._joints, self._newest)
        living.solver.ask(call, self.config)
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


def _owner() -> LiveDrag | None:
    """Return the drag that the solver's `live` works for; one that nobody holds any more is none."""
    owner = runtime.get().live_owner
    return None if owner is None else owner()


def marked_initial(armature: bpy.types.Object) -> Pose | None:
    """Return the pose at the start of the drag in whose middle an undo step was made; None without a mark."""
    try:
        return msgspec.json.decode(str(armature.get(DRAG_PROPERTY, "")), type=Pose)
    except msgspec.MsgspecError:  # there is none, or a file holds something else
        return None


def _unmark(armature: bpy.types.Object) -> None:
    if DRAG_PROPERTY in armature:
        del armature[DRAG_PROPERTY]


def push_undo(message: str) -> None:
    """Make an undo step of what is there now; in a timer Blender has no window in its context."""
    windows = bpy.context.window_manager.windows
    if windows:
        with bpy.context.temp_override(window=bpy.context.window or windows[0]):
            bpy.ops.ed.undo_push(message=message)


def _follow(drag: LiveDrag, message: str) -> None:
    """Apply the late answers of a drag that has ended; then make the undo step, unless that is made already."""
    deadline = time.monotonic() + LATE_SECONDS
    runtime.get().late_drag = drag

    def tick() -> float | None:
        if runtime.get().late_drag is not drag:  # undo, another file, or another drag came between
            return None
        try:
            if drag.pump(bpy.context):
                drag._store(bpy.context)
        except AddonError:
            drag.drop()
        if not drag.is_settled and time.monotonic() < deadline:
            return LIVE_SECONDS
        runtime.get().late_drag = None
        if message:
            push_undo(message)
        return None

    bpy.app.timers.register(tick, first_interval=LIVE_SECONDS)

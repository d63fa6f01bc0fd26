# SPDX-License-Identifier: GPL-3.0-or-later
"""Dragging keypoints over the photograph: the points follow the mouse at once, the body as answers come."""

import math
import time

import bpy
from bpy.props import FloatVectorProperty, StringProperty

from ..core.errors import AddonError
from ..core.keypoints import move_pixels
from ..core.photo_view import PICK_RADIUS, PointDrag, nearest_point, nudged
from ..core.record import Vector2
from ..core.wording import POINT_LABELS, point_residual, residual_text
from . import live_edit, runtime
from .bodies import find_body, get_body
from .live import LIVE_SECONDS, LiveDrag, push_undo
from .part_operators import part_joints
from .photo_scene import STATE, PhotoScene, photo_scene, redraw, ui_scale
from .selection import select_points, selected_points
from .text import iface

THRESHOLD = 3.0
"""Pixels at a resolution scale of 1 that the mouse moves before a click becomes a drag; Blender's own for a mouse."""

SETTLE_SECONDS = 0.5
"""How long a released drag waits for its last answer, so that it is in the undo step; one takes some 20 ms."""

PROMPT_SECONDS = 0.008
"""How long a move waits for its answer, so that point and body are drawn together: the redraw that follows takes longer
than a solve. Not after an answer has failed to come in that time, until the next one comes."""

WAITING_SECONDS = 0.5
"""Without an answer for so long the status bar says that the solver is waited for."""

MESSAGE = "Drag Keypoint"


def mouse(event: "bpy.types.Event") -> Vector2:
    """Return where the mouse is in the region."""
    return (event.mouse_region_x, event.mouse_region_y)


def point_at(seen: PhotoScene, at: Vector2) -> str | None:
    """Return the point that the mouse means at a place in the region."""
    return nearest_point(seen.points(), seen.view, at, PICK_RADIUS * seen.scale)


class PhotoOperator:
    """Mixin: a command that works on the points over a photograph, in a view that shows them."""

    bl_options = {"REGISTER"}  # no UNDO: the edit makes its step when the solver has answered

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only where the points are seen."""
        try:
            photo_scene(context)
        except AddonError as error:
            cls.poll_message_set(runtime.sentence(error))
            return False
        return True

    def fail(self, error: AddonError) -> set[str]:
        """Tell the user why nothing was done."""
        runtime.get().notice = error
        self.report({"ERROR"}, runtime.sentence(error))
        return {"CANCELLED"}


class IKOL_OT_drag_point(PhotoOperator, bpy.types.Operator):
    """The command *Drag Keypoint*."""

    bl_idname = "ikol.drag_point"
    bl_label = "Drag Keypoint"
    bl_description = "Move the selected keypoints over the photograph; the body follows while the mouse moves"

    point: StringProperty(
        name="Keypoint", description="The point that is moved, when a script moves it", options={"SKIP_SAVE"}
    )
    offset: FloatVectorProperty(
        name="Offset",
        description="Way on the picture, when a script moves the point: pixels to the right and down",
        size=2,
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a body; a script needs no view."""
        if find_body(context) is None:
            cls.poll_message_set(iface("Select a body that was made by Pose from Image"))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Move one point by the given way."""
        names, offset = (self.point,), tuple(self.offset)
        try:
            live_edit.begin(context, find_body(context), lambda record: nudged(record, names, offset), MESSAGE)
        except AddonError as error:
            return self.fail(error)
        return {"FINISHED"}

    def invoke(self, context: bpy.types.Context, event: "bpy.types.Event") -> set[str]:
        """Take the point under the mouse; on an empty place the event goes on to the box selection."""
        live_edit.finish()
        try:
            seen = photo_scene(context)
        except AddonError:
            return {"PASS_THROUGH"}
        at = mouse(event)
        name = point_at(seen, at)
        if name is None:
            return {"PASS_THROUGH"}
        before = selected_points(seen.armature)
        select_points(seen.armature, before if name in before else (name,), name)
        self._name, self._point = seen.armature.name, name
        self._is_click_news = before != (name,)
        chosen = set(selected_points(seen.armature))
        self._drag = PointDrag({point.name: point.pixel for point in seen.points() if point.name in chosen}, at)
        self._pressed_at, self._released_at = at, None
        self._live: LiveDrag | None = None
        self._answered_at, self._status, self._is_prompt = time.monotonic(), "", True
        self._timer = context.window_manager.event_timer_add(LIVE_SECONDS, window=context.window)
        context.window_manager.modal_handler_add(self)
        redraw(context)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: "bpy.types.Event") -> set[str]:
        """Follow the mouse until its button is released, then until the solver has answered."""
        try:
            return self._step(context, event)
        except AddonError as error:
            self.cancel(context)
            return self.fail(error)

    def cancel(self, context: bpy.types.Context) -> None:
        """Make everything as it was: the user's wish, or Blender ends the command."""
        live, self._live = self._live, None
        self._leave(context)
        if live is not None and bpy.data.objects.get(self._name) is not None:
            live.cancel(context)

    def _step(self, context: bpy.types.Context, event: "bpy.types.Event") -> set[str]:
        if event.type in {"ESC", "RIGHTMOUSE"} and event.value == "PRESS" and self._released_at is None:
            self.cancel(context)
            return {"CANCELLED"}
        if event.type == "MOUSEMOVE" and self._released_at is None:
            self._move(context, event)
        elif event.type == "LEFTMOUSE" and event.value == "RELEASE":
            if self._live is None:
                return self._click(context)
            self._released_at = time.monotonic()
        elif event.type in {"MIDDLEMOUSE", "WHEELUPMOUSE", "WHEELDOWNMOUSE"}:
            return {"PASS_THROUGH"}  # the view may be zoomed and moved in a drag
        if self._live is None:
            return {"RUNNING_MODAL"}
        self._pump(context)
        if self._released_at is not None and (
            self._live.is_settled or time.monotonic() - self._released_at > SETTLE_SECONDS
        ):
            return self._finish(context)
        return {"RUNNING_MODAL"}

    def _move(self, context: bpy.types.Context, event: "bpy.types.Event") -> None:
        at = mouse(event)
        if self._live is None:
            if math.dist(at, self._pressed_at) < THRESHOLD * ui_scale(context):
                return
            armature = get_body(self._name)
            self._live = LiveDrag(context, armature, part_joints(context, armature))
            STATE.dragged = (self._name, self._live.record)
        try:
            view = photo_scene(context).view
        except AddonError:  # the view was turned away meanwhile: the point stays where it is
            return
        pixels = self._drag.move(view, at, event.shift)
        if self._live.is_settled:
            self._answered_at = time.monotonic()  # from now on an answer is waited for
        self._live.update(move_pixels(self._live.record, pixels))
        if self._is_prompt:
            self._is_prompt = runtime.get().solver.settle(PROMPT_SECONDS)
        STATE.dragged = (self._name, self._live.record)
        redraw(context)

    def _pump(self, context: bpy.types.Context) -> None:
        if self._live.pump(context):
            self._answered_at, self._is_prompt = time.monotonic(), True
            STATE.dragged = (self._name, self._live.record)
            redraw(context)
        self._tell(context)

    def _tell(self, context: bpy.types.Context) -> None:
        """Say in the status bar how far the body is, or that it cannot follow now."""
        live, solver = self._live, runtime.get().solver
        residual = residual_text(point_residual(live.record, self._point))
        parts = [iface(POINT_LABELS[self._point]), residual]
        if live.error is not None:
            parts.append(runtime.sentence(live.error))
        elif not live.is_settled and time.monotonic() - self._answered_at > WAITING_SECONDS:
            parts.append(iface("waiting for the solver; the point stays where you put it"))
        elif solver.live.rate_hz > 0:
            parts.append(f"{solver.live.rate_hz:.0f} Hz")
        parts.append(iface("Shift: precise, Esc or right click: cancel"))
        status = "   ·   ".join(parts)
        if status != self._status:
            self._status = status
            context.workspace.status_text_set(status)

    def _click(self, context: bpy.types.Context) -> set[str]:
        """End a press without a drag: only the point itself is selected."""
        armature = get_body(self._name)
        self._leave(context)
        self._is_click_news |= selected_points(armature) != (self._point,)
        select_points(armature, (self._point,), self._point)
        if self._is_click_news:
            push_undo("Select Keypoint")
        return {"FINISHED"}

    def _finish(self, context: bpy.types.Context) -> set[str]:
        live, self._live = self._live, None
        self._leave(context)
        live.finish(context, MESSAGE)
        return {"FINISHED"}

    def _leave(self, context: bpy.types.Context) -> None:
        STATE.dragged = None
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None
        context.workspace.status_text_set(None)
        redraw(context)

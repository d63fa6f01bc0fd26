# SPDX-License-Identifier: GPL-3.0-or-later
"""Adding, removing and nudging keypoints over the photograph: each solves at once and is one undo step."""

import bpy
from bpy.props import BoolProperty, FloatVectorProperty, StringProperty

from ..core.errors import AddonError, SceneError
from ..core.keypoints import move_pixels, remove
from ..core.photo_view import ADD_RADIUS, nearest_point, nudged, point_to_add
from ..core.wording import POINT_LABELS
from . import live_edit
from .bodies import find_body
from .live_edit import Change
from .photo_drag import PhotoOperator, mouse, point_at
from .photo_scene import STATE, PhotoScene, photo_scene, redraw
from .selection import active_point, select_points, selected_points
from .text import iface

ON_POINT = 7.0
"""Pixels at a resolution scale of 1: a double click as near as that to a point is one on it. Less than what picks it,
since a joint may be next to a point that is there."""

NUDGE_SECONDS = 0.6
"""Arrow keys that follow each other closer than that are one edit and one undo step."""


class EditOperator(PhotoOperator):
    """Mixin: an edit of the body's evidence."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a body; where the view matters, `invoke` looks."""
        if find_body(context) is None:
            cls.poll_message_set(iface("Select a body that was made by Pose from Image"))
            return False
        return True

    def begin(self, context: bpy.types.Context, change: Change, pause: float = 0.0) -> set[str]:
        """Have the change solved; it becomes one undo step."""
        try:
            live_edit.begin(context, find_body(context), change, self.bl_label, pause)
        except AddonError as error:
            return self.fail(error)
        redraw(context)
        return {"FINISHED"}


class IKOL_OT_add_point(EditOperator, bpy.types.Operator):
    """The command *Add Keypoint*."""

    bl_idname = "ikol.add_point"
    bl_label = "Add Keypoint"
    bl_description = "Say where the nearest joint is on the photograph, or bring a removed keypoint back to there"

    point: StringProperty(name="Keypoint", description="A point of the body", options={"SKIP_SAVE"})
    pixel: FloatVectorProperty(
        name="Pixel",
        description="Where it is on the picture: pixels from the top left corner",
        size=2,
        options={"SKIP_SAVE"},
    )

    def invoke(self, context: bpy.types.Context, event: "bpy.types.Event") -> set[str]:
        """Look which joint the mouse means; over a point there is nothing to add."""
        at = mouse(event)
        try:
            seen = photo_scene(context)
        except AddonError:
            return {"PASS_THROUGH"}
        if nearest_point(seen.points(), seen.view, at, ON_POINT * seen.scale) is not None:
            return {"PASS_THROUGH"}
        name = point_to_add(seen.record, seen.view, at, ADD_RADIUS * seen.scale)
        if name is None:
            self.report({"WARNING"}, iface("No joint without a keypoint is near; click closer to the body"))
            return {"CANCELLED"}
        self.point, self.pixel = name, seen.view.to_picture(at)
        return self.execute(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add the point and select it."""
        if self.point not in POINT_LABELS:
            return self.fail(SceneError(f"the body has no point {self.point!r}"))
        pixels = {self.point: (self.pixel[0], self.pixel[1])}
        live_edit.finish()
        select_points(find_body(context), pixels, self.point)
        result = self.begin(context, lambda record: move_pixels(record, pixels))
        if result == {"FINISHED"}:
            self.report({"INFO"}, iface("Added {point}", point=iface(POINT_LABELS[self.point])))
        return result


class IKOL_OT_remove_photo_points(EditOperator, bpy.types.Operator):
    """The command *Remove Keypoints* of the photograph."""

    bl_idname = "ikol.remove_photo_points"
    bl_label = "Remove Keypoints"
    bl_description = "Take keypoints off the photograph: they have no say any more; a double click brings one back"

    under_mouse: BoolProperty(
        name="Under Mouse",
        description="The keypoint under the mouse instead of the selected ones",
        options={"SKIP_SAVE"},
    )

    def invoke(self, context: bpy.types.Context, event: "bpy.types.Event") -> set[str]:
        """Look which ones are meant; a right click on an empty place goes on to Blender's menu."""
        try:
            seen = photo_scene(context)
        except AddonError:
            return {"PASS_THROUGH"}
        if not self.under_mouse:
            names = _target(seen)
            if not names:  # not on to Blender, where X deletes the whole body
                self.report({"WARNING"}, iface("Select a keypoint first"))
                return {"CANCELLED"}
            return self._remove(context, names)
        name = point_at(seen, mouse(event))
        return {"PASS_THROUGH"} if name is None else self._remove(context, (name,))

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Remove the selected ones."""
        return self._remove(context, selected_points(find_body(context)))

    def _remove(self, context: bpy.types.Context, names: tuple[str, ...]) -> set[str]:
        if not names:
            return self.fail(SceneError("no keypoint is selected"))
        live_edit.finish()
        armature = find_body(context)
        kept = tuple(name for name in selected_points(armature) if name not in names)
        active = active_point(armature)
        select_points(armature, kept, active if active in kept else next(iter(kept), ""))
        STATE.hovered = ""
        return self.begin(context, lambda record: remove(record, names))


class IKOL_OT_nudge_points(EditOperator, bpy.types.Operator):
    """The command *Nudge Keypoints*."""

    bl_idname = "ikol.nudge_points"
    bl_label = "Nudge Keypoints"
    bl_description = "Move the selected keypoints by some pixels of the photograph"

    step: FloatVectorProperty(name="Step", description="Pixels to the right and down", size=2)

    def invoke(self, context: bpy.types.Context, _event: "bpy.types.Event") -> set[str]:
        """Without a point to move, the arrow keys go through the frames as always."""
        try:
            names = _target(photo_scene(context))
        except AddonError:
            names = ()
        return self._nudge(context, names) if names else {"PASS_THROUGH"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Move the selected ones."""
        return self._nudge(context, selected_points(find_body(context)))

    def _nudge(self, context: bpy.types.Context, names: tuple[str, ...]) -> set[str]:
        step = (self.step[0], self.step[1])
        return self.begin(context, lambda record: nudged(record, names, step), NUDGE_SECONDS)


def _target(seen: PhotoScene) -> tuple[str, ...]:
    """Return the points that a key is for: the selected ones, else the active one, else that under the mouse."""
    shown = {point.name for point in seen.points()}
    chosen = selected_points(seen.armature) or (active_point(seen.armature) or STATE.hovered,)
    return tuple(name for name in chosen if name in shown)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Selecting keypoints over the photograph: one more, in a box, all, none."""

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatVectorProperty

from ..core.errors import AddonError
from ..core.photo_view import points_in_box
from ..core.record import Vector2
from .photo_drag import PhotoOperator, mouse, point_at
from .photo_scene import STATE, PhotoScene, photo_scene, redraw
from .selection import active_point, select_points, selected_points
from .text import iface


class SelectOperator(PhotoOperator):
    """Mixin: Blender makes the undo step."""

    bl_options = {"REGISTER", "UNDO"}


class IKOL_OT_select_point(SelectOperator, bpy.types.Operator):
    """The command *Extend Keypoint Selection*."""

    bl_idname = "ikol.select_point"
    bl_label = "Extend Keypoint Selection"
    bl_description = "Select one keypoint more, or take it out of the selection"

    def invoke(self, context: bpy.types.Context, event: "bpy.types.Event") -> set[str]:
        """Switch the point under the mouse; on an empty place the event goes on."""
        seen = photo_scene(context)
        name = point_at(seen, mouse(event))
        if name is None:
            return {"PASS_THROUGH"}
        before = selected_points(seen.armature)
        after = tuple(other for other in before if other != name) if name in before else (*before, name)
        select_points(seen.armature, after, name if name in after else next(iter(reversed(after)), ""))
        redraw(context)
        return {"FINISHED"}


class IKOL_OT_select_all_points(SelectOperator, bpy.types.Operator):
    """The command *Select All Keypoints*."""

    bl_idname = "ikol.select_all_points"
    bl_label = "Select All Keypoints"
    bl_description = "Select all keypoints that are seen over the photograph, or none"

    action: EnumProperty(
        name="Action",
        description="What becomes selected",
        items=[("SELECT", "All", "Select all keypoints"), ("DESELECT", "None", "Select no keypoint")],
        default="SELECT",
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Select them."""
        seen = photo_scene(context)
        if self.action == "DESELECT":
            if not selected_points(seen.armature) and not active_point(seen.armature):
                return {"CANCELLED"}
            select_points(seen.armature, ())
        else:
            names = tuple(point.name for point in seen.points())
            active = active_point(seen.armature)
            select_points(seen.armature, names, active if active in names else next(iter(names), ""))
        redraw(context)
        return {"FINISHED"}


class IKOL_OT_select_points_box(SelectOperator, bpy.types.Operator):
    """The command *Box Select Keypoints*."""

    bl_idname = "ikol.select_points_box"
    bl_label = "Box Select Keypoints"
    bl_description = "Select the keypoints within a box; with Shift in addition, with Ctrl take them out"

    extend: BoolProperty(name="Extend", description="Keep what is selected", options={"SKIP_SAVE"})
    subtract: BoolProperty(name="Subtract", description="Take out of the selection", options={"SKIP_SAVE"})
    corners: FloatVectorProperty(
        name="Corners",
        description="Two opposite corners in pixels of the region: x, y, x, y",
        size=4,
        options={"SKIP_SAVE"},
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Select what is within the corners."""
        x1, y1, x2, y2 = self.corners
        self._select(photo_scene(context), (x1, y1), (x2, y2))
        return {"FINISHED"}

    def invoke(self, context: bpy.types.Context, event: "bpy.types.Event") -> set[str]:
        """Begin a box where the mouse was pressed."""
        area, region = context.area, context.region
        self._start = (event.mouse_prev_press_x - region.x, event.mouse_prev_press_y - region.y)
        STATE.box = (self._start, mouse(event))
        context.workspace.status_text_set(iface("Release to select; Shift: in addition, Ctrl: take out, Esc: cancel"))
        context.window_manager.modal_handler_add(self)
        area.tag_redraw()
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: "bpy.types.Event") -> set[str]:
        """Draw the box until the button is released."""
        if event.type == "MOUSEMOVE":
            STATE.box = (self._start, mouse(event))
            redraw(context)
        elif event.type in {"ESC", "RIGHTMOUSE"}:
            self.cancel(context)
            return {"CANCELLED"}
        elif event.type == "LEFTMOUSE" and event.value == "RELEASE":
            self.cancel(context)
            self.extend, self.subtract = self.extend or event.shift, self.subtract or event.ctrl
            self.corners = (*self._start, *mouse(event))
            try:
                return self.execute(context)
            except AddonError as error:
                return self.fail(error)
        return {"RUNNING_MODAL"}

    def cancel(self, context: bpy.types.Context) -> None:
        """Take the box away."""
        STATE.box = None
        context.workspace.status_text_set(None)
        redraw(context)

    def _select(self, seen: PhotoScene, first: Vector2, second: Vector2) -> None:
        inside = points_in_box(seen.points(), seen.view, first, second)
        before = selected_points(seen.armature)
        if self.subtract:
            after = tuple(name for name in before if name not in inside)
        else:
            after = (*before, *inside) if self.extend else inside
        active = active_point(seen.armature)
        select_points(seen.armature, after, active if active in after else next(iter(after), ""))

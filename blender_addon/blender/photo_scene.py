# SPDX-License-Identifier: GPL-3.0-or-later
"""What the photograph's tool has before it: the body, its newest record, where the picture is seen."""

from dataclasses import dataclass

import bpy
from bpy_extras.view3d_utils import location_3d_to_region_2d

from ..core.errors import SceneError
from ..core.photo_view import PhotoPoint, PhotoView, photo_points, uncrowded
from ..core.record import Record, Vector2
from . import live_edit
from .bodies import body_camera, find_body
from .selection import active_point, selected_points

TOOL = "ikol.photo_points"


@dataclass
class _State:
    """What lasts from one event or redraw to the next; names only, nothing of Blender's."""

    dragged: tuple[str, Record] | None = None
    """The armature whose points are dragged, and its record as the drag has it."""
    hovered: str = ""
    """The point under the mouse."""
    box: tuple[Vector2, Vector2] | None = None
    """Corners of the box that is being drawn, in the region."""
    points: tuple[Record, tuple[PhotoPoint, ...]] | None = None
    """The points of the record that was shown last; a redraw must not compute them again."""


STATE = _State()


@dataclass(frozen=True)
class PhotoScene:
    """A photograph as it is seen in a 3D view, with the points of one body. Not to be kept."""

    armature: bpy.types.Object
    record: Record
    view: PhotoView
    scale: float
    """Screen pixels for one pixel of the design: Blender's resolution scale."""

    def points(self) -> list[PhotoPoint]:
        """Return the points that are shown and can be picked."""
        if STATE.points is None or STATE.points[0] is not self.record:
            STATE.points = (self.record, photo_points(self.record))
        kept = (*selected_points(self.armature), active_point(self.armature))
        return uncrowded(STATE.points[1], self.view, self.scale, kept)


def photo_scene(context: bpy.types.Context) -> PhotoScene:
    """Return what is seen in the 3D view of the context.

    Raises:
        AddonError: There is no body with a photograph, or the view does not look through its camera.
    """
    armature = find_body(context)
    if armature is None:
        raise SceneError("select a body that was made by Pose from Image")
    camera = body_camera(armature)
    if camera is None:
        raise SceneError("this body was not made from a photograph, or its camera was deleted")
    space, region_3d = context.space_data, context.region_data
    if space is None or space.type != "VIEW_3D" or region_3d is None or context.region.type != "WINDOW":
        raise SceneError("move the mouse over a 3D view")
    seen_by = space.camera if space.use_local_camera else context.scene.camera
    if region_3d.view_perspective != "CAMERA" or seen_by != camera:
        raise SceneError("the view does not look through the camera of the photograph; use Edit on Photograph")
    record = newest_record(armature)
    view = None if record.camera is None else PhotoView.from_frame(camera_frame(context, camera), record.camera)
    if view is None:
        raise SceneError("the photograph is not seen in this view")
    return PhotoScene(armature, record, view, ui_scale(context))


def newest_record(armature: bpy.types.Object) -> Record:
    """Return the record of a body, of the drag while one runs.

    Raises:
        EvidenceError: What is stored cannot be read.
    """
    if STATE.dragged is not None and STATE.dragged[0] == armature.name:
        return STATE.dragged[1]
    return live_edit.newest_record(armature)


def ui_scale(context: bpy.types.Context) -> float:
    """Return Blender's resolution scale; it is 0 until there is a window."""
    return context.preferences.system.ui_scale or 1.0


def is_tool_active(context: bpy.types.Context) -> bool:
    """Return whether the photograph's tool is the one in use."""
    if context.mode not in {"OBJECT", "POSE"}:
        return False
    tool = context.workspace.tools.from_space_view3d_mode(context.mode, create=False)
    return tool is not None and tool.idname == TOOL


def redraw(context: bpy.types.Context) -> None:
    """Have all 3D views of the window drawn again, without their sidebars: a drag does that often."""
    for area in context.screen.areas if context.screen is not None else ():
        for region in area.regions if area.type == "VIEW_3D" else ():
            if region.type == "WINDOW":
                region.tag_redraw()


def camera_frame(context: bpy.types.Context, camera: bpy.types.Object) -> list[Vector2]:
    """Return the corners of the camera's frame in the region: top left, top right, bottom left."""
    place = camera.matrix_world.normalized()  # Blender leaves a camera's scale out of what it sees
    top_right, _, bottom_left, top_left = camera.data.view_frame(scene=context.scene)
    corners = [
        location_3d_to_region_2d(context.region, context.region_data, place @ corner)
        for corner in (top_left, top_right, bottom_left)
    ]
    return [(0.0, 0.0) if corner is None else (corner.x, corner.y) for corner in corners]

# SPDX-License-Identifier: GPL-3.0-or-later
"""The persons that were found on a photograph, where they are kept and where they are seen."""

from dataclasses import dataclass

import bpy

from ..core.errors import SceneError
from ..core.people import People, decode_people, encode_people
from ..core.photo_view import PhotoView
from ..core.record import Vector2
from ..core.rig import PEOPLE_PROPERTY
from .bodies import is_in_scene
from .photo_scene import camera_frame, ui_scale

TOOL = "ikol.people"


@dataclass
class _State:
    """What lasts from one event or redraw to the next."""

    hovered: int | None = None
    """The person whose box is under the mouse."""
    box: tuple[Vector2, Vector2] | None = None
    """Corners of the box that is being drawn, in the region."""


STATE = _State()


@dataclass(frozen=True)
class PeopleScene:
    """A photograph with the persons on it, as it is seen in a 3D view. Not to be kept."""

    camera: bpy.types.Object
    people: People
    view: PhotoView
    scale: float


def has_people(camera: bpy.types.Object | None) -> bool:
    """Return whether persons were looked for on the photograph of a camera."""
    return camera is not None and camera.type == "CAMERA" and PEOPLE_PROPERTY in camera and is_in_scene(camera)


def read_people(camera: bpy.types.Object) -> People:
    """Return the persons of a camera's photograph.

    Raises:
        EvidenceError: What is stored cannot be read.
    """
    return decode_people(str(camera[PEOPLE_PROPERTY]))


def write_people(camera: bpy.types.Object, people: People) -> None:
    """Store the persons with the camera."""
    camera[PEOPLE_PROPERTY] = encode_people(people)


def people_camera(context: bpy.types.Context) -> bpy.types.Object:
    """Return the scene's camera on whose photograph persons were found.

    Raises:
        SceneError: It is another camera.
    """
    if not has_people(context.scene.camera):
        raise SceneError("no persons were looked for on the photograph of this camera; use Find Persons")
    return context.scene.camera


def people_scene(context: bpy.types.Context) -> PeopleScene:
    """Return what is seen in the 3D view of the context.

    Raises:
        AddonError: The view does not look through a camera with persons.
    """
    camera = people_camera(context)
    space, region_3d = context.space_data, context.region_data
    if space is None or space.type != "VIEW_3D" or region_3d is None or context.region.type != "WINDOW":
        raise SceneError("move the mouse over a 3D view")
    seen_by = space.camera if space.use_local_camera else context.scene.camera
    if region_3d.view_perspective != "CAMERA" or seen_by != camera:
        raise SceneError("the view does not look through the camera of the photograph; press Numpad 0")
    people = read_people(camera)
    view = PhotoView.from_frame(camera_frame(context, camera), people.camera)
    if view is None:
        raise SceneError("the photograph is not seen in this view")
    return PeopleScene(camera, people, view, ui_scale(context))


def is_people_tool_active(context: bpy.types.Context) -> bool:
    """Return whether the tool that picks persons is the one in use."""
    if context.mode != "OBJECT":
        return False
    tool = context.workspace.tools.from_space_view3d_mode("OBJECT", create=False)
    return tool is not None and tool.idname == TOOL

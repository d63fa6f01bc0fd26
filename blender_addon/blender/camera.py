# SPDX-License-Identifier: GPL-3.0-or-later
"""The camera that looks at the person as the photograph did, with the photograph behind the body."""

import logging
import math
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

from ..core.body import FloatArray
from ..core.photo import Orientation
from ..core.pose_conversion import BlenderCamera, to_blender_camera, to_photo_camera
from ..core.record import PhotoCamera, Record
from .armature import link_visibly
from .bodies import body_camera, body_to_world

logger = logging.getLogger(__name__)

DISPLAY_SIZE = 0.3
"""Metres that the camera is drawn with; Blender's own one metre is half as large as the person."""


def build_camera(
    context: bpy.types.Context, photo: PhotoCamera, image_path: Path, orientation: Orientation, place: FloatArray
) -> bpy.types.Object:
    """Make the camera of a picture, with the picture behind, and let the scene render through it.

    Args:
        context: For the collection and the scene.
        photo: The placed camera.
        image_path: The picture file; Blender reads it itself.
        orientation: How the file must be turned.
        place: Where the body stands (`body_to_world`).
    """
    converted = to_blender_camera(photo, place)
    data = bpy.data.cameras.new("IKOL Camera")
    camera = bpy.data.objects.new("IKOL Camera", data)
    link_visibly(context, camera)
    data.sensor_fit = "HORIZONTAL"
    data.sensor_width = converted.sensor_width_mm
    data.lens = converted.lens_mm
    data.shift_x, data.shift_y = converted.shift_x, converted.shift_y
    data.display_size = DISPLAY_SIZE
    camera.matrix_world = Matrix(converted.matrix_world.tolist())
    _show_photo(data, image_path, orientation)
    _fit_render(context.scene, photo, converted)
    context.scene.camera = camera
    return camera


def _show_photo(data: "bpy.types.Camera", image_path: Path, orientation: Orientation) -> None:
    """Put the picture behind the body. Blender does not read the EXIF orientation: turn it here.

    FIT measures the unturned picture against the camera's frame; a picture turned by a quarter is then too small by
    the ratio of its sides, which the scale gives back.
    """
    try:
        image = bpy.data.images.load(str(image_path), check_existing=True)
    except RuntimeError as error:  # gone since it was sent; the pose is worth having without it
        logger.warning("no picture behind the body: %s", error)
        return
    background = data.background_images.new()
    background.image = image
    background.frame_method = "FIT"
    background.display_depth = "BACK"
    background.alpha = 1.0
    background.use_flip_x = orientation.is_mirrored
    background.rotation = 0.5 * math.pi * orientation.quarter_turns  # clockwise, seen in 4.3; flips come first
    if orientation.swaps_sides and min(image.size) > 0:
        background.scale = max(image.size) / min(image.size)
    data.show_background_images = True


def _fit_render(scene: bpy.types.Scene, photo: PhotoCamera, converted: BlenderCamera) -> None:
    render = scene.render
    render.resolution_x, render.resolution_y = photo.width, photo.height
    render.pixel_aspect_x, render.pixel_aspect_y = converted.pixel_aspect_x, converted.pixel_aspect_y


def current_photo_camera(armature: bpy.types.Object, record: Record) -> PhotoCamera | None:
    """Return the camera of the record as it stands in the scene now; as stored when it is gone or was rebuilt.

    The user may have moved the body, the camera, or set another focal length: what is seen is what is solved.
    """
    camera = body_camera(armature)
    if record.camera is None or camera is None:
        return record.camera
    data = camera.data
    if data.type != "PERSP" or data.sensor_fit != "HORIZONTAL":
        return record.camera
    seen = BlenderCamera(np.array(camera.matrix_world), data.lens, data.sensor_width, data.shift_x, data.shift_y)
    return to_photo_camera(seen, record.camera, body_to_world(armature))


def look_through(context: bpy.types.Context) -> None:
    """Show the scene's camera in the 3D view that the user works in; without a window there is none."""
    screen = context.screen
    areas = [] if screen is None else [area for area in screen.areas if area.type == "VIEW_3D"]
    if not areas:
        return
    area = context.area if context.area in areas else max(areas, key=lambda area: area.width * area.height)
    space = area.spaces.active
    space.region_3d.view_perspective = "CAMERA"
    space.overlay.show_relationship_lines = False  # one from each keypoint to its armature, all across the photograph
    regions = [region for region in area.regions if region.type == "WINDOW"]
    if regions and not bpy.app.background:
        with context.temp_override(area=area, region=regions[0]):
            bpy.ops.view3d.view_center_camera()

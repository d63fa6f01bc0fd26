# SPDX-License-Identifier: GPL-3.0-or-later
"""The camera that looks at the person as the photograph did, with the photograph behind the body."""

import logging
import math
import os
from pathlib import Path

import bpy
import msgspec
import numpy as np
from mathutils import Matrix

from ..core.body import FloatArray
from ..core.errors import SceneError
from ..core.photo import Orientation
from ..core.pose_conversion import BlenderCamera, CameraData, fitted_to_width, to_blender_camera, to_photo_camera
from ..core.record import PhotoCamera, Record
from .armature import link_visibly
from .bodies import body_camera, body_to_world, is_in_scene, picture_camera

logger = logging.getLogger(__name__)

SAME_SHAPE = 0.005
"""Relative difference of the sides' ratio of render and picture that nobody sees."""

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
    data = bpy.data.cameras.new("IKOL Camera")
    camera = bpy.data.objects.new("IKOL Camera", data)
    link_visibly(context, camera)
    data.display_size = DISPLAY_SIZE
    place_camera(context, camera, photo, place)
    _show_photo(data, image_path, orientation)
    context.scene.camera = camera
    return camera


def place_camera(context: bpy.types.Context, camera: bpy.types.Object, photo: PhotoCamera, place: FloatArray) -> None:
    """Put a camera where the photograph was taken, with its lens, and have the scene rendered in its size."""
    converted, data = to_blender_camera(photo, place), camera.data
    data.sensor_fit = "HORIZONTAL"
    data.sensor_width = converted.sensor_width_mm
    data.lens = converted.lens_mm
    data.shift_x, data.shift_y = converted.shift_x, converted.shift_y
    camera.matrix_world = Matrix(converted.matrix_world.tolist())
    _fit_render(context.scene, photo, converted)


def use_scene_camera(
    context: bpy.types.Context, photo: PhotoCamera, image_path: Path, orientation: Orientation
) -> bpy.types.Object:
    """Put the picture behind what the scene's camera sees, and render in the picture's shape; the camera stays."""
    camera = scene_camera(context)
    show_photo_once(camera, image_path, orientation)
    take_shape(context.scene, photo)
    return camera


def show_photo_once(camera: bpy.types.Object, image_path: Path, orientation: Orientation) -> None:
    """Put the picture behind what a camera of the scene sees, instead of the same one that was there."""
    file = os.path.realpath(image_path)
    for background in list(camera.data.background_images):
        if _shown_file(background) == file:
            camera.data.background_images.remove(background)
    _show_photo(camera.data, image_path, orientation)


def shown_files(data: "bpy.types.Camera") -> set[str]:
    """Return the files of the pictures behind what a camera sees, without links on the way to them."""
    return {file for file in map(_shown_file, data.background_images) if file is not None}


def _shown_file(background: "bpy.types.CameraBackgroundImage") -> str | None:
    image = background.image
    if image is None or not image.filepath:
        return None
    return os.path.realpath(bpy.path.abspath(image.filepath, library=image.library))


def scene_camera(context: bpy.types.Context) -> bpy.types.Object:
    """Return the scene's camera, which has taken the photograph.

    Raises:
        SceneError: There is none, or no pinhole sees as it does.
    """
    camera = context.scene.camera
    if camera is None or camera.type != "CAMERA":
        raise SceneError("the scene has no camera; add one, or choose New Camera in the panel")
    check_pinhole(camera)
    return camera


def get_camera(name: str) -> bpy.types.Object:
    """Return the camera of that name, which has taken a photograph.

    Raises:
        SceneError: It is gone, or no pinhole sees as it does.
    """
    camera = bpy.data.objects.get(name)
    if camera is None or camera.type != "CAMERA" or not is_in_scene(camera):
        raise SceneError(f"the camera {name} is gone; nothing was changed")
    check_pinhole(camera)
    return camera


def check_pinhole(camera: bpy.types.Object) -> None:
    """Check that a pinhole sees as a camera of the scene does.

    Raises:
        SceneError: It does not.
    """
    if camera.data.type != "PERSP":
        raise SceneError(f"the camera {camera.name} is not a perspective one; change its type, or choose New Camera")


def photo_camera(camera: bpy.types.Object, photo: PhotoCamera, place: FloatArray) -> PhotoCamera:
    """Return a camera of the scene as the camera of a photograph: lens, principal point and where it stands.

    Args:
        camera: That has taken the picture.
        photo: What the picture tells of its camera, such as its size.
        place: Where the body stands (`body_to_world`).
    """
    square = msgspec.structs.replace(photo, focal_y=photo.focal_x)
    seen = fitted_to_width(_camera_data(camera), photo.width, photo.height)
    return to_photo_camera(seen, square, place)


def picture_size(image_path: Path, orientation: Orientation) -> tuple[int, int] | None:
    """Return width and height of the upright picture in pixels, None when Blender cannot read it."""
    try:
        width, height = bpy.data.images.load(str(image_path), check_existing=True).size
    except RuntimeError:
        return None
    if min(width, height) < 1:
        return None
    return (height, width) if orientation.swaps_sides else (width, height)


def _camera_data(camera: bpy.types.Object) -> CameraData:
    data = camera.data
    return CameraData(
        np.array(camera.matrix_world),
        data.lens,
        data.sensor_width,
        data.sensor_height,
        data.sensor_fit,
        data.shift_x,
        data.shift_y,
    )


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


def take_shape(scene: bpy.types.Scene, photo: PhotoCamera) -> None:
    """Have the scene rendered in the picture's size where its shape is another one, which the picture does not fit."""
    render, converted = scene.render, to_blender_camera(photo, np.eye(4))
    seen = render.resolution_x * render.pixel_aspect_x / (render.resolution_y * render.pixel_aspect_y)
    shape = photo.width * converted.pixel_aspect_x / (photo.height * converted.pixel_aspect_y)
    if not math.isclose(seen, shape, rel_tol=SAME_SHAPE):
        _fit_render(scene, photo, converted)


def current_photo_camera(armature: bpy.types.Object, record: Record) -> PhotoCamera | None:
    """Return the camera of the record as it stands in the scene now."""
    return None if record.camera is None else _standing(armature, body_camera(armature), record.camera)


def current_picture_cameras(armature: bpy.types.Object, record: Record) -> list[PhotoCamera]:
    """Return the cameras of several pictures of a pose as they stand in the scene now."""
    return [
        _standing(armature, picture_camera(armature, number), picture.camera)
        for number, picture in enumerate(record.pictures)
    ]


def _standing(armature: bpy.types.Object, camera: bpy.types.Object | None, stored: PhotoCamera) -> PhotoCamera:
    """Return a camera as it stands now; as stored when it is gone or was rebuilt.

    The user may have moved the body, the camera, or set another focal length: what is seen is what is solved.
    """
    if camera is None or camera.data.type != "PERSP":
        return stored
    stretch = stored.focal_x / stored.focal_y  # of pixels that are not square
    seen = fitted_to_width(_camera_data(camera), stored.width, stored.height * stretch)
    return to_photo_camera(seen, stored, body_to_world(armature))


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

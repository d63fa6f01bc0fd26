# SPDX-License-Identifier: Apache-2.0
"""The Blender camera sees every point where the photograph's camera does, wherever body and camera stand."""

import math

import bpy
import numpy as np
import pytest
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Euler, Matrix, Vector

PIXEL_TOLERANCE = 0.5  # Blender's matrices are float32; a hundredth of a pixel is usual

POINTS = np.array([[0, 0, 0], [0.5, 1.7, 0.1], [-0.6, 1.2, 0.4], [0.1, 0.9, -0.5], [0.0, 1.6, 0.0]])


def look_at(position, target):
    forward = np.subtract(target, position) / np.linalg.norm(np.subtract(target, position))
    right = np.cross(forward, [0, 1, 0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return rotation, -rotation @ np.array(position, float)


def opencv_project(camera, points):
    seen = points @ np.array(camera.rotation).reshape(3, 3).T + np.array(camera.translation)
    return seen[:, :2] / seen[:, 2:] * (camera.focal_x, camera.focal_y) + (camera.center_x, camera.center_y)


def blender_project(scene, thing, points, place):
    bpy.context.view_layer.update()
    width, height = scene.render.resolution_x, scene.render.resolution_y
    pixels = []
    for x, y, z in points:
        view = world_to_camera_view(scene, thing, place @ Vector((x, -z, y)))
        pixels.append((view.x * width, (1 - view.y) * height))
    return np.array(pixels)


@pytest.fixture
def photo_camera(part):
    def make(width=1080, height=1920, focal=(1500.0, 1500.0), center=None, position=(1.5, 1.8, 4.0)):
        rotation, translation = look_at(position, (0.0, 0.9, 0.0))
        conversion = part("core.pose_conversion")
        center = center or (width / 2, height / 2)
        return part("core.record").PhotoCamera(
            width,
            height,
            *focal,
            *center,
            conversion.as_rotation(rotation),
            conversion.as_vector(translation),
        )

    return make


CAMERAS = {
    "portrait": {},
    "landscape": {"width": 1920, "height": 1080},
    "off_centre": {"center": (700.0, 800.0)},
    "off_centre_landscape": {"width": 1600, "height": 900, "center": (1000.0, 300.0)},
    "unequal_focal": {"focal": (1500.0, 1400.0)},
    "unequal_focal_other_way": {"focal": (1400.0, 1500.0), "center": (500.0, 1000.0)},
    "square_from_behind": {"width": 900, "height": 900, "position": (-1.0, 0.4, -5.0)},
}


@pytest.mark.parametrize("name", CAMERAS)
@pytest.mark.parametrize("is_moved", [False, True], ids=["at_origin", "moved"])
def test_projection_equals_opencv(scene, part, photo_camera, tmp_path, make_png, name, is_moved):
    camera = photo_camera(**CAMERAS[name])
    place = Matrix.Identity(4)
    if is_moved:
        turned = Euler((0.3, -0.2, 1.0)).to_matrix().to_4x4()
        place = Matrix.Translation((3, -2, 0.5)) @ turned @ Matrix.Scale(2.0, 4)
    path = make_png(tmp_path / "p.png", 8, 8)
    upright = part("core.photo").Orientation()
    thing = part("blender.camera").build_camera(bpy.context, camera, path, upright, np.array(place))
    error = np.abs(blender_project(scene, thing, POINTS, place) - opencv_project(camera, POINTS)).max()
    assert error < PIXEL_TOLERANCE, f"{error:.3f} px"


@pytest.mark.parametrize("name", CAMERAS)
def test_the_camera_is_read_back_as_it_was(scene, part, photo_camera, tmp_path, make_png, name):
    camera = photo_camera(**CAMERAS[name])
    place = np.array(Matrix.Translation((1, 2, 3)) @ Euler((0.1, 0.2, 0.3)).to_matrix().to_4x4())
    path = make_png(tmp_path / "p.png", 8, 8)
    upright = part("core.photo").Orientation()
    thing = part("blender.camera").build_camera(bpy.context, camera, path, upright, place)
    conversion = part("core.pose_conversion")
    data = thing.data
    bpy.context.view_layer.update()
    seen = conversion.BlenderCamera(
        np.array(thing.matrix_world), data.lens, data.sensor_width, data.shift_x, data.shift_y
    )
    again = conversion.to_photo_camera(seen, camera, place)
    error = np.abs(opencv_project(again, POINTS) - opencv_project(camera, POINTS)).max()
    assert error < PIXEL_TOLERANCE, f"{error:.3f} px"
    assert again.focal_source == camera.focal_source


def test_the_photograph_lies_behind_the_body(body, photo):
    camera = bpy.context.scene.camera
    (background,) = camera.data.background_images
    assert camera.data.show_background_images
    assert bpy.path.abspath(background.image.filepath) == str(photo)
    assert (background.frame_method, background.display_depth) == ("FIT", "BACK")
    render = bpy.context.scene.render
    assert (render.resolution_x, render.resolution_y) == (300, 400)


@pytest.mark.parametrize(
    ("tag", "rotation", "flip", "scale"),
    [(1, 0.0, False, 1.0), (2, 0.0, True, 1.0), (3, math.pi, False, 1.0), (6, math.pi / 2, False, 4 / 3)],
)
def test_a_turned_photograph_is_turned_back(scene, part, photo_camera, tmp_path, make_png, tag, rotation, flip, scale):
    orientation = part("core.photo")._ORIENTATIONS[tag]
    sides = (300, 400) if orientation.swaps_sides else (400, 300)
    camera = photo_camera(*sides)
    path = make_png(tmp_path / "p.png", 400, 300)
    thing = part("blender.camera").build_camera(bpy.context, camera, path, orientation, np.eye(4))
    (background,) = thing.data.background_images
    assert background.rotation == pytest.approx(rotation)
    assert background.use_flip_x is flip
    assert background.scale == pytest.approx(scale)


def test_a_stretched_body_is_refused_with_a_sentence(part, photo_camera):
    errors = part("core.errors")
    with pytest.raises(errors.SceneError, match="scaled unevenly or mirrored; apply its scale"):
        part("core.pose_conversion").to_blender_camera(photo_camera(), np.diag([1.0, 2.0, 1.0, 1.0]))

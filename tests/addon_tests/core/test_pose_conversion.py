# SPDX-License-Identifier: Apache-2.0
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy_body import quat_to_rotmat

from blender_addon.core.errors import SceneError
from blender_addon.core.pose_conversion import (
    CameraData,
    as_rotation,
    as_vector,
    body_to_scene,
    continuous_quaternion,
    fitted_to_width,
    project,
    scene_to_body,
    to_blender,
    to_blender_camera,
    to_photo_camera,
    to_smpl,
)
from blender_addon.core.record import PhotoCamera

TOLERANCE = 1e-9  # float64 throughout, numbers up to a hundred, a handful of products

coordinates = st.floats(-100, 100, allow_subnormal=False)
points = arrays(np.float64, (3,), elements=coordinates)
angles = st.floats(-math.pi, math.pi)
scales = st.floats(0.01, 100)


@st.composite
def rotations(draw):
    quat = np.array(draw(st.tuples(*[st.floats(-1, 1)] * 4)))
    return quat_to_rotmat(quat) if np.linalg.norm(quat) > 1e-3 else np.eye(3)


@st.composite
def places(draw):
    """A body anywhere in the scene: rotation, translation and one scale."""
    matrix = np.eye(4)
    matrix[:3, :3] = draw(rotations()) * draw(scales)
    matrix[:3, 3] = draw(points)
    return matrix


@st.composite
def cameras(draw):
    width, height = draw(st.integers(16, 8000)), draw(st.integers(16, 8000))
    focal = draw(st.floats(10, 1e4))
    return PhotoCamera(
        width,
        height,
        focal,
        focal * draw(st.floats(0.5, 2)),
        draw(st.floats(-100, 8000)),
        draw(st.floats(-100, 8000)),
        as_rotation(draw(rotations())),
        as_vector(draw(points)),
        "exif",
    )


def test_up_and_front_are_smpls():
    assert to_blender([0, 1, 0]).tolist() == [0, 0, 1]  # up
    assert to_blender([0, 0, 1]).tolist() == [0, -1, 0]  # where the person looks
    assert to_blender([1, 0, 0]).tolist() == [1, 0, 0]  # the person's left


@given(points)
def test_axes_there_and_back(point):
    assert np.array_equal(to_smpl(to_blender(point)), point)


@given(points, places())
def test_scene_and_body_there_and_back(point, place):
    again = scene_to_body(body_to_scene(point, place), place)
    limit = TOLERANCE * (1 + np.abs(place).max() / np.cbrt(np.linalg.det(place[:3, :3])))
    assert np.abs(again - point).max() < 100 * limit


@given(cameras(), places())
def test_a_camera_read_back_from_blender_is_the_same(camera, place):
    again = to_photo_camera(to_blender_camera(camera, place), camera, place)
    for name in ("focal_x", "focal_y", "center_x", "center_y"):
        assert getattr(again, name) == pytest.approx(getattr(camera, name), rel=1e-9, abs=1e-6)
    assert again.rotation == pytest.approx(camera.rotation, abs=1e-9)
    size = np.abs(place[:3, 3]).max() / np.cbrt(np.linalg.det(place[:3, :3]))
    assert again.translation == pytest.approx(camera.translation, abs=1e-9 * (100 + size))
    assert again.focal_source == "exif"


def test_a_lens_that_the_user_changed_is_no_longer_the_photographs():
    camera = PhotoCamera(1000, 500, 800, 800, 500, 250, as_rotation(np.eye(3)), (0, 0, 4), "exif")
    seen = to_blender_camera(camera, np.eye(4))
    changed = to_photo_camera(seen.__class__(**{**vars(seen), "lens_mm": seen.lens_mm * 1.5}), camera, np.eye(4))
    assert changed.focal_x == pytest.approx(1200)
    assert changed.focal_source == "given"


def test_a_landscape_picture_has_the_lens_of_a_35_mm_camera():
    camera = PhotoCamera(3600, 2400, 3500, 3500, 1800, 1200, as_rotation(np.eye(3)), (0, 0, 4))
    assert to_blender_camera(camera, np.eye(4)).lens_mm == pytest.approx(35)


def test_a_camera_that_nobody_placed_is_refused():
    with pytest.raises(SceneError, match="did not place the camera; run Pose from Image again"):
        to_blender_camera(PhotoCamera(10, 10, 10, 10, 5, 5), np.eye(4))


@pytest.mark.parametrize("scale", [(1, 2, 1), (-1, 1, 1), (0, 0, 0)], ids=["uneven", "mirrored", "zero"])
def test_a_body_without_one_scale_is_refused(scale):
    with pytest.raises(SceneError, match="scaled unevenly or mirrored; apply its scale"):
        scene_to_body([0, 0, 0], np.diag([*scale, 1.0]))


@given(st.tuples(*[st.floats(-1, 1)] * 4), st.tuples(*[st.floats(-1, 1)] * 4))
def test_a_continuous_quaternion_is_the_same_rotation_on_the_nearer_side(quat, previous):
    chosen = continuous_quaternion(quat, previous)
    assert chosen in (quat, tuple(-value for value in quat))
    assert np.dot(chosen, previous) >= 0


def test_a_sensor_fitted_to_any_side_sees_the_same_as_one_fitted_to_the_width():
    # a portrait of 600 x 900: AUTO fits the height with the sensor's width, VERTICAL with its height
    cases = (("AUTO", 36.0), ("VERTICAL", 24.0), ("HORIZONTAL", 36.0))
    for fit, sensor in cases:
        seen = fitted_to_width(CameraData(np.eye(4), 50.0, 36.0, 24.0, fit, 0.1, -0.2), 600.0, 900.0)
        fitted = 600.0 if fit == "HORIZONTAL" else 900.0
        assert seen.lens_mm * 600.0 / seen.sensor_width_mm == pytest.approx(50.0 * fitted / sensor), fit
        assert (600.0 * seen.shift_x, 600.0 * seen.shift_y) == pytest.approx((0.1 * fitted, -0.2 * fitted)), fit


def test_points_are_where_a_bent_picture_shows_them():
    # x = 0.5, y = 0.25: r^2 = 0.3125, radial 1 - 0.25 * 0.3125 + 0.0625 * 0.09765625 = 0.92797852
    camera = PhotoCamera(640, 480, 500, 400, 320, 240, (1, 0, 0, 0, 1, 0, 0, 0, 1), (0, 0, 0))
    bent = msgspec.structs.replace(camera, distortion=(-0.25, 0.0625, 0.01, 0.02))
    expected = (320 + 500 * (0.46398926 + 0.0025 + 0.01625), 240 + 400 * (0.23199463 + 0.004375 + 0.005))
    np.testing.assert_allclose(project(bent, [[1.0, 0.5, 2.0]])[0], expected, atol=1e-4)  # eight digits above
    np.testing.assert_allclose(project(camera, [[1.0, 0.5, 2.0]])[0], (570.0, 340.0))


def test_points_beyond_the_fold_of_a_barrel_stay_at_its_edge():
    camera = PhotoCamera(640, 480, 500, 500, 320, 240, (1, 0, 0, 0, 1, 0, 0, 0, 1), (0, 0, 0))
    bent = msgspec.structs.replace(camera, distortion=(-0.3, 0.0, 0.0, 0.0))
    x = project(bent, [[9.0, 0.0, 1.0]])[0, 0]
    assert x == pytest.approx(320 + 500 * 0.70273, abs=0.1)  # r (1 - 0.3 r^2) at r = 1.054

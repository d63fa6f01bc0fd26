# SPDX-License-Identifier: Apache-2.0
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from blender_addon.core import keypoints
from blender_addon.core.keypoints import KeypointState
from blender_addon.core.photo_view import (
    PRECISE,
    PhotoPoint,
    PhotoView,
    PointDrag,
    nearest_point,
    nudged,
    photo_points,
    point_to_add,
    points_in_box,
    uncrowded,
)
from blender_addon.core.record import Keypoints2D, PhotoCamera, Pose, Record, Solution

IDENTITY = (1.0, 0.0, 0.0, 0.0)
CAMERA = PhotoCamera(1000, 800, 900.0, 900.0, 500.0, 400.0, (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0), (0.0, 0.0, 3.0))
VIEW = PhotoView((100.0, 500.0), (0.5, 0.0), (0.0, -0.5))
"""Half the picture's size, its top left corner at (100, 500)."""


@pytest.fixture
def record():
    names = ("left_wrist", "left_index", "nose", "mouth_left")
    seen = Keypoints2D(names, ((100.0, 200.0), (120.0, 220.0), (500.0, 50.0), (504.0, 60.0)), (4.0,) * 4)
    pose = Pose((0.0, 0.0, 0.0), (IDENTITY,) * 24, (0.0,) * 10)
    pixels = {
        "left_wrist": (103.0, 204.0), "L_Wrist": (104.0, 204.0), "L_Hand": (130.0, 230.0), "Head": (500.0, 80.0),
        "nose": (500.0, 50.0),
    }  # fmt: skip
    solution = Solution(pose, CAMERA, {}, pixels, "converged", 1, 1.0, 0.1)
    return Record("a.jpg", (seen,), solution, {"mouth_left": 0.2})


def point(name, x, y, state=KeypointState.DETECTED):
    return PhotoPoint(name, (x, y), None, state)


def test_the_corners_of_the_frame_are_those_of_the_picture():
    view = PhotoView.from_frame([(100, 500), (600, 500), (100, 100)], CAMERA)
    assert view.to_region((0, 0)) == pytest.approx((100, 500))
    assert view.to_region((1000, 800)) == pytest.approx((600, 100))
    assert view.to_region((500, 400)) == pytest.approx((350, 300))


@pytest.mark.parametrize(
    ("frame", "corner"),
    [([(0, 400), (1000, 400), (0, 0)], (250, 400)), ([(0, 1000), (500, 1000), (0, 0)], (0, 700))],
)
def test_in_a_frame_of_another_shape_the_picture_is_fitted_and_centred(frame, corner):
    assert PhotoView.from_frame(frame, CAMERA).to_region((0, 0)) == pytest.approx(corner)


def test_pixels_that_are_not_square_fill_the_frame():
    # focal lengths 900 and 450 pixels: a pixel is twice as high as it is wide
    camera = PhotoCamera(1000, 400, 900.0, 450.0, 500.0, 200.0)
    view = PhotoView.from_frame([(100, 500), (600, 500), (100, 100)], camera)
    assert view.to_region((1000, 400)) == pytest.approx((600, 100))


@pytest.mark.parametrize("frame", [[(5, 5), (5, 5), (5, 0)], [(math.nan, 0), (9, 0), (0, 9)]])
def test_a_frame_without_area_gives_no_view(frame):
    assert PhotoView.from_frame(frame, CAMERA) is None


@given(st.floats(-3000, 3000), st.floats(-3000, 3000), st.floats(0.01, 50), st.floats(-math.pi, math.pi))
def test_region_and_picture_are_inverse(x, y, zoom, roll):
    right = (zoom * math.cos(roll), zoom * math.sin(roll))
    view = PhotoView((37.0, -5.0), right, (1.5 * right[1], -1.5 * right[0]))
    # float64 with sums of at most 2e5: ten digits are left
    assert view.to_picture(view.to_region((x, y))) == pytest.approx((x, y), abs=1e-6)


def test_a_point_has_its_target_its_solved_place_and_its_state(record):
    by_name = {
        shown.name: shown for shown in photo_points(keypoints.move_pixels(record, {"left_wrist": (90.0, 190.0)}))
    }
    assert by_name["left_wrist"] == PhotoPoint("left_wrist", (90.0, 190.0), (103.0, 204.0), KeypointState.EDITED)
    assert by_name["left_index"].pixel == (110.0, 210.0)  # it goes along with its wrist
    assert by_name["left_index"].solved is None
    assert by_name["mouth_left"].state is KeypointState.DOUBTFUL


def test_the_nearest_point_within_the_radius_is_picked():
    points = [point("nose", 100, 100), point("left_ear", 120, 100)]
    assert nearest_point(points, VIEW, (158.0, 450.0), 10) == "left_ear"
    assert nearest_point(points, VIEW, (158.0, 470.0), 10) is None
    assert nearest_point([], VIEW, (0.0, 0.0), 1e9) is None


@pytest.mark.parametrize("corners", [((140, 440), (155, 460)), ((155, 440), (140, 460)), ((155, 460), (140, 440))])
def test_a_box_may_be_drawn_from_any_corner(corners):
    points = [point("nose", 100, 100), point("left_ear", 120, 100)]
    assert points_in_box(points, VIEW, *corners) == ("nose",)


def test_crowded_minor_points_are_left_out_until_they_are_edited_or_kept():
    points = [point("left_eye", 101, 100), point("nose", 100, 100), point("left_ear", 160, 100)]
    edited = point("right_eye", 102, 100, KeypointState.EDITED)
    shown = [shown.name for shown in uncrowded([*points, edited], VIEW, 1.0, ())]
    assert shown == ["nose", "left_ear", "right_eye"]
    assert "left_eye" in [shown.name for shown in uncrowded(points, VIEW, 1.0, ("left_eye",))]
    nearer = PhotoView((0.0, 0.0), (20.0, 0.0), (0.0, -20.0))
    assert len(uncrowded(points, nearer, 1.0, ())) == 3
    assert len(uncrowded(points, nearer, 2.0, ())) == 2  # twice as many pixels are as large for the eye as one


def test_main_points_are_never_left_out():
    points = [point("left_hip", 100, 100), point("right_hip", 100, 100)]
    assert len(uncrowded(points, VIEW, 1.0, ())) == 2


def at(pixel):
    return VIEW.to_region(pixel)


def test_a_double_click_adds_the_nearest_joint_that_nothing_speaks_of(record):
    assert point_to_add(record, VIEW, at((132.0, 232.0)), 50) == "L_Hand"
    assert point_to_add(record, VIEW, at((104.0, 204.0)), 50) == "L_Hand"  # left_wrist is shown, L_Wrist is its twin
    assert point_to_add(record, VIEW, at((900.0, 700.0)), 50) is None


def test_a_removed_landmark_comes_back_before_its_joint(record):
    without = keypoints.remove(record, ["left_wrist"])
    assert point_to_add(without, VIEW, at((104.0, 204.0)), 50) == "left_wrist"


def test_a_removed_landmark_that_the_solver_was_not_asked_for_comes_back_where_it_was_detected(record):
    pixels = {name: pixel for name, pixel in record.solution.pixels.items() if name != "left_wrist"}
    without = keypoints.remove(replace(record, solution=replace(record.solution, pixels=pixels)), ["left_wrist"])
    assert point_to_add(without, VIEW, at((99.0, 199.0)), 50) == "left_wrist"


def test_placing_drops_what_would_hold_the_point_back(record):
    held = keypoints.move_positions(record, {"L_Wrist": (1.0, 1.0, 1.0), "left_wrist": (1.0, 1.0, 1.0)})
    placed = keypoints.move_pixels(held, {"left_wrist": (1.0, 2.0)})
    assert placed.edits["left_wrist"].position is None
    assert "L_Wrist" not in placed.edits


def test_placing_keeps_the_lock_of_a_twin_and_turns_a_lock_in_space_into_one_on_the_picture(record):
    held = keypoints.move_positions(record, {"L_Wrist": (1.0, 1.0, 1.0), "left_wrist": (1.0, 1.0, 1.0)})
    placed = keypoints.move_pixels(keypoints.lock(held, ["L_Wrist", "left_wrist"]), {"left_wrist": (1.0, 2.0)})
    assert placed.edits["L_Wrist"].position == (1.0, 1.0, 1.0)
    assert placed.edits["left_wrist"].is_locked
    assert placed.edits["left_wrist"].position is None


def test_nudging_moves_from_where_the_point_is_shown(record):
    twice = nudged(nudged(record, ["left_wrist"], (1.0, 0.0)), ["left_wrist", "Spine1"], (0.0, -10.0))
    assert twice.edits["left_wrist"].pixel == (101.0, 190.0)
    assert "Spine1" not in twice.edits


def test_dragged_points_go_as_far_as_the_mouse(record):
    drag = PointDrag({"nose": (500.0, 50.0), "left_wrist": (100.0, 200.0)}, (10.0, 10.0))
    drag.move(VIEW, (25.0, 10.0))
    moved = drag.move(VIEW, (40.0, 0.0))
    assert moved == {"nose": pytest.approx((560.0, 70.0)), "left_wrist": pytest.approx((160.0, 220.0))}


def test_shift_slows_from_where_it_is_pressed():
    drag = PointDrag({"nose": (0.0, 0.0)}, (0.0, 0.0))
    drag.move(VIEW, (10.0, 0.0))
    assert drag.move(VIEW, (20.0, 0.0), is_precise=True)["nose"] == pytest.approx((20.0 + 20.0 * PRECISE, 0.0))


def test_a_drag_goes_on_where_it_was_when_the_view_is_zoomed_in_the_middle():
    drag = PointDrag({"nose": (0.0, 0.0)}, (0.0, 0.0))
    drag.move(VIEW, (10.0, 0.0))
    nearer = PhotoView((0.0, 0.0), (5.0, 0.0), (0.0, -5.0))
    assert drag.move(nearer, (15.0, 0.0))["nose"] == pytest.approx((21.0, 0.0))

# SPDX-License-Identifier: Apache-2.0
"""Several pictures of one pose: which one is shown, and that what was placed on the others goes on to count."""

import math

import numpy as np
import pytest
from msgspec.structs import replace

from blender_addon.core import keypoints
from blender_addon.core.errors import EvidenceError
from blender_addon.core.keypoints import PRESETS, KeypointState, effective_evidence, keypoint_state
from blender_addon.core.photo_view import sight_lines
from blender_addon.core.pictures import edited_points, placed_elsewhere, show_picture
from blender_addon.core.pose_conversion import project, ray
from blender_addon.core.record import (
    KeypointEdit,
    Keypoints2D,
    Keypoints3D,
    PhotoCamera,
    Picture,
    Pose,
    Record,
    Solution,
    Twist,
    ViewKeypoints2D,
    decode_record,
    encode_record,
)
from blender_addon.core.wording import listed_points

LEVEL = (1.0, 0, 0, 0, -1.0, 0, 0, 0, -1.0)
FRONT = PhotoCamera(1000, 800, 900.0, 900.0, 500.0, 400.0, LEVEL, (0.0, 1.0, 3.0))
ASIDE = PhotoCamera(600, 400, 500.0, 500.0, 300.0, 200.0, (0, 0, -1.0, 0, -1.0, 0, -1.0, 0, 0), (0.0, 1.0, 4.0))
NAMES = ("left_wrist", "left_index", "nose")
SEEN = Keypoints2D(NAMES, ((1.0, 2.0), (3.0, 4.0), (5.0, 6.0)), (2.0,) * 3)
SEEN_ASIDE = Keypoints2D(("left_wrist", "nose"), ((10.0, 20.0), (50.0, 60.0)), (3.0,) * 2)
SPACE = Keypoints3D(("L_Wrist", "nose"), ((0.5, 1.0, 0.0), (0.0, 1.5, 0.0)), (0.01,) * 2)
TWIST = Twist(("L_Elbow",), (0.1,), (0.2,))
CAMERAS = (FRONT, ASIDE)


@pytest.fixture
def record():
    pose = Pose((0.0, 0.0, 0.0), ((1.0, 0.0, 0.0, 0.0),) * 24, (0.0,) * 10)
    solution = Solution(pose, FRONT, {"L_Wrist": (0.5, 1.0, 0.0)}, {"L_Wrist": (9.0, 9.0)}, "converged", 1, 1.0, 0.1)
    pictures = (Picture("a.jpg", FRONT, SEEN, (0, 0, 9, 9)), Picture("b.jpg", ASIDE, SEEN_ASIDE, (1, 1, 8, 8)))
    return Record("a.jpg + 1", (SEEN, TWIST, SPACE), solution, box=(0, 0, 9, 9), pictures=pictures)


def blocks(record, kind):
    return [block for block in effective_evidence(record) if isinstance(block, kind)]


def test_another_picture_brings_its_keypoints_camera_and_box_and_leaves_the_pose(record):
    shown = show_picture(record, 1, CAMERAS)
    assert shown.evidence == (SEEN_ASIDE, TWIST, SPACE)
    assert (shown.camera, shown.box, shown.shown) == (ASIDE, (1, 1, 8, 8), 1)
    assert shown.solution.pose == record.solution.pose
    # camera aside: x = -z, y = 1 - y, z = 4 - x, in metres; 500 px focal length
    assert shown.solution.pixels == {"L_Wrist": pytest.approx((300.0, 200.0))}
    back = show_picture(shown, 0, CAMERAS)
    assert back == replace(record, solution=replace(record.solution, pixels=back.solution.pixels))


def test_cameras_that_the_user_has_moved_meanwhile_are_taken(record):
    front, aside = (replace(camera, translation=(0.0, 1.0, 5.0)) for camera in CAMERAS)
    shown = show_picture(record, 1, (front, aside))
    assert shown.camera == aside
    assert show_picture(shown, 0, (front, aside)).camera == front


def test_a_point_that_was_placed_on_a_picture_counts_while_another_one_is_shown(record):
    placed = keypoints.move_pixels(record, {"left_wrist": (11.0, 22.0)})
    shown = show_picture(placed, 1, CAMERAS)
    assert "left_wrist" not in shown.edits, "it is not there on this picture"
    (elsewhere,) = blocks(shown, ViewKeypoints2D)
    # with the hand that went along
    assert elsewhere == ViewKeypoints2D(("left_wrist", "left_index"), ((11.0, 22.0), (13.0, 24.0)), (0.75, 2.0), FRONT)
    assert blocks(shown, Keypoints2D) == [SEEN_ASIDE], "what this picture shows of the wrist counts too"
    (space,) = blocks(shown, Keypoints3D)
    assert space.names == ("nose",), "the wrist is not where the pictures saw it any more"
    assert not blocks(shown, Twist)
    assert keypoint_state(shown, "left_wrist") is KeypointState.EDITED
    assert blocks(show_picture(shown, 0, CAMERAS), Keypoints2D) == blocks(placed, Keypoints2D)


def test_one_point_can_be_placed_on_both(record):
    shown = show_picture(keypoints.move_pixels(record, {"left_wrist": (11.0, 22.0)}), 1, CAMERAS)
    both = keypoints.move_pixels(shown, {"left_wrist": (30.0, 40.0)})
    _, own = blocks(both, Keypoints2D)
    assert own.points == ((30.0, 40.0),)
    (elsewhere,) = blocks(both, ViewKeypoints2D)
    assert elsewhere.points[0] == (11.0, 22.0)
    assert edited_points(both) == ("left_wrist",)


def test_tolerances_belong_to_their_picture_and_locks_to_the_point(record):
    placed = keypoints.move_pixels(record, {"left_wrist": (11.0, 22.0), "nose": (5.0, 5.0)})
    placed = keypoints.set_tolerance(placed, ("left_wrist",), pixels=7.0)
    placed = keypoints.mute(placed, ("nose",))
    shown = show_picture(placed, 1, CAMERAS)
    assert shown.edits == {"nose": KeypointEdit(is_muted=True)}
    (elsewhere,) = blocks(shown, ViewKeypoints2D)
    assert dict(zip(elsewhere.names, elsewhere.sigma, strict=True)) == {"left_wrist": 7.0, "left_index": 2.0}


def test_a_place_in_space_is_newer_than_those_on_the_other_pictures(record):
    shown = show_picture(keypoints.move_pixels(record, {"left_wrist": (11.0, 22.0)}), 1, CAMERAS)
    moved = keypoints.move_positions(shown, {"L_Wrist": (0.1, 0.2, 0.3)})
    assert placed_elsewhere(shown) == ("left_wrist",)
    # its twin was placed, and is let go as on the picture itself
    assert placed_elsewhere(keypoints.move_positions(shown, {"left_wrist": (0.1, 0.2, 0.3)})) == ()
    assert placed_elsewhere(moved) == ()


@pytest.mark.parametrize(
    "forget",
    [
        lambda record: keypoints.reset(record, ("left_wrist",)),
        lambda record: keypoints.remove(record, iter(("left_wrist",))),
        PRESETS["PICTURE"].apply,
    ],
)
def test_what_is_reset_or_removed_is_so_on_all_pictures(record, forget):
    shown = show_picture(keypoints.move_pixels(record, {"left_wrist": (11.0, 22.0)}), 1, CAMERAS)
    assert not blocks(forget(shown), ViewKeypoints2D)


def test_a_joint_that_was_placed_on_another_picture_is_listed(record):
    shown = show_picture(keypoints.move_pixels(record, {"Spine2": (11.0, 22.0)}), 1, CAMERAS)
    assert "Spine2" in listed_points(shown)


def test_while_others_are_solo_a_point_on_another_picture_has_no_say(record):
    shown = show_picture(keypoints.move_pixels(record, {"left_wrist": (11.0, 22.0)}), 1, CAMERAS)
    assert not blocks(keypoints.solo(shown, ("nose",)), ViewKeypoints2D)


def test_pictures_are_stored_with_the_record(record):
    shown = show_picture(keypoints.move_pixels(record, {"left_wrist": (11.0, 22.0)}), 1, CAMERAS)
    assert decode_record(encode_record(shown)) == shown


@pytest.mark.parametrize("damage", [{"shown": 2}, {"shown": -1}])
def test_a_record_that_shows_no_picture_of_its_own_is_refused(record, damage):
    text = encode_record(record).replace('"shown":0', f'"shown":{damage["shown"]}')
    with pytest.raises(EvidenceError, match="cannot be read"):
        decode_record(text)


def test_edits_of_unknown_points_are_refused(record):
    text = encode_record(show_picture(keypoints.move_pixels(record, {"nose": (1.0, 2.0)}), 1, CAMERAS))
    with pytest.raises(EvidenceError, match="unknown point"):
        decode_record(text.replace('"edits":{"nose"', '"edits":{"third_hand"'))


def test_a_point_that_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        ViewKeypoints2D(("nose",), ((math.nan, 0.0),), (1.0,), FRONT)


def test_a_point_that_was_placed_on_another_picture_has_a_line_of_sight_through_where_it_is(record):
    target = (0.2, 1.1, 0.1)
    placed = keypoints.move_pixels(record, {"L_Wrist": tuple(project(FRONT, target))})
    shown = show_picture(placed, 1, CAMERAS)
    (line,) = sight_lines(shown, "L_Wrist")
    ends, seen = np.array(line)[[0, -1]], project(ASIDE, target)
    along, off = ends[1] - ends[0], seen - ends[0]
    assert abs(along[0] * off[1] - along[1] * off[0]) / np.linalg.norm(along) < 1e-6
    assert 0.0 < off @ along / (along @ along) < 1.0
    assert sight_lines(shown, "nose") == []
    assert sight_lines(placed, "L_Wrist") == [], "on its own picture it is a point"


def test_a_line_of_sight_leaves_a_lens_where_the_lens_shows_it():
    bent = replace(FRONT, distortion=(-0.25, 0.05, 0.001, -0.002))
    target = np.array((0.8, 1.6, 0.1))
    eye, direction = ray(bent, tuple(project(bent, target)))
    off = target - eye
    assert np.linalg.norm(off - (off @ direction) * direction) < 1e-5

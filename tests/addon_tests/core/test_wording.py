# SPDX-License-Identifier: Apache-2.0
"""Names, residuals and lines of the panel."""

import pytest
from msgspec.structs import replace

from blender_addon.core import keypoints, wording
from blender_addon.core.handles import HANDLES
from blender_addon.core.record import Keypoints2D, Keypoints3D, PhotoCamera, Pose, Record, Solution
from blender_addon.core.rig import JOINT_NAMES, POINT_NAMES

CAMERA = PhotoCamera(1000, 800, 1100.0, 1100.0, 500.0, 400.0, (1, 0, 0, 0, 1, 0, 0, 0, 1), (0.0, 0.0, 2.2))


def english(text):
    return text


@pytest.fixture
def record():
    """Three points on a picture; the body misses the wrist by 3-4-5 pixels and the knee by 12."""
    solution = Solution(
        pose=Pose((0, 0, 0), ((1.0, 0, 0, 0),) * len(JOINT_NAMES), (0.0,) * 10),
        camera=CAMERA,
        points={"left_wrist": (0.1, 0.0, 0.0), "left_knee": (0.0, 0.0, 2.2), "L_Wrist": (0.0, 0.5, 0.0)},
        pixels={"left_wrist": (103.0, 104.0), "left_knee": (50.0, 62.0), "nose": (10.0, 10.0)},
        status="converged",
        iterations=3,
        reprojection_px=5.0,
        seconds=0.002,
    )
    points = Keypoints2D(("nose", "left_wrist", "left_knee"), ((10, 10), (100, 100), (50, 50)), (2.0, 3.0, 4.0))
    return Record("photo.jpg", (points,), solution)


def test_every_point_has_a_name_of_its_own():
    assert set(wording.POINT_LABELS) == POINT_NAMES
    assert len(set(wording.POINT_LABELS.values())) == len(POINT_NAMES)
    assert wording.POINT_LABELS["left_foot_index"] == "Left Foot Index"
    assert wording.POINT_LABELS["L_Wrist"] == "Left Hand (handle)"
    assert wording.POINT_LABELS["L_Foot"] == "Left Foot (joint)"
    assert wording.POINT_LABELS["Spine1"] == "Spine 1 (joint)"


def test_a_residual_on_the_picture_is_told_in_metres_at_its_depth(record):
    # 5 px at 2.2 m through 1100 px of focal length are 1 cm; at 4.4 m 12 px are 4.8 cm
    wrist, knee = wording.point_residual(record, "left_wrist"), wording.point_residual(record, "left_knee")
    assert (wrist.pixels, wrist.metres) == pytest.approx((5.0, 0.01))
    assert (knee.pixels, knee.metres) == pytest.approx((12.0, 0.048))
    assert wording.residual_text(wrist) == "5.0 px, 1.0 cm"


def test_a_place_in_space_counts_in_metres(record):
    placed = keypoints.move_positions(record, {"left_wrist": (0.1, 0.0, 0.3)})
    assert wording.point_residual(placed, "left_wrist") == wording.Residual(metres=pytest.approx(0.3))
    file = replace(record, evidence=(Keypoints3D(("L_Wrist",), ((0.0, 0.0, 0.0),), (0.01,)),))
    assert wording.point_residual(file, "L_Wrist") == wording.Residual(metres=pytest.approx(0.5))
    assert wording.residual_text(wording.point_residual(record, "R_Foot")) == ""


def test_the_median_is_over_points_that_have_a_say(record):
    assert wording.median_residual(record).pixels == pytest.approx(5.0)
    assert wording.median_residual(keypoints.mute(record, ("left_knee",))).pixels == pytest.approx(2.5)
    assert wording.median_residual(keypoints.solo(record, ("left_knee",))).pixels == pytest.approx(12.0)


def test_the_list_has_edited_points_and_handles_and_no_removed_ones(record):
    edited = keypoints.move_positions(keypoints.remove(record, ("nose",)), {"R_Foot": (0, 0, 0)})
    listed = wording.listed_points(edited)
    assert listed[:3] == ("left_wrist", "left_knee", "R_Foot")
    assert set(listed[3:]) == {handle.point for handle in HANDLES}


def test_a_tolerance_is_the_users_or_what_the_evidence_says(record):
    assert wording.point_tolerance(record, "left_wrist") == wording.Residual(pixels=3.0)
    changed = keypoints.set_tolerance(record, ("left_wrist",), pixels=7.0)
    assert wording.point_tolerance(keypoints.mute(changed, ("left_wrist",)), "left_wrist").pixels == 7.0
    placed = keypoints.move_positions(record, {"left_wrist": (0, 0, 0)})
    assert wording.point_tolerance(placed, "left_wrist") == wording.Residual(metres=keypoints.POSITION_SIGMA)


def test_what_is_out_of_reach_is_told_with_the_farthest_first(record):
    locked = keypoints.lock(record, ("left_wrist", "L_Wrist"))
    missed = replace(locked, solution=replace(locked.solution, unreached={"L_Wrist": 0.042, "left_wrist": 0.1}))
    assert wording.out_of_reach(missed, english) == ("Left Wrist: 10.0 cm short", "Left Hand (handle): 4.2 cm short")
    assert set(wording.missed_locks(missed)) == {"left_wrist", "L_Wrist"}
    freed = keypoints.lock(missed, ("left_wrist",), is_locked=False)
    assert wording.out_of_reach(freed, english) == ("Left Hand (handle): 4.2 cm short",)


def test_words_are_translated_and_numbers_are_not():
    german = {"assumed": "angenommen", "{number} edits": "{number} Änderungen"}
    assert wording.focal_text(replace(CAMERA, focal_source="default"), lambda text: german[text]) == "40 mm, angenommen"
    assert wording.count_text(3, "1 edit", "{number} edits", lambda text: german[text]) == "3 Änderungen"
    assert wording.count_text(1, "1 edit", "{number} edits", english) == "1 edit"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (63, "1:03"), (3723.9, "1:02:03")])
def test_a_time_span_is_told_in_hours_minutes_seconds(seconds, text):
    assert wording.duration_text(seconds) == text


def test_what_was_refused_is_told_by_its_reason():
    counts = {"solve": 9, "error.cancelled": 3, "error.superseded": 40, "error.timeout": 1, "error.busy": 2}
    assert wording.refused_text(counts) == "2 busy, 1 timeout"
    assert wording.refused_text({"solve": 9, "ok": 9, "error.cancelled": 1}) == ""

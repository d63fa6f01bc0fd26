# SPDX-License-Identifier: Apache-2.0
import pytest
from msgspec.structs import replace

from blender_addon.core import keypoints
from blender_addon.core.errors import EvidenceError
from blender_addon.core.keypoints import PRESETS, STATE_COLORS, KeypointState, effective_evidence, keypoint_state
from blender_addon.core.record import (
    Anchor,
    Keypoints2D,
    Keypoints3D,
    Orientations,
    PhotoCamera,
    Pins,
    Pose,
    Record,
    RelativeKeypoints3D,
    Solution,
    Twist,
)

IDENTITY = (1.0, 0.0, 0.0, 0.0)
CAMERA = PhotoCamera(1000, 800, 900.0, 900.0, 500.0, 400.0, (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0), (0.0, 0.0, 3.0))
SEEN = Keypoints2D(
    ("left_wrist", "left_index", "right_wrist", "nose"), ((1.0, 2.0), (3.0, 4.0), (5.0, 6.0), (7.0, 8.0)), (2.0,) * 4
)
FELT = RelativeKeypoints3D(("left_wrist", "nose"), ((0.0, 0.0, 0.1), (0.0, 0.0, 0.2)), ((0.1, 0.1, 0.3),) * 2)
ANCHOR = Anchor((IDENTITY,) * 24, (0.3,) * 24)
TWIST = Twist(("L_Elbow",), (0.1,), (0.2,))


@pytest.fixture
def record():
    pose = Pose((0.0, 0.0, 0.0), (IDENTITY,) * 24, (0.0,) * 10)
    points = {"L_Wrist": (1.0, 1.0, 1.0), "L_Ankle": (0.1, 0, 0), "R_Ankle": (-0.1, 0, 0), "L_Foot": (0.1, 0, 0.1)}
    points |= {"R_Foot": (-0.1, 0, 0.1), "left_wrist": (1.0, 1.0, 1.1)}
    solution = Solution(pose, CAMERA, points, {}, "converged", 1, 1.0, 0.1)
    return Record("a.jpg", (SEEN, FELT, ANCHOR, TWIST), solution, {"nose": 0.2, "left_wrist": 0.9})


def block(record, kind):
    (found,) = [block for block in effective_evidence(record) if isinstance(block, kind)]
    return found


def test_without_edits_the_evidence_stays_as_it_is(record):
    assert effective_evidence(record) == record.evidence


def test_a_point_placed_on_the_picture_is_believed_and_its_followers_go_along(record):
    seen, felt, *rest, placed = effective_evidence(keypoints.move_pixels(record, {"left_wrist": (11.0, 22.0)}))
    assert seen.names == ("left_index", "right_wrist", "nose")
    assert seen.points == ((13.0, 24.0), (5.0, 6.0), (7.0, 8.0))
    assert placed == Keypoints2D(("left_wrist",), ((11.0, 22.0),), (0.75,), is_robust=False)
    assert felt.sigma == ((keypoints.FREE_SIGMA, keypoints.FREE_SIGMA, 0.3), (0.1, 0.1, 0.3))
    # the arm's twist belongs to the pose that was seen
    assert rest == [ANCHOR]


def test_twists_of_limbs_that_the_user_has_not_posed_stay(record):
    both = Twist(("L_Elbow", "R_Knee", "Head"), (0.1, 0.2, 0.3), (0.2, 0.3, 0.4))
    record = replace(record, evidence=(*record.evidence[:3], both))
    moved = keypoints.move_pixels(record, {"right_heel": (11.0, 22.0)})
    assert block(moved, Twist) == Twist(("L_Elbow", "Head"), (0.1, 0.3), (0.2, 0.4))
    assert block(replace(record, without_depth=("left_wrist",)), Twist).names == ("R_Knee", "Head")
    assert block(keypoints.mute(record, ("left_wrist",)), Twist) == both


def test_a_follower_that_the_user_placed_stays_there(record):
    moved = keypoints.move_pixels(record, {"left_index": (50.0, 50.0)})
    moved = keypoints.move_pixels(moved, {"left_wrist": (11.0, 22.0)})
    assert keypoints.target_pixel(moved, "left_index") == (50.0, 50.0)


def test_a_point_placed_in_space_takes_the_place_of_what_the_picture_says_of_it(record):
    seen, felt, *_, placed = effective_evidence(keypoints.move_positions(record, {"left_wrist": (1.0, 2.0, 3.0)}))
    assert "left_wrist" not in seen.names
    assert felt.names == ("nose",)
    assert placed == Keypoints3D(("left_wrist",), ((1.0, 2.0, 3.0),), (keypoints.POSITION_SIGMA,))


def test_a_joint_placed_in_space_competes_with_the_picture(record):
    *kept, _ = effective_evidence(keypoints.move_positions(record, {"L_Wrist": (1.0, 2.0, 3.0)}))
    assert tuple(kept) == record.evidence[:3]  # all but the arm's twist


def test_a_locked_joint_is_met_exactly_where_it_was_and_let_go_as_it_was(record):
    locked = keypoints.lock(record, ["L_Wrist"])
    assert block(locked, Pins) == Pins(("L_Wrist",), ((1.0, 1.0, 1.0),))
    assert keypoint_state(locked, "L_Wrist") is KeypointState.LOCKED
    assert keypoints.lock(locked, ["L_Wrist"], is_locked=False) == record


def test_a_placed_joint_keeps_its_place_when_it_is_let_go(record):
    placed = keypoints.move_positions(record, {"L_Wrist": (1.0, 2.0, 3.0)})
    locked = keypoints.lock(placed, ["L_Wrist"])
    assert block(locked, Pins).points == ((1.0, 2.0, 3.0),)
    assert keypoints.lock(locked, ["L_Wrist"], is_locked=False) == placed


def test_a_point_dragged_on_the_picture_is_locked_in_space(record):
    placed = keypoints.move_pixels(record, {"left_wrist": (11.0, 22.0)})
    locked = keypoints.lock(placed, ["left_wrist"])
    assert block(locked, Pins) == Pins(("left_wrist",), ((1.0, 1.0, 1.1),))
    assert all(found.is_robust for found in effective_evidence(locked) if isinstance(found, Keypoints2D))
    assert keypoints.lock(locked, ["left_wrist"], is_locked=False) == placed


def test_the_newest_place_wins_over_that_of_a_twin(record):
    seen = keypoints.move_pixels(record, {"left_wrist": (11.0, 22.0)})
    pulled = keypoints.move_positions(seen, {"L_Wrist": (1.0, 2.0, 3.0)})
    assert pulled == keypoints.move_positions(record, {"L_Wrist": (1.0, 2.0, 3.0)})
    again = keypoints.move_pixels(pulled, {"left_wrist": (11.0, 22.0)})
    assert again == seen
    held = keypoints.lock(pulled, ["L_Wrist"])
    assert keypoints.move_pixels(held, {"left_wrist": (11.0, 22.0)}).edits["L_Wrist"] == held.edits["L_Wrist"]


def test_what_the_user_places_counts_beside_solo_points(record):
    alone = keypoints.solo(record, ["nose"])
    pulled = keypoints.move_positions(alone, {"L_Wrist": (1.0, 2.0, 3.0)})
    assert block(pulled, Keypoints3D).names == ("L_Wrist",)
    assert block(pulled, Keypoints2D).names == ("nose",)


def test_a_removed_joint_that_is_turned_comes_back_without_its_lock(record):
    gone = keypoints.remove(keypoints.lock(record, ["L_Wrist"]), ["L_Wrist"])
    turned = keypoints.turn(gone, "L_Wrist", IDENTITY)
    assert block(turned, Orientations).names == ("L_Wrist",)
    assert keypoint_state(turned, "L_Wrist") is KeypointState.EDITED


def test_followers_of_a_muted_leader_are_where_they_were_seen(record):
    muted = keypoints.mute(keypoints.move_pixels(record, {"left_wrist": (11.0, 22.0)}), ["left_wrist"])
    assert keypoints.target_pixel(muted, "left_index") == (3.0, 4.0)


def test_a_detected_points_tolerance_is_not_that_of_a_placed_one(record):
    loose = keypoints.set_tolerance(record, ["left_wrist"], pixels=20.0)
    placed = keypoints.move_pixels(loose, {"left_wrist": (11.0, 22.0)})
    assert effective_evidence(placed)[-1].sigma == (0.75,)
    tight = keypoints.set_tolerance(placed, ["left_wrist"], pixels=3.0)
    assert effective_evidence(keypoints.move_pixels(tight, {"left_wrist": (9.0, 9.0)}))[-1].sigma == (3.0,)


def test_a_point_that_is_nowhere_cannot_be_locked(record):
    with pytest.raises(EvidenceError, match="not known where R_Elbow is; solve once"):
        keypoints.lock(record, ["R_Elbow"])


def test_a_muted_point_has_no_say_until_it_is_unmuted(record):
    muted = keypoints.mute(record, ["nose"])
    assert "nose" not in block(muted, Keypoints2D).names
    assert "nose" not in block(muted, RelativeKeypoints3D).names
    assert keypoint_state(muted, "nose") is KeypointState.MUTED
    assert keypoints.mute(muted, ["nose"], is_muted=False) == record


def test_only_solo_points_count(record):
    alone = keypoints.solo(record, ["nose"])
    assert block(alone, Keypoints2D).names == ("nose",)
    assert keypoint_state(alone, "left_wrist") is KeypointState.MUTED
    assert keypoints.solo(alone, []) == record


def test_a_removed_point_is_not_shown_until_it_is_restored_or_placed_again(record):
    without = keypoints.remove(record, ["nose"])
    assert "nose" not in keypoints.shown_points(without)
    assert "nose" not in block(without, Keypoints2D).names
    assert keypoints.restore(without) == record
    again = keypoints.move_pixels(without, {"nose": (9.0, 9.0)})
    assert "nose" in keypoints.shown_points(again)


def test_an_added_joint_is_shown_and_sent(record):
    added = keypoints.move_pixels(record, {"L_Elbow": (40.0, 50.0)})
    assert keypoints.shown_points(added) == (*SEEN.names, "L_Elbow")
    assert effective_evidence(added)[-1].names == ("L_Elbow",)


def test_tolerances_replace_the_detectors(record):
    loose = keypoints.set_tolerance(record, ["nose"], pixels=20.0)
    assert block(loose, Keypoints2D).sigma == (2.0, 2.0, 2.0, 20.0)
    placed = keypoints.move_positions(record, {"L_Wrist": (1.0, 2.0, 3.0)})
    assert block(keypoints.set_tolerance(placed, ["L_Wrist"], metres=0.1), Keypoints3D).sigma == (0.1,)


def test_a_turned_joint_is_sent_as_an_orientation(record):
    quat = (0.0, 1.0, 0.0, 0.0)
    turned = keypoints.turn(record, "Head", quat)
    assert block(turned, Orientations) == Orientations(("Head",), (quat,), (keypoints.ORIENTATION_SIGMA,))


def test_reset_forgets_the_edits_of_a_point(record):
    edited = keypoints.turn(keypoints.move_pixels(record, {"nose": (0.0, 0.0)}), "Head", IDENTITY)
    assert keypoints.reset(edited, ["nose"]) == keypoints.turn(record, "Head", IDENTITY)


def test_a_taken_pose_silences_the_depth_of_its_points_until_they_are_reset(record):
    taken = keypoints.forget_depth(record, ("left_wrist",))
    assert block(taken, RelativeKeypoints3D).sigma == ((0.1, 0.1, keypoints.FREE_SIGMA), (0.1, 0.1, 0.3))
    assert block(taken, Keypoints2D) == SEEN
    assert keypoints.reset(taken, ("left_wrist",)) == PRESETS["PICTURE"].apply(taken) == record


def test_every_state_has_a_colour_of_its_own(record):
    assert set(STATE_COLORS) == set(KeypointState)
    assert len(set(STATE_COLORS.values())) == len(KeypointState)
    assert keypoint_state(record, "nose") is KeypointState.DOUBTFUL
    assert keypoint_state(record, "left_wrist") is KeypointState.DETECTED


def test_presets_leave_something_to_solve(record):
    for preset in PRESETS.values():
        assert block(preset.apply(record), Keypoints2D).names, preset.label
    assert PRESETS["PICTURE"].apply(PRESETS["FEET"].apply(record)) == record
    assert block(PRESETS["FEET"].apply(record), Pins).names == ("L_Ankle", "L_Foot", "R_Ankle", "R_Foot")
    mine = PRESETS["MINE"].apply(record)
    assert block(mine, Keypoints2D).sigma == (12.0,) * 4
    assert keypoint_state(mine, "left_wrist") is KeypointState.DETECTED
    ends = PRESETS["ENDS"].apply(record)
    assert keypoint_state(ends, "L_Wrist") is KeypointState.DETECTED
    assert keypoint_state(ends, "left_elbow") is KeypointState.MUTED


def test_an_unknown_point_is_refused(record):
    with pytest.raises(EvidenceError, match="no point tail"):
        keypoints.mute(record, ["tail"])


def test_without_a_camera_there_is_nothing_on_the_picture(record):
    bare = replace(record, solution=replace(record.solution, camera=None))
    moved = keypoints.move_pixels(bare, {"L_Elbow": (40.0, 50.0)})
    assert effective_evidence(moved) == record.evidence


# ---- what several pictures say in space ------------------------------------------------------------------------------

SPACE = Keypoints3D(
    (
        "L_Shoulder", "L_Elbow", "L_Wrist", "L_Hand", "left_wrist", "left_index", "R_Wrist", "Spine3", "L_Knee", "nose",
        "L_Ankle", "left_foot_index",
    ),
    ((0.0, 0.0, 0.0),) * 12,
    (0.01,) * 12,
)  # fmt: skip
LOOSE = keypoints.LOOSENED_SIGMA


@pytest.fixture
def spatial(record):
    return replace(record, evidence=(SEEN, SPACE, TWIST))


def in_space(record):
    """Give the deviations of what several pictures said, by name."""
    found = effective_evidence(record)[1]
    assert isinstance(found, Keypoints3D)
    return dict(zip(found.names, found.sigma, strict=True))


def test_what_several_pictures_say_is_sent_as_it_is(spatial):
    assert effective_evidence(spatial) == spatial.evidence


@pytest.mark.parametrize(
    "move",
    [
        lambda record: keypoints.move_positions(record, {"L_Wrist": (1.0, 2.0, 3.0)}),
        lambda record: keypoints.move_pixels(record, {"left_wrist": (11.0, 22.0)}),
        lambda record: keypoints.move_positions(record, {"left_wrist": (1.0, 2.0, 3.0)}),
    ],
    ids=["handle", "photograph", "landmark in space"],
)
def test_a_placed_hand_wins_and_its_arm_follows(spatial, move):
    said = in_space(move(spatial))
    # neither the wrist by either name nor the knuckles that go along with it
    assert not {"L_Wrist", "left_wrist", "left_index"} & said.keys()
    assert {said["L_Shoulder"], said["L_Elbow"], said["L_Hand"]} == {LOOSE}
    assert {said["Spine3"], said["nose"]} == {keypoints.YIELDING_SIGMA}
    assert {said["R_Wrist"], said["L_Knee"]} == {0.01}


def test_a_placed_trunk_takes_hips_and_shoulders_along_and_leaves_the_ends(spatial):
    said = in_space(keypoints.move_positions(spatial, {"Pelvis": (0.0, 0.0, 0.0)}))
    assert {said["Spine3"], said["L_Shoulder"], said["nose"]} == {LOOSE}
    assert {said["L_Knee"], said["L_Elbow"]} == {keypoints.YIELDING_SIGMA}
    assert {said["L_Ankle"], said["R_Wrist"]} == {0.01}


def test_a_turned_foot_is_not_held_by_its_toes(spatial):
    said = in_space(keypoints.turn(spatial, "L_Ankle", (0.0, 1.0, 0.0, 0.0)))
    assert {said["left_foot_index"], said["L_Knee"]} == {LOOSE}
    assert said["L_Elbow"] == 0.01


def test_what_has_no_say_holds_nothing_loose(spatial):
    moved = keypoints.move_positions(spatial, {"L_Wrist": (1.0, 2.0, 3.0)})
    assert in_space(keypoints.mute(moved, ["L_Wrist"]))["L_Elbow"] == 0.01
    assert in_space(keypoints.lock(spatial, ["L_Wrist"]))["L_Elbow"] == 0.01  # held where it is


@pytest.mark.parametrize("silence", [keypoints.mute, keypoints.remove])
def test_a_landmark_without_a_say_takes_that_of_its_joint_and_of_the_end_that_hangs_on_it_too(spatial, silence):
    said = in_space(silence(spatial, ["left_wrist"]))
    assert set(SPACE.names) - said.keys() == {"left_wrist", "L_Wrist", "L_Hand"}
    assert set(said.values()) == {0.01}


def test_a_handle_without_a_say_leaves_what_the_pictures_say_of_its_landmark(spatial):
    assert set(SPACE.names) - in_space(keypoints.mute(spatial, ["L_Wrist"])).keys() == {"L_Wrist"}


def test_a_taken_pose_of_a_limb_is_not_held_back(spatial):
    said = in_space(keypoints.forget_depth(spatial, ("L_Wrist", "left_wrist")))
    assert not {"L_Wrist", "left_wrist"} & said.keys()
    assert said["L_Elbow"] == LOOSE


def test_mine_first_loosens_what_several_pictures_say_by_as_much_as_the_photograph(spatial):
    # 16 times 0.75 px at 3 m from a camera of 900 px are 4 cm
    assert in_space(PRESETS["MINE"].apply(spatial))["L_Knee"] == pytest.approx(0.04)


def test_measured_keypoints_of_a_file_stay_as_they_are_beside_an_edit(spatial):
    measured = replace(spatial, evidence=(SPACE,), solution=replace(spatial.solution, camera=None))
    moved = keypoints.move_positions(measured, {"L_Wrist": (1.0, 2.0, 3.0)})
    said = effective_evidence(moved)[0]
    assert set(said.sigma) == {0.01}
    assert set(SPACE.names) - set(said.names) == {"L_Wrist"}

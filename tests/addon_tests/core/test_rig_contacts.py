# SPDX-License-Identifier: Apache-2.0
"""What touches what: found in single poses and in motions."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from rig_cases import body_pose, body_skeleton

from blender_addon.core.rig import JOINT_NAMES
from blender_addon.core.rig_contacts import find_contacts
from blender_addon.core.rig_skeleton import Posed
from blender_addon.core.rig_turns import turn_of

BODY = body_skeleton()
STANDING = (0.0, -BODY.floor, 0.0)


def pose(turns: Mapping[str, tuple[float, float, float]], transl: tuple[float, float, float] = STANDING) -> Posed:
    local = np.tile(np.eye(3), (24, 1, 1))
    for name, rotvec in turns.items():
        local[JOINT_NAMES.index(name)] = turn_of(np.array(rotvec))
    return body_pose(BODY, local, np.array(transl))


CLAP = {"L_Shoulder": (0.0, -1.15, 0.0), "L_Elbow": (0, -1.5, 0), "R_Shoulder": (0, 1.15, 0), "R_Elbow": (0, 1.5, 0)}
AKIMBO = {"L_Shoulder": (0, 0, -0.85), "L_Elbow": (0, 0, -1.75)}


def test_who_stands_stands_on_both_heels_and_balls() -> None:
    (found,) = find_contacts([pose({})])
    assert {foot.point for foot in found.feet} == {"L_heel", "L_ball", "R_heel", "R_ball"}
    assert all(foot.place[1] == 0 for foot in found.feet)
    assert found.hands == ()


def test_a_lifted_heel_leaves_the_ball() -> None:
    (found,) = find_contacts([pose({"L_Ankle": (0.5, 0, 0)}, (0.0, -BODY.floor + 0.06, 0.0))])
    assert {foot.point for foot in found.feet} == {"L_ball"}


def test_who_is_in_the_air_touches_nothing() -> None:
    assert find_contacts([pose({}, (0.0, 2.0, 0.0))])[0].feet == ()


def test_palms_that_meet_touch_each_other() -> None:
    (hand,) = find_contacts([pose(CLAP)])[0].hands
    assert (hand.point, hand.other) == ("L_palm", "R_palm")


def test_a_hand_on_the_hip_touches_the_torso_or_the_thigh() -> None:
    (hand,) = find_contacts([pose(AKIMBO)])[0].hands
    assert hand.point == "L_palm"
    assert hand.other in {"Spine1", "L_Hip"}


def test_hands_beside_the_body_in_a_t_pose_touch_nothing() -> None:
    assert find_contacts([pose({})])[0].hands == ()


def test_in_a_motion_a_foot_keeps_its_place_while_it_stands() -> None:
    drift = [pose({}, (0.001 * frame, -BODY.floor, 0.0)) for frame in range(10)]  # 2.4 cm a second: a solve's noise
    found = find_contacts(drift, fps=24.0)
    places = np.array([frame.feet[0].place for frame in found])
    assert np.ptp(places, axis=0) == pytest.approx(0.0, abs=1e-12)
    assert len(found[5].feet) == 4


def test_in_a_motion_a_foot_that_slides_fast_does_not_stand() -> None:
    sliding = [pose({}, (0.05 * frame, -BODY.floor, 0.0)) for frame in range(10)]
    assert all(frame.feet == () for frame in find_contacts(sliding, fps=24.0))


def test_before_a_foot_stands_it_is_led_there_and_held_the_firmer_the_sooner() -> None:
    heights = [0.3, 0.25, 0.2, 0.15, 0.1, 0.05, 0.0, 0.0, 0.0]
    landing = [pose({}, (0.0, -BODY.floor + height, 0.0)) for height in heights]
    found = find_contacts(landing, fps=10.0)  # three frames in 0.3 s
    assert [len(one.feet) for one in found] == [0] * 6 + [4] * 3
    assert [len(one.swinging) for one in found] == [0] * 3 + [4] * 3 + [0] * 3
    sigmas = [one.swinging[0].sigma for one in found[3:6]]
    assert sigmas == sorted(sigmas, reverse=True)
    assert sigmas[-1] > found[6].feet[0].sigma
    places = [one.swinging[0].place[1] for one in found[3:6]]
    assert places == pytest.approx(heights[3:6])  # the source lands where it stands, so there is nothing to lead


def rolling() -> list[Posed]:
    """Give a foot that lands on its heel, stands, and leaves over its ball, without moving along the floor."""
    tilts = [-0.5, -0.5, 0.0, 0.0, 0.0, 0.5, 0.5]
    frames = [pose({"L_Ankle": (tilt, 0.0, 0.0)}) for tilt in tilts]
    held = frames[2].place("L_heel"), frames[2].place("L_ball")
    ways = [
        held[tilt > 0] - frame.place(("L_heel", "L_ball")[tilt > 0]) for frame, tilt in zip(frames, tilts, strict=True)
    ]
    return [replace(frame, places=frame.places + way) for frame, way in zip(frames, ways, strict=True)]


def test_a_heel_is_reckoned_from_the_ball_before_that_lands_and_the_ball_keeps_its_place() -> None:
    found = find_contacts(rolling())
    heels, balls = ([{c.point: c for c in one.feet}.get(name) for one in found] for name in ("L_heel", "L_ball"))
    assert [heel is not None for heel in heels] == [True] * 5 + [False] * 2
    assert [ball is not None for ball in balls] == [False] * 2 + [True] * 5
    ball = balls[-1]
    assert ball is not None
    assert ball.ways == ()
    for heel in heels[:5]:
        assert heel is not None
        np.testing.assert_allclose(heel.anchor, ball.place)
        (way,) = heel.ways
        back = heel.place - ball.place
        np.testing.assert_allclose(way, back / np.linalg.norm(back))


def test_a_foot_that_rolls_from_heel_to_toe_and_back_is_one_chain() -> None:
    frames = rolling()
    found = find_contacts([*frames, *frames[::-1], *frames])
    anchors = np.array([foot.anchor for one in found for foot in one.feet if foot.point.startswith("L")])
    assert np.ptp(anchors, axis=0) == pytest.approx(0.0, abs=1e-12)


def test_a_ball_that_lands_again_keeps_the_distance_to_the_heel_that_stood_meanwhile() -> None:
    frames = rolling()
    found = find_contacts([*frames[2:5], frames[0], *frames[2:6]])
    counts = {len(foot.ways) for one in found for foot in one.feet if foot.point == "L_ball"}
    assert counts == {0, 2}  # the one that stands longer is the anchor

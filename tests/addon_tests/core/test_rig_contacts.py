# SPDX-License-Identifier: Apache-2.0
"""What touches what: found in single poses and in motions."""

from collections.abc import Mapping

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

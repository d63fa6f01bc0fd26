# SPDX-License-Identifier: Apache-2.0
"""Twist is shared by the bones of a limb, and moves no joint."""

import numpy as np
import pytest
from humanoid_rigs import PlainBone, humanoid
from rig_cases import rest_bones

from blender_addon.core.rig_job import posed_by
from blender_addon.core.rig_mapping import map_rig
from blender_addon.core.rig_skeleton import Posed, build_skeleton
from blender_addon.core.rig_turns import turn_of
from blender_addon.core.rig_twist import twist_angle, twisted_bones

FOREARM = np.array([1.0, 0.0, 0.0])  # nearly: the wrist rests a centimetre farther forward than the elbow


def rig(split: bool) -> tuple[dict[str, PlainBone], str]:
    """Give Unreal's arm with a twist bone beside the forearm, or with the forearm in two pieces."""
    plain = humanoid("Unreal")
    lower, hand = plain["lowerarm_l"], plain["hand_l"]
    middle = 0.5 * (lower.head + hand.head)
    name = "lowerarm_piece_l" if split else "lowerarm_twist_01_l"
    made: dict[str, PlainBone] = {}
    for key, bone in plain.items():
        if split and key == "hand_l":
            bone.parent = name
        made[key] = bone
        if key == "lowerarm_l":
            made[name] = PlainBone("lowerarm_l", middle, hand.head, 0.0)
    return made, name


def twisted_wrist(angle: float, split: bool) -> tuple[Posed, dict[str, np.ndarray], str]:
    plain, name = rig(split)
    bones = rest_bones(plain)
    skeleton = build_skeleton(bones, map_rig(bones).bones)
    turns = [np.eye(3) for _ in skeleton.joints]
    axis = skeleton.place("L_Wrist") - skeleton.place("L_Elbow")
    turns[skeleton.index("L_Wrist")] = turn_of(angle * axis / np.linalg.norm(axis))
    pose = posed_by(skeleton, turns, skeleton.rest[0])
    return pose, twisted_bones(bones, pose), name


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("angle", [0.0, 1.2, -2.0])
def test_half_of_the_wrists_twist_is_in_the_middle_of_the_forearm(angle: float, split: bool) -> None:
    _, found, name = twisted_wrist(angle, split)
    assert twist_angle(found[name], FOREARM) == pytest.approx(0.5 * angle, abs=0.01)  # the axis is off by 2 degrees


def test_the_first_piece_of_a_forearm_does_not_twist() -> None:
    _, found, _ = twisted_wrist(1.0, True)
    assert found["lowerarm_l"] == pytest.approx(np.eye(3), abs=1e-12)


def test_limbs_in_one_piece_are_left_alone() -> None:
    bones = rest_bones(humanoid("Mixamo"))
    skeleton = build_skeleton(bones, map_rig(bones).bones)
    assert twisted_bones(bones, posed_by(skeleton, [np.eye(3)] * len(skeleton.joints), skeleton.rest[0])) == {}


@pytest.mark.parametrize("swing", [(0.0, 0.0, 0.0), (0.0, 0.9, 0.0), (0.0, 0.3, -1.5)])
@pytest.mark.parametrize("angle", [-3.0, -0.4, 0.0, 2.0])
def test_a_swing_is_no_twist(swing: tuple[float, float, float], angle: float) -> None:
    turn = turn_of(np.array(swing)) @ turn_of(angle * FOREARM)
    assert twist_angle(turn, FOREARM) == pytest.approx(angle, abs=1e-9)

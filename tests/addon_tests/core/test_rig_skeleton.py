# SPDX-License-Identifier: Apache-2.0
"""A rig's skeleton: its place and proportions are kept, and its rest pose is taken to the source's."""

import numpy as np
import pytest
from humanoid_rigs import STYLES, humanoid
from rig_cases import body_pose, body_skeleton, rest_bones, rig_skeleton

from blender_addon.core.errors import SceneError
from blender_addon.core.rig_bones import RestBone
from blender_addon.core.rig_job import Task, copy_rotations, posed
from blender_addon.core.rig_mapping import map_rig
from blender_addon.core.rig_placement import Placement
from blender_addon.core.rig_skeleton import build_skeleton, calibrated, rotation_between

BODY = body_skeleton()
T_POSE = body_pose(BODY, np.tile(np.eye(3), (24, 1, 1)), np.zeros(3))


@pytest.mark.parametrize("style", STYLES)
def test_bones_between_joints_belong_to_the_skeleton(style: str) -> None:
    skeleton = rig_skeleton(style, BODY)
    spine = STYLES[style][0]["Spine"].split(",")
    assert {joint.bone for joint in skeleton.joints} >= set(spine)
    assert skeleton.joints[0].parent == -1
    assert all(joint.parent < number for number, joint in enumerate(skeleton.joints))
    heights = [joint.trunk for joint in skeleton.joints if joint.bone in spine]
    assert heights == pytest.approx([3 * (k + 1) / len(spine) for k in range(len(spine))])


@pytest.mark.parametrize("turn", [0.0, 0.7, np.pi / 2, np.pi])
def test_the_rigs_space_is_upright_whichever_way_it_rests(turn: float) -> None:
    plain = humanoid("Mixamo")
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    for bone in plain.values():
        bone.head, bone.tail = 100 * rotation @ bone.head, 100 * rotation @ bone.tail
    bones = rest_bones(plain)
    skeleton = build_skeleton(bones, map_rig(bones).bones, metres=0.01)
    straight = rig_skeleton("Mixamo", BODY)
    assert skeleton.rest == pytest.approx(straight.rest, abs=1e-9)
    assert skeleton.points["L_ball"][1] == pytest.approx(straight.points["L_ball"][1], abs=1e-9)


@pytest.mark.parametrize("arms_down", [0, 30, 60])
def test_a_rig_in_another_rest_pose_takes_the_t_pose(arms_down: int) -> None:
    rig = rig_skeleton("Unreal", BODY, arms_down_deg=arms_down)
    task = Task(rig, (T_POSE,), Placement(np.eye(4)))
    pose = posed(rig, copy_rotations(task, T_POSE))
    for side in "LR":
        for upper, lower in (("Shoulder", "Elbow"), ("Elbow", "Wrist"), ("Hip", "Knee"), ("Knee", "Ankle")):
            mine = pose.place(f"{side}_{lower}") - pose.place(f"{side}_{upper}")
            theirs = T_POSE.place(f"{side}_{lower}") - T_POSE.place(f"{side}_{upper}")
            cosine = mine @ theirs / np.linalg.norm(mine) / np.linalg.norm(theirs)
            assert cosine == pytest.approx(1.0, abs=1e-9)


def test_a_rig_that_rests_sitting_stands_up() -> None:
    plain = humanoid("Mixamo")
    for side in ("Left", "Right"):
        hip, knee = (plain[f"mixamorig:{side}{name}"].head for name in ("UpLeg", "Leg"))
        thigh = float(np.linalg.norm(knee - hip))
        seat = hip + np.array([0.0, -thigh, 0.0]) - knee  # the thigh forward, the shin straight down, the foot flat
        plain[f"mixamorig:{side}UpLeg"].tail = knee + seat
        for name in ("Leg", "Foot", "ToeBase"):
            bone = plain[f"mixamorig:{side}{name}"]
            bone.head, bone.tail = bone.head + seat, bone.tail + seat
    bones = rest_bones(plain)
    rig = calibrated(build_skeleton(bones, map_rig(bones).bones), BODY)
    pose = posed(rig, copy_rotations(Task(rig, (T_POSE,), Placement(np.eye(4))), T_POSE))
    for side in "LR":
        for upper, lower in (("Hip", "Knee"), ("Knee", "Ankle")):
            mine = pose.place(f"{side}_{lower}") - pose.place(f"{side}_{upper}")
            theirs = T_POSE.place(f"{side}_{lower}") - T_POSE.place(f"{side}_{upper}")
            assert mine @ theirs / np.linalg.norm(mine) / np.linalg.norm(theirs) == pytest.approx(1.0, abs=1e-9)
        sole = pose.place(f"{side}_ball") - pose.place(f"{side}_heel")
        assert abs(sole[1]) < 1e-9 < sole[2]


@pytest.mark.parametrize("legs", [0.85, 1.0, 1.15])
def test_leg_length_is_that_of_the_bones(legs: float) -> None:
    expected = np.linalg.norm([0.01, 0.43 * legs]) + np.linalg.norm([0.03, 0.41 * legs]) + 0.09 * legs
    assert rig_skeleton("Mixamo", BODY, legs).leg_length == pytest.approx(expected, abs=1e-9)


def test_the_floor_of_a_rig_that_floats_over_its_origin_is_under_its_feet() -> None:
    plain = humanoid("Mixamo")
    for bone in plain.values():
        bone.head, bone.tail = bone.head - (0, 0, 0.9), bone.tail - (0, 0, 0.9)
    bones = rest_bones(plain)
    assert build_skeleton(bones, map_rig(bones).bones).floor == pytest.approx(-0.9, abs=0.02)  # the sole's thickness
    assert rig_skeleton("Mixamo", BODY).floor == 0.0


def test_left_and_right_in_one_place_are_refused() -> None:
    bones = rest_bones(humanoid("Mixamo"))
    flat = {
        name: RestBone(name, bone.parent, bone.head * (0, 1, 1), bone.tail, bone.axes) for name, bone in bones.items()
    }
    with pytest.raises(SceneError, match="rest in one place"):
        build_skeleton(flat, map_rig(bones).bones)


@pytest.mark.parametrize("second", [(1.0, 0, 0), (-1.0, 0, 0), (0.3, -2.0, 0.5), (-1.0, 1e-8, 0)])
def test_the_smallest_rotation_between_directions(second: tuple[float, float, float]) -> None:
    rotation = rotation_between(np.array([2.0, 0.0, 0.0]), np.array(second))
    assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    assert rotation @ [1.0, 0, 0] == pytest.approx(np.array(second) / np.linalg.norm(second), abs=1e-7)

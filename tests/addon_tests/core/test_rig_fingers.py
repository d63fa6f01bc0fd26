# SPDX-License-Identifier: Apache-2.0
"""Fingers are found by the names of the field, and bend as the source's do, whatever their rest pose."""

import numpy as np
import pytest
from humanoid_rigs import PlainBone, add_fingers, finger_name, humanoid
from rig_cases import rest_bones

from blender_addon.core.rig_bones import RestBone
from blender_addon.core.rig_fingers import FINGER_JOINTS, FINGERS, Fingers, find_fingers, posed_hands
from blender_addon.core.rig_job import posed_by
from blender_addon.core.rig_mapping import map_of_preset, map_rig, read_preset, write_preset
from blender_addon.core.rig_placement import Placement
from blender_addon.core.rig_skeleton import build_skeleton, calibrated
from blender_addon.core.rig_turns import turn_of

STYLES = ("Mixamo", "Unreal", "VRM J_Bip", "VRM humanoid", "Auto-Rig Pro", "Daz", "MakeHuman", "metarig", "SMPL")


def with_fingers(style: str, curl_deg: float = 0.0, spread_deg: float = 5.0) -> dict[str, RestBone]:
    plain = humanoid(style)
    add_fingers(plain, style, curl_deg, spread_deg)
    return rest_bones(plain)


def fingers_of(style: str, curl_deg: float = 0.0, spread_deg: float = 5.0) -> Fingers:
    bones = with_fingers(style, curl_deg, spread_deg)
    found = map_rig(bones)
    return Fingers(build_skeleton(bones, found.bones), bones, found.fingers)


@pytest.mark.parametrize("style", [*STYLES, "Biped"])
def test_fingers_are_found_by_their_names(style: str) -> None:
    found = map_rig(with_fingers(style))
    assert found.fingers == {
        f"{side}_{finger}{part}": finger_name(style, side, finger, part)
        for side in "LR" for finger in FINGERS for part in (1, 2, 3)
    }  # fmt: skip
    assert tuple(found.fingers) == FINGER_JOINTS
    assert not {*found.bones.values()} & {*found.fingers.values()}


def test_a_rig_without_fingers_has_none_and_no_other_bones_are_taken_for_them() -> None:
    plain = humanoid("Mixamo")
    plain["mixamorig:SpringString1"] = PlainBone("mixamorig:LeftHand", np.zeros(3), np.ones(3), 0.0)
    plain["LeftToeIndex1"] = PlainBone("mixamorig:LeftFoot", np.zeros(3), np.ones(3), 0.0)
    assert map_rig(rest_bones(plain)).fingers == {}


def test_of_a_generated_rigify_hand_the_controls_are_taken() -> None:
    bones = with_fingers("metarig")
    for name in [name for name in bones if "index" in name]:
        for prefix in ("DEF-", "ORG-"):
            old = bones[name]
            bones[prefix + name] = RestBone(prefix + name, old.parent, old.head, old.tail, old.axes, prefix == "DEF-")
    joints = map_rig(with_fingers("metarig")).bones
    assert find_fingers(bones, joints)["L_Index2"] == "f_index.02.L"


@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize("style", STYLES)
def test_fingers_bend_as_the_sources_do_whatever_their_rest_pose(style: str, is_mirrored: bool) -> None:
    """Directions of bones against the hand, of every finger: those of the source, though the rig's curl at rest."""
    source = fingers_of("SMPL")
    rig = fingers_of(style, 20.0, 12.0)
    own = calibrated(rig.skeleton, source.skeleton)
    rig = Fingers(own, rig.bones, rig.names)
    random = np.random.default_rng(5)
    # the source's fingers against the hand, from its rest; the hands themselves at rest in both
    turns = {joint: turn_of(random.uniform(-1.0, 1.0, 3)) for joint in source.names}
    placement = Placement(np.diag([-1.0 if is_mirrored else 1.0, 1.0, 1.0, 1.0]))
    hands = [np.eye(3) for _ in own.joints]
    for side in "LR":  # as the source's hand lies: calibrated
        hands[own.index(f"{side}_Wrist")] = own.joints[own.index(f"{side}_Wrist")].calibration
    pose = posed_by(own, hands, own.rest[0])
    found = rig.turned(source, turns, pose, placement)
    assert set(found) == set(rig.names.values())
    mirror = placement.matrix[:3, :3]
    for joint, name in rig.names.items():
        theirs = placement.other_side(joint)
        mine, wanted = rig.way(joint), source.way(theirs)
        assert mine is not None
        assert wanted is not None
        mine, wanted = found[name] @ mine, mirror @ turns[theirs] @ wanted
        cosine = float(mine @ wanted / np.linalg.norm(mine) / np.linalg.norm(wanted))
        assert cosine > 1.0 - 1e-9, (joint, cosine)


def test_turns_against_the_hand_are_read_as_they_are_written() -> None:
    rig = fingers_of("Unreal", 15.0)
    random = np.random.default_rng(2)
    turn = {name: turn_of(random.uniform(-1.0, 1.0, 3)) for name in rig.bones}  # of bones, armature space, from rest
    posed = {name: turn[name] @ rig.bones[name].axes for name in rig.bones}
    read = rig.turns(posed)
    expected = rig.axes @ turn["hand_r"].T @ turn["ring_02_r"] @ rig.axes.T
    assert read["R_Ring2"] == pytest.approx(expected, abs=1e-12)


def test_tips_of_which_tails_tell_nothing_go_on_as_the_bone_before() -> None:
    plain = humanoid("Unreal")
    add_fingers(plain, "Unreal", 20.0)
    for bone in plain.values():
        bone.tail = bone.head + np.array([0.0, 0.0, 0.1])  # as imported bones have them
    bones = rest_bones(plain)
    rig = Fingers(build_skeleton(bones, map_rig(bones).bones), bones, map_rig(bones).fingers)
    assert rig.way("L_Index3") == pytest.approx(rig.way("L_Index2"))


def test_hands_that_rest_in_all_frames_say_nothing() -> None:
    rest, bent = np.eye(3), turn_of(np.array([0.0, 0.0, 0.4]))
    frames = posed_hands([{"L_Index1": rest, "R_Index1": rest}, {"L_Index1": bent, "R_Index1": rest}])
    assert [set(turns) for turns in frames] == [{"L_Index1"}, {"L_Index1"}]


def test_a_preset_keeps_fingers_and_one_without_takes_them_by_their_names() -> None:
    bones = with_fingers("Mixamo")
    found = map_rig(bones)
    kept = read_preset(write_preset({**found.bones, "L_Index1": "mixamorig:LeftHandRing1"}), "mine")
    assert map_of_preset(bones, kept, "mine").fingers == {"L_Index1": "mixamorig:LeftHandRing1"}
    plain = read_preset(write_preset(found.bones), "old")
    assert map_of_preset(bones, plain, "old").fingers == found.fingers

# SPDX-License-Identifier: Apache-2.0
"""Bones find their joints: by the names of the field, by the rest pose where names say nothing, by presets."""

from collections.abc import Callable

import numpy as np
import pytest
from humanoid_rigs import STYLES, expected_joints, humanoid
from rig_cases import rest_bones

from blender_addon.core.errors import FileError, SceneError
from blender_addon.core.rig_bones import RestBone
from blender_addon.core.rig_mapping import (
    RIG_JOINTS,
    RigMap,
    check_map,
    fitting_preset,
    map_rig,
    read_preset,
    write_preset,
)
from blender_addon.core.rig_names import CoreName, core_name


@pytest.mark.parametrize(
    ("name", "side", "core"),
    [
        ("mixamorig:LeftUpLeg", "L", "upleg"),
        ("mixamorig7:RightToeBase", "R", "toebase"),
        ("DEF-thigh.L", "L", "thigh"),
        ("upperarm_l", "L", "upperarm"),
        ("spine_05", "", "spine5"),
        ("J_Bip_R_UpperArm", "R", "upperarm"),
        ("J_Bip_C_UpperChest", "", "upperchest"),
        ("leftLowerLeg", "L", "lowerleg"),
        ("forearm_stretch.r", "R", "forearmstretch"),
        ("root.x", "", "root"),
        ("lShldrBend", "L", "shldrbend"),
        ("Bip01 R UpperArm", "R", "upperarm"),
        ("upperleg01.L", "L", "upperleg1"),
        ("LHipJoint", "L", "hipjoint"),
        ("f_avg_L_Knee", "L", "knee"),
        ("right_wrist", "R", "wrist"),
        ("l", "", "l"),
        ("", "", ""),
    ],
)
def test_a_name_is_taken_apart_into_side_and_core(name: str, side: str, core: str) -> None:
    assert core_name(name) == CoreName(side, core)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("arms_down", [0, 45])
@pytest.mark.parametrize("style", STYLES)
def test_rigs_of_the_field_are_mapped_by_themselves(style: str, arms_down: int) -> None:
    bones = rest_bones(humanoid(style, arms_down_deg=arms_down))
    found = map_rig(bones)
    assert found.missing == ()
    expected = expected_joints(style)
    assert {joint: found.bones.get(joint) for joint in expected} == expected
    spine = STYLES[style][0]["Spine"].split(",")
    assert found.bones["Spine3"] == spine[-1]
    check_map(bones, found.bones)


@pytest.mark.parametrize("style", STYLES)
def test_without_names_the_rest_pose_tells_the_same(style: str) -> None:
    names = {name: f"bone {number}" for number, name in enumerate(humanoid(style))}
    plain = humanoid(style, legs=0.8, arms_down_deg=30)
    for bone in plain.values():
        bone.parent = None if bone.parent is None else names[bone.parent]
    found = map_rig(rest_bones({names[name]: bone for name, bone in plain.items()}))
    assert found.way == "rest pose"
    expected = {joint: names[bone] for joint, bone in expected_joints(style).items()}
    assert {joint: found.bones.get(joint) for joint in expected} == expected
    assert found.guessed >= set(expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_nameless_rig_may_stand_along_any_axis(axis: int) -> None:
    plain = humanoid("nameless")
    turn = np.roll(np.eye(3), axis, axis=0)  # cyclic: a rotation
    for bone in plain.values():
        bone.head, bone.tail = turn @ bone.head, turn @ bone.tail
    found = map_rig(rest_bones(plain), turn @ np.array([0.0, 0.0, 1.0]))
    assert found.bones["L_Knee"] == "nq"
    assert found.bones["Head"] == "f"


def test_of_two_bones_with_a_name_the_one_that_moves_the_skin_is_taken() -> None:
    bones = rest_bones(humanoid("metarig"))
    control = bones["thigh.L"]
    double = RestBone("ORG-thigh.L", "spine", control.head, control.tail, control.axes, is_deform=False)
    assert map_rig({"ORG-thigh.L": double, **bones}).bones["L_Hip"] == "thigh.L"


def test_what_is_no_body_says_what_is_missing() -> None:
    chair = {
        f"leg {number}": RestBone(f"leg {number}", None, np.zeros(3), np.ones(3), np.eye(3)) for number in range(12)
    }
    found = map_rig(chair)
    assert "L_Hip" in found.missing
    with pytest.raises(SceneError, match="no bone is known as Pelvis, L_Hip"):
        check_map(chair, found.bones)


def test_a_preset_is_read_as_it_was_written() -> None:
    joints = map_rig(rest_bones(humanoid("Unreal"))).bones
    assert read_preset(write_preset(joints), "x.json") == joints


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"version": 2, "bones": {}}', '{"version": 1}', '{"version": 1, "bones": {"Head": 3}}', "[" * 30000],
)
def test_a_file_that_is_no_preset_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(FileError, match=r"the preset x\.json cannot be read"):
        read_preset(text, "x.json")


def test_the_preset_with_most_bones_that_fits_is_taken() -> None:
    bones = rest_bones(humanoid("Unreal"))
    presets = {
        "none": {},
        "other": {"Head": "mixamorig:Head", "Neck": "neck_01"},
        "small": {"Head": "head"},
        "large": {"Head": "head", "Neck": "neck_01"},
    }
    assert fitting_preset(bones, presets) == "large"
    assert fitting_preset(bones, {"other": presets["other"]}) is None


def test_a_bone_may_stand_for_one_joint_only() -> None:
    bones = rest_bones(humanoid("Unreal"))
    joints = {**map_rig(bones).bones, "L_Knee": "thigh_l"}
    with pytest.raises(SceneError, match="thigh_l stands for L_Hip and L_Knee"):
        check_map(bones, joints)
    assert RigMap(joints).missing == ()


@pytest.mark.parametrize(
    "written",
    [
        lambda name: f"m_avg_{name}",
        lambda name: f"f_avg_{name}",
        lambda name: name.replace("L_", "left_").replace("R_", "right_").lower(),
    ],
    ids=["MPI male", "MPI female", "SMPL-X"],
)
def test_armatures_of_the_smpl_add_ons_are_mapped(written: Callable[[str], str]) -> None:
    plain = {written(name): bone for name, bone in humanoid("SMPL").items()}
    for bone in plain.values():
        bone.parent = None if bone.parent is None else written(bone.parent)
    found = map_rig(rest_bones(plain))
    assert found.way == "names of joints"
    assert found.bones == {joint: written(joint) for joint in RIG_JOINTS}

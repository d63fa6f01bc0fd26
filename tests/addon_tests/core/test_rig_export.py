# SPDX-License-Identifier: Apache-2.0
"""What is written of a rig: all bones, or of a control rig those that move the skin; named by the presets."""

from dataclasses import replace

import numpy as np
import pytest
from humanoid_rigs import add_fingers, humanoid
from rig_cases import rest_bones

from blender_addon.core.errors import SceneError
from blender_addon.core.export_presets import PRESETS
from blender_addon.core.rig_bones import RestBone
from blender_addon.core.rig_export import ExportPlan, plan_export
from blender_addon.core.rig_mapping import map_rig


def plan(bones: dict[str, RestBone], preset: str) -> ExportPlan:
    found = map_rig(bones)
    return plan_export(bones, found.bones, found.fingers, PRESETS.get(preset))


def with_fingers(style: str) -> dict[str, RestBone]:
    plain = humanoid(style)
    add_fingers(plain, style)
    return rest_bones(plain)


def test_joints_and_fingers_have_the_names_of_the_preset_and_others_their_own() -> None:
    bones = with_fingers("Mixamo")
    bones["Sword"] = replace(bones["mixamorig:LeftHand"], name="Sword", parent="mixamorig:LeftHand")
    names = plan(bones, "UNREAL").names
    assert names["mixamorig:Hips"] == "pelvis"
    assert names["mixamorig:LeftUpLeg"] == "thigh_l"
    assert names["mixamorig:RightHandIndex2"] == "index_02_r"
    assert names["Sword"] == "Sword"
    assert len(set(names.values())) == len(bones)


@pytest.mark.parametrize(
    ("style", "preset", "spine"),
    [
        ("Unreal", "MIXAMO", ["mixamorig:Spine", *(f"mixamorig:Spine{number}" for number in range(1, 5))]),
        ("Unreal", "UNREAL", [f"spine_0{number}" for number in range(1, 6)]),
        ("VRM humanoid", "UNITY", ["Spine", "Chest"]),  # an upper chest needs a chest there
        ("Biovision", "UNREAL", ["spine_01"]),
        ("Unreal", "UNITY", ["Spine", "spine_02", "Chest", "spine_04", "UpperChest"]),
    ],
)
def test_a_spine_of_any_number_of_bones_is_counted_from_the_bottom(style: str, preset: str, spine: list[str]) -> None:
    bones = rest_bones(humanoid(style))
    found = plan(bones, preset)
    chest = map_rig(bones).bones["Spine3"]
    path = [chest]
    while bones[path[-1]].parent != map_rig(bones).bones["Pelvis"]:
        path.append(bones[path[-1]].parent or "")
    assert [found.names[name] for name in reversed(path)] == spine
    assert len(set(found.names.values())) == len(bones)


def test_a_name_that_the_preset_needs_is_taken_from_a_bone_that_is_something_else() -> None:
    bones = rest_bones(humanoid("Mixamo"))
    bones["head"] = replace(bones["mixamorig:Head"], name="head", parent="mixamorig:LeftHand")
    names = plan(bones, "UNREAL").names
    assert names["mixamorig:Head"] == "head"
    assert names["head"] == "head_2"


def control_rig() -> dict[str, RestBone]:
    """Give a rig as Rigify generates it: controls in a tree, and followers that hang on each other's."""
    plain = rest_bones(humanoid("metarig"))
    bones: dict[str, RestBone] = {}
    for name, bone in plain.items():
        bones[name] = replace(bone, is_deform=False)
    for name, bone in plain.items():
        bones[f"ORG-{name}"] = replace(bone, name=f"ORG-{name}", parent=name, is_deform=False)
        bones[f"DEF-{name}"] = replace(bone, name=f"DEF-{name}", parent=f"ORG-{name}")
    return bones


def test_of_a_control_rig_the_bones_that_move_the_skin_are_written_in_one_tree() -> None:
    bones = control_rig()
    joints = map_rig({name: bone for name, bone in bones.items() if not name.startswith(("DEF-", "ORG-"))}).bones
    found = plan_export(bones, joints, {}, PRESETS["UNREAL"])
    plain = rest_bones(humanoid("metarig"))
    assert set(found.bones) == {f"DEF-{name}" for name in plain}
    for name, bone in plain.items():
        assert found.bones[f"DEF-{name}"].parent == (None if bone.parent is None else f"DEF-{bone.parent}")
    assert found.names["DEF-thigh.L"] == "thigh_l"
    assert found.names["DEF-spine.006"] == "head"
    assert found.root == "root"
    order = list(found.bones)
    assert all(
        bone.parent is None or order.index(bone.parent) < order.index(name) for name, bone in found.bones.items()
    )


def test_own_names_are_kept_and_several_roots_get_one() -> None:
    bones = rest_bones(humanoid("Mixamo"))
    found = plan_export(bones, map_rig(bones).bones, {}, None)
    assert found.root == ""
    assert all(name == written for name, written in found.names.items())
    bones["Prop"] = RestBone("Prop", None, np.zeros(3), np.ones(3), np.eye(3))
    assert plan_export(bones, map_rig(bones).bones, {}, None).root == "root"


def test_a_rig_whose_joints_are_not_known_cannot_be_named_by_a_preset() -> None:
    bones = {"tail": RestBone("tail", None, np.zeros(3), np.ones(3), np.eye(3))}
    with pytest.raises(SceneError, match="choose Find Bones, or export its own names"):
        plan_export(bones, {}, {}, PRESETS["UNITY"])
    assert list(plan_export(bones, {}, {}, None).bones) == ["tail"]


def test_a_rig_whose_pelvis_was_taken_out_of_the_list_or_without_bones_is_refused() -> None:
    bones = rest_bones(humanoid("Mixamo"))
    joints = {joint: bone for joint, bone in map_rig(bones).bones.items() if joint != "Pelvis"}
    with pytest.raises(SceneError, match="known as its Pelvis"):
        plan_export(bones, joints, {}, PRESETS["UNREAL"])
    assert len(plan_export(bones, joints, {}, None).bones) == len(bones)
    with pytest.raises(SceneError, match="has no bones"):
        plan_export({}, {}, {}, None)

# SPDX-License-Identifier: Apache-2.0
"""Presets of bones: saved on one rig, taken by another with Load Preset, whatever its names tell."""

import bpy
import pytest
from humanoid_rigs import expected_joints


@pytest.fixture
def folder(scene, part):
    """The user's folder of presets, empty before and after."""
    found = part("blender.rig_scene").preset_folder()
    assert not [*found.glob("*.json")]
    yield found
    for path in found.glob("*.json"):
        path.unlink()


def make(style, **choices):
    from blender_rigs import activate, build_rig

    rig = build_rig(style, **choices)
    activate(rig)
    return rig


def rows(rig):
    return {row.name: row.bone for row in rig.ikol_rig.joints if row.bone}


def test_a_loaded_preset_gives_the_saved_bones_corrections_and_fingers_included(folder, part, capfd):
    rig = make("Unreal", finger_curl_deg=10.0)
    bpy.ops.ikol.find_rig_bones()
    rig.ikol_rig.joints["Spine2"].bone = "spine_04"  # as the user wants it, and no names tell
    rig.ikol_rig.joints["L_Pinky3"].bone = ""
    wanted = rows(rig)
    assert len(wanted) == 51
    assert bpy.ops.ikol.save_rig_preset(name="my mannequin") == {"FINISHED"}
    other = make("Unreal", finger_curl_deg=0.0, legs=0.8)
    choose = part("blender.rig_scene").choose_map
    choose(other, part("core.rig_mapping").RigMap({"Head": "pelvis"}, "hand", frozenset(("Head",))))
    assert bpy.ops.ikol.load_rig_preset(preset="my_mannequin") == {"FINISHED"}
    assert rows(other) == wanted
    assert other.ikol_rig.way == "preset my_mannequin"
    assert not [row.name for row in other.ikol_rig.joints if row.is_guessed]
    assert "Found 51 bones" in "".join(capfd.readouterr())
    assert rows(rig) == wanted  # the active rig's are changed, and no others


def test_of_two_presets_that_fit_the_chosen_one_is_loaded(folder):
    rig = make("nameless")
    bpy.ops.ikol.find_rig_bones()
    found = rows(rig)
    bpy.ops.ikol.save_rig_preset(name="first")
    rig.ikol_rig.joints["Head"].bone = "e"
    rig.ikol_rig.joints["Neck"].bone = ""
    bpy.ops.ikol.save_rig_preset(name="second")
    assert bpy.ops.ikol.load_rig_preset(preset="first") == {"FINISHED"}
    assert rows(rig) == found
    assert found["L_Knee"] == expected_joints("nameless")["L_Knee"]
    assert bpy.ops.ikol.load_rig_preset(preset="second") == {"FINISHED"}
    assert (rows(rig)["Head"], rig.ikol_rig.way) == ("e", "preset second")
    assert "Neck" not in rows(rig)


def test_bones_of_a_preset_that_a_rig_lacks_are_said(folder, capfd):
    rig = make("Unreal")
    bpy.ops.ikol.find_rig_bones()
    bpy.ops.ikol.save_rig_preset(name="mannequin")
    other = make("Unreal")
    bpy.ops.object.mode_set(mode="EDIT")
    other.data.edit_bones.remove(other.data.edit_bones["calf_l"])
    bpy.ops.object.mode_set(mode="OBJECT")
    capfd.readouterr()
    assert bpy.ops.ikol.load_rig_preset(preset="mannequin") == {"FINISHED"}
    assert "Not found: L_Knee; choose these bones yourself" in "".join(capfd.readouterr())
    assert rows(other) == {joint: bone for joint, bone in rows(rig).items() if bone != "calf_l"}


def test_a_damaged_file_is_not_offered_and_harms_no_others(folder):
    rig = make("Mixamo")
    bpy.ops.ikol.find_rig_bones()
    wanted = rows(rig)
    bpy.ops.ikol.save_rig_preset(name="good")
    (folder / "bad.json").write_text('{"version": 1, "bones": {"Head": 3}}', encoding="utf-8")
    rig.ikol_rig.joints.clear()
    with pytest.raises(TypeError, match="bad"):
        bpy.ops.ikol.load_rig_preset(preset="bad")
    assert bpy.ops.ikol.load_rig_preset(preset="good") == {"FINISHED"}
    assert rows(rig) == wanted


def test_it_needs_a_rig(folder):
    with pytest.raises(RuntimeError, match="Select the rig to pose"):
        bpy.ops.ikol.load_rig_preset()

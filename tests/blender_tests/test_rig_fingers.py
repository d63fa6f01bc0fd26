# SPDX-License-Identifier: Apache-2.0
"""Fingers of rigs: bent as those of a body with hands, and left as they are where nothing says how they are."""

import subprocess
from pathlib import Path

import bpy
import numpy as np
import pytest
from mathutils import Quaternion

ROOT = Path(__file__).resolve().parents[2]
BEND = 0.6  # radians at each joint of the body's left index finger
CURL = 20.0  # degrees that the rigs' fingers curl at rest
PARTS = tuple(f"L_Index{part}" for part in (1, 2, 3))


@pytest.fixture(scope="module")
def body(extension, part, tmp_path_factory):
    """A body with SMPL-H's fingers, posed by the sample photograph; its fingers are at rest."""
    code = "import sys, pathlib, model_files; model_files.write_model(pathlib.Path(sys.argv[1]), 'SMPL-H')"
    path, python = tmp_path_factory.mktemp("body") / "model.npz", str(ROOT / ".venv" / "bin" / "python")
    subprocess.run([python, "-c", code, str(path)], cwd=ROOT / "tests" / "support", check=True)
    preferences = bpy.context.preferences.addons[extension.__name__].preferences
    preferences.solver_python, preferences.body_file = python, str(path)
    bpy.ops.wm.read_homefile(use_empty=True)
    assert bpy.ops.ikol.pose_from_image(filepath=str(ROOT / "samples" / "front_step.jpg")) == {"FINISHED"}
    yield bpy.context.view_layer.objects.active.name
    part("blender.runtime").get().solver.close()
    preferences.solver_python = preferences.body_file = ""


@pytest.fixture
def rigs(body):
    """Makes rigs with fingers by style; they are removed afterwards."""
    from blender_rigs import build_rig

    before = set(bpy.data.objects)
    yield lambda style, mode="QUATERNION": build_rig(style, 1.0, 0, mode, finger_curl_deg=CURL)
    for thing in set(bpy.data.objects) - before:
        bpy.data.objects.remove(thing)


@pytest.fixture
def bent(body):
    """The body with its left index finger bent."""
    bones = [bpy.data.objects[body].pose.bones[name] for name in PARTS]
    for bone in bones:
        bone.rotation_quaternion = Quaternion((0.0, 1.0, 0.0), BEND)  # about SMPL's z: its hands lie along x
    bpy.context.view_layer.update()
    yield body
    for bone in bones:
        bone.rotation_quaternion = (1.0, 0.0, 0.0, 0.0)
    bpy.context.view_layer.update()


def pose(rig, body):
    from blender_rigs import activate

    activate(rig)
    rig.ikol_rig.source = bpy.data.objects[body]
    assert bpy.ops.ikol.pose_rig() == {"FINISHED"}
    bpy.context.view_layer.update()
    return {row.name: row.bone for row in rig.ikol_rig.joints}


def channels(rig, names):
    found = {}
    for name in names:
        bone = rig.pose.bones[name]
        found[name] = (*bone.rotation_quaternion, *bone.rotation_euler, *bone.rotation_axis_angle, *bone.location)
    return found


def angle(armature, first, second, third):
    """Give the angle in which a finger is bent at its second joint, radians."""
    heads = [armature.matrix_world @ armature.pose.bones[name].head for name in (first, second, third)]
    return (heads[1] - heads[0]).angle(heads[2] - heads[1])


def keyed(rig):
    action = rig.animation_data.action
    if hasattr(action, "fcurves"):
        curves = action.fcurves
    else:
        from bpy_extras import anim_utils

        curves = anim_utils.action_get_channelbag_for_slot(action, rig.animation_data.action_slot).fcurves
    return {curve.data_path.split('"')[1] for curve in curves}


@pytest.mark.parametrize("style", ["Mixamo", "Unreal", "VRM J_Bip", "metarig"])
def test_fingers_are_found_and_left_alone_where_nothing_says_how_they_are(rigs, body, style):
    rig = rigs(style)
    bpy.ops.ikol.find_rig_bones()
    fingers = [
        row.bone for row in rig.ikol_rig.joints if row.name[2:-1] in ("Thumb", "Index", "Middle", "Ring", "Pinky")
    ]
    assert len(fingers) == 30
    assert all(fingers)
    rig.pose.bones[fingers[4]].rotation_quaternion = (0.9, 0.1, 0.3, 0.3)  # the user's own
    before = channels(rig, fingers)
    pose(rig, body)
    assert channels(rig, fingers) == before
    assert not keyed(rig) & set(fingers)


@pytest.mark.parametrize(
    ("style", "mode"), [("Mixamo", "QUATERNION"), ("Unreal", "XYZ"), ("VRM J_Bip", "AXIS_ANGLE"), ("metarig", "YZX")]
)
def test_fingers_bend_as_the_bodys_do_and_the_other_hand_stays(rigs, bent, style, mode):
    rig = rigs(style, mode)
    person = bpy.data.objects[bent]
    names = pose(rig, bent)
    right = [bone for joint, bone in names.items() if joint.startswith("R_Index")]
    assert len(right) == 3
    assert all(rig.pose.bones[name].matrix_basis.to_quaternion().angle < 1e-6 for name in right)
    theirs = angle(person, *PARTS)
    mine = angle(rig, *(names[part] for part in PARTS))
    at_rest = np.radians(CURL)
    print(f"{style}: bent by {mine:.3f} rad, the body by {theirs:.3f}, at rest {at_rest:.3f}")
    assert theirs > 0.4
    assert mine == pytest.approx(theirs, abs=2e-3)  # float32 along a chain of ten bones
    assert {names[part] for part in PARTS} <= keyed(rig)
    # the middle finger rests on the body, straight: so it does here, in a hand that is posed
    assert angle(rig, *(names[f"L_Middle{part}"] for part in (1, 2, 3))) == pytest.approx(
        angle(person, "L_Middle1", "L_Middle2", "L_Middle3"), abs=2e-3
    )


def test_a_generated_rigify_rig_bends_its_fingers_by_their_controls(rigs, bent):
    from blender_rigs import rigify_rigs

    metarig, rig = rigify_rigs()
    bpy.data.objects.remove(metarig)
    names = pose(rig, bent)
    assert names["L_Index2"] == "f_index.02.L"
    theirs = angle(bpy.data.objects[bent], *PARTS)
    for bones in ([names[part] for part in PARTS], [f"DEF-f_index.0{part}.L" for part in (1, 2, 3)]):
        assert angle(rig, *bones) == pytest.approx(theirs, abs=5e-3), bones
    assert all(rig.pose.bones[names[f"R_Ring{part}"]].matrix_basis.to_quaternion().angle < 1e-6 for part in (1, 2, 3))


def test_a_finger_that_is_gone_is_named(rigs, body):
    from blender_rigs import activate

    rig = rigs("Unreal")
    activate(rig)
    rig.ikol_rig.source = bpy.data.objects[body]
    bpy.ops.ikol.find_rig_bones()
    rig.ikol_rig.joints["L_Index1"].bone = "tail"
    with pytest.raises(RuntimeError, match="(?i)has no bone tail any more"):
        bpy.ops.ikol.pose_rig()
    rig.ikol_rig.joints["L_Index1"].bone = ""  # it can do without
    assert bpy.ops.ikol.pose_rig() == {"FINISHED"}

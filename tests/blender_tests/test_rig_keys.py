# SPDX-License-Identifier: Apache-2.0
"""Keys of posed rigs: a pose is there after a change of the frame, whatever had keys before; undo takes all back."""

from pathlib import Path

import bpy
import numpy as np
import pytest
from mathutils import Quaternion

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
FRAME, FIRST, LAST = 10, 1, 40
SAME = 1e-5  # metres: the same float32 numbers, evaluated twice
LIMBS = ("upper_arm_parent.L", "upper_arm_parent.R", "thigh_parent.L", "thigh_parent.R")
ENDS = ("c_hand_ik.l", "c_hand_ik.r", "c_foot_ik.l", "c_foot_ik.r")


@pytest.fixture(scope="module")
def body(extension, part):
    """The IKOL body after Pose from Image, in one file for all tests."""
    preferences = bpy.context.preferences.addons[extension.__name__].preferences
    preferences.solver_python = str(ROOT / ".venv" / "bin" / "python")
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.context.scene.frame_set(FRAME)
    assert bpy.ops.ikol.pose_from_image(filepath=str(ROOT / "samples" / "front_step.jpg")) == {"FINISHED"}
    name = bpy.context.view_layer.objects.active.name
    bpy.data.objects[name].animation_data_clear()  # the same pose on all frames
    yield name
    part("blender.runtime").get().solver.close()
    preferences.solver_python = ""


@pytest.fixture(scope="module")
def rigify_file(body, tmp_path_factory):
    """A file with the rig that Rigify generates, which takes it ten seconds."""
    from blender_rigs import rigify_rigs

    before = set(bpy.data.objects.keys())
    path = tmp_path_factory.mktemp("rigify") / "rig.blend"
    bpy.data.libraries.write(str(path), {rigify_rigs()[1]})
    remove_all_but(before)
    return path


def remove_all_but(names):
    for name in set(bpy.data.objects.keys()) - names:
        bpy.data.objects.remove(bpy.data.objects[name])


def appended(path):
    with bpy.data.libraries.load(str(path)) as (there, here):
        here.objects = [name for name in there.objects if not name.startswith("WGT")]
    (rig,) = here.objects
    bpy.context.scene.collection.objects.link(rig)
    return rig


@pytest.fixture(params=["Rigify", "Auto-Rig Pro"])
def rig(request, body, rigify_file):
    """A rig with IK/FK switches, and a control above the posed ones that has keys; it is removed afterwards."""
    from blender_rigs import activate, auto_rig

    before = set(bpy.data.objects.keys())  # undo makes all objects anew
    bpy.context.scene.frame_set(FRAME)
    made = appended(rigify_file) if request.param == "Rigify" else auto_rig()
    activate(made)
    made.ikol_rig.source, made.ikol_rig.place = bpy.data.objects[body], "SCENE"
    yield made.name
    remove_all_but(before)
    for action in list(bpy.data.actions):
        bpy.data.actions.remove(action)


def switches(rig):
    """Give the controls that have switches, and the name of these."""
    return (LIMBS, "IK_FK") if LIMBS[0] in rig.pose.bones else (ENDS, "ik_fk_switch")


def key_ik(rig):
    """Have the user animate with IK: switches keyed at 0, and what lies between the controls turned and moved."""
    names, switch = switches(rig)
    for frame in (FIRST, LAST):
        for name in names:
            rig.pose.bones[name][switch] = 0.0
            rig.pose.bones[name].keyframe_insert(f'["{switch}"]', frame=frame)
        if switch == "IK_FK":
            chest = rig.pose.bones["chest"]
            chest.rotation_mode, chest.rotation_euler = "XYZ", (0.3, 0.0, 0.2)
            chest.location = (0.0, 0.1, 0.0)
            chest.keyframe_insert("rotation_euler", frame=frame)
            chest.keyframe_insert("location", frame=frame)


def skin(rig):
    """Give where the bones that move the skin are."""
    bpy.context.view_layer.update()
    return np.array([bone.head for bone in rig.pose.bones if bone.bone.use_deform])


def go_away_and_back(frame=FRAME):
    bpy.context.scene.frame_set(frame + 7)
    bpy.context.scene.frame_set(frame)


def values(rig):
    names, switch = switches(rig)
    return [rig.pose.bones[name][switch] for name in names]


def keyed_frames(part, rig):
    """Give the frames of the keys by property."""
    curves = part("blender.keys").fcurves(rig)
    return {(one.data_path, one.array_index): [tuple(key.co) for key in one.keyframe_points] for one in curves}


def test_a_pose_is_there_after_a_change_of_the_frame_though_switches_had_keys(rig):
    rig = bpy.data.objects[rig]
    key_ik(rig)
    go_away_and_back()
    before = skin(rig)
    assert bpy.ops.ikol.pose_rig() == {"FINISHED"}
    posed = skin(rig)
    assert np.abs(posed - before).max() > 0.3
    go_away_and_back()
    assert values(rig) == [1.0] * 4
    assert np.abs(skin(rig) - posed).max() < SAME
    for frame in (FIRST, LAST):  # the user's own frames are as they were
        bpy.context.scene.frame_set(frame)
        assert values(rig) == [0.0] * 4


def test_switches_without_keys_get_none(rig, part):
    rig = bpy.data.objects[rig]
    assert bpy.ops.ikol.pose_rig() == {"FINISHED"}
    posed = skin(rig)
    go_away_and_back()
    assert np.abs(skin(rig) - posed).max() < SAME
    paths = {path for path, _ in keyed_frames(part, rig)}
    assert paths
    assert not [path for path in paths if "switch" in path or "IK_FK" in path or '"chest"' in path]


def test_switches_that_a_strip_of_the_nla_sets_are_keyed_over_it(rig):
    rig = bpy.data.objects[rig]
    key_ik(rig)
    action = rig.animation_data.action
    rig.animation_data.action = None
    strip = rig.animation_data.nla_tracks.new().strips.new("ik", FIRST, action)
    if hasattr(strip, "action_slot") and strip.action_slot is None:
        strip.action_slot = action.slots[0]
    go_away_and_back()
    assert values(rig) == [0.0] * 4
    assert bpy.ops.ikol.pose_rig() == {"FINISHED"}
    posed = skin(rig)
    go_away_and_back()
    assert values(rig) == [1.0] * 4
    assert np.abs(skin(rig) - posed).max() < SAME


def test_every_frame_of_a_range_keeps_its_pose(rig, body):
    rig, person, scene = bpy.data.objects[rig], bpy.data.objects[body], bpy.context.scene
    key_ik(rig)
    scene.frame_start, scene.frame_end = FRAME, FRAME + 2
    elbow = person.pose.bones["R_Elbow"]
    before = elbow.rotation_quaternion.copy()
    for frame, quat in ((FRAME, before), (FRAME + 2, before @ Quaternion((0.0, 1.0, 0.0), 1.0))):
        elbow.rotation_quaternion = quat
        elbow.keyframe_insert("rotation_quaternion", frame=frame)
    person.update_tag()  # its action is new
    go_away_and_back()
    try:
        assert bpy.ops.ikol.pose_rig(whole_range=True) == {"FINISHED"}
    finally:
        person.animation_data_clear()
        elbow.rotation_quaternion = before
    bones = ("DEF-hand.R", "hand_fk.R") if "hand_fk.R" in rig.pose.bones else ("hand.r", "c_hand_fk.r")
    places = []
    for frame in range(FRAME, FRAME + 3):
        scene.frame_set(frame)
        assert values(rig) == [1.0] * 4
        own, control = (np.array(rig.pose.bones[name].head) for name in bones)
        assert np.linalg.norm(own - control) < 2e-3  # it follows the control; Rigify's chains have some play
        places.append(own)
    assert np.linalg.norm(places[2] - places[0]) > 0.1


def test_without_keys_the_user_is_told_that_the_pose_will_be_lost(rig, part, capfd):
    rig = bpy.data.objects[rig]
    key_ik(rig)
    rig.ikol_rig.set_keys = False
    before = keyed_frames(part, rig)
    assert bpy.ops.ikol.pose_rig() == {"FINISHED"}
    said = "".join(capfd.readouterr())
    assert "has keys, and this pose has none: it is lost when the frame changes; choose Set Keys" in said
    assert keyed_frames(part, rig) == before


def test_a_driven_switch_is_named(rig, capfd):
    rig = bpy.data.objects[rig]
    names, switch = switches(rig)
    rig.pose.bones[names[0]].driver_add(f'["{switch}"]').driver.expression = "0.0"
    assert bpy.ops.ikol.pose_rig() == {"FINISHED"}
    assert f"drivers set {names[0]}, and the pose does not" in "".join(capfd.readouterr()).replace("Drivers", "drivers")


def test_curves_that_are_locked_are_named(rig, part, capfd):
    rig = bpy.data.objects[rig]
    key_ik(rig)
    names, switch = switches(rig)
    for curve in part("blender.keys").fcurves(rig):
        curve.lock = switch in curve.data_path
    before = keyed_frames(part, rig)
    assert bpy.ops.ikol.pose_rig() == {"FINISHED"}
    said = "".join(capfd.readouterr())
    assert f"o keys can be set on {', '.join(names)}: unlock their curves" in said
    after = keyed_frames(part, rig)
    assert {key: after[key] for key in before if switch in key[0]} == {
        key: before[key] for key in before if switch in key[0]
    }


def test_a_linked_action_is_said(rig, tmp_path, capfd):
    rig = bpy.data.objects[rig]
    key_ik(rig)
    path = str(tmp_path / "action.blend")
    bpy.data.libraries.write(path, {rig.animation_data.action}, fake_user=True)
    with bpy.data.libraries.load(path, link=True) as (inside, wanted):
        wanted.actions = inside.actions
    rig.animation_data.action = wanted.actions[0]
    assert bpy.ops.ikol.pose_rig() == {"FINISHED"}
    assert "or make the linked action a local one" in "".join(capfd.readouterr())


def test_one_undo_takes_pose_switches_and_keys_back_and_redo_brings_them(rig, part):
    name = rig
    key_ik(bpy.data.objects[name])
    go_away_and_back()

    def everything():
        rig = bpy.data.objects[name]
        return keyed_frames(part, rig), values(rig), skin(rig).round(5).tolist()

    def step(what, **choices):
        with bpy.context.temp_override(window=bpy.context.window_manager.windows[0]):
            what(**choices)

    before = everything()
    step(bpy.ops.ed.undo_push, message="before")
    assert bpy.ops.ikol.pose_rig() == {"FINISHED"}
    after = everything()
    step(bpy.ops.ed.undo_push, message="Pose My Rig")
    assert after != before
    step(bpy.ops.ed.undo)
    assert everything() == before
    step(bpy.ops.ed.redo)
    assert everything() == after

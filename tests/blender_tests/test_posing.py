# SPDX-License-Identifier: Apache-2.0
"""Bones are posed in the rotation mode and around the locks that the user chose, and keyed by his settings."""

import math

import bpy
import pytest
from mathutils import Quaternion


@pytest.fixture
def armature(scene, part):
    body = part("core.body").load_body(part("blender.own_body").DEFAULT_BODY_PATH)
    made = part("blender.armature").build_body(bpy.context, body, (0.0,) * 10)
    bpy.context.view_layer.update()
    edit = bpy.context.preferences.edit
    before, edit.use_keyframe_insert_available = edit.use_keyframe_insert_available, False  # on in Blender 5.2
    yield made
    edit.use_keyframe_insert_available = before
    tool = bpy.context.scene.tool_settings
    tool.use_keyframe_insert_auto = tool.use_keyframe_insert_keyingset = False
    tool.auto_keying_mode = "ADD_REPLACE_KEYS"


def quat(degrees, axis=(1.0, 0.0, 0.0)):
    return tuple(Quaternion(axis, math.radians(degrees)))


def curves_of(armature):
    action = armature.animation_data.action
    if hasattr(action, "fcurves"):
        return list(action.fcurves)
    return [c for layer in action.layers for strip in layer.strips for bag in strip.channelbags for c in bag.fcurves]


def paths(armature):
    return {curve.data_path.rpartition(".")[2] for curve in curves_of(armature)}


@pytest.mark.parametrize("mode", ["QUATERNION", "XYZ", "ZXY", "AXIS_ANGLE"])
def test_a_bone_is_turned_in_its_own_mode(armature, part, mode):
    bone = armature.pose.bones["L_Elbow"]
    bone.rotation_mode = mode
    part("blender.posing").turn_bone(bone, quat(70, (0.6, 0.0, 0.8)))
    assert bone.rotation_mode == mode
    turned = bone.matrix_basis.to_quaternion()
    assert turned.rotation_difference(Quaternion((0.6, 0.0, 0.8), math.radians(70))).angle < 1e-3  # float32 Euler


def test_quaternions_do_not_jump_to_the_other_sign(armature, part):
    bone = armature.pose.bones["L_Elbow"]
    bone.rotation_quaternion = [-value for value in quat(10)]
    part("blender.posing").turn_bone(bone, quat(12))
    assert bone.rotation_quaternion.w < 0


def test_euler_angles_go_on_past_half_a_turn(armature, part):
    bone = armature.pose.bones["L_Elbow"]
    bone.rotation_mode = "XYZ"
    for degrees in range(0, 271, 30):
        part("blender.posing").turn_bone(bone, quat(degrees))
    assert math.degrees(bone.rotation_euler.x) == pytest.approx(270, abs=0.01)


@pytest.mark.parametrize("mode", ["XYZ", "QUATERNION"])
def test_a_locked_axis_stays(armature, part, mode):
    bone = armature.pose.bones["L_Elbow"]
    bone.rotation_mode = mode
    bone.lock_rotation = (True, False, False)
    part("blender.posing").turn_bone(bone, quat(40, (0.6, 0.0, 0.8)))
    euler = bone.matrix_basis.to_euler("XYZ")
    assert euler.x == pytest.approx(0.0, abs=1e-6)
    assert abs(euler.z) > 0.3


def test_a_locked_bone_and_place_stay(armature, part):
    bones = armature.pose.bones
    bones["L_Elbow"].lock_rotation = (True, True, True)
    bones["Pelvis"].lock_location = (False, True, False)
    names = part("core.rig").JOINT_NAMES
    pose = part("core.record").Pose((1.0, 2.0, 3.0), (quat(30),) * len(names), (0.0,) * 10)
    part("blender.posing").apply_pose(armature, pose)
    assert tuple(bones["L_Elbow"].rotation_quaternion) == (1.0, 0.0, 0.0, 0.0)
    assert tuple(bones["Pelvis"].location) == (1.0, 0.0, 3.0)
    assert "L_Elbow" not in part("blender.posing").free_joints(armature, ())
    assert len(part("blender.posing").free_joints(armature, ())) == 23


def test_when_all_bones_are_locked_the_user_is_told(armature, part):
    armature.pose.bones["L_Elbow"].lock_rotation = (True, True, True)
    with pytest.raises(part("core.errors").SceneError, match="are locked; unlock some"):
        part("blender.posing").free_joints(armature, ("L_Elbow",))


def test_an_armature_without_keys_gets_none_and_nothing_is_lost(armature, part):
    plan = part("blender.keys").plan_by_settings(bpy.context, armature)
    assert not plan
    assert not plan.is_dropped


def test_auto_keying_keys_the_whole_pose_as_generated(armature, part):
    bpy.context.scene.tool_settings.use_keyframe_insert_auto = True
    part("blender.keys").plan_by_settings(bpy.context, armature).insert(armature)
    assert len(curves_of(armature)) == 24 * 4 + 3
    assert {point.type for curve in curves_of(armature) for point in curve.keyframe_points} == {"GENERATED"}


def test_a_users_key_keeps_its_type_and_gets_the_new_value(armature, part):
    bone = armature.pose.bones["L_Elbow"]
    bone.keyframe_insert("rotation_quaternion", frame=1, keytype="EXTREME")
    bone.rotation_quaternion = quat(50)
    plan = part("blender.keys").plan_by_settings(bpy.context, armature)
    plan.insert(armature)
    (w,) = (curve for curve in curves_of(armature) if curve.array_index == 0)
    assert [point.type for point in w.keyframe_points] == ["EXTREME"]
    assert w.keyframe_points[0].co[1] == pytest.approx(math.cos(math.radians(25)), abs=1e-6)


def test_only_existing_keys_are_replaced_when_blender_is_set_so(armature, part):
    tool = bpy.context.scene.tool_settings
    tool.use_keyframe_insert_auto, tool.auto_keying_mode = True, "REPLACE_KEYS"
    armature.pose.bones["L_Elbow"].keyframe_insert("rotation_quaternion", frame=1)
    part("blender.keys").plan_by_settings(bpy.context, armature).insert(armature)
    assert len(curves_of(armature)) == 4


KEYING_SETS = {
    "Location": {"location"},
    "Rotation": {"rotation_quaternion"},
    "BUILTIN_KSI_LocRot": {"location", "rotation_quaternion"},
}


@pytest.mark.parametrize("name", KEYING_SETS)
def test_the_active_keying_set_says_what_is_keyed(armature, part, name):
    scene = bpy.context.scene
    scene.keying_sets_all.active = next(each for each in scene.keying_sets_all if each.bl_idname == name)
    scene.tool_settings.use_keyframe_insert_auto = scene.tool_settings.use_keyframe_insert_keyingset = True
    part("blender.keys").plan_by_settings(bpy.context, armature).insert(armature)
    assert paths(armature) == KEYING_SETS[name]


def test_a_keying_set_of_paths_keys_just_these(armature, part):
    scene = bpy.context.scene
    own = scene.keying_sets.new(idname="elbow", name="Elbow")
    own.paths.add(armature, 'pose.bones["L_Elbow"].rotation_quaternion')
    scene.keying_sets.active = own
    scene.tool_settings.use_keyframe_insert_auto = scene.tool_settings.use_keyframe_insert_keyingset = True
    part("blender.keys").plan_by_settings(bpy.context, armature).insert(armature)
    assert {curve.data_path for curve in curves_of(armature)} == {'pose.bones["L_Elbow"].rotation_quaternion'}


def test_only_animated_channels_are_keyed_when_blender_is_set_so(armature, part):
    bpy.context.preferences.edit.use_keyframe_insert_available = True
    bpy.context.scene.tool_settings.use_keyframe_insert_auto = True
    armature.pose.bones["L_Elbow"].keyframe_insert("rotation_quaternion", frame=1)
    bpy.context.scene.frame_set(5)
    part("blender.keys").plan_by_settings(bpy.context, armature).insert(armature)
    assert {curve.data_path for curve in curves_of(armature)} == {'pose.bones["L_Elbow"].rotation_quaternion'}
    assert [len(curve.keyframe_points) for curve in curves_of(armature)] == [2] * 4


def test_keys_are_taken_back(armature, part):
    scene = bpy.context.scene
    scene.tool_settings.use_keyframe_insert_auto = True
    plan = part("blender.keys").plan_by_settings(bpy.context, armature)
    plan.insert(armature)
    plan.take_back(armature)
    assert armature.animation_data is None


def test_the_sign_of_a_new_key_is_that_of_the_key_before(armature, part):
    bone = armature.pose.bones["L_Elbow"]
    bone.rotation_quaternion = [-value for value in quat(10)]
    bone.keyframe_insert("rotation_quaternion", frame=1)
    bpy.context.scene.frame_set(8)
    bone.rotation_quaternion = quat(20)
    part("blender.keys").plan_all(armature, 8).insert(armature)
    (w,) = (c for c in curves_of(armature) if c.array_index == 0 and "L_Elbow" in c.data_path)
    assert all(point.co[1] < 0 for point in w.keyframe_points)


def test_an_unkeyed_frame_of_an_animated_body_is_known(armature, part):
    armature.pose.bones["L_Elbow"].keyframe_insert("rotation_quaternion", frame=1)
    bpy.context.scene.frame_set(5)
    assert part("blender.keys").plan_by_settings(bpy.context, armature).is_dropped


def test_strips_and_half_keyed_channels_are_animation_too(armature, part):
    plan = part("blender.keys").plan_by_settings
    armature.pose.bones["L_Elbow"].keyframe_insert("rotation_quaternion", index=0, frame=1)
    bpy.context.scene.frame_set(5)
    assert plan(bpy.context, armature).is_dropped
    animation = armature.animation_data
    track = animation.nla_tracks.new()
    track.strips.new("down", 1, animation.action)
    animation.action = None
    assert plan(bpy.context, armature).is_dropped
    assert not plan(bpy.context, armature, ("R_Elbow",)).is_dropped
    track.mute = True
    assert not plan(bpy.context, armature).is_dropped


def test_keys_that_are_set_over_strips_hold_the_pose(armature, part):
    bone = armature.pose.bones["L_Elbow"]
    for frame in (1, 20):
        bone.keyframe_insert("rotation_quaternion", frame=frame)
    animation = armature.animation_data
    animation.nla_tracks.new().strips.new("rest", 1, animation.action)
    animation.action = None
    bpy.context.scene.frame_set(5)
    bone.rotation_quaternion = quat(40)
    part("blender.keys").plan_all(armature, 5).insert(armature)
    for frame in (9, 5):
        bpy.context.scene.frame_set(frame)
    assert tuple(bone.rotation_quaternion) == pytest.approx(quat(40), abs=1e-6)


def test_with_auto_keying_a_drag_of_one_limb_drops_nothing(armature, part):
    for name in ("L_Elbow", "R_Elbow"):
        armature.pose.bones[name].keyframe_insert("rotation_quaternion", frame=1)
    bpy.context.scene.tool_settings.use_keyframe_insert_auto = True
    bpy.context.scene.frame_set(5)
    plan = part("blender.keys").plan_by_settings(bpy.context, armature, ("L_Elbow",))
    assert not plan.is_dropped
    plan.insert(armature)
    assert {curve.data_path for curve in curves_of(armature) if len(curve.keyframe_points) == 2} == {
        'pose.bones["L_Elbow"].rotation_quaternion'
    }


@pytest.mark.skipif(bpy.app.version < (4, 4), reason="actions have slots since Blender 4.4")
def test_the_curves_of_a_body_are_those_of_its_own_slot(armature, part):
    armature.pose.bones["L_Elbow"].keyframe_insert("rotation_quaternion", frame=1)
    action = armature.animation_data.action
    other = armature.copy()
    bpy.context.scene.collection.objects.link(other)
    other.animation_data.action = action
    other.animation_data.action_slot = action.slots.new("OBJECT", "Second")
    assert list(part("blender.keys").fcurves(other)) == []
    other.pose.bones["L_Elbow"].rotation_quaternion = (0.0, 1.0, 0.0, 0.0)
    other.pose.bones["L_Elbow"].keyframe_insert("rotation_quaternion", frame=3)
    points = [curve.keyframe_points for curve in part("blender.keys").fcurves(other)]
    assert [(len(each), tuple(each[0].co)) for each in points] == [(1, (3.0, value)) for value in (0.0, 1.0, 0.0, 0.0)]

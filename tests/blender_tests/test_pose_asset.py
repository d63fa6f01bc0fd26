# SPDX-License-Identifier: Apache-2.0
"""A pose in Blender's pose library: applied again it is the same pose, and its picture shows it."""

import bpy
import numpy as np
from mathutils import Euler, Quaternion


def heads(armature, part):
    bpy.context.view_layer.update()
    return np.array([armature.pose.bones[name].head for name in part("core.rig").JOINT_NAMES])


def test_a_saved_pose_is_applied_again(body, part):
    elbow = body.pose.bones["L_Elbow"]
    elbow.rotation_mode = "YZX"
    elbow.rotation_euler = Euler((0.2, -0.9, 0.4), "YZX")
    body.pose.bones["R_Knee"].rotation_quaternion = Quaternion((1, 0, 0), 1.2)
    expected = heads(body, part)
    action = body.animation_data.action
    assert bpy.ops.ikol.save_pose(name="Reaching") == {"FINISHED"}
    assert body.animation_data.action == action  # its own keys stay
    asset = bpy.data.actions["Reaching"]
    assert asset.asset_data is not None
    assert "IKOL" in asset.asset_data.tags
    assert asset.frame_range[0] == asset.frame_range[1] == 1.0
    body.animation_data_clear()
    for bone in body.pose.bones:
        bone.matrix_basis.identity()
        bone.rotation_quaternion, bone.rotation_euler, bone.location = (1, 0, 0, 0), (0, 0, 0), (0, 0, 0)
    assert np.abs(heads(body, part) - expected).max() > 0.1
    body.pose.apply_pose_from_action(asset, evaluation_time=1.0)
    error = np.abs(heads(body, part) - expected).max()
    assert error < 1e-6, error  # metres; keys are the same float32


def test_the_picture_shows_the_body_and_is_kept_in_the_file(body, tmp_path):
    assert bpy.ops.ikol.save_pose(name="Seen") == {"FINISHED"}
    path = str(tmp_path / "poses.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path)
    preview = bpy.data.actions["Seen"].preview
    assert tuple(preview.image_size) == (128, 128)
    pixels = np.array(preview.image_pixels_float).reshape(128, 128, 4)
    covered = (pixels[:, :, 3] > 0.5).mean()
    assert 0.08 < covered < 0.6, covered


def test_a_pose_without_its_mesh_has_no_picture(body, part):
    bpy.data.objects.remove(part("blender.armature").find_mesh(body))
    assert bpy.ops.ikol.save_pose(name="Bare") == {"FINISHED"}
    assert bpy.data.actions["Bare"].asset_data is not None

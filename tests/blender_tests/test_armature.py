# SPDX-License-Identifier: Apache-2.0
"""The armature is SMPL's: names, axes, skinning and shape are those of the body posed with numpy."""

import bpy
import numpy as np
import pytest
from numpy_body import pose_body, random_quats

JOINT_TOLERANCE = 1e-4  # metres; Blender's matrices are float32 and the chain is nine bones long
SKIN_TOLERANCE = 5e-4  # metres; the add-on also leaves out weights below 1e-4 of a bone up to a metre away

BETAS = (1.0, -2.0, 0.5, 0.0, 0.0, 1.5, 0.0, 0.0, -1.0, 0.3)


@pytest.fixture
def build(scene, part):
    """Builds an armature with given betas."""
    loaded = part("core.body").load_body(part("blender.own_body").DEFAULT_BODY_PATH)

    def make(betas=BETAS):
        armature = part("blender.armature").build_body(bpy.context, loaded, betas)
        bpy.context.view_layer.update()
        return armature

    make.body = loaded
    return make


def to_blender(points):
    """By hand, not by the add-on's own code."""
    x, y, z = np.moveaxis(np.asarray(points), -1, 0)
    return np.stack([x, -z, y], -1)


def set_pose(armature, names, quats, transl):
    for name, quat in zip(names, quats, strict=True):
        armature.pose.bones[name].rotation_quaternion = quat
    armature.pose.bones["Pelvis"].location = transl
    bpy.context.view_layer.update()


def heads(armature, names):
    return np.array([armature.matrix_world @ armature.pose.bones[name].head for name in names])


def skinned(armature):
    (mesh,) = (child for child in armature.children if child.type == "MESH")
    evaluated = mesh.evaluated_get(bpy.context.evaluated_depsgraph_get()).to_mesh()
    points = np.empty(3 * len(evaluated.vertices), np.float32)
    evaluated.vertices.foreach_get("co", points)
    return points.reshape(-1, 3)


def test_bones_are_named_and_ordered_as_in_the_smpl_add_on(build, part):
    armature = build()
    rig = part("core.rig")
    assert [bone.name for bone in armature.data.bones if bone.parent is None] == ["root"]
    assert {bone.name for bone in armature.data.bones} == {"root", *rig.JOINT_NAMES}
    assert armature.data.bones["L_Elbow"].parent.name == "L_Shoulder"
    assert armature.data.bones["Pelvis"].parent.name == "root"


def test_bones_stand_straight_up_with_smpl_axes(build):
    armature = build()
    expected = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])  # columns: SMPL's x, y, z in Blender
    for bone in armature.data.bones:
        assert np.allclose(np.array(bone.matrix_local.to_3x3()), expected, atol=1e-6), bone.name
        assert np.allclose(bone.tail_local - bone.head_local, (0, 0, 0.1), atol=1e-6), bone.name


@pytest.mark.parametrize("seed", range(4))
def test_a_pose_of_the_bones_is_the_same_pose_of_smpl(build, part, seed):
    armature = build()
    quats, transl = random_quats(seed), (0.3, 1.1, -0.4)
    set_pose(armature, part("core.rig").JOINT_NAMES, quats, transl)
    expected = to_blender(pose_body(transl, quats, BETAS).joints)
    error = np.abs(heads(armature, part("core.rig").JOINT_NAMES) - expected).max()
    assert error < JOINT_TOLERANCE, f"joints are {error:.2e} m off"


def test_the_skin_follows_as_linear_blend_skinning(build, part):
    armature = build()
    quats, transl = random_quats(11, 0.9), (0.0, 1.0, 0.2)
    set_pose(armature, part("core.rig").JOINT_NAMES, quats, transl)
    expected = to_blender(pose_body(transl, quats, BETAS).vertices)
    error = np.abs(skinned(armature) - expected).max()
    assert error < SKIN_TOLERANCE, f"vertices are {error:.2e} m off"


def test_shape_keys_are_the_betas(build):
    armature = build()
    (mesh,) = (child for child in armature.children if child.type == "MESH")
    blocks = mesh.data.shape_keys.key_blocks
    assert [block.name for block in blocks] == ["Basis", *(f"Shape{index:03d}" for index in range(10))]
    assert [blocks[f"Shape{index:03d}"].value for index in range(10)] == pytest.approx(BETAS)
    assert {(block.slider_min, block.slider_max) for block in blocks[1:]} == {(-10.0, 10.0)}
    rest = pose_body((0, 0, 0), [[1, 0, 0, 0]] * 24, BETAS).vertices
    error = np.abs(skinned(armature) - to_blender(rest)).max()
    assert error < 1e-5, f"vertices are {error:.2e} m off"  # float32 sums of eleven terms below two metres


def test_changing_the_shape_moves_the_bones_and_brings_the_users_mode_back(build, part):
    armature = build((0.0,) * 10)
    bpy.context.view_layer.objects.active = armature
    armature.select_set(True)
    bpy.ops.object.mode_set(mode="POSE")
    part("blender.armature").set_shape(bpy.context, armature, build.body, BETAS)
    assert armature.mode == "POSE"
    expected = to_blender(pose_body((0, 0, 0), [[1, 0, 0, 0]] * 24, BETAS).joints)
    found = [armature.data.bones[name].head_local for name in part("core.rig").JOINT_NAMES]
    assert np.abs(np.array(found) - expected).max() < 1e-5


def test_the_body_can_be_read_back_in_any_rotation_mode(build, part):
    armature = build()
    quats = random_quats(3)
    set_pose(armature, part("core.rig").JOINT_NAMES, quats, (0.1, 0.9, 0.0))
    elbow = armature.pose.bones["L_Elbow"]
    euler = elbow.rotation_quaternion.to_euler("ZYX")
    elbow.rotation_mode, elbow.rotation_euler = "ZYX", euler
    bpy.context.view_layer.update()
    pose = part("blender.posing").read_pose(armature, BETAS)
    same = np.abs(np.sum(np.array(pose.local_quat) * quats, axis=1))  # q and -q are one rotation
    assert same.min() > 1 - 1e-6
    assert pose.transl == pytest.approx((0.1, 0.9, 0.0))


def test_a_collection_that_is_switched_off_does_not_swallow_the_body(build):
    hidden = bpy.data.collections.new("Hidden")
    bpy.context.scene.collection.children.link(hidden)
    layer = bpy.context.view_layer.layer_collection.children["Hidden"]
    bpy.context.view_layer.active_layer_collection = layer
    layer.exclude = True
    armature = build()
    assert armature.name in bpy.context.view_layer.objects


def test_an_armature_that_cannot_be_edited_gives_a_sentence(build, part):
    armature = build((0.0,) * 10)
    hidden = bpy.data.collections.new("Hidden")
    bpy.context.scene.collection.children.link(hidden)
    for collection in armature.users_collection:
        collection.objects.unlink(armature)
    hidden.objects.link(armature)
    bpy.context.view_layer.layer_collection.children["Hidden"].exclude = True
    with pytest.raises(part("core.errors").SceneError, match="cannot be edited; show it in the view layer"):
        part("blender.armature").set_shape(bpy.context, armature, build.body, BETAS)

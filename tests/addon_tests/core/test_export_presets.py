# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from numpy_body import BODY_PATH

from blender_addon.core.body import load_body
from blender_addon.core.export_presets import PRESETS, basis_matrices, bone_tails
from blender_addon.core.rig import ALL_JOINT_NAMES, SMPL, TREES


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("tree", TREES.values(), ids=lambda tree: tree.model)
def test_every_joint_of_a_body_has_a_name_of_its_own(preset, tree):
    names = [PRESETS[preset].names[joint] for joint in tree.names]
    assert len(set(names)) == len(names)
    assert all(names)
    assert set(PRESETS[preset].names) == set(ALL_JOINT_NAMES)


@pytest.mark.parametrize(
    ("preset", "joint", "name"),
    [
        ("UNREAL", "L_Hip", "thigh_l"),
        ("UNREAL", "Spine3", "spine_03"),
        ("UNREAL", "R_Index2", "index_02_r"),
        ("UNITY", "R_Elbow", "RightLowerArm"),
        ("UNITY", "L_Pinky3", "LeftLittleDistal"),
        ("MIXAMO", "Pelvis", "mixamorig:Hips"),
        ("MIXAMO", "L_Knee", "mixamorig:LeftLeg"),
        ("MIXAMO", "L_Thumb1", "mixamorig:LeftHandThumb1"),
        ("SMPL", "R_Foot", "R_Foot"),
    ],
)
def test_names_are_those_of_the_program(preset, joint, name):
    assert PRESETS[preset].names[joint] == name


def test_bones_end_where_the_next_one_begins():
    heads = load_body(BODY_PATH).joints_template
    tails = bone_tails(SMPL, heads, np.array([0.0, 1.0, 0.0]), None)
    at = SMPL.index
    assert np.array_equal(tails[at("L_Hip")], heads[at("L_Knee")])
    assert np.array_equal(tails[at("Pelvis")], heads[at("Spine1")])
    assert np.array_equal(tails[at("Spine3")], heads[at("Neck")])
    assert tails[at("Head"), 1] > heads[at("Head"), 1]
    assert np.linalg.norm(tails - heads, axis=1).min() > 0.005


def test_a_basis_brings_each_bone_where_it_is_to_be():
    rng = np.random.default_rng(2)
    parents = (-1, 0, 1, 0)

    def places(*shape):
        matrices = np.tile(np.eye(4), (*shape, 1, 1))
        matrices[..., :3, :3] = np.linalg.qr(rng.normal(size=(*shape, 3, 3)))[0]
        matrices[..., :3, 3] = rng.normal(size=(*shape, 3))
        return matrices

    rest, posed = places(4), places(5, 4)
    basis = basis_matrices(rest, posed, parents)
    for frame in range(5):
        world = []
        for bone, parent in enumerate(parents):  # as Blender puts bones together
            above = np.eye(4) if parent < 0 else world[parent] @ np.linalg.inv(rest[parent])
            world.append(above @ rest[bone] @ basis[frame, bone])
        assert np.abs(np.array(world) - posed[frame]).max() < 1e-12  # float64, chains of three

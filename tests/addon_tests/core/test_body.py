# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from numpy_body import BODY_PATH, pose_body

from blender_addon.core.body import load_body
from blender_addon.core.errors import FileError
from blender_addon.core.rig import JOINT_NAMES, JOINT_PARENTS, LANDMARK_NAMES

BETAS = (1.0, -1.0, 0.5, 0, 0, 0, 0, 2.0, 0, 0)


def test_rest_joints_follow_the_shape():
    body = load_body(BODY_PATH)
    expected = pose_body((0, 0, 0), [[1, 0, 0, 0]] * 24, BETAS).joints
    assert np.abs(body.rest_joints(BETAS) - expected).max() < 1e-9  # the same sums in another order, float64


def test_the_rig_is_that_of_the_body_file():
    with np.load(BODY_PATH) as data:
        assert tuple(data["joint_names"].tolist()) == JOINT_NAMES
        assert tuple(data["kintree_table"][0].tolist()) == JOINT_PARENTS
        assert tuple(data["landmark_names"].tolist()) == LANDMARK_NAMES


def test_a_missing_or_damaged_body_file_gives_a_sentence(tmp_path):
    with pytest.raises(FileError, match=r"body file a\.npz cannot be read .+ install the add-on again"):
        load_body(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", v_template=np.zeros((3, 3)))
    with pytest.raises(FileError, match="cannot be read"):
        load_body(tmp_path / "a.npz")

# SPDX-License-Identifier: Apache-2.0
import io
import zipfile

import numpy as np
import pytest
import torch
from model_files import write_model
from numpy_body import BODY_PATH, pose_body
from own_body import SCALE, own_arrays, write_own_body

from blender_addon.core.body import load_body
from blender_addon.core.errors import FileError, SceneError
from blender_addon.core.rig import JOINT_NAMES, JOINT_PARENTS, LANDMARK_NAMES, SMPL, TREES
from ikol.body.smpl_file import load_smpl_body

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


def test_an_official_pickle_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "SMPL_NEUTRAL.pkl").write_bytes(b"\x80\x02}.")
    with pytest.raises(FileError, match=r"Blender reads no pickles; .*: ikol convert SMPL_NEUTRAL\.pkl body\.npz"):
        load_body(tmp_path / "SMPL_NEUTRAL.pkl")


def test_an_own_body_is_read_with_all_its_betas(tmp_path):
    body = load_body(write_own_body(tmp_path / "own.npz"))
    assert body.num_betas == 12
    assert np.abs(body.rest_joints(BETAS) - SCALE * load_body(BODY_PATH).rest_joints(BETAS)).max() < 1e-5


def with_nan(key):
    array = own_arrays()[key].copy()
    array.flat[5] = np.nan
    return array


@pytest.mark.parametrize(
    ("key", "make", "sentence"),
    [
        ("weights", lambda: None, "it has no array weights"),
        ("weights", lambda: with_nan("weights"), "weights holds infinite or undefined numbers"),
        ("v_template", lambda: with_nan("v_template"), "v_template holds infinite or undefined numbers"),
        ("weights", lambda: np.array([{"a": 1}], dtype=object), "weights has type object, expected numbers"),
        ("shapedirs", lambda: own_arrays()["shapedirs"][..., :4], "shapedirs must have 10 betas or more"),
        ("J_regressor", lambda: own_arrays()["J_regressor"][:23], r"J_regressor has shape \(23, "),
        ("J_regressor", lambda: 2 * own_arrays()["J_regressor"], "the rows of J_regressor must sum to one"),
        ("kintree_table", lambda: own_arrays()["kintree_table"][:, ::-1], "not the tree of SMPL's 24 joints"),
        ("f", lambda: own_arrays()["f"] + 5000, "f must name vertices 0 to"),
        ("f", lambda: own_arrays()["f"].astype(float), "f has type float64, expected integers"),
        ("v_template", lambda: np.float64(1), r"v_template has shape \(\), expected"),
    ],
)
def test_a_wrong_own_body_is_refused_with_what_is_wrong(tmp_path, key, make, sentence):
    path = write_own_body(tmp_path / "own.npz", **{key: make()})
    with pytest.raises(FileError, match=sentence):
        load_body(path, "name another file")


def test_a_truncated_or_lying_own_body_is_refused(tmp_path):
    path = write_own_body(tmp_path / "own.npz", v_template=None)
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 3)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("v_template.npy", member.getvalue())
    with pytest.raises(FileError, match="v_template announces 26388279066624 bytes and holds 0"):
        load_body(path)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(FileError, match=r"own\.npz cannot be read .+ install the add-on again"):
        load_body(path)


def test_joints_of_any_shape_of_the_body_fit_and_those_of_another_do_not():
    body = load_body(BODY_PATH)
    body.check_joints(SMPL, body.rest_joints(BETAS), "a body", "default")
    moved = body.rest_joints(BETAS)
    moved[15] += (0.0, 0.1, 0.0)  # a head 10 cm higher; the betas can follow that for some of it only
    with pytest.raises(
        SceneError, match=r"a body was made with another body than own: its \w+ rests at \(.*\), that of"
    ):
        body.check_joints(SMPL, moved, "a body", "own")


@pytest.mark.parametrize(("model", "num_joints"), [("SMPL", 24), ("SMPL-H", 52), ("SMPL-X", 55)])
def test_a_body_with_fingers_is_read_with_the_tree_that_the_solver_poses(tmp_path, model, num_joints):
    path = write_model(tmp_path / "model.npz", model)
    body, solved = load_body(path), load_smpl_body(path)
    assert body.tree == TREES[num_joints]
    assert body.tree.names == solved.tree.names
    assert body.tree.parents == solved.tree.parents
    # the same sums over the same numbers in another order, float64
    assert (
        np.abs(body.rest_joints(BETAS) - solved.rest_joints(torch.tensor(BETAS, dtype=torch.float64)).numpy()).max()
        < 1e-9
    )


def test_a_body_of_another_model_does_not_fit(tmp_path):
    body = load_body(write_model(tmp_path / "x.npz", "SMPL-X"))
    with pytest.raises(SceneError, match=r"a body has the 24 joints of SMPL, x\.npz the 55 of SMPL-X; name its body"):
        body.check_joints(SMPL, np.zeros((24, 3)), "a body", "x.npz")


def test_a_hand_is_no_body(tmp_path):
    path = write_own_body(tmp_path / "mano.npz", weights=own_arrays()["weights"][:, :16])
    with pytest.raises(FileError, match=r"expected columns for 24 \(SMPL\), 52 \(SMPL-H\), 55 \(SMPL-X\) joints"):
        load_body(path)

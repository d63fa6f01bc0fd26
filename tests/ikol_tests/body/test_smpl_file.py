# SPDX-License-Identifier: Apache-2.0
"""A user's own body: what is accepted, what is refused with which sentence, where the landmarks are."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from model_files import model_arrays, official_objects, write_model
from numpy_body import BODY_PATH
from own_body import SCALE, more_betas, own_arrays, write_own_body
from pickles import Calls, python2_pickle, python3_pickle

from ikol.body.default_body import load_default_body
from ikol.body.smpl_convert import convert_smpl_file
from ikol.body.smpl_file import KNUCKLES, load_smpl_body
from ikol.body.smpl_trees import MODELS
from ikol.errors import InputError


def test_a_file_in_the_layout_of_smpl_becomes_a_body_with_all_named_points(tmp_path: Path) -> None:
    body, default = load_smpl_body(write_own_body(tmp_path / "own.npz")), load_default_body(torch.float64)
    assert body.tree == default.tree
    assert body.num_betas == 10
    assert body.points.names == default.points.names
    assert body.name == "own.npz"
    # the same joints, smaller; float32 weights in the default body's file
    assert float((body.joints_template - SCALE * default.joints_template).abs().max()) < 1e-5


def test_landmarks_of_the_default_bodys_own_arrays_are_the_default_bodys(tmp_path: Path) -> None:
    with np.load(BODY_PATH) as data:
        arrays = {key: data[key] for key in ("v_template", "shapedirs", "J_regressor", "weights", "kintree_table", "f")}
    np.savez(tmp_path / "same.npz", **arrays)
    body, default = load_smpl_body(tmp_path / "same.npz"), load_default_body(torch.float64)
    assert float((body.points.rest - default.points.rest).abs().max()) < 1e-9  # the same sums
    off = body.points.shapedirs - default.points.shapedirs
    # metres per beta: inner points take the directions of the skin beside them
    assert float(off.abs().max()) < 0.02, float(off.abs().max())


def test_landmarks_scale_with_the_height(tmp_path: Path) -> None:
    body, default = load_smpl_body(write_own_body(tmp_path / "own.npz")), load_default_body(torch.float64)
    assert float((body.points.rest - SCALE * default.points.rest).abs().max()) < 1e-5


@pytest.mark.parametrize("key", ["v_template", "shapedirs", "J_regressor", "weights", "kintree_table", "f"])
def test_a_missing_array_is_named(tmp_path: Path, key: str) -> None:
    with pytest.raises(InputError, match=f"own.npz has no array {key}"):
        load_smpl_body(write_own_body(tmp_path / "own.npz", **{key: None}))


def with_entry(key: str, value: float) -> np.ndarray:
    array = own_arrays()[key].copy()
    array.flat[5] = value
    return array


WRONG: dict[str, tuple[Callable[[], np.ndarray], str]] = {
    "v_template": (lambda: own_arrays()["v_template"][:, :2], r"v_template has shape .*2\), expected"),
    "shapedirs": (lambda: own_arrays()["shapedirs"][..., :4], "shapedirs has 4 betas, 10 are asked for"),
    "J_regressor": (lambda: own_arrays()["J_regressor"][:23], r"J_regressor has shape \(23, .*expected \(24,"),
    "weights": (lambda: own_arrays()["weights"].astype(str), "weights has type <U.*, expected numbers"),
    "kintree_table": (
        lambda: own_arrays()["kintree_table"][:, ::-1],
        "kintree_table is not the tree of SMPL's 24 joints",
    ),
    "f": (lambda: own_arrays()["f"].astype(float), "f has type float64, expected integers"),
}


@pytest.mark.parametrize("key", WRONG)
def test_a_wrong_array_is_refused_with_what_was_expected(tmp_path: Path, key: str) -> None:
    make, sentence = WRONG[key]
    with pytest.raises(InputError, match=sentence):
        load_smpl_body(write_own_body(tmp_path / "own.npz", **{key: make()}))


@pytest.mark.parametrize("key", ["v_template", "shapedirs", "J_regressor", "weights"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, key: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{key} holds infinite or undefined numbers"):
        load_smpl_body(write_own_body(tmp_path / "own.npz", **{key: with_entry(key, value)}))


def test_faces_that_name_no_vertex_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="faces must name vertices 0 to"):
        load_smpl_body(write_own_body(tmp_path / "own.npz", f=with_entry("f", 1e6)))


def test_a_body_in_centimetres_or_lying_down_is_refused(tmp_path: Path) -> None:
    arrays = own_arrays()
    with pytest.raises(InputError, match="is the file in metres and Y up"):
        load_smpl_body(write_own_body(tmp_path / "own.npz", v_template=100 * arrays["v_template"]))
    with pytest.raises(InputError, match=r"is the file in metres and Y up|must stand upright"):
        load_smpl_body(write_own_body(tmp_path / "own.npz", v_template=arrays["v_template"][:, [0, 2, 1]]))


def test_objects_in_the_file_are_refused(tmp_path: Path) -> None:
    path = write_own_body(tmp_path / "own.npz", weights=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="weights.npy holds pickled Python objects"):
        load_smpl_body(path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = write_own_body(tmp_path / "own.npz")
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(InputError, match="is not a readable .npz file, it may be truncated"):
        load_smpl_body(path)


def test_a_header_that_announces_terabytes_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 3)})
    path = write_own_body(tmp_path / "own.npz", v_template=None)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("v_template.npy", member.getvalue())
    with pytest.raises(InputError, match="v_template.npy announces 26388279066624 bytes and holds 0"):
        load_smpl_body(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    for name in ("gone.npz", "pipe.npz"):
        with pytest.raises(InputError, match="there is no body file"):
            load_smpl_body(tmp_path / name)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("write", [python2_pickle, python3_pickle])
def test_an_official_pickle_makes_the_same_body_as_the_arrays(
    tmp_path: Path, model: str, write: Callable[[object], bytes]
) -> None:
    plain = load_smpl_body(write_model(tmp_path / "own.npz", model))
    (tmp_path / "official.pkl").write_bytes(write(official_objects(model_arrays(model))))
    body = load_smpl_body(tmp_path / "official.pkl")
    assert body.tree == MODELS[model] == plain.tree
    for part in ("v_template", "shapedirs", "J_regressor", "lbs_weights"):
        # the sparse matrix adds nothing: the same numbers
        assert torch.equal(getattr(body, part), getattr(plain, part)), part


@pytest.mark.parametrize("model", MODELS)
def test_a_converted_file_has_the_same_numbers_and_runs_nothing(tmp_path: Path, model: str) -> None:
    arrays = model_arrays(model)
    (tmp_path / "official.pkl").write_bytes(python2_pickle(official_objects(arrays)))
    held = convert_smpl_file(tmp_path / "official.pkl", tmp_path / "plain.npz")
    assert (held.model, held.num_betas) == (model, 12)
    with np.load(tmp_path / "plain.npz", allow_pickle=False) as converted:
        for key in ("v_template", "shapedirs", "J_regressor", "weights", "kintree_table", "f", "posedirs"):
            np.testing.assert_array_equal(converted[key], arrays[key], key)
    assert load_smpl_body(tmp_path / "plain.npz").tree == MODELS[model]
    assert {path.name for path in tmp_path.iterdir()} == {"official.pkl", "plain.npz"}


def test_what_cannot_be_converted_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "bad.pkl").write_bytes(python2_pickle({"v_template": np.ones((3, 3))}))
    with pytest.raises(InputError, match="bad.pkl has no array shapedirs, J_regressor, weights, kintree_table, f; got"):
        convert_smpl_file(tmp_path / "bad.pkl", tmp_path / "out.npz")
    with pytest.raises(InputError, match="a body is written to an .npz file, got out.obj; name it out.npz"):
        convert_smpl_file(tmp_path / "bad.pkl", tmp_path / "out.obj")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.pkl"]


@pytest.mark.parametrize("model", ["SMPL-H", "SMPL-X"])
def test_landmarks_are_where_the_body_of_24_joints_has_them_and_at_the_knuckles(tmp_path: Path, model: str) -> None:
    plain = load_smpl_body(write_model(tmp_path / "plain.npz"))
    body = load_smpl_body(write_model(tmp_path / "fingers.npz", model))
    assert body.points.names[body.tree.num_joints :] == plain.points.names[24:]
    for name in plain.points.names[24:]:
        joint, place = body.points.joint_index[body.points.index(name)], body.points.rest[body.points.index(name)]
        assert body.tree.names[joint] == plain.tree.names[plain.points.joint_index[plain.points.index(name)]]
        wanted = body.points if name in KNUCKLES else plain.points
        off = place - wanted.rest[wanted.index(KNUCKLES.get(name, name))]
        assert float(off.norm()) < 1e-6, name  # the joints' least squares


def test_directions_of_the_face_are_no_betas(tmp_path: Path) -> None:
    count = len(model_arrays()["v_template"])
    path = write_model(tmp_path / "x.npz", "SMPL-X", shapedirs=np.zeros((count, 3, 20)))
    with pytest.raises(InputError, match="shapedirs has 10 betas, 11 are asked for"):
        load_smpl_body(path, num_betas=11)
    path = write_model(tmp_path / "x.npz", "SMPL-X", shapedirs=np.zeros((count, 3, 400)))
    assert load_smpl_body(path, num_betas=300).num_betas == 300
    assert load_smpl_body(path, num_betas=None).num_betas == 300


@pytest.mark.parametrize("count", [10, 16, 300])
@pytest.mark.parametrize("model", MODELS)
def test_all_betas_of_a_file_are_there_where_they_are_asked_for(tmp_path: Path, model: str, count: int) -> None:
    shapedirs = more_betas(model_arrays(model), count)
    body = load_smpl_body(write_model(tmp_path / "many.npz", model, shapedirs=shapedirs), num_betas=None)
    betas = torch.linspace(-1.0, 1.0, count, dtype=torch.float64)
    wanted = model_arrays(model)["v_template"] + shapedirs @ betas.numpy()
    joints = torch.from_numpy(model_arrays(model)["J_regressor"] @ wanted)
    assert float((body.rest_joints(betas) - joints).abs().max()) < 1e-12  # sums of metres in float64


def test_other_models_are_named(tmp_path: Path) -> None:
    for count, sentence in ((16, "16 joints, as MANO, a hand, has; expected 24"), (25, "25 joints; expected 24 .SMPL")):
        table = np.stack([np.arange(count) - 1, np.arange(count)])
        with pytest.raises(InputError, match=sentence):
            load_smpl_body(write_model(tmp_path / "own.npz", kintree_table=table))


def test_a_hostile_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    arrays = {**model_arrays(), "v_template": Calls(os.system, f"touch {tmp_path / 'ran'}")}
    (tmp_path / "evil.pkl").write_bytes(python3_pickle(arrays))
    with pytest.raises(InputError, match=r"evil.pkl names (posix|nt).system, which is not read"):
        load_smpl_body(tmp_path / "evil.pkl")
    assert not (tmp_path / "ran").exists()


def test_arrays_written_by_python_2_are_read(tmp_path: Path) -> None:
    path = write_model(tmp_path / "own.npz", v_template=None)
    array = model_arrays()["v_template"]
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({len(array)}L, 3L), }}".encode().ljust(117) + b"\n"
    member = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + array.tobytes()
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("v_template.npy", member)
    assert torch.equal(load_smpl_body(path).v_template, torch.from_numpy(array))

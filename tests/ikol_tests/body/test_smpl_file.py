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
from numpy_body import BODY_PATH
from own_body import SCALE, own_arrays, write_own_body

from ikol.body.default_body import load_default_body
from ikol.body.smpl_file import load_smpl_npz
from ikol.errors import InputError


def test_a_file_in_the_layout_of_smpl_becomes_a_body_with_all_named_points(tmp_path: Path) -> None:
    body, default = load_smpl_npz(write_own_body(tmp_path / "own.npz")), load_default_body(torch.float64)
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
    body, default = load_smpl_npz(tmp_path / "same.npz"), load_default_body(torch.float64)
    assert float((body.points.rest - default.points.rest).abs().max()) < 1e-9  # the same sums
    off = body.points.shapedirs - default.points.shapedirs
    # metres per beta: inner points take the directions of the skin beside them
    assert float(off.abs().max()) < 0.02, float(off.abs().max())


def test_landmarks_scale_with_the_height(tmp_path: Path) -> None:
    body, default = load_smpl_npz(write_own_body(tmp_path / "own.npz")), load_default_body(torch.float64)
    assert float((body.points.rest - SCALE * default.points.rest).abs().max()) < 1e-5


@pytest.mark.parametrize("key", ["v_template", "shapedirs", "J_regressor", "weights", "kintree_table", "f"])
def test_a_missing_array_is_named(tmp_path: Path, key: str) -> None:
    with pytest.raises(InputError, match=f"own.npz has no array {key}"):
        load_smpl_npz(write_own_body(tmp_path / "own.npz", **{key: None}))


def with_entry(key: str, value: float) -> np.ndarray:
    array = own_arrays()[key].copy()
    array.flat[5] = value
    return array


WRONG: dict[str, tuple[Callable[[], np.ndarray], str]] = {
    "v_template": (lambda: own_arrays()["v_template"][:, :2], r"v_template has shape .*2\), expected"),
    "shapedirs": (lambda: own_arrays()["shapedirs"][..., :4], "shapedirs has 4 betas, at least 10 are needed"),
    "J_regressor": (lambda: own_arrays()["J_regressor"][:23], r"J_regressor has shape \(23, .*expected \(24,"),
    "weights": (lambda: own_arrays()["weights"].astype(str), "weights has type <U.*, expected numbers"),
    "kintree_table": (lambda: own_arrays()["kintree_table"][:, ::-1], "not the tree of SMPL's 24 joints"),
    "f": (lambda: own_arrays()["f"].astype(float), "f has type float64, expected integers"),
}


@pytest.mark.parametrize("key", WRONG)
def test_a_wrong_array_is_refused_with_what_was_expected(tmp_path: Path, key: str) -> None:
    make, sentence = WRONG[key]
    with pytest.raises(InputError, match=sentence):
        load_smpl_npz(write_own_body(tmp_path / "own.npz", **{key: make()}))


@pytest.mark.parametrize("key", ["v_template", "shapedirs", "J_regressor", "weights"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, key: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{key} holds infinite or undefined numbers"):
        load_smpl_npz(write_own_body(tmp_path / "own.npz", **{key: with_entry(key, value)}))


def test_faces_that_name_no_vertex_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="faces must name vertices 0 to"):
        load_smpl_npz(write_own_body(tmp_path / "own.npz", f=with_entry("f", 1e6)))


def test_a_body_in_centimetres_or_lying_down_is_refused(tmp_path: Path) -> None:
    arrays = own_arrays()
    with pytest.raises(InputError, match="is the file in metres and Y up"):
        load_smpl_npz(write_own_body(tmp_path / "own.npz", v_template=100 * arrays["v_template"]))
    with pytest.raises(InputError, match=r"is the file in metres and Y up|must stand upright"):
        load_smpl_npz(write_own_body(tmp_path / "own.npz", v_template=arrays["v_template"][:, [0, 2, 1]]))


def test_a_pickle_is_refused_with_how_to_convert_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a pickle, .*convert it to .npz once"):
        load_smpl_npz(tmp_path / "basicModel.pkl")


def test_objects_in_the_file_are_refused(tmp_path: Path) -> None:
    path = write_own_body(tmp_path / "own.npz", weights=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="weights.npy holds pickled Python objects"):
        load_smpl_npz(path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = write_own_body(tmp_path / "own.npz")
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(InputError, match="is not a readable .npz file, it may be truncated"):
        load_smpl_npz(path)


def test_a_header_that_announces_terabytes_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 3)})
    path = write_own_body(tmp_path / "own.npz", v_template=None)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("v_template.npy", member.getvalue())
    with pytest.raises(InputError, match="v_template.npy announces 26388279066624 bytes and holds 0"):
        load_smpl_npz(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    for name in ("gone.npz", "pipe.npz"):
        with pytest.raises(InputError, match="there is no body file"):
            load_smpl_npz(tmp_path / name)

# SPDX-License-Identifier: Apache-2.0
"""Motions of SMPL's joints as AMASS .npz, .smpl and HybrIK's res.pk: written, read again, and damaged."""

import os
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from exchange_motions import ROUND_TRIP, damaged, joints_of, walking
from pickles import Calls

from ikol.body.smpl_trees import MODELS, SMPL_TREE
from ikol.errors import InputError
from ikol.exchange import (
    Motion,
    npz_values,
    read_amass,
    read_hybrik,
    read_smpl_codec,
    write_amass,
    write_hybrik,
    write_smpl_codec,
)
from ikol.exchange.motion import SMPL_PELVIS
from ikol.geometry.rotations import rotmat_to_rotvec

GOLDEN = Path(__file__).parents[2] / "golden" / "exchange"
FORMATS: dict[str, tuple[Callable[[Path, Motion], None], Callable[[Path], Motion]]] = {
    "amass": (write_amass, read_amass),
    "smpl": (write_smpl_codec, read_smpl_codec),
    "hybrik": (write_hybrik, read_hybrik),
}


@pytest.mark.parametrize(
    ("form", "model"),
    [*((form, model) for form in ("amass", "smpl") for model in MODELS), ("hybrik", "SMPL")],
)
def test_what_is_written_is_read_again_joint_by_joint(tmp_path: Path, form: str, model: str) -> None:
    write, read = FORMATS[form]
    motion = walking(model)
    write(tmp_path / "a.npz", motion)
    again = read(tmp_path / "a.npz")
    assert again.joint_names == motion.joint_names
    off = float((joints_of(again, model) - joints_of(motion, model)).norm(dim=-1).max())
    assert off < ROUND_TRIP, off
    assert float((again.betas.mean(0) - motion.betas[0]).abs().max()) < 1e-6  # float32
    if form != "hybrik":  # which says neither
        assert (again.fps, again.gender) == (25.0, "female")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("form", ["amass", "smpl"])
@pytest.mark.parametrize("axes", ["y", "z"])
def test_either_way_up_is_seen_and_turned(tmp_path: Path, form: str, axes: str) -> None:
    write, read = FORMATS[form]
    motion = walking()
    write(tmp_path / "a.npz", motion, axes=axes)  # type: ignore[call-arg]
    off = float((joints_of(read(tmp_path / "a.npz")) - joints_of(motion)).norm(dim=-1).max())
    assert off < ROUND_TRIP, off


def test_z_up_moves_the_pelvis_where_it_belongs(tmp_path: Path) -> None:
    motion = walking()
    write_amass(tmp_path / "a.npz", motion)
    pelvis = np.array(SMPL_PELVIS)
    with np.load(tmp_path / "a.npz") as data:
        x, y, z = (data["trans"] + pelvis).T
    wanted = motion.transl.numpy() + pelvis
    np.testing.assert_allclose(np.stack([x, z, -y], 1), wanted, atol=1e-12)  # rounding


@pytest.mark.parametrize("model", MODELS)
def test_both_families_of_keys_say_the_same(tmp_path: Path, model: str) -> None:
    write_amass(tmp_path / "both.npz", walking(model))
    with np.load(tmp_path / "both.npz") as data:
        parts = {key: data[key] for key in data.files}
    np.savez(tmp_path / "poses.npz", **{key: parts[key] for key in ("poses", "trans", "betas", "mocap_framerate")})
    np.savez(tmp_path / "parts.npz", **{key: value for key, value in parts.items() if key != "poses"})
    a, b = read_amass(tmp_path / "poses.npz"), read_amass(tmp_path / "parts.npz")
    body = slice(None, 22)  # SMPL's hands are in no part
    assert torch.equal(a.local_rotmat[:, body], b.local_rotmat[:, body])
    assert torch.equal(a.transl, b.transl)
    if model != "SMPL":
        assert torch.equal(a.local_rotmat, b.local_rotmat)


def test_a_file_of_the_reference_library_is_read() -> None:
    """SMPLCodec(...).write of smplcodec 2.3.0 made it: SMPL-X, 4 frames, male, 50 a second, poses 0.3 sin(0, 1 ...)."""
    motion = read_smpl_codec(GOLDEN / "smplcodec_2_3_0.smpl", axes="y")
    rotvec = rotmat_to_rotvec(motion.local_rotmat)
    wanted = torch.sin(torch.arange(4 * 55 * 3, dtype=torch.float64)).reshape(4, 55, 3) * 0.3
    # float32
    assert float((rotvec - wanted).abs().max()) < 1e-6
    assert torch.allclose(motion.transl, torch.arange(12.0, dtype=torch.float64).reshape(4, 3) / 10, atol=1e-6)
    assert (motion.fps, motion.gender, motion.betas.shape) == (50.0, "male", (1, 16))


def test_a_res_pk_with_a_list_for_each_frame_is_read(tmp_path: Path) -> None:
    motion = walking()
    write_hybrik(tmp_path / "stacked.pk", motion)
    camera = motion.to_axes("camera", torch.tensor(SMPL_PELVIS, dtype=torch.float64))
    transl = camera.transl.numpy() + np.array(SMPL_PELVIS)
    frames = {
        "pred_thetas": [frame.reshape(216).numpy().astype(np.float32) for frame in camera.local_rotmat],
        "pred_betas": [np.zeros(10, np.float32)] * 7,
        "transl": list(transl.astype(np.float32)),
        "img_path": ["a.png"] * 7,
        "bbox": [np.arange(4)] * 7,
    }
    (tmp_path / "lists.pk").write_bytes(pickle.dumps(frames))
    for name in ("stacked.pk", "lists.pk"):
        off = float((joints_of(read_hybrik(tmp_path / name)) - joints_of(motion)).norm(dim=-1).max())
        assert off < ROUND_TRIP, (name, off)
    # what is written is a pickle that Python's own reader opens too
    assert pickle.loads((tmp_path / "stacked.pk").read_bytes())["pred_thetas"].shape == (7, 216)


def test_a_motion_of_other_joints_is_not_written_as_smpls(tmp_path: Path) -> None:
    motion = walking()
    other = Motion(("Hips", *motion.joint_names[1:]), motion.local_rotmat, motion.transl, motion.betas, 30.0)
    with pytest.raises(InputError, match=r"this one has no Pelvis\. Other joints stay in a \.bvh"):
        write_amass(tmp_path / "a.npz", other)


WRONG = {
    "no poses": ({"trans": np.zeros((2, 3))}, "has neither poses nor root_orient and pose_body; got trans"),
    "wide": ({"poses": np.zeros((2, 99))}, r"poses has shape \(2, 99\), expected \(frames, 72\)"),
    "flat": ({"poses": np.zeros(72)}, r"poses has shape \(72,\)"),
    "empty": ({"poses": np.zeros((0, 72))}, "has 0 frames"),
    "trans": ({"poses": np.zeros((2, 72)), "trans": np.zeros((3, 3))}, r"trans has shape \(3, 3\), expected \(2, 3\)"),
    "betas": ({"poses": np.zeros((2, 72)), "betas": np.zeros((5, 10))}, r"betas has shape \(5, 10\)"),
    "texts": ({"poses": np.full((2, 72), "a")}, "poses has type <U1, expected numbers"),
    "not finite": ({"poses": np.full((2, 72), np.nan)}, "rotations hold infinite or undefined numbers"),
    "objects": ({"poses": np.array([{}], dtype=object)}, "poses.npy holds pickled Python objects"),
    "rate": ({"poses": np.zeros((2, 72)), "fps": np.zeros(2)}, r"fps has shape \(2,\), expected one number"),
    "no rate": ({"poses": np.zeros((2, 72)), "fps": np.array(0.0)}, "positive number of frames a second, got 0.0"),
    "parts": (
        {"root_orient": np.zeros((2, 3)), "pose_body": np.zeros((2, 60))},
        r"pose_body has shape \(2, 60\), expected \(2, 63\)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_amass_file_says_what_is_wrong(tmp_path: Path, name: str) -> None:
    arrays, sentence = WRONG[name]
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=sentence):
        read_amass(tmp_path / "a.npz")


def test_a_wrong_smpl_file_says_what_is_wrong(tmp_path: Path) -> None:
    for arrays, sentence in (
        ({"smplVersion": 5}, r"smplVersion is 5; 0 \(SMPL\)"),
        ({"smplVersion": 0, "frameCount": 10**12}, "frameCount is 1000000000000"),
        ({"smplVersion": 0, "frameCount": 2, "bodyPose": np.zeros((2, 22, 3))}, r"expected \(2, 24, 3\)"),
        ({"smplVersion": np.zeros(2)}, "expected one number"),
        ({"smplVersion": 0, "shapeParameters": np.zeros((2, 2))}, "shapeParameters has shape"),
        ({"smplVersion": np.nan}, "smplVersion is nan, expected a whole number"),
        ({"smplVersion": 0, "frameCount": np.inf}, "frameCount is inf, expected a whole number"),
        ({"smplVersion": 0, "gender": np.nan}, "gender is nan, expected a whole number"),
    ):
        with (tmp_path / "a.smpl").open("wb") as file:
            np.savez(file, **arrays)
        with pytest.raises(InputError, match=sentence):
            read_smpl_codec(tmp_path / "a.smpl")


def test_a_wrong_res_pk_says_what_is_wrong_and_a_hostile_one_does_nothing(tmp_path: Path) -> None:
    path, mark = tmp_path / "res.pk", tmp_path / "ran"
    for content, sentence in (
        ({"joints": 1}, "has no pred_thetas, as HybrIK writes; got joints"),
        ([1], "has no pred_thetas, as HybrIK writes; got list"),
        ({"pred_thetas": np.zeros((2, 7))}, r"pred_thetas has shape \(2, 7\)"),
        ({"pred_thetas": np.zeros((2, 216))}, "pred_thetas are no rotations"),
        ({"pred_thetas": np.full((2, 216), np.nan)}, "undefined numbers"),
        ({"pred_thetas": np.eye(3)[None].repeat(24, 0)[None], "transl": np.zeros((5, 3))}, "transl has shape"),
        ({"pred_thetas": Calls(os.system, f"touch {mark}")}, r"names (posix|nt).system, which is not read"),
    ):
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(InputError, match=sentence):
            read_hybrik(path)
    assert not mark.exists()


@pytest.mark.parametrize("gender", [np.frombuffer(b"\xff\xff\xff\x7f", "U1"), np.array(b"\xff"), np.zeros(0), "robot"])
def test_a_gender_that_is_none_is_neutral(tmp_path: Path, gender: object) -> None:
    np.savez(tmp_path / "a.npz", poses=np.zeros((1, 72)), gender=np.asarray(gender))
    assert read_amass(tmp_path / "a.npz").gender == "neutral"


def test_numbers_of_one_byte_are_counted_before_they_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz_values, "MAX_VALUES", 100)
    np.savez(tmp_path / "a.npz", poses=np.zeros((2, 72), np.int8))
    with pytest.raises(InputError, match="poses has 144 numbers, at most 100 are read"):
        read_amass(tmp_path / "a.npz")


@pytest.mark.parametrize("form", FORMATS)
def test_damaged_files_give_a_motion_or_a_sentence(tmp_path: Path, form: str) -> None:
    write, read = FORMATS[form]
    motion = walking(frames=2)
    for path in damaged(tmp_path / "a.npz", lambda path: write(path, motion)):
        try:
            read(path)
        except InputError:
            continue


@pytest.mark.parametrize("form", ["amass", "smpl"])
def test_a_small_file_that_unpacks_to_gigabytes_is_refused_before(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npz_values, "MAX_VALUES", 1_000_000)  # 8 of 40 megabytes, so that making the file is quick
    key = {"amass": "poses", "smpl": "bodyPose"}[form]
    np.savez_compressed(tmp_path / "bomb.npz", **{key: np.zeros((5_000_000,)), "frameCount": 1})
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="unpacks to 40000128 bytes, at most 8000000 are accepted"):
            FORMATS[form][1](tmp_path / "bomb.npz")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_tree_gets_its_joints_by_name() -> None:
    motion = walking("SMPL-X").on(SMPL_TREE)
    assert motion.joint_names == SMPL_TREE.names
    assert torch.equal(motion.local_rotmat[:, 23], torch.eye(3, dtype=torch.float64).expand(7, 3, 3))
    assert torch.equal(motion.local_rotmat[:, 21], walking("SMPL-X").local_rotmat[:, 21])

# SPDX-License-Identifier: Apache-2.0
"""The .npz of `ikol pose --out`, as a motion of one frame."""

from pathlib import Path

import numpy as np
import pytest
import torch
from exchange_motions import ROUND_TRIP, joints_of, walking

from ikol.cli import main
from ikol.errors import InputError
from ikol.exchange import read_bvh, read_pose_file
from ikol.geometry.rotations import rotmat_to_quat


def write(path: Path, **changed: np.ndarray) -> Path:
    motion = walking(frames=3)  # three persons
    arrays = {
        "joint_names": np.array(motion.joint_names),
        "local_quat": rotmat_to_quat(motion.local_rotmat).numpy(),
        "transl": motion.transl.numpy(),
        "betas": np.zeros((3, 10)),
    }
    np.savez(path, **(arrays | changed))
    return path


def test_each_person_is_a_motion_of_one_frame(tmp_path: Path) -> None:
    path = write(tmp_path / "pose.npz")
    for person in range(3):
        off = joints_of(read_pose_file(path, person))[0] - joints_of(walking(frames=3))[person]
        assert float(off.norm(dim=-1).max()) < ROUND_TRIP


def test_a_posed_photograph_becomes_a_bvh(tmp_path: Path) -> None:
    assert main(["convert", str(write(tmp_path / "pose.npz")), str(tmp_path / "a.bvh"), "--person", "2"]) == 0
    read = read_bvh(tmp_path / "a.bvh")
    assert torch.allclose(read.motion.transl[0], walking(frames=3).transl[2], atol=2e-6)  # written to a millionth


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("local_quat", np.zeros((3, 24, 4)), "local_quat holds what are no rotations"),
        ("local_quat", np.zeros((3, 23, 4)), r"local_quat is float64 \(3, 23, 4\), expected \(3, 24, 4\)"),
        ("transl", np.zeros((2, 3)), r"transl is float64 \(2, 3\), expected \(3, 3\)"),
        ("betas", np.array(["a"] * 3), "betas is <U1"),
        ("joint_names", np.array([b"\xff"] * 24), "joint_names holds what is no text"),
        ("joint_names", np.frombuffer(b"\xff\xff\xff\x7f" * 24, "U1"), "joint_names holds what is no text"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, key: str, value: np.ndarray, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_pose_file(write(tmp_path / "pose.npz", **{key: value}))


def test_a_person_who_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pose.npz has 3 persons, counted from 0; number 3 is asked for"):
        read_pose_file(write(tmp_path / "pose.npz"), 3)

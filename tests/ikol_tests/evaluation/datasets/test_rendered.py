# SPDX-License-Identifier: Apache-2.0
"""The rendered set as a data set: truth in camera axes, of the default body."""

from pathlib import Path

import pytest
import torch

from ikol.body.default_body import load_default_body
from ikol.body.kinematics import forward_kinematics
from ikol.errors import InputError
from ikol.evaluation.datasets import load_rendered
from ikol.rendering.dataset import render_shard, shard_path, write_shard


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("rendered")
    body = load_default_body(dtype=torch.float32)
    local = torch.eye(3).repeat(3, 24, 1, 1)
    motion, subject = torch.arange(3), torch.arange(3)
    betas = torch.zeros(3, body.num_betas)
    write_shard(shard_path(made, 0), render_shard(body, local, betas, motion, subject, seed=1))
    return made


def test_truth_of_joints_and_rotations_agree(folder: Path) -> None:
    body = load_default_body(dtype=torch.float64)
    for sample in load_rendered(folder):
        truth = sample.truth
        assert truth.camera_rotmat is not None
        assert truth.betas is not None
        rest = body.rest_joints(truth.betas)
        posed = forward_kinematics(body.tree, rest, truth.camera_rotmat, torch.zeros(3, dtype=torch.float64)).joints
        joints = truth.select(body.tree.names)[0]
        # the shard keeps float32, at some metres from the camera
        torch.testing.assert_close(posed - posed[0], joints - joints[0], atol=1e-5, rtol=0)


def test_some_pictures_only(folder: Path) -> None:
    dataset = load_rendered(folder, every=2)
    assert len(dataset) == 2
    assert [sample.name for sample in dataset] == ["picture 0", "picture 2"]


def test_empty_folder_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="scripts/render_dataset"):
        load_rendered(tmp_path)

# SPDX-License-Identifier: Apache-2.0
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ikol.body import load_default_body
from ikol.errors import FileFormatError, InputError
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.pipeline.prior import relaxed_rotmat
from ikol.regressor.graph import GraphNetwork
from ikol.regressor.hands import HAND_SHAPES
from ikol.regressor.person import AUGMENTATIONS
from ikol.regressor.weights import load_network
from ikol.rendering.dataset import RenderedDataset, render_shard, shard_path, write_shard
from ikol.training.observations import (
    Observations,
    observations_path,
    observe,
    read_observations,
    write_observations,
)

COUNT = 6


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Observations:
    """Six people who stand relaxed and look roughly at the camera."""
    body = load_default_body()
    generator = torch.Generator().manual_seed(1)
    local = relaxed_rotmat(body.tree.names, torch.float32).expand(COUNT, 24, 3, 3).clone()
    local = local @ rotvec_to_rotmat(0.1 * torch.randn(COUNT, 24, 3, generator=generator))
    ids = torch.arange(COUNT)
    folder = tmp_path_factory.mktemp("rendered")
    shard = render_shard(body, local, torch.zeros(COUNT, 10), ids, ids, seed=11)
    write_shard(shard_path(folder, 0), shard)
    network = GraphNetwork(load_network("blazepose_full")).eval()
    return observe(network, RenderedDataset(folder), seed=2)


def test_network_sees_the_rendered_people(observed: Observations) -> None:
    assert (observed.presence > 0.5).all(), observed.presence
    body_size = observed.crop_side / 1.25
    error = (observed.points.mean(1) - observed.landmarks_px).norm(dim=-1) / body_size[:, None]
    # 0.02 was measured on 768 pictures of all poses (docs/data.md); a mirrored or shifted crop would make it 0.1
    assert float(error[observed.in_picture].median()) < 0.035


def test_mirrored_crops_are_mapped_back(observed: Observations) -> None:
    assert [AUGMENTATIONS[row][2] for row in observed.augmentation[0].tolist()] == [False, True]
    hips = observed.landmarks_camera[:, 23:25].mean(1, keepdim=True)
    truth = (observed.landmarks_camera - hips)[:, None]
    # left and right shoulders are 36 cm apart: a swap would be an error of that size
    assert float((observed.world - truth)[:, :, 11:13, 0].abs().median()) < 0.08


def test_what_is_written_is_read(observed: Observations, tmp_path: Path) -> None:
    write_observations(observations_path(tmp_path, 0), observed)
    write_observations(observations_path(tmp_path, 1), observed)
    read = read_observations(tmp_path)
    assert len(read) == 2 * COUNT
    for field in fields(Observations):
        assert torch.equal(getattr(read, field.name)[COUNT:], getattr(observed, field.name)), field.name


def test_nothing_to_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make them with scripts/render_dataset"):
        read_observations(tmp_path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    save_file({"points": torch.zeros(1)}, observations_path(tmp_path, 0))
    with pytest.raises(FileFormatError, match="make it again"):
        read_observations(tmp_path)


def test_shards_that_were_made_differently_are_refused(observed: Observations, tmp_path: Path) -> None:
    write_observations(observations_path(tmp_path, 0), observed)
    hands = {f"hand_{name}": torch.zeros(COUNT, 1, *shape) for name, shape in HAND_SHAPES.items()}
    looked = replace(observed, **hands)
    write_observations(observations_path(tmp_path, 1), looked)
    with pytest.raises(FileFormatError, match="other looks at hands, than observations_00000"):
        read_observations(tmp_path)

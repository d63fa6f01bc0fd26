# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import torch
from training_files import make_h36m

from ikol.body.default_body import load_default_body
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.regressor.networks import NetworkConfig
from ikol.training.network.batches import Batch, CroppedSamples, collate
from ikol.training.network.config import Augmentation, Layer
from ikol.training.network.model import PoseModel
from ikol.training.network.sources.annotations import open_annotations

BODY = load_default_body(dtype=torch.float32)
NETWORK = NetworkConfig(
    backbone="resnet18", input_size=64, heatmap_size=16, depth_cells=8, deconv_channels=(8, 8, 8), camera=1,
    rotations=True,
)  # fmt: skip


def _two_people(folder: Path) -> Batch:
    source = open_annotations("h36m", make_h36m(folder, count=2), folder / "images", is_smpl=True)
    samples = CroppedSamples([source], NETWORK, Augmentation())
    return collate([samples[0, index, -1] for index in (0, 1)])


@pytest.mark.parametrize(
    "layer",
    [
        Layer(),
        Layer(backward="unrolled"),
        Layer(solver="released"),
        Layer(solver="hybrik"),
        Layer(solver="regression"),
    ],
    ids=["ikol", "unrolled", "released", "hybrik", "regression"],
)
@pytest.mark.parametrize("is_training", [True, False])
def test_what_follows_the_network_is_of_full_precision_under_autocast(tmp_path: Path, layer: Layer, is_training: bool):
    torch.manual_seed(0)
    model = PoseModel(NETWORK, layer, BODY).train(is_training)
    batch = _two_people(tmp_path)
    # the same of the network both times
    said = model.network(model.network.prepare(batch.pictures))
    model.network.forward = lambda pictures: said
    plain = model(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(batch)
    for name in ("keypoints", "local_rotmat", "joints"):
        assert torch.equal(getattr(mixed, name), getattr(plain, name)), name


def test_who_is_regressed_in_a_turned_crop_is_turned_back(tmp_path: Path):
    torch.manual_seed(0)
    model = PoseModel(NETWORK, Layer(solver="regression"), BODY).eval()
    batch = _two_people(tmp_path)
    angles = torch.tensor([0.0, 0.8])
    with torch.no_grad():
        upright, turned = model(batch), model(batch._replace(crop_rotation=angles))
    # clockwise as it is seen, about the line of sight: z points away from who looks
    turn = rotvec_to_rotmat(angles[:, None] * torch.tensor([0.0, 0.0, 1.0]))
    torch.testing.assert_close(turned.local_rotmat[:, 0], turn @ upright.local_rotmat[:, 0])
    assert torch.equal(turned.local_rotmat[:, 1:], upright.local_rotmat[:, 1:])
    torch.testing.assert_close(turned.joints, upright.joints @ turn.mT, atol=1e-5, rtol=0)

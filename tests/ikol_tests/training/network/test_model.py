# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import torch
from training_files import make_h36m

from ikol.body.default_body import load_default_body
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.regressor.networks import NetworkConfig
from ikol.training.network.batches import CroppedSamples, collate
from ikol.training.network.config import Augmentation, Layer
from ikol.training.network.model import PoseModel
from ikol.training.network.sources.annotations import open_annotations

NETWORK = NetworkConfig(
    backbone="resnet18", input_size=64, heatmap_size=16, depth_cells=8, deconv_channels=(8, 8, 8), camera=1,
    rotations=True,
)  # fmt: skip


def test_who_is_regressed_in_a_turned_crop_is_turned_back(tmp_path: Path):
    torch.manual_seed(0)
    model = PoseModel(NETWORK, Layer(solver="regression"), load_default_body(dtype=torch.float32)).eval()
    source = open_annotations("h36m", make_h36m(tmp_path, count=2), tmp_path / "images", is_smpl=True)
    samples = CroppedSamples([source], NETWORK, Augmentation())
    batch = collate([samples[0, index, -1] for index in (0, 1)])
    angles = torch.tensor([0.0, 0.8])
    with torch.no_grad():
        upright, turned = model(batch), model(batch._replace(crop_rotation=angles))
    # clockwise as it is seen, about the line of sight: z points away from who looks
    turn = rotvec_to_rotmat(angles[:, None] * torch.tensor([0.0, 0.0, 1.0]))
    torch.testing.assert_close(turned.local_rotmat[:, 0], turn @ upright.local_rotmat[:, 0])
    assert torch.equal(turned.local_rotmat[:, 1:], upright.local_rotmat[:, 1:])
    torch.testing.assert_close(turned.joints, upright.joints @ turn.mT, atol=1e-5, rtol=0)

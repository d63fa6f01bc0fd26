# SPDX-License-Identifier: Apache-2.0
"""A network on top of a frozen one: BlazePose's landmarks of the rendered crops to all that a `PoseNetwork` says.

It takes the place of the backbone where there is no GPU: a picture network from random weights sees too few pictures in
an hour to say keypoints that are worth solving for. Batches carry landmarks where they would carry pictures.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from ikol.body.model import BodyModel
from ikol.regressor.networks import NetworkConfig, NetworkOutput
from ikol.regressor.networks.camera_space import pixels_to_uv
from ikol.regressor.networks.joints import NUM_TWISTS
from ikol.regressor.networks.pose_network import INITIAL_SCALE, NUM_BETAS
from ikol.training.network.augmentation import BOX_MARGIN
from ikol.training.network.batches import Batch, step_seed
from ikol.training.network.config import Layer, TrainConfig
from ikol.training.network.loop import losses_of
from ikol.training.network.losses import total_loss
from ikol.training.network.model import PoseModel
from ikol.training.network.posing import NUM_BODY_JOINTS, PosingLayer
from ikol.training.observations import Observations, read_observations

NUM_FEATURES = 33 * 6  # of each landmark: place in the crop, place in space, visibility
_WIDTH = 512


class LandmarkNetwork(nn.Module):
    """Landmarks to `NetworkOutput`; three layers."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        """Make the network with random weights; of the settings it has joints, crop and depth."""
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(NUM_FEATURES))
        self.register_buffer("deviation", torch.ones(NUM_FEATURES))
        self.sizes = (config.num_joints * 3, NUM_BETAS, NUM_TWISTS * 2, NUM_BODY_JOINTS * 6, 1)
        self.layers = nn.Sequential(
            nn.Linear(NUM_FEATURES, _WIDTH),
            nn.ReLU(),
            nn.Linear(_WIDTH, _WIDTH),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Linear(_WIDTH, sum(self.sizes)),
        )

    def prepare(self, features: Tensor) -> Tensor:
        """Return landmarks as `forward` wants them."""
        return (features - self.mean) / self.deviation

    def forward(self, features: Tensor) -> NetworkOutput:
        """Return what the network says of prepared landmarks."""
        uvd, betas, twist, sixd, scale = self.layers(features).split(self.sizes, -1)
        uvd = uvd.unflatten(-1, (-1, 3))
        return NetworkOutput(
            uvd=uvd,
            uvd_spread=torch.zeros_like(uvd),
            peak=torch.ones_like(uvd[..., 0]),
            betas=betas,
            twist=twist.unflatten(-1, (NUM_TWISTS, 2)),
            leaf_quat=None,
            camera=scale + INITIAL_SCALE,
            sigma=None,
            rotation_6d=sixd.unflatten(-1, (NUM_BODY_JOINTS, 6)),
        )


@torch.no_grad()
def landmark_batch(folder: Path, config: NetworkConfig, model: BodyModel, crop: int) -> Batch:
    """Return all observed persons of a folder as one batch, with the landmarks of one of their crops."""
    seen = read_observations(folder)
    posing = PosingLayer(model, Layer(), config.num_joints)
    rotmat = seen.local_rotmat.clone()
    rotmat[:, 0] = seen.R_camera_world @ rotmat[:, 0]
    joints = posing.joints(rotmat, seen.betas) + seen.joints_camera[:, :1]
    focal = seen.focal[:, None].expand(-1, 2)
    pixels = joints[..., :2] / joints[..., 2:] * focal[:, None] + seen.center[:, None]
    low, high = pixels.amin(1), pixels.amax(1)
    everything = torch.ones(joints.shape[:2], dtype=torch.bool)
    batch = Batch(
        pictures=torch.empty(len(seen), NUM_FEATURES),
        crop_center=(low + high) / 2,
        crop_side=BOX_MARGIN * (high - low).amax(-1),
        crop_rotation=torch.zeros(len(seen)),
        focal=focal,
        center=seen.center,
        pixels=pixels,
        has_pixels=everything,
        joints=joints,
        has_joints=everything,
        local_rotmat=rotmat,
        has_rotations=everything[:, 0],
        twist=torch.zeros(len(seen), NUM_BODY_JOINTS),
        has_twist=torch.zeros(len(seen), NUM_BODY_JOINTS, dtype=torch.bool),
        betas=seen.betas,
        has_betas=everything[:, 0],
    )
    return batch._replace(pictures=_features(seen, batch, config.input_size, crop))


def _features(seen: Observations, batch: Batch, size: int, crop: int) -> Tensor:
    place = pixels_to_uv(seen.points[:, crop], batch.crops, size)
    return torch.cat((place, seen.world[:, crop], seen.visibility[:, crop, :, None]), -1).flatten(1)


def train_landmarks(model: PoseModel, batches: list[Batch], config: TrainConfig) -> list[float]:
    """Train a model on what it sees in several crops of the same persons; return the loss of each step."""
    schedule = config.schedule
    generator = torch.Generator().manual_seed(step_seed(config.seed, 0, 0))
    optimizer = torch.optim.Adam(model.parameters(), lr=schedule.learning_rate)
    found: list[float] = []
    model.train()
    for step in range(schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        crop = int(torch.randint(len(batches), (), generator=generator))
        rows = torch.randint(len(batches[crop].pictures), (schedule.batch_size,), generator=generator)
        loss = total_loss(
            losses_of(config, model, model, Batch(*(each[rows] for each in batches[crop]))), config.losses
        )
        optimizer.zero_grad()
        loss.backward()
        if schedule.clip:
            nn.utils.clip_grad_norm_(model.parameters(), schedule.clip)
        optimizer.step()
        found.append(float(loss.detach()))
    return found

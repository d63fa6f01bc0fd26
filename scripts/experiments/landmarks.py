# SPDX-License-Identifier: Apache-2.0
"""A network on top of a frozen one: BlazePose's landmarks of the rendered crops to all that a `PoseNetwork` says.

It takes the place of the backbone where there is no GPU: a picture network from random weights sees too few pictures in
an hour to say keypoints that are worth solving for. Batches carry landmarks where they would carry pictures.
"""

import dataclasses
from pathlib import Path

import torch
from torch import Tensor, nn

from ikol.body.model import BodyModel
from ikol.regressor.networks import NetworkConfig, NetworkOutput
from ikol.regressor.networks.blazepose import NUM_FEATURES, LandmarkLayers
from ikol.regressor.networks.camera_space import pixels_to_uv
from ikol.regressor.networks.pose_network import LANDMARK_SIZES, landmark_output
from ikol.training.network.augmentation import BOX_MARGIN
from ikol.training.network.batches import Batch, step_seed
from ikol.training.network.config import Layer, TrainConfig
from ikol.training.network.loop import losses_of
from ikol.training.network.losses import total_loss
from ikol.training.network.model import PoseModel
from ikol.training.network.posing import NUM_BODY_JOINTS, PosingLayer
from ikol.training.observations import Observations, read_observations


class LandmarkNetwork(LandmarkLayers):
    """The layers of a `PoseNetwork` on BlazePose alone."""

    def __init__(self, config: NetworkConfig) -> None:
        """Make the layers with random weights; of the settings they have crop and depth."""
        super().__init__(LANDMARK_SIZES)
        self.config = config

    def prepare(self, features: Tensor) -> Tensor:
        """Return landmarks as they are."""
        return features

    def forward(self, features: Tensor) -> NetworkOutput:
        """Return what the layers say of landmarks."""
        return landmark_output(super().forward(features))


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
    if config.framing == "box":
        center, side, rotation = (low + high) / 2, BOX_MARGIN * (high - low).amax(-1), torch.zeros(len(seen))
    else:
        center, side, rotation = seen.crop_center, seen.crop_side, seen.crop_rotation
    everything = torch.ones(joints.shape[:2], dtype=torch.bool)
    batch = Batch(
        pictures=torch.empty(len(seen), NUM_FEATURES),
        crop_center=center,
        crop_side=side,
        crop_rotation=rotation,
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
    turned_back = dataclasses.replace(batch.crops, rotation=-batch.crop_rotation)
    world = turned_back.directions_to_picture(seen.world[:, crop])
    return torch.cat((place, world, seen.visibility[:, crop, :, None]), -1).flatten(1)


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

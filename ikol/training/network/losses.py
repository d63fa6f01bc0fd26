# SPDX-License-Identifier: Apache-2.0
"""The paper's losses, each over what a sample knows: 2D-only samples and samples without twist take part by masks.

Source: the released configuration (`L1LossDimSMPL`): weighted L1 on uvd, squared error on betas, on the twists'
(cos, sin) and on the rotations after the layer. There the rotations are quaternions; here matrices, whose squared
distance does not know two signs. Imports: torch.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ikol.regressor.networks.camera_space import pixels_to_uv
from ikol.training.network.batches import Batch
from ikol.training.network.config import Losses

_LEAST_SIGMA = 1e-3  # of the crop: a quarter of a pixel of 256
_CELLS = 64  # in which the published codes count uvd


class Prediction(NamedTuple):
    """What the network and the layer say about a batch. A tuple, since Fabric cannot look into frozen dataclasses."""

    uvd: Float[Tensor, "batch joints 3"]
    """As the network says it."""
    sigma: Float[Tensor, "batch joints"] | None
    betas: Float[Tensor, "batch 10"]
    twist: Float[Tensor, "batch 23 2"]
    """(cos, sin) of all joints but the root, not normalised."""
    scale: Float[Tensor, " batch"] | None
    """Of the camera, see `camera_space.root_depth`."""
    keypoints: Float[Tensor, "batch joints 3"]
    """Before the layer, relative to the root, metres."""
    local_rotmat: Float[Tensor, "batch 24 3 3"]
    joints: Float[Tensor, "batch joints 3"]
    """After the layer, relative to the root, metres."""


def uvd_target(batch: Batch, size: int, depth_extent: float) -> tuple[Tensor, Tensor]:
    """Return the true uvd (batch, joints, 3) and which of its numbers are known (see `networks.heatmaps`)."""
    uv = pixels_to_uv(batch.pixels, batch.crops, size)
    d = (batch.joints[..., 2:] - batch.joints[:, :1, 2:]) / depth_extent
    is_deep = batch.has_joints & batch.has_joints[:, :1]
    known = torch.stack((batch.has_pixels, batch.has_pixels, is_deep), -1)
    uvd = torch.cat((uv, d), -1)
    # what lies outside the crop has no place in the heat maps
    return uvd, known & (uvd.abs() <= 0.5)


def _masked_mean(values: Float[Tensor, "..."], mask: Bool[Tensor, "..."]) -> Float[Tensor, ""]:
    """Return the mean where the mask is set; 0, with gradients of 0, where it is set nowhere."""
    mask = mask.expand_as(values)
    return torch.where(mask, values, torch.zeros_like(values)).sum() / mask.sum().clamp_min(1)


def pose_losses(
    prediction: Prediction, batch: Batch, true_twist: Float[Tensor, "batch 24"], size: int, depth_extent: float
) -> dict[str, Float[Tensor, ""]]:
    """Return the terms by their names in `Losses`, without their weights.

    Args:
        prediction: of the network and the layer.
        batch: the truth.
        true_twist: of all joints, radians; used where `batch.has_rotations` or `batch.has_twist`.
        size: of the crops, pixels.
        depth_extent: metres that the heatmaps' depth spans.
    """
    uvd, is_known = uvd_target(batch, size, depth_extent)
    apart = (prediction.uvd - uvd).abs()
    if prediction.sigma is not None:
        # Laplace's likelihood: a joint that says it is unsure pulls less. Source: HybrIK's HRNet criterion.
        sigma = prediction.sigma[..., None].clamp_min(_LEAST_SIGMA)
        # It has no unit: a weight of 64 is its published weight of 1.
        apart = (sigma.log() + apart / sigma) / _CELLS
    has_twist = (batch.has_rotations[:, None] | batch.has_twist)[:, 1:, None]
    wanted = torch.stack((torch.cos(true_twist), torch.sin(true_twist)), -1)[:, 1:]
    has_root = batch.has_joints[:, :1]
    terms = {
        "uvd": _masked_mean(apart, is_known),
        "betas": _masked_mean((prediction.betas - batch.betas).square(), batch.has_betas[:, None]),
        "twist": _masked_mean((prediction.twist - wanted).square(), has_twist),
        "rotations": _masked_mean(
            (prediction.local_rotmat - batch.local_rotmat).square(), batch.has_rotations[:, None, None, None]
        ),
        "joints": _masked_mean(
            (prediction.joints - batch.joints + batch.joints[:, :1]).abs(), (batch.has_joints & has_root)[..., None]
        ),
    }
    if prediction.scale is not None:
        depth = torch.where(has_root[:, 0], batch.joints[:, 0, 2], torch.ones_like(prediction.scale))
        wanted = batch.focal.mean(-1) / (depth * batch.crop_side)
        terms["scale"] = _masked_mean((prediction.scale - wanted).abs(), has_root[:, 0])
    return terms


def total_loss(terms: dict[str, Float[Tensor, ""]], weights: Losses) -> Float[Tensor, ""]:
    """Return the weighted sum."""
    return torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()

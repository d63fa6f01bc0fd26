# SPDX-License-Identifier: Apache-2.0
"""The field's pose metrics. Points in, numbers in the same unit out; no files, no networks."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ikol.geometry.rotations import rotmat_to_rotvec
from ikol.geometry.swing_twist import twist_angle


def _masked_mean(
    values: Float[Tensor, "*batch points"], valid: Bool[Tensor, "*batch points"]
) -> Float[Tensor, "*batch"]:
    weight = valid.to(values.dtype)
    return (torch.where(valid, values, torch.zeros_like(values))).sum(-1) / weight.sum(-1)


def mpjpe(
    predicted: Float[Tensor, "*batch points 3"],
    truth: Float[Tensor, "*batch points 3"],
    valid: Bool[Tensor, "*batch points"],
) -> Float[Tensor, "*batch"]:
    """Return the mean distance over the valid points; both sets must share an origin and axes already."""
    return _masked_mean((predicted - truth).norm(dim=-1), valid)


def similarity_aligned(
    source: Float[Tensor, "*batch points 3"],
    target: Float[Tensor, "*batch points 3"],
    valid: Bool[Tensor, "*batch points"],
) -> Float[Tensor, "*batch points 3"]:
    """Return `source` after the rotation, translation and scale that bring its valid points nearest to `target`.

    Source: Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991.
    """
    weight = valid.to(source.dtype)[..., None]
    # an invalid point may be NaN: zero it before it is multiplied by its zero weight
    source_known = torch.where(valid[..., None], source, torch.zeros_like(source))
    target_known = torch.where(valid[..., None], target, torch.zeros_like(target))
    count = weight.sum(-2, keepdim=True)
    source_mean, target_mean = source_known.sum(-2, keepdim=True) / count, target_known.sum(-2, keepdim=True) / count
    source_centred, target_centred = (source_known - source_mean) * weight, (target_known - target_mean) * weight
    U, S, Vt = torch.linalg.svd(target_centred.mT @ source_centred)
    sign = torch.ones_like(S)
    sign[..., -1] = torch.sign(torch.linalg.det(U @ Vt))
    rotation = (U * sign[..., None, :]) @ Vt
    scale = (S * sign).sum(-1)[..., None, None] / source_centred.square().sum((-2, -1), keepdim=True)
    return scale * (source - source_mean) @ rotation.mT + target_mean


def pa_mpjpe(
    predicted: Float[Tensor, "*batch points 3"],
    truth: Float[Tensor, "*batch points 3"],
    valid: Bool[Tensor, "*batch points"],
) -> Float[Tensor, "*batch"]:
    """Return MPJPE after the best similarity (Procrustes) alignment of `predicted` to `truth`."""
    return mpjpe(similarity_aligned(predicted, truth, valid), truth, valid)


def bone_angles_deg(
    predicted: Float[Tensor, "*batch points 3"],
    truth: Float[Tensor, "*batch points 3"],
    bones: Int[Tensor, "bones 2"],
) -> Float[Tensor, "*batch bones"]:
    """Return the angle in degrees between predicted and true direction of each bone (pairs of point numbers)."""
    a = predicted[..., bones[:, 1], :] - predicted[..., bones[:, 0], :]
    b = truth[..., bones[:, 1], :] - truth[..., bones[:, 0], :]
    # atan2 of cross and dot keeps its digits at 0 and at 180 degrees, where acos loses half of them
    return torch.rad2deg(torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1)))


def geodesic_deg(
    predicted: Float[Tensor, "*batch joints 3 3"], truth: Float[Tensor, "*batch joints 3 3"]
) -> Float[Tensor, "*batch joints"]:
    """Return the angle in degrees of the rotation between predicted and true rotation of each joint."""
    return torch.rad2deg(rotmat_to_rotvec(predicted.mT @ truth).norm(dim=-1))


def twist_errors_deg(
    predicted: Float[Tensor, "*batch joints 3 3"],
    truth: Float[Tensor, "*batch joints 3 3"],
    axes: Float[Tensor, "joints 3"],
) -> Float[Tensor, "*batch joints"]:
    """Return by how many degrees, up to 180, the twist of each joint about its bone (a unit vector) is off."""
    apart = twist_angle(predicted, axes) - twist_angle(truth, axes)
    return torch.rad2deg(torch.atan2(apart.sin(), apart.cos()).abs())

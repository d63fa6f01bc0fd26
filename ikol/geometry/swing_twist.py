# SPDX-License-Identifier: Apache-2.0
"""Split a rotation into a swing and a twist about a given axis, for any batch shape.

Here: the split, the twist angle alone and its gradient. Imports: torch, ikol.geometry.rotations.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.geometry.rotations import rotvec_to_rotmat


@dataclass(frozen=True)
class SwingTwist:
    """R = swing @ Exp(twist_angle * axis); the swing's axis is normal to `axis`. Radians, in (-pi, pi]."""

    swing: Float[Tensor, "*batch 3 3"]
    twist_angle: Float[Tensor, "*batch"]


def swing_twist(rotmat: Float[Tensor, "*#batch 3 3"], axis: Float[Tensor, "*#batch 3"]) -> SwingTwist:
    """Split R = swing @ twist, the twist about the unit axis.

    Gradient: at a swing of half a turn the split is not unique; there the twist is 0 and has no gradient.
    """
    angle = twist_angle(rotmat, axis)
    twist = rotvec_to_rotmat(angle[..., None] * axis)
    return SwingTwist(swing=rotmat @ twist.transpose(-1, -2), twist_angle=angle)


def twist_angle(rotmat: Float[Tensor, "*#batch 3 3"], axis: Float[Tensor, "*#batch 3"]) -> Float[Tensor, "..."]:
    """Return the angle (*batch) of the twist about the unit axis, in (-pi, pi] radians.

    With the quaternion (w, v) and p = v . axis the angle is 2 atan2(p, w) = atan2(2 w p, w^2 - p^2); both arguments are
    linear in R: 2 w p = axis . vee(R - R^T) / 2 and w^2 - p^2 = (tr R - axis^T R axis) / 2.

    Gradient: at a swing of half a turn both arguments vanish; there the angle is 0 and has no gradient.
    """
    m = rotmat
    rotated = (m @ axis[..., None]).squeeze(-1)
    along = (axis * rotated).sum(-1)
    vee = torch.stack((m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]), dim=-1)
    sine = 0.5 * (axis * vee).sum(-1)
    cosine = 0.5 * (m.diagonal(dim1=-2, dim2=-1).sum(-1) - along)
    # both scale with (1 + along)/2, whose rounding is eps: below 8 eps the angle is noise
    is_half_turn = 1.0 + along < 8 * torch.finfo(rotmat.dtype).eps
    sine = torch.where(is_half_turn, torch.zeros_like(sine), sine)
    return torch.atan2(sine, torch.where(is_half_turn, torch.ones_like(cosine), cosine))


def twist_gradient(rotmat: Float[Tensor, "*#batch 3 3"], axis: Float[Tensor, "*#batch 3"]) -> Float[Tensor, "..."]:
    """Return d twist_angle(R Exp(d), axis) / d d at d = 0, shape (*batch, 3).

    (axis + R^T axis) / (1 + axis^T R axis): grows without bound towards a swing of half a turn; zero where
    `twist_angle` calls the swing half a turn.
    """
    back = (rotmat.transpose(-1, -2) @ axis[..., None]).squeeze(-1)
    scale = 1.0 + (axis * back).sum(-1, keepdim=True)
    is_half_turn = scale < 8 * torch.finfo(rotmat.dtype).eps
    return torch.where(is_half_turn, 0.0, (axis + back) / torch.where(is_half_turn, torch.ones_like(scale), scale))

# SPDX-License-Identifier: Apache-2.0
"""Robust losses: how much a residual group of s standard deviations costs, and how much it is listened to.

A loss rho(s^2) replaces s^2 in the cost 1/2 sum rho; its weight rho'(s^2) multiplies the group's rows in the normal
equations (iteratively reweighted least squares). `convexity` >= 1 is graduated non-convexity: large values make the
loss quadratic over a wider range, 1 is the loss itself. Imports: torch, ikol.errors.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.errors import InputError


@dataclass(frozen=True)
class Huber:
    """Quadratic up to k standard deviations, linear beyond: outliers pull with constant force. Convex."""

    k: float = 3.0
    """In standard deviations of the whole group (of the distance, for a point)."""

    def __post_init__(self) -> None:
        _check_width(self.k)

    def cost(self, squared: Float[Tensor, "*shape"], convexity: float = 1.0) -> Float[Tensor, "*shape"]:
        """Return s^2 for s <= k, 2 k s - k^2 beyond; `convexity` changes nothing, the loss is convex."""
        is_outside = squared > self.k**2
        s = torch.where(is_outside, squared, torch.ones_like(squared)).sqrt()
        return torch.where(is_outside, 2.0 * self.k * s - self.k**2, squared)

    def weight(self, squared: Float[Tensor, "*shape"], convexity: float = 1.0) -> Float[Tensor, "*shape"]:
        """Return min(1, k / s)."""
        is_outside = squared > self.k**2
        s = torch.where(is_outside, squared, torch.ones_like(squared)).sqrt()
        return torch.where(is_outside, self.k / s, torch.ones_like(s))


@dataclass(frozen=True)
class GemanMcClure:
    """Bounded by k^2: outliers stop pulling. Not convex, so it is approached by graduated non-convexity.

    Source: Yang et al., Graduated non-convexity for robust spatial perception, RA-L 2020, eq. 8.
    """

    k: float = 3.0
    """In standard deviations of the whole group; at s = k a group keeps a quarter of its weight."""

    def __post_init__(self) -> None:
        _check_width(self.k)

    def cost(self, squared: Float[Tensor, "*shape"], convexity: float = 1.0) -> Float[Tensor, "*shape"]:
        """Return c s^2 / (c + s^2) with c = convexity k^2."""
        width = convexity * self.k**2
        return width * squared / (width + squared)

    def weight(self, squared: Float[Tensor, "*shape"], convexity: float = 1.0) -> Float[Tensor, "*shape"]:
        """Return (c / (c + s^2))^2 with c = convexity k^2."""
        width = convexity * self.k**2
        return (width / (width + squared)).square()


RobustLoss = Huber | GemanMcClure


def robust_cost(
    loss: RobustLoss | None, squared: Float[Tensor, "*shape"], convexity: float = 1.0
) -> Float[Tensor, "*shape"]:
    """Return rho(s^2); s^2 itself without a loss."""
    return squared if loss is None else loss.cost(squared, convexity)


def robust_weight(
    loss: RobustLoss | None, squared: Float[Tensor, "*shape"], convexity: float = 1.0
) -> Float[Tensor, "*shape"]:
    """Return rho'(s^2), between 0 and 1; 1 without a loss."""
    return torch.ones_like(squared) if loss is None else loss.weight(squared, convexity)


def _check_width(k: float) -> None:
    if not (k > 0 and math.isfinite(k)):
        raise InputError(f"the width of a robust loss must be a positive number of standard deviations, got {k}")

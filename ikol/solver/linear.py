# SPDX-License-Identifier: Apache-2.0
"""The damped step of a batch of normal equations. Damping is added here and nowhere else. Imports: torch."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

WIDE = torch.float64
"""The type of normal equations, also in a solve of float32.

Levers of centimetres come out as differences of sums over metres, and what nobody sees (a hand's twist, the place of a
body that is known by differences of points only) must come out as nothing. In float32 that nothing would be 1e-7 of the
largest entry, more than a weak prior says: Cholesky fails, or the body drifts off.
"""

# unknowns that the evidence sees less than this, relative to the best seen one, are scaled as if it saw that much: they
# stay where they are instead of being scaled up without bound
LEAST_DIAGONAL = 1e-9


# relative to the diagonal: it keeps unseen unknowns in place, costs no digits of the others, and makes up for rounding
MIN_DAMPING = 1e-6


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """H d = -g for each item of the batch, in `WIDE`."""

    hessian: Float[Tensor, "n columns columns"]
    gradient: Float[Tensor, "n columns"]


def newton_where_definite(
    gauss_newton: NormalEquations,
    bending: Float[Tensor, "n columns columns"],
    is_hard: Bool[Tensor, "n"] | None = None,
) -> NormalEquations:
    """Return the equations with the second-order part for the items where the sum is positive definite.

    Args:
        gauss_newton: without it.
        bending: the second-order part.
        is_hard: items on which Gauss-Newton makes no way. They get the sum in any case, with eigenvalues made positive
            (Dauphin et al., Identifying and attacking the saddle point problem, 2014).
    """
    if gauss_newton.gradient.shape[-1] == 0:
        return gauss_newton
    newton = gauss_newton.hessian + bending
    scaled = _scaled(newton, diagonal_scale(gauss_newton.hessian).reciprocal())
    eye = torch.eye(newton.shape[-1], dtype=newton.dtype, device=newton.device)
    _, info = torch.linalg.cholesky_ex(scaled + MIN_DAMPING * eye)
    is_definite = info == 0
    hessian = torch.where(is_definite[:, None, None], newton, gauss_newton.hessian)
    if is_hard is not None and bool((is_hard & ~is_definite).any()):
        items = (is_hard & ~is_definite).nonzero().squeeze(-1)
        values, vectors = torch.linalg.eigh(scaled[items])
        positive = (vectors * values.abs().clamp(min=MIN_DAMPING)[:, None]) @ vectors.mT
        hessian = hessian.index_copy(0, items, _scaled(positive, diagonal_scale(gauss_newton.hessian)[items]))
    return NormalEquations(hessian, gauss_newton.gradient)


def diagonal_scale(hessian: Float[Tensor, "n columns columns"]) -> Float[Tensor, "n columns"]:
    """Return D^(1/2): how many standard deviations one unit of each unknown is worth. Never zero."""
    diagonal = hessian.diagonal(dim1=-2, dim2=-1)
    largest = diagonal.amax(-1, keepdim=True)
    largest = torch.where(largest > 0, largest, torch.ones_like(largest))
    return torch.maximum(diagonal, LEAST_DIAGONAL * largest).sqrt()


def solve_damped_step(
    hessian: Float[Tensor, "n columns columns"],
    gradient: Float[Tensor, "n columns"],
    damping: Float[Tensor, "n"],
) -> Float[Tensor, "n columns"]:
    """Return the d with (H + damping D) d = -g, D the diagonal of H; zero where that is not positive definite.

    The system is scaled to a unit diagonal before Cholesky, so that metres, radians and betas weigh alike.

    Source: Nocedal and Wright, Numerical Optimization, 2006, sec. 10.3 (Levenberg-Marquardt with Marquardt's scaling).
    """
    scale = diagonal_scale(hessian).reciprocal()
    scaled = _scaled(hessian, scale)
    scaled = scaled + torch.diag_embed(damping[:, None].expand_as(gradient))
    factor, info = torch.linalg.cholesky_ex(scaled)
    right = -(gradient * scale)[..., None]
    # where the factorisation failed the factor is partial: solve with the identity there, and drop the result
    is_valid = info == 0
    eye = torch.eye(gradient.shape[-1], dtype=factor.dtype, device=factor.device)
    factor = torch.where(is_valid[:, None, None], factor, eye)
    step = torch.cholesky_solve(right, factor).squeeze(-1) * scale
    is_valid = is_valid & torch.isfinite(step).all(-1)
    return torch.where(is_valid[:, None], step, torch.zeros_like(step))


def predicted_decrease(
    hessian: Float[Tensor, "n columns columns"],
    gradient: Float[Tensor, "n columns"],
    step: Float[Tensor, "n columns"],
) -> Float[Tensor, "n"]:
    """Return -(g . d + 1/2 d^T H d): how much the quadratic model falls along a step."""
    curved = (hessian @ step[..., None]).squeeze(-1)
    return -((gradient + 0.5 * curved) * step).sum(-1)


def _scaled(
    hessian: Float[Tensor, "n columns columns"], scale: Float[Tensor, "n columns"]
) -> Float[Tensor, "n columns columns"]:
    return hessian * scale[..., :, None] * scale[..., None, :]

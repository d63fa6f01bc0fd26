# SPDX-License-Identifier: Apache-2.0
"""Pins in derivatives: springs too stiff to be part of a matrix that is to keep its small eigenvalues.

A soft spring stays in the matrix, under the force of the stiff one, so that the second-order parts of that force are in
it; the rest of the stiffness is handed on as a condition. Imports: torch, the modules beside it, the pins.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.solver.backward.columns import point_columns
from ikol.solver.pins import TAUT
from ikol.solver.problem import Problem
from ikol.solver.residuals import Posed


@dataclass(frozen=True, eq=False)
class Softened:
    """A problem whose pins are soft springs, and what was taken off their stiffness."""

    problem: Problem
    offset: Float[Tensor, "n springs"]
    """From the springs' ends to their points, three for each; with history."""
    compliance: Float[Tensor, "n springs"]
    """Metres per newton of what was taken off."""


def soften(problem: Problem, posed: Posed) -> Softened:
    """Return the problem with soft springs that pull as much as its stiff ones, at a pose.

    Args:
        problem: with pins as taut springs or without any, in `WIDE`.
        posed: the same.
    """
    pins = problem.pins
    if pins is None:
        nothing = posed.points.new_zeros(len(posed.points), 0)
        return Softened(problem, nothing, nothing)
    offset = posed.points[:, _span(problem)] - pins.target
    weight = pins.weight.detach().expand_as(offset)
    # the force is the same, its derivative that of the soft spring
    target = pins.target - (TAUT - 1.0) * offset.detach()
    is_spring = weight > 0
    rest = torch.where(is_spring, (1.0 - 1.0 / TAUT) * weight, 1.0)
    soft = problem.with_pins(torch.where(is_spring, target, 0.0), weight / TAUT)
    return Softened(soft, torch.where(is_spring, offset, 0.0).flatten(1), rest.reciprocal().flatten(1))


def spring_columns(problem: Problem, posed: Posed, *, with_shape: bool) -> Float[Tensor, "n springs all"]:
    """Return how the springs' lengths change with all unknowns; zero where nothing is pinned."""
    pins = problem.pins
    if pins is None:
        count = 3 + 3 * len(problem.parents) + problem.bone_groups.shape[-1]
        count += problem.skeleton.num_betas if with_shape else 0
        return posed.points.new_zeros(len(posed.points), 0, count)
    columns = point_columns(problem, posed, _span(problem), with_shape=with_shape)
    return torch.where((pins.weight > 0)[..., None], columns, 0.0).flatten(1, 2)


def _span(problem: Problem) -> slice:
    pins = problem.pins
    assert pins is not None
    return slice(pins.first, pins.first + pins.target.shape[1])

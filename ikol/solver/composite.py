# SPDX-License-Identifier: Apache-2.0
"""Sums over subtrees and the coupling of joints on one path to the root. Imports: torch, the problem."""

from jaxtyping import Float
from torch import Tensor

from ikol.solver.problem import Problem


def sum_below(problem: Problem, per_point: Float[Tensor, "n points *rest"]) -> Float[Tensor, "n blocks *rest"]:
    """Sum over the points that move with each block of unknowns."""
    summed = problem.carries @ per_point.flatten(2)
    return summed.unflatten(-1, per_point.shape[2:])


def couple(
    full: Float[Tensor, "n columns columns"],
    couples: Float[Tensor, "columns columns"],
    couples_below: Float[Tensor, "columns columns"],
) -> Float[Tensor, "n columns columns"]:
    """Keep what a column says with those of blocks at or below its own, and mirror it.

    Args:
        full: rows of block i times sums over the subtree below block j; right where j lies at or below i.
        couples: 1 there.
        couples_below: 1 where j lies below i.
    """
    return full * couples + (full * couples_below).transpose(-1, -2)

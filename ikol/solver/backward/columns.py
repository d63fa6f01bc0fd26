# SPDX-License-Identifier: Apache-2.0
"""How points move with all unknowns, written out: for few points, or where every column is wanted. Imports: torch."""

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.solver.jacobian import motion_subspaces, point_subspaces
from ikol.solver.normal_equations import motion_by_lengths
from ikol.solver.problem import Problem
from ikol.solver.residuals import Posed


def point_columns(problem: Problem, posed: Posed, span: slice, *, with_shape: bool) -> Float[Tensor, "n span 3 all"]:
    """Return d x_p / d unknowns of some points of the table, in `WIDE`.

    Args:
        problem: index tables, in `WIDE`.
        posed: the same.
        span: which points.
        with_shape: whether the betas are unknowns.
    """
    movers, carries = point_subspaces(posed)[:, span], problem.carries[:, span]
    columns = torch.einsum("npij,nbjk,bp->npibk", movers, motion_subspaces(posed), carries).flatten(-2)
    lengths = motion_by_lengths(problem, posed, with_shape=with_shape)
    return columns if lengths is None else torch.cat((columns, lengths[:, span]), dim=-1)

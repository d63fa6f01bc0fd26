# SPDX-License-Identifier: Apache-2.0
"""The second-order part of the Hessian: points move on arcs, so a force on them changes as joints turn.

Gauss-Newton leaves it out. Where residuals stay large (noise, depth that the network got wrong) that makes it zigzag
for dozens of iterations; with it the step is Newton's and the last iterations converge quadratically. It is not
positive definite in general, so it is used only where the sum is.

With f the force on point p (J^T W r of the rows), turns w_i and w_j of joints i above j add
f . (w_i x (w_j x r)) = w_i^T (r f^T - (r . f) I) w_j, r = p - x_j, summed over the points below j.
Left out: how shape and turns act together, and the second derivatives of projection, logarithms and robust losses.
Imports: torch, the problem, sums over subtrees.

Source: Erleben and Andrews, Inverse kinematics problems with exact Hessian matrices, 2017.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.solver.composite import couple, sum_below
from ikol.solver.problem import Problem
from ikol.solver.residuals import Posed


def bending(
    problem: Problem, posed: Posed, force: Float[Tensor, "n points 3"], num_columns: int
) -> Float[Tensor, "n columns columns"]:
    """Return the second-order part in all unknowns; only the blocks of two rotations are not zero.

    Args:
        problem: index tables.
        posed: the states.
        force: derivative of the cost with respect to the place of each point.
        num_columns: how many unknowns there are.
    """
    place = posed.points - posed.joints[:, :1]
    lever = posed.joints - posed.joints[:, :1]
    total = sum_below(problem, force)[:, 1:]
    moment = sum_below(problem, place[..., :, None] * force[..., None, :])[:, 1:]
    moment = moment - lever[..., :, None] * total[..., None, :]
    trace = moment.diagonal(dim1=-2, dim2=-1).sum(-1)
    eye = torch.eye(3, dtype=moment.dtype, device=moment.device)
    below = (moment - trace[..., None, None] * eye) @ posed.global_rotmat
    left = posed.global_rotmat.transpose(-1, -2).flatten(1, 2)
    full = couple(left @ below.permute(0, 2, 1, 3).flatten(2), problem.couples[3:, 3:], problem.couples_below[3:, 3:])
    result = full.new_zeros(len(full), num_columns, num_columns)
    # a joint with itself: Exp(d) has the symmetric second derivative
    turns = slice(3, 3 + full.shape[-1])
    result[:, turns, turns] = 0.5 * (full + full.transpose(-1, -2))
    return result

# SPDX-License-Identifier: Apache-2.0
"""Damped steps that know of the limits they would cross.

A limit that is not exceeded has no rows in the normal equations, so a plain step runs into it unwarned and is
rejected. Here the limits are kept one-sided in the model: the step is solved again, a few times, with the rows of
exactly those limits that it would exceed. Only blocks on the diagonal change, which costs little beside taking all
residuals once more.
Imports: torch, the linear step, the residuals.

Source: semismooth Newton for piecewise quadratics, Qi and Sun, A nonsmooth version of Newton's method, 1993.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ikol.solver.linear import WIDE, NormalEquations, predicted_decrease, solve_damped_step
from ikol.solver.normal_equations import add_on_joints
from ikol.solver.residuals import OnJoints, Rows

MAX_ROUNDS = 5  # most steps cross the same limits after the second round as after the first; poses far outside took 5


@dataclass(frozen=True, eq=False)
class Unknowns:
    """Which of all the unknowns are free."""

    count: int
    """Of all: translation, three for each joint, betas, bone groups."""
    columns: Int[Tensor, "free"]
    """The free ones."""

    def spread(self, step: Float[Tensor, "n free"]) -> Float[Tensor, "n all"]:
        """Return a step of all unknowns, zero for those that are not free."""
        if len(self.columns) == self.count:
            return step
        return step.new_zeros(len(step), self.count).index_copy(1, self.columns, step)

    def pick(self, equations: NormalEquations) -> NormalEquations:
        """Return the equations of the free unknowns."""
        return NormalEquations(self.pick_square(equations.hessian), equations.gradient[:, self.columns])

    def pick_square(self, matrix: Float[Tensor, "n all all"]) -> Float[Tensor, "n free free"]:
        """Return the rows and columns of the free unknowns."""
        return matrix if len(self.columns) == self.count else matrix[:, self.columns[:, None], self.columns]


def solve_one_sided_step(
    equations: NormalEquations,
    rows: tuple[Rows, ...],
    damping: Float[Tensor, "n"],
    unknowns: Unknowns,
) -> Float[Tensor, "n free"]:
    """Return the damped step of the model in which ranges are one-sided; zero where the equations cannot be solved.

    Args:
        equations: of the free unknowns at the current state, with the rows of what is exceeded there.
        rows: of the current state; those without a range are in the equations already.
        damping: of each item.
        unknowns: which are free.
    """
    step = solve_damped_step(equations.hessian, equations.gradient, damping)
    sided = [item.to(WIDE).spread(len(step)) for item in rows if item.range is not None]
    if not sided:
        return step
    before = torch.cat([item.residual.sign() for item in sided], dim=1)
    items = torch.arange(len(step), device=step.device)
    for _ in range(MAX_ROUNDS):
        # only items of the batch whose limits have changed are solved again
        full = unknowns.spread(step[items])
        sides = torch.cat([crossed_sides(item, full) for item in sided], dim=1)
        is_changed = (sides != before).flatten(1).any(-1)
        if not bool(is_changed.any()):
            break
        if not bool(is_changed.all()):
            items, sides = items[is_changed], sides[is_changed]
            sided = [item.take(is_changed) for item in sided]
        change = unknowns.pick(change_of_sides(sided, sides, unknowns.count))
        hessian, gradient = equations.hessian[items] + change.hessian, equations.gradient[items] + change.gradient
        again = solve_damped_step(hessian, gradient, damping[items])
        # rows that leave may take the definiteness with them: the step before stands then
        again = torch.where((again != 0).any(-1, keepdim=True), again, step[items])
        step = step.index_copy(0, items, again)
        before = sides
    return step


def one_sided_decrease(
    equations: NormalEquations, rows: tuple[Rows, ...], step: Float[Tensor, "n free"], unknowns: Unknowns
) -> Float[Tensor, "n"]:
    """Return by how much the one-sided model falls along a step, damping not counted."""
    decrease = predicted_decrease(equations.hessian, equations.gradient, step)
    return decrease + change_of_decrease(rows, unknowns.spread(step))


def change_of_decrease(rows: tuple[Rows, ...], full: Float[Tensor, "n all"]) -> Float[Tensor, "n"]:
    """Return how much more the model falls along a step of all unknowns because ranges are one-sided."""
    change = full.new_zeros(len(full))
    for item in (narrow.to(WIDE) for narrow in rows if narrow.range is not None):
        if item.range is not None:
            moved = _moved(item, full)
            two_sided = torch.where(item.residual != 0, item.residual + moved, 0.0)
            one_sided = (item.range.above + moved).clamp(min=0.0) + (item.range.below + moved).clamp(max=0.0)
            change = change + 0.5 * (item.range.weight * (two_sided.square() - one_sided.square())).sum((-1, -2))
    return change


def _moved(rows: Rows, full: Float[Tensor, "n all"]) -> Float[Tensor, "n groups rows"]:
    """How much a step changes the numbers that are limited."""
    assert isinstance(rows.touches, OnJoints)
    first = 3 + 3 * rows.touches.joint_index
    turns = full[:, first[:, None] + torch.arange(3, device=first.device)]
    return (rows.jacobian @ turns[..., None]).squeeze(-1)


def crossed_sides(rows: Rows, full: Float[Tensor, "n all"]) -> Float[Tensor, "n groups rows"]:
    """Return which end of its range each row would exceed: 1 the upper, -1 the lower, 0 none."""
    assert rows.range is not None
    moved = _moved(rows, full)
    return (rows.range.above + moved > 0).to(full.dtype) - (rows.range.below + moved < 0).to(full.dtype)


def change_of_sides(sided: list[Rows], sides: Float[Tensor, "n groups rows"], count: int) -> NormalEquations:
    """Return what the rows of other sides add to the normal equations of all unknowns."""
    size = len(sides)
    hessian = sides.new_zeros(size, count, count)
    gradient = sides.new_zeros(size, count)
    for item, side in zip(sided, sides.split([item.residual.shape[1] for item in sided], dim=1), strict=True):
        assert isinstance(item.touches, OnJoints)
        assert item.range is not None
        residual = torch.where(side > 0, item.range.above, torch.where(side < 0, item.range.below, 0.0))
        entered = (side != 0).to(side.dtype) - (item.residual != 0).to(side.dtype)
        transposed = item.jacobian.transpose(-1, -2)
        information = (transposed * (item.range.weight * entered)[..., None, :]) @ item.jacobian
        force = (transposed @ (item.range.weight * (residual - item.residual))[..., None]).squeeze(-1)
        add_on_joints(hessian, gradient, item.touches, information, force)
    return NormalEquations(hessian, gradient)

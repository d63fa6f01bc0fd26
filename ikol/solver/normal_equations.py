# SPDX-License-Identifier: Apache-2.0
"""The one place where local derivatives become normal equations H d = -g in all unknowns.

A residual on a point of body k sees the unknowns only through the spatial motion of body k. So every row adds a 6 x 6
information matrix and a 6-vector of force to its body; those are summed over the subtree below each joint, and joint
i's block with a joint j below it is S_i^T I_j S_j. No row is ever expanded to all columns. Rows that are measured from
the mean of other points couple all bodies; they add a product of rank 6.
Imports: torch, ikol.geometry, the residuals, their motion.

Source: Featherstone, Rigid Body Dynamics Algorithms, 2008, sec. 6.2 (the composite-rigid-body algorithm), with inertia
replaced by the information of the residuals.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.solver.jacobian import motion_subspaces, point_subspaces, shape_motion
from ikol.solver.linear import WIDE
from ikol.solver.problem import Problem
from ikol.solver.residuals import OnJoints, OnPoints, OnRotations, OnShape, Posed, Rows
from ikol.solver.robust import robust_weight


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """Gauss-Newton's H = J^T W J and g = J^T W r, in `WIDE`. Columns: translation, three a joint, the betas if free."""

    hessian: Float[Tensor, "n columns columns"]
    gradient: Float[Tensor, "n columns"]


@dataclass(frozen=True, eq=False)
class _Quadratic:
    """J^T W J and J^T W r of the rows of one block, in the rows' own columns."""

    information: Float[Tensor, "#n groups columns columns"]
    force: Float[Tensor, "n groups columns"]


def normal_equations(
    problem: Problem, posed: Posed, rows: tuple[Rows, ...], *, with_shape: bool, convexity: float = 1.0
) -> NormalEquations:
    """Assemble the normal equations of robust rows at a pose.

    Args:
        problem: index tables.
        posed: where the rows were taken.
        rows: of `problem.rows(posed)`.
        with_shape: whether the betas are unknowns.
        convexity: of the robust losses; see `robust`.
    """
    posed = posed.to(WIDE)
    quadratics = [(item, _quadratic(item, convexity)) for item in (narrow.to(WIDE) for narrow in rows)]
    subspaces = motion_subspaces(posed)
    movers = point_subspaces(posed)
    shape = _shape_motion(problem, posed) if with_shape else None
    information, force = _on_points(posed, quadratics)
    held = information @ movers
    body_information = movers.transpose(-1, -2) @ held
    body_force = (movers.transpose(-1, -2) @ force[..., None]).squeeze(-1)
    composite = _sum_below(problem, body_information)
    composite_force = _sum_below(problem, body_force)
    for item, quadratic in quadratics:
        if isinstance(item.touches, OnRotations):
            below = problem.couples[::3, 3::3][:, item.touches.joint_index]
            composite[..., :3, :3] += torch.einsum("bk,nkij->nbij", below, quadratic.information)
            composite_force[..., :3] += below @ quadratic.force
    hessian = _couple(problem, subspaces, composite)
    gradient = (subspaces.transpose(-1, -2) @ composite_force[..., None]).squeeze(-1).flatten(-2)
    for item, quadratic in quadratics:
        if isinstance(item.touches, OnJoints):
            add_on_joints(hessian, gradient, item.touches, quadratic.information, quadratic.force)
    if shape is not None:
        hessian, gradient = _border_with_shape(problem, subspaces, held, (information, force), shape, hessian, gradient)
        for item, quadratic in quadratics:
            if isinstance(item.touches, OnShape):
                start = gradient.shape[-1] - quadratic.force.shape[-1]
                hessian[:, start:, start:] += quadratic.information.sum(1)
                gradient[:, start:] += quadratic.force.sum(1)
    for item, quadratic in quadratics:
        if isinstance(item.touches, OnPoints) and item.touches.reference is not None:
            _subtract_reference(problem, item, quadratic, (subspaces, movers, shape), hessian, gradient)
    return NormalEquations(hessian, gradient)


def _quadratic(rows: Rows, convexity: float) -> _Quadratic:
    weight = rows.weight
    if rows.loss is not None:
        weight = weight * robust_weight(rows.loss, rows.squared, convexity)[..., None]
    weighted = (weight[..., None] * rows.jacobian).transpose(-1, -2)
    return _Quadratic(weighted @ rows.jacobian, (weighted @ rows.residual[..., None]).squeeze(-1))


def _on_points(
    posed: Posed, quadratics: list[tuple[Rows, _Quadratic]]
) -> tuple[Float[Tensor, "n points 3 3"], Float[Tensor, "n points 3"]]:
    """Sum what all rows say about the place of each point of the table."""
    information = posed.points.new_zeros(*posed.points.shape, 3)
    force = torch.zeros_like(posed.points)
    for item, quadratic in quadratics:
        if isinstance(item.touches, OnPoints):
            span = slice(item.touches.first, item.touches.first + item.residual.shape[-2])
            information[:, span] += quadratic.information
            force[:, span] += quadratic.force
    return information, force


def _sum_below(problem: Problem, per_point: Float[Tensor, "n points *rest"]) -> Float[Tensor, "n blocks *rest"]:
    """Sum over the points that move with each block of unknowns."""
    summed = problem.carries @ per_point.flatten(2)
    return summed.unflatten(-1, per_point.shape[2:])


def _couple(
    problem: Problem, subspaces: Float[Tensor, "n blocks 6 3"], composite: Float[Tensor, "n blocks 6 6"]
) -> Float[Tensor, "n columns columns"]:
    """Return S_i^T I_j S_j where block j lies at or below block i, mirrored; zero where neither is above the other."""
    left = subspaces.transpose(-1, -2).flatten(1, 2)
    right = (composite @ subspaces).permute(0, 2, 1, 3).flatten(2)
    full = left @ right
    return full * problem.couples + (full * problem.couples_below).transpose(-1, -2)


def add_on_joints(
    hessian: Float[Tensor, "n all all"],
    gradient: Float[Tensor, "n all"],
    touches: OnJoints,
    information: Float[Tensor, "#n groups 3 3"],
    force: Float[Tensor, "n groups 3"],
) -> None:
    """Add, in place, what rows say about joints' own rotations: blocks on the diagonal.

    Args:
        hessian: of all unknowns.
        gradient: of all unknowns.
        touches: the joints.
        information: J^T W J of each group, in its joint's three columns.
        force: J^T W r.
    """
    first = 3 + 3 * touches.joint_index
    columns = first[:, None] + torch.arange(3, device=first.device)
    # a joint may have several groups, so the sums go through index_put with accumulation
    size = len(hessian)
    item = torch.arange(size, device=first.device)[:, None, None, None]
    place = (item, columns[:, :, None].expand(1, -1, -1, -1), columns[:, None, :].expand(1, -1, -1, -1))
    hessian.index_put_(place, information.expand(size, -1, -1, -1), accumulate=True)
    gradient.index_add_(1, columns.flatten(), force.flatten(1))


def _shape_motion(problem: Problem, posed: Posed) -> Float[Tensor, "n points 3 betas"]:
    return shape_motion(
        posed,
        problem.parents,
        problem.ancestors,
        problem.tree.joints_shapedirs.to(WIDE),
        problem.point_joints,
        problem.point_shapedirs.to(WIDE),
    )


def _border_with_shape(
    problem: Problem,
    subspaces: Float[Tensor, "n blocks 6 3"],
    held: Float[Tensor, "n points 3 6"],
    on_points: tuple[Float[Tensor, "n points 3 3"], Float[Tensor, "n points 3"]],
    shape: Float[Tensor, "n points 3 betas"],
    hessian: Float[Tensor, "n columns columns"],
    gradient: Float[Tensor, "n columns"],
) -> tuple[Float[Tensor, "n all all"], Float[Tensor, "n all"]]:
    """Append the columns of the betas, which move points each in its own way."""
    information, force = on_points
    mixed = _sum_below(problem, held.transpose(-1, -2) @ shape)
    border = (subspaces.transpose(-1, -2) @ mixed).flatten(1, 2)
    stacked = shape.flatten(1, 2)
    corner = stacked.transpose(-1, -2) @ (information @ shape).flatten(1, 2)
    shape_gradient = (stacked.transpose(-1, -2) @ force.flatten(1)[..., None]).squeeze(-1)
    upper = torch.cat((hessian, border), dim=-1)
    lower = torch.cat((border.transpose(-1, -2), corner), dim=-1)
    return torch.cat((upper, lower), dim=-2), torch.cat((gradient, shape_gradient), dim=-1)


def _subtract_reference(
    problem: Problem,
    rows: Rows,
    quadratic: _Quadratic,
    motion: tuple[Tensor, Tensor, Tensor | None],
    hessian: Float[Tensor, "n columns columns"],
    gradient: Float[Tensor, "n columns"],
) -> None:
    """Correct, in place, for rows on x_p - x_reference that were entered as rows on x_p.

    With C the information of each point, J its Jacobian, J_r that of the reference:
    sum (J - J_r)^T C (J - J_r) = sum J^T C J - J_r^T Y - Y^T J_r with Y = sum C J - 1/2 (sum C) J_r.
    """
    assert isinstance(rows.touches, OnPoints)
    assert rows.touches.reference is not None
    reference = rows.touches.reference
    count = len(gradient)
    own = slice(rows.touches.first, rows.touches.first + rows.residual.shape[-2])
    around = slice(reference.first, reference.first + len(reference.weights))
    held = _columns(problem, motion, own, quadratic.information)
    weights = reference.weights.to(WIDE)[:, None, None] * torch.eye(3, dtype=WIDE, device=held.device)
    origin = _columns(problem, motion, around, weights.expand(count, -1, -1, -1))
    total = quadratic.information.sum(1)
    product = origin.transpose(-1, -2) @ (held - 0.5 * (total @ origin))
    hessian -= product + product.transpose(-1, -2)
    gradient -= (origin.transpose(-1, -2) @ quadratic.force.sum(1)[..., None]).squeeze(-1)


def _columns(
    problem: Problem,
    motion: tuple[Tensor, Tensor, Tensor | None],
    span: slice,
    factors: Float[Tensor, "n span 3 3"],
) -> Float[Tensor, "n 3 columns"]:
    """Return sum_p F_p J_p over a span of the points, in all unknowns."""
    subspaces, movers, shape = motion
    per_point = factors @ movers[:, span]
    summed = (problem.carries[:, span] @ per_point.flatten(2)).unflatten(-1, (3, 6))
    columns = (summed @ subspaces).permute(0, 2, 1, 3).flatten(2)
    if shape is None:
        return columns
    return torch.cat((columns, (factors @ shape[:, span]).sum(1)), dim=-1)

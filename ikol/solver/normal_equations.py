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

from ikol.solver.bending import bending
from ikol.solver.composite import couple, sum_below
from ikol.solver.jacobian import length_motion, motion_subspaces, point_subspaces
from ikol.solver.linear import WIDE, NormalEquations
from ikol.solver.problem import Problem
from ikol.solver.residuals import OnBones, OnJoints, OnPoints, OnRotations, OnShape, Posed, Rows
from ikol.solver.robust import robust_weight


@dataclass(frozen=True, eq=False)
class Linearisation:
    """What a step is made from, in `WIDE`.

    Columns: translation, three for each joint, the betas if unknown, the bone groups if any.
    """

    gauss_newton: NormalEquations
    """H = J^T W J and g = J^T W r."""
    force: Float[Tensor, "n points 3"]
    """Derivative of the cost with respect to the place of each point."""
    problem: Problem
    posed: Posed

    @property
    def bending(self) -> Float[Tensor, "n columns columns"]:
        """What the Hessian has beyond J^T W J because points move on arcs; computed when asked for. See `bending`."""
        return bending(self.problem, self.posed, self.force, self.gauss_newton.gradient.shape[-1])


@dataclass(frozen=True, eq=False)
class Quadratic:
    """What one block says, in its rows' own columns: J^T W J, or another second derivative, and J^T W r."""

    touches: OnPoints | OnRotations | OnJoints | OnShape | OnBones
    information: Float[Tensor, "#n groups columns columns"]
    force: Float[Tensor, "n groups columns"]


@dataclass(frozen=True, eq=False)
class _Motion:
    """How everything moves, at one pose."""

    problem: Problem
    subspaces: Float[Tensor, "n blocks 6 3"]
    movers: Float[Tensor, "n points 3 6"]
    lengths: Float[Tensor, "n points 3 lengths"] | None
    """By the betas and the bone groups; None where neither is unknown."""


def normal_equations(
    problem: Problem, posed: Posed, rows: tuple[Rows, ...], *, with_shape: bool, convexity: float = 1.0
) -> Linearisation:
    """Assemble the normal equations of robust rows at a pose.

    Args:
        problem: index tables.
        posed: where the rows were taken.
        rows: of `problem.rows(posed)`.
        with_shape: whether the betas are unknowns.
        convexity: of the robust losses; see `robust`.
    """
    return assemble(problem, posed, [quadratic(item, convexity) for item in rows], with_shape=with_shape)


def assemble(problem: Problem, posed: Posed, quadratics: list[Quadratic], *, with_shape: bool) -> Linearisation:
    """Assemble the normal equations of what the blocks say at a pose.

    Args:
        problem: index tables.
        posed: the pose.
        quadratics: of all blocks, in `WIDE`.
        with_shape: whether the betas are unknowns.
    """
    posed = posed.to(WIDE)
    lengths = motion_by_lengths(problem, posed, with_shape=with_shape)
    motion = _Motion(problem, motion_subspaces(posed), point_subspaces(posed), lengths)
    information, force = _on_points(posed, quadratics)
    held = information @ motion.movers
    hessian, gradient = _on_tree(motion, held, force, quadratics)
    first_length = gradient.shape[-1]
    if lengths is not None:
        hessian, gradient = _border_with_lengths(motion, held, (information, force), lengths, hessian, gradient)
    _subtract_references(motion, quadratics, hessian)
    for item in quadratics:
        match item.touches:
            case OnJoints():
                add_on_joints(hessian, gradient, item.touches, item.information, item.force)
            case OnShape():
                if with_shape:
                    betas = slice(first_length, first_length + item.force.shape[-1])
                    hessian[:, betas, betas] += item.information.sum(1)
                    gradient[:, betas] += item.force.sum(1)
            case OnBones():
                _add_on_bones(hessian, gradient, problem.bone_groups.to(WIDE), item)
            case OnPoints() | OnRotations():
                pass  # part of the tree
    return Linearisation(NormalEquations(hessian, gradient), force, problem, posed)


def quadratic(rows: Rows, convexity: float = 1.0) -> Quadratic:
    """Return J^T W J and J^T W r of robust rows, in `WIDE`."""
    rows = rows.to(WIDE)
    weight = rows.weight
    if rows.loss is not None:
        weight = weight * robust_weight(rows.loss, rows.squared, convexity)[..., None]
    weighted = (weight[..., None] * rows.jacobian).transpose(-1, -2)
    return Quadratic(rows.touches, weighted @ rows.jacobian, (weighted @ rows.residual[..., None]).squeeze(-1))


def _on_points(
    posed: Posed, quadratics: list[Quadratic]
) -> tuple[Float[Tensor, "n points 3 3"], Float[Tensor, "n points 3"]]:
    """Sum what all rows say about the place of each point; a force on a difference acts on the reference as well."""
    information = posed.points.new_zeros(*posed.points.shape, 3)
    force = torch.zeros_like(posed.points)
    for item in quadratics:
        touches = item.touches
        if isinstance(touches, OnPoints):
            own = touches.span(item.force.shape[1])
            information[:, own] += item.information
            force[:, own] += item.force
            if touches.reference is not None:
                weights = touches.reference.weights.to(WIDE)
                force[:, touches.reference.span] -= weights[:, None] * item.force.sum(1, keepdim=True)
    return information, force


def _on_tree(
    motion: _Motion,
    held: Float[Tensor, "n points 3 6"],
    force: Float[Tensor, "n points 3"],
    quadratics: list[Quadratic],
) -> tuple[Float[Tensor, "n columns columns"], Float[Tensor, "n columns"]]:
    """Return H and g of the rows on points and on rotations in the world, in the tree's unknowns."""
    problem, turned = motion.problem, motion.movers.transpose(-1, -2)
    composite = sum_below(problem, turned @ held)
    composite_force = sum_below(problem, (turned @ force[..., None]).squeeze(-1))
    for item in quadratics:
        touches = item.touches
        if isinstance(touches, OnRotations):
            below = problem.couples[::3, 3::3][:, touches.joint_index]
            composite[..., :3, :3] += torch.einsum("bk,nkij->nbij", below, item.information)
            composite_force[..., :3] += below @ item.force
    right = (composite @ motion.subspaces).permute(0, 2, 1, 3).flatten(2)
    left = motion.subspaces.transpose(-1, -2)
    gradient = (left @ composite_force[..., None]).squeeze(-1).flatten(-2)
    return couple(left.flatten(1, 2) @ right, problem.couples, problem.couples_below), gradient


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


def _add_on_bones(
    hessian: Float[Tensor, "n all all"],
    gradient: Float[Tensor, "n all"],
    groups: Float[Tensor, "joints groups"],
    item: Quadratic,
) -> None:
    """Add, in place, what rows say about bone scales: each to the unknown of its bone's group, the last columns."""
    first = gradient.shape[-1] - groups.shape[-1]
    hessian[:, first:, first:] += groups.T @ (item.information.flatten(1)[..., None] * groups)
    gradient[:, first:] += item.force.flatten(1) @ groups


def motion_by_lengths(
    problem: Problem, posed: Posed, *, with_shape: bool
) -> Float[Tensor, "n points 3 lengths"] | None:
    """How the betas, if they are unknowns, and the bone groups move the points; None where there are neither."""
    offsets = length_offsets(problem, posed, with_shape=with_shape)
    if offsets.shape[-1] == 0:
        return None
    point_joints, groups = problem.point_joints, problem.bone_groups.shape[-1]
    arms = problem.point_shapedirs.to(WIDE) - problem.skeleton.joints_shapedirs.to(WIDE)[point_joints]
    arms = arms[..., : offsets.shape[-1] - groups]
    arms = torch.cat((arms, arms.new_zeros(*arms.shape[:-1], groups)), dim=-1)
    return length_motion(posed, problem.parents, problem.ancestors, offsets, point_joints, arms)


def length_offsets(problem: Problem, posed: Posed, *, with_shape: bool) -> Float[Tensor, "#n joints 3 lengths"]:
    """Return how the betas, if they are unknowns, and the bone groups change each joint's offset from its parent."""
    skeleton, parents, groups = problem.skeleton, problem.parents, problem.bone_groups.to(WIDE)
    shapedirs = skeleton.joints_shapedirs.to(WIDE)
    offsets = [groups.new_zeros(1, len(parents), 3, 0)]
    if with_shape:
        by_betas = torch.cat((shapedirs[:1], shapedirs[1:] - shapedirs[parents[1:]]))[None]
        if posed.bone_scale is not None:
            is_root = torch.arange(len(parents), device=parents.device) == 0
            by_betas = torch.where(is_root, 1.0, posed.bone_scale)[..., None, None] * by_betas
        offsets.append(by_betas)
    if groups.shape[-1]:
        rest = skeleton.joints_template.to(WIDE) + torch.einsum("jik,nk->nji", shapedirs, posed.betas)
        bones = rest - rest[:, parents]  # the root is in no group
        offsets.append(bones[..., None] * groups[:, None])
    size = max(len(part) for part in offsets)
    return torch.cat([part.expand(size, -1, -1, -1) for part in offsets], dim=-1)


def _border_with_lengths(
    motion: _Motion,
    held: Float[Tensor, "n points 3 6"],
    on_points: tuple[Float[Tensor, "n points 3 3"], Float[Tensor, "n points 3"]],
    lengths: Float[Tensor, "n points 3 lengths"],
    hessian: Float[Tensor, "n columns columns"],
    gradient: Float[Tensor, "n columns"],
) -> tuple[Float[Tensor, "n all all"], Float[Tensor, "n all"]]:
    """Append the columns of the lengths, which move points each in its own way."""
    information, force = on_points
    mixed = sum_below(motion.problem, held.transpose(-1, -2) @ lengths)
    border = (motion.subspaces.transpose(-1, -2) @ mixed).flatten(1, 2)
    stacked = lengths.flatten(1, 2)
    corner = stacked.transpose(-1, -2) @ (information @ lengths).flatten(1, 2)
    length_gradient = (stacked.transpose(-1, -2) @ force.flatten(1)[..., None]).squeeze(-1)
    upper = torch.cat((hessian, border), dim=-1)
    lower = torch.cat((border.transpose(-1, -2), corner), dim=-1)
    return torch.cat((upper, lower), dim=-2), torch.cat((gradient, length_gradient), dim=-1)


def _subtract_references(
    motion: _Motion, quadratics: list[Quadratic], hessian: Float[Tensor, "n columns columns"]
) -> None:
    """Correct, in place, for rows on x_p - x_reference that were entered as rows on x_p.

    With C the information of each point, J its Jacobian, J_r that of the reference:
    sum (J - J_r)^T C (J - J_r) = sum J^T C J - J_r^T Y - Y^T J_r with Y = sum C J - 1/2 (sum C) J_r. All blocks are
    taken at once: the matrix of all unknowns is written once, not once a block.
    """
    origins: list[Tensor] = []
    changes: list[Tensor] = []
    for item in quadratics:
        if isinstance(item.touches, OnPoints) and item.touches.reference is not None:
            reference = item.touches.reference
            held = _columns(motion, item.touches.span(item.force.shape[1]), item.information)
            weights = reference.weights.to(WIDE)[:, None, None] * torch.eye(3, dtype=WIDE, device=held.device)
            origin = _columns(motion, reference.span, weights.expand(len(hessian), -1, -1, -1))
            origins.append(origin)
            changes.append(held - 0.5 * (item.information.sum(1) @ origin))
    if origins:
        product = torch.cat(origins, dim=1).transpose(-1, -2) @ torch.cat(changes, dim=1)
        hessian -= product + product.transpose(-1, -2)


def _columns(motion: _Motion, span: slice, factors: Float[Tensor, "#n span 3 3"]) -> Float[Tensor, "n 3 columns"]:
    """Return sum_p F_p J_p over a span of the points, in all unknowns."""
    per_point = factors @ motion.movers[:, span]
    summed = (motion.problem.carries[:, span] @ per_point.flatten(2)).unflatten(-1, (3, 6))
    columns = (summed @ motion.subspaces).permute(0, 2, 1, 3).flatten(2)
    if motion.lengths is None:
        return columns
    return torch.cat((columns, (factors @ motion.lengths[:, span]).sum(1)), dim=-1)

# SPDX-License-Identifier: Apache-2.0
"""The exact second derivative of the cost in all unknowns, x <- x Exp(d) at d = 0.

Each residual group looks at one thing only: the place y of a point (or of a difference of points), the rotation of a
joint in the world, a joint's own rotation. So the Hessian is

    sum over groups  J^T C J  +  f . d2y,     C = d2 cost / dy2,  f = d cost / dy,  J = dy / d unknowns

C is 3 x 3 and holds the second-order parts of projection, logarithm, gate, limits and robust loss; autograd gives it
from the rows' own Jacobians, group by group, without the tree. `normal_equations.assemble` takes it in the place of
Gauss-Newton's J^T W J. f . d2y is `bending`, for turns that move points on arcs, and what is here: turns that follow
each other, lengths of bones that turn. Imports: torch, ikol.geometry, the normal equations.

Source: Triggs et al., Bundle adjustment, a modern synthesis, 2000, sec. 4 (the parts of the exact Hessian).
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ikol.geometry.rotations import rotvec_to_rotmat, skew
from ikol.solver.backward.tensors import detached
from ikol.solver.composite import couple, sum_below
from ikol.solver.jacobian import length_motion
from ikol.solver.normal_equations import Quadratic, assemble, length_offsets, motion_by_lengths, quadratic
from ikol.solver.problem import Problem
from ikol.solver.residuals import OnBones, OnJoints, OnPoints, OnRotations, OnShape, Posed, RelativePointTerm, Rows


@dataclass(frozen=True, eq=False)
class _Local:
    """First and second derivatives of the cost with respect to what the rows look at."""

    force: Float[Tensor, "n items 3"]
    curvature: Float[Tensor, "n items 3 3"]


def exact_hessian(problem: Problem, posed: Posed, *, with_shape: bool) -> Float[Tensor, "n columns columns"]:
    """Return the second derivative of the cost, in the order of columns of `Linearisation`.

    Args:
        problem: in `WIDE`, without history.
        posed: the same.
        with_shape: whether the betas are unknowns.
    """
    rows, (points, world, own) = _differentiate_locally(problem, posed)
    joints = torch.arange(len(problem.parents), device=posed.joints.device)
    quadratics = [
        Quadratic(OnRotations(joints), world.curvature, world.force),
        Quadratic(OnJoints(joints), own.curvature, own.force),
        *(quadratic(item) for item in rows if isinstance(item.touches, OnShape | OnBones)),
        *_on_points(problem, points),
    ]
    parts = assemble(problem, posed, quadratics, with_shape=with_shape)
    hessian = parts.gauss_newton.hessian + parts.bending
    _add_turning(problem, posed, world.force, hessian)
    if hessian.shape[-1] > 3 + 3 * len(joints):
        _add_lengths(problem, posed, parts.force, hessian, with_shape=with_shape)
    return hessian


def _differentiate_locally(problem: Problem, posed: Posed) -> tuple[tuple[Rows, ...], tuple[_Local, _Local, _Local]]:
    """Return the rows, and the derivatives by places, by turns in the world and by right perturbations of joints.

    The first derivative is J^T W r, with the rows' own J. Differentiated once more at x Exp(y), it is the Hessian in y
    up to an antisymmetric part, because turns do not commute.
    """
    with torch.enable_grad():
        leaves = tuple(
            torch.zeros_like(part, requires_grad=True) for part in (posed.points, posed.joints, posed.joints)
        )
        places, turns, own_turns = leaves
        near = replace(
            posed,
            points=posed.points + torch.where(_is_origin(problem)[:, None], 0.0, places),
            global_rotmat=rotvec_to_rotmat(turns) @ posed.global_rotmat,
            local_rotmat=posed.local_rotmat @ rotvec_to_rotmat(own_turns),
        )
        rows = problem.rows(near)
        forces = tuple(0.0 * leaf for leaf in leaves)
        for item in rows:
            _add_force(forces, item)
        # no group sees another's coordinates: one backward pass gives a row of every 3 x 3 block
        curvatures: list[tuple[Tensor, ...]] = []
        for axis in range(3):
            along = torch.stack([force[..., axis].sum() for force in forces]).sum()
            curvatures.append(torch.autograd.grad(along, leaves, retain_graph=axis < 2))
    places_of, turns_of, own_of = (
        _Local(force.detach(), 0.5 * (curvature + curvature.transpose(-1, -2)))
        for force, curvature in zip(
            forces, (torch.stack(columns, dim=-1) for columns in zip(*curvatures, strict=True)), strict=True
        )
    )
    return detached(rows), (places_of, turns_of, own_of)


def _add_force(forces: tuple[Tensor, ...], rows: Rows) -> None:
    """Add J^T W r of some rows, in place, to the forces on places, on joints in the world, on joints' own turns."""
    on_points, on_world, on_joints = forces
    force = quadratic(rows).force
    match rows.touches:
        case OnPoints():
            on_points[:, rows.touches.span(force.shape[1])] += force
        case OnRotations():
            on_world.index_add_(1, rows.touches.joint_index, force)
        case OnJoints():
            on_joints.index_add_(1, rows.touches.joint_index, force)
        case OnShape() | OnBones():
            pass  # these are quadratic in the lengths


def _relative_terms(problem: Problem) -> list[RelativePointTerm]:
    return [term for term in problem.terms if isinstance(term, RelativePointTerm)]


def _is_origin(problem: Problem) -> Bool[Tensor, "points"]:
    """Which points of the table others are measured from: a difference moves with its first point only."""
    mask = torch.zeros_like(problem.point_joints, dtype=torch.bool)
    for term in _relative_terms(problem):
        mask[term.reference.span] = True
    return mask


def _on_points(problem: Problem, local: _Local) -> list[Quadratic]:
    """Split what was found by places: each block of differences by itself, all other points together."""
    force, curvature = local.force.clone(), local.curvature.clone()
    quadratics: list[Quadratic] = []
    for term in _relative_terms(problem):
        touches = OnPoints(term.first, term.reference)
        span = touches.span(term.target.shape[-2])
        quadratics.append(Quadratic(touches, local.curvature[:, span], local.force[:, span]))
        force[:, span], curvature[:, span] = 0.0, 0.0
    return [Quadratic(OnPoints(0), curvature, force), *quadratics]


def _add_turning(
    problem: Problem, posed: Posed, torque: Float[Tensor, "n joints 3"], hessian: Float[Tensor, "n columns columns"]
) -> None:
    """Add, in place, what follows from turns of the joints of one path not commuting.

    Turns w_i of a joint and w_k of one below it make Exp(w_i) Exp(w_k), whose logarithm has the term w_i x w_k / 2. A
    torque t on the rotation of a joint at or below k adds t . (w_i x w_k) / 2 = -w_i^T [t]x w_k / 2.

    Args:
        problem: index tables.
        posed: the states.
        torque: derivative of the cost by a turn of each joint in the world.
        hessian: to be added to.
    """
    joints = slice(3, 3 + 3 * torque.shape[1])
    below = problem.couples[joints, joints][::3, ::3] @ torque
    turned = -0.5 * skew(below) @ posed.global_rotmat
    left = posed.global_rotmat.transpose(-1, -2).flatten(1, 2)
    full = couple(
        left @ turned.permute(0, 2, 1, 3).flatten(2),
        problem.couples[joints, joints],
        problem.couples_below[joints, joints],
    )
    # a joint with itself: Exp(d) has the symmetric second derivative, which is nothing here
    hessian[:, joints, joints] += 0.5 * (full + full.transpose(-1, -2))


def _add_lengths(
    problem: Problem,
    posed: Posed,
    force: Float[Tensor, "n points 3"],
    hessian: Float[Tensor, "n columns columns"],
    *,
    with_shape: bool,
) -> None:
    """Add, in place, how lengths act together with turns and with each other.

    A turn w_i and a length that moves the points below by s_p and the joint itself by s_i add the sum of
    f_p . (w_i x (s_p - s_i)) over the points below. A bone's scale and the betas add F . (G_parent times the bone's
    shape directions), F the force on everything below.

    Args:
        problem: index tables.
        posed: the states.
        force: derivative of the cost by the place of each point.
        hessian: to be added to.
        with_shape: whether the betas are unknowns.
    """
    moved = motion_by_lengths(problem, posed, with_shape=with_shape)
    offsets = length_offsets(problem, posed, with_shape=with_shape)
    assert moved is not None
    joints, parents = torch.arange(len(problem.parents), device=force.device), problem.parents
    at_joint = force.new_zeros(len(joints), 3, offsets.shape[-1])
    joint_moved = length_motion(posed, parents, problem.ancestors, offsets, joints, at_joint)
    below = sum_below(problem, force)[:, 1:]
    torque = sum_below(problem, _cross(moved, force))[:, 1:] - _cross(joint_moved, below)
    border = (posed.global_rotmat.transpose(-1, -2) @ torque).flatten(1, 2)
    first = 3 + border.shape[1]
    hessian[:, 3:first, first:] += border
    hessian[:, first:, 3:first] += border.transpose(-1, -2)
    if with_shape and problem.bone_groups.shape[-1]:
        shapedirs = problem.skeleton.joints_shapedirs
        bones = posed.global_rotmat[:, parents] @ (shapedirs - shapedirs[parents])
        mixed = (below[..., None, :] @ bones).squeeze(-2).transpose(-1, -2) @ problem.bone_groups
        scales = first + shapedirs.shape[-1]
        hessian[:, first:scales, scales:] += mixed
        hessian[:, scales:, first:scales] += mixed.transpose(-1, -2)


def _cross(
    columns: Float[Tensor, "n places 3 lengths"], force: Float[Tensor, "n places 3"]
) -> Float[Tensor, "n places 3 lengths"]:
    return torch.linalg.cross(columns, force[..., None].expand_as(columns), dim=-2)

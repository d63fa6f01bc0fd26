# SPDX-License-Identifier: Apache-2.0
"""What the solver knows about a pose: how sure it is of each joint, and what pulls at it.

All of it follows from the second derivative H of the cost at the optimum (`ikol.solver.uncertainty`): the covariance of
the joints is J H^-1 J^T; a row whose part of the gradient is g moves them by -J H^-1 g; one point more on the picture
lowers the covariance by a product of rank 2. That a pose stays near `initial` is no knowledge: it pulls, but it makes
nothing surer.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.errors import InputError
from ikol.pipeline import blocks
from ikol.pipeline.calibrated import stretch
from ikol.pipeline.evidence import (
    Anchor,
    Keypoints2D,
    NamedEvidence,
    Orientations,
    Pins,
    RelativeKeypoints3D,
    Shape,
    Twist,
    ViewKeypoints2D,
)
from ikol.pipeline.prepared import PreparedProblems
from ikol.pipeline.problem import Problem, pin_names
from ikol.pipeline.start import begin_state
from ikol.solver import SolveResult
from ikol.solver.pulls import GroupGradients, group_gradients
from ikol.solver.residuals import MIN_DEPTH
from ikol.solver.uncertainty import Optimum, find_optimum

PLACED_SIGMA = 0.001  # of the picture's longer side: how well somebody places a point

RowKind = Literal[
    "keypoints_2d",
    "keypoints_3d",
    "relative_keypoints_3d",
    "anchor",
    "twist",
    "pins",
    "orientations",
    "view_keypoints_2d",
    "stay",
    "stance",
    "limits",
    "shape",
]
Unit = Literal["px", "m", "rad"]


@dataclass(frozen=True)
class InspectedRow:
    """One piece of evidence at the solved pose."""

    kind: RowKind
    """What the evidence was, or which of the solver's own: near `initial`, the relaxed stance, limits, the shape."""
    name: str
    """The point or joint; "betas" of the shape."""
    residual: float
    """How far the pose is from it, in `unit`."""
    unit: Unit
    """Pixels, metres or radians. Pixels are those of the picture that the evidence is of. The shape's are metres: how
    far it moves the rest joints on average."""
    cost: float
    """Its part of the cost; none for pins, which are conditions."""


@dataclass(frozen=True)
class Inspection:
    """How sure a solved pose is, and what pulls at it."""

    joint_covariance: Float[Tensor, "joints 3 3"]
    """Of each joint's place in the world, square metres. What nothing holds at all is not in it."""
    rows: tuple[InspectedRow, ...]
    pulls: Float[Tensor, "rows joints 3"]
    """How far each row holds each joint off where it would be without the row, metres, world: towards what the row
    wants, to first order."""
    next_points: tuple[str, ...]
    """Points of the body whose placement on the picture would make the pose surer, the best first."""
    next_gains: Float[Tensor, "candidates"]
    """By how much the sum of the variances of all joints' places, relative to the root's, would drop, square metres.
    How far away the body stands would drown its pose: on most photographs the ears would tell it best."""


@dataclass(frozen=True)
class _Labels:
    """What the groups of one of the solver's blocks are called."""

    kind: RowKind
    names: tuple[str, ...]
    unit: Unit
    is_own: bool = False
    """Of the solver's own, which are told only where they say something."""


def inspect_problem(problem: Problem, prepared: PreparedProblems) -> Inspection:
    """Solve a problem and return what holds its pose where it is.

    Raises:
        InputError: nobody has said where the camera is, so that there is no world yet; or as of a solve.
    """
    if not problem.is_placed:
        raise InputError("to inspect a pose the camera's place is needed; send the extrinsics of the solve along")
    result = prepared.solve(problem, begin_state(problem))
    everything = blocks.solver_blocks(problem, blocks.block_targets(problem))
    points = problem.body.points
    optimum = find_optimum(problem.skeleton, everything, result, problem.config, points)
    watched = optimum.columns(optimum.watched)[0]
    joints = watched[[points.names.index(name) for name in problem.body.tree.names]]
    groups = group_gradients(optimum)
    rows, gradients = _named_rows(problem, groups, result)
    moved = torch.einsum("jcf,fr->rjc", joints, -optimum.inverse.solve(gradients.T[None])[0][0])
    known = optimum.without(_information_of_stay(groups, joints)[None])
    spread = known.inverse.solve(joints.flatten(0, 1).T[None])[0][0]
    S = stretch(problem)
    covariance = S @ torch.einsum("jcf,fjd->jcd", joints, spread.unflatten(-1, (-1, 3))) @ S
    next_points, gains = _next_points(problem, known, watched, S @ (joints - joints[:1]))
    return Inspection(covariance, rows, moved, next_points, gains)


def _information_of_stay(
    groups: tuple[GroupGradients, ...], joints: Float[Tensor, "joints 3 free"]
) -> Float[Tensor, "free free"]:
    """Return the second derivative of the rows that keep joints near `initial`; its rows are those of the joints."""
    rows = next((group.rows for group in groups if group.rows.name == blocks.STAY), None)
    if rows is None:
        return joints.new_zeros(joints.shape[-1], joints.shape[-1])
    residual, weight = rows.residual[0], rows.weight[0, :, 0]
    distance = residual.norm(dim=-1)
    standing = weight.sqrt() * distance  # in standard deviations
    # beyond its width Huber's loss is linear: it bends across the residual only
    is_outside = standing > blocks.STAY_LOSS.k
    direction = residual / torch.where(is_outside, distance, 1.0)[:, None]
    across = torch.eye(3, dtype=joints.dtype) - is_outside[:, None, None] * direction[..., None] * direction[:, None]
    weight = torch.where(is_outside, blocks.STAY_LOSS.k / standing, 1.0) * weight
    return torch.einsum("jcf,jcd,jdg->fg", joints, weight[:, None, None] * across, joints)


def _named_rows(
    problem: Problem, groups: tuple[GroupGradients, ...], result: SolveResult
) -> tuple[tuple[InspectedRow, ...], Float[Tensor, "rows free"]]:
    """Return one row for each point or joint of each kind, and the gradients; limbs' rows count to their far ends."""
    labels = _labels(problem)
    found: dict[tuple[str, RowKind, str], tuple[InspectedRow, Tensor]] = {}
    for group in groups:
        block = group.rows.name.removesuffix("_depth")  # rows that keep points before the camera
        label = labels.get(block)
        if label is None:
            continue
        distances = _distances(problem, group, block, result)
        for index, name in enumerate(label.names):
            cost = 0.0 if label.kind == "pins" else float(group.cost[0, index])
            if label.is_own and cost == 0.0:
                continue
            key = (block.split(" from ")[0], label.kind, name)
            row = InspectedRow(label.kind, name, distances[index], label.unit, cost)
            gradient = group.gradient[0, index]
            if key in found:
                first, before = found[key]
                row = InspectedRow(label.kind, name, first.residual, label.unit, first.cost + cost)
                gradient = before + gradient
            found[key] = (row, gradient)
    rows = tuple(row for row, _ in found.values())
    nothing = groups[0].gradient[0, :0]
    return rows, torch.cat([nothing, *(gradient[None] for _, gradient in found.values())])


def _distances(problem: Problem, group: GroupGradients, block: str, result: SolveResult) -> list[float]:
    """Return the residual of each group in its unit."""
    if block == blocks.PINS:
        assert result.pin_distance is not None
        return result.pin_distance.tolist()
    if block == blocks.SHAPE or block in _shape_blocks(problem):
        moved = problem.body.joints_shapedirs @ group.rows.residual[0].flatten()
        return [float(moved.norm(dim=-1).mean())]
    return group.rows.residual[0].norm(dim=-1).tolist()


def _shape_blocks(problem: Problem) -> set[str]:
    return {blocks.block_name(number, one) for number, one in enumerate(problem.evidence) if isinstance(one, Shape)}


def _labels(problem: Problem) -> dict[str, _Labels]:
    """Return what the solver's blocks hold, by their names."""
    joints = problem.body.tree.names
    sigma = blocks.stance_sigma(problem.body)
    limited = blocks.body_limits(problem.body).joint_index.tolist()
    labels = {
        blocks.STAY: _Labels("stay", joints, "m", is_own=True),
        blocks.STANCE: _Labels("stance", _finite(joints, sigma), "rad", is_own=True),
        blocks.LIMITS: _Labels("limits", tuple(joints[joint] for joint in limited), "rad", is_own=True),
        blocks.SHAPE: _Labels("shape", ("betas",), "m", is_own=True),
        blocks.PINS: _Labels("pins", pin_names(problem.evidence), "m"),
    }
    for number, block in enumerate(problem.evidence):
        name = blocks.block_name(number, block)
        label = _label(block, joints)
        if label is not None:
            labels[name] = label
        if isinstance(block, RelativeKeypoints3D):
            for near, far in blocks.limbs_of(block):
                labels[f"{name} from {near}"] = _Labels("relative_keypoints_3d", (far,), "m")
    return labels


def _label(block: NamedEvidence, joints: tuple[str, ...]) -> _Labels | None:
    match block:
        case Keypoints2D():
            return _Labels("keypoints_2d", block.names, "px")
        case ViewKeypoints2D():
            return _Labels("view_keypoints_2d", block.names, "px")
        case RelativeKeypoints3D():
            return _Labels("relative_keypoints_3d", block.names, "m")
        case Anchor():
            return _Labels("anchor", _finite(joints, block.sigma), "rad")
        case Twist():
            return _Labels("twist", block.names, "rad")
        case Orientations():
            return _Labels("orientations", block.names, "rad")
        case Shape():
            return _Labels("shape", ("betas",), "m")
        case Pins():
            return None  # all in one block
        case _:
            return _Labels("keypoints_3d", block.names, "m")


def _finite(names: tuple[str, ...], sigma: Float[Tensor, "joints"]) -> tuple[str, ...]:
    return tuple(name for name, is_used in zip(names, sigma.isfinite().tolist(), strict=True) if is_used)


def _next_points(
    problem: Problem,
    optimum: Optimum,
    watched: Float[Tensor, "points 3 free"],
    relative: Float[Tensor, "joints 3 free"],
) -> tuple[tuple[str, ...], Float[Tensor, "candidates"]]:
    """Return the points that are worth most on the picture: not a joint's, not placed by somebody, and in sight.

    One that somebody has placed on another picture may be worth placing on this one: then two lines of sight meet.
    """
    camera = problem.camera
    if camera is None:
        return (), relative.new_zeros(0)
    names = problem.body.points.names
    seen = camera.project_with_jacobian(optimum.posed.points[0, optimum.watched])
    size = seen.pixels.new_tensor((camera.width, camera.height))
    is_in_sight = ((seen.pixels >= 0) & (seen.pixels <= size)).all(-1) & (seen.depth > MIN_DEPTH)
    left_out = {*problem.body.tree.names, *_placed_by_hand(problem)}
    chosen = [index for index, name in enumerate(names) if name not in left_out and bool(is_in_sight[index])]
    if not chosen:
        return (), relative.new_zeros(0)
    rows = seen.jacobian[chosen] @ watched[chosen]
    answer = optimum.inverse.solve(rows.flatten(0, 1).T[None])[0][0]
    variance = PLACED_SIGMA * max(camera.width, camera.height)
    noise = variance**2 * torch.eye(2, dtype=rows.dtype)
    spread = torch.einsum("paf,fpb->pab", rows, answer.unflatten(-1, (-1, 2))) + noise
    moved = torch.einsum("jcf,fpa->pajc", relative, answer.unflatten(-1, (-1, 2))).flatten(2)
    gains = torch.linalg.solve(spread, moved @ moved.mT).diagonal(dim1=-2, dim2=-1).sum(-1)
    order = gains.argsort(descending=True)
    return tuple(names[chosen[index]] for index in order.tolist()), gains[order]


def _placed_by_hand(problem: Problem) -> set[str]:
    placed = {
        name
        for block in problem.evidence
        if isinstance(block, Keypoints2D) and not block.is_robust
        for name in block.names
    }
    return placed | {*pin_names(problem.evidence)}

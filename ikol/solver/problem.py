# SPDX-License-Identifier: Apache-2.0
"""A solve made ready: evidence checked and flattened to one batch dimension, index tables of the tree and its points.

Here: the public boundary's checks, each with a sentence. Not here: the iteration.
Imports: torch, ikol.body, ikol.errors, the evidence and the terms.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ikol.body.kinematics import forward_kinematics
from ikol.body.points import AttachedPoints
from ikol.errors import InputError
from ikol.solver import evidence as ev
from ikol.solver import residuals as res
from ikol.solver.bones import group_membership
from ikol.solver.checks import (
    broadcasts,
    check_finite,
    check_indices,
    check_like,
    check_rotations,
    check_tensors,
    flatten,
)
from ikol.solver.linear import WIDE
from ikol.solver.skeleton import Skeleton
from ikol.solver.state import SolveState


@dataclass(frozen=True, eq=False)
class Problem:
    """Everything that stays the same over the iterations, for a flat batch of n solves."""

    skeleton: Skeleton
    batch_shape: tuple[int, ...]
    terms: tuple[res.Term, ...]
    point_joints: Int[Tensor, "points"]
    """The joint that carries each point of the table."""
    point_rest: Float[Tensor, "points 3"]
    point_shapedirs: Float[Tensor, "points 3 betas"]
    parents: Int[Tensor, "joints"]
    ancestors: Float[Tensor, "joints joints"]
    """1 where the second joint is the first one or lies above it."""
    carries: Float[Tensor, "blocks points"]
    """1 where a point moves with a block of unknowns: block 0 the translation, block 1 + j joint j."""
    couples: Float[Tensor, "columns columns"]
    """1 where the second column's block lies at or below the first's."""
    couples_below: Float[Tensor, "columns columns"]
    """1 where it lies below."""
    bone_groups: Float[Tensor, "joints groups"]
    """1 where the scale of a joint's bone is a group's unknown; no column where all bones are fixed."""

    def pose(self, state: SolveState) -> res.Posed:
        """Pose the tree and its points."""
        rest_joints = self.skeleton.rest_joints(state.betas)
        pose = forward_kinematics(self.skeleton.tree, rest_joints, state.local_rotmat, state.transl, state.bone_scale)
        rest_points = self.point_rest + torch.einsum("pik,nk->npi", self.point_shapedirs, state.betas)
        arms = rest_points - rest_joints[:, self.point_joints]
        turned = (pose.global_rotmat[:, self.point_joints] @ arms[..., None]).squeeze(-1)
        return res.Posed(
            local_rotmat=state.local_rotmat,
            global_rotmat=pose.global_rotmat,
            joints=pose.joints,
            points=pose.joints[:, self.point_joints] + turned,
            betas=state.betas,
            bone_scale=state.bone_scale,
        )

    @property
    def pins(self) -> res.PointTerm | None:
        """What must be reached exactly; None without pins."""
        return next((term for term in self.terms if _is_pins(term)), None)

    def with_pins(self, target: Float[Tensor, "#n pins 3"], weight: Float[Tensor, "#n pins 3"]) -> "Problem":
        """Return the problem with springs in the place of the pins."""
        return replace(
            self,
            terms=tuple(replace(term, target=target, weight=weight) if _is_pins(term) else term for term in self.terms),
        )

    def rows(self, posed: res.Posed) -> tuple[res.Rows, ...]:
        """Return the residuals of all terms."""
        return tuple(rows for term in self.terms for rows in term.rows(posed))


def build_problem(
    skeleton: Skeleton,
    evidence: Sequence[ev.Evidence],
    batch_shape: tuple[int, ...],
    bone_groups: Int[Tensor, "..."] | None = None,
) -> Problem:
    """Check the evidence and make it ready for a batch of states of the shape `batch_shape`.

    Args:
        skeleton: the rig.
        evidence: blocks with different names.
        batch_shape: of the states.
        bone_groups: which bone scales are unknowns; see `SolveConfig`.

    Raises:
        InputError: a block does not fit the tree, the batch or itself, or holds values that cannot be used.
    """
    names = [block.name for block in evidence]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"evidence blocks must have different names, got {', '.join(repeated)} more than once")
    if sum(isinstance(block, ev.Pins) for block in evidence) > 1:
        raise InputError("there is more than one block of pins; give all pins in one block")
    builder = _Builder(skeleton, batch_shape)
    terms = tuple(builder.term(block) for block in evidence)
    joint_index, rest, shapedirs = builder.table()
    ancestors = skeleton.tree.ancestor_mask.to(rest.device)
    count = skeleton.tree.num_joints + 1
    # the translation stands above the root
    above = torch.ones(count, count, dtype=torch.bool, device=rest.device).tril()
    above[1:, 1:] = ancestors
    above[0, 1:] = False
    couples = above.T.repeat_interleave(3, 0).repeat_interleave(3, 1)
    is_same = torch.eye(count, dtype=torch.bool, device=rest.device).repeat_interleave(3, 0).repeat_interleave(3, 1)
    return Problem(
        skeleton=skeleton,
        batch_shape=batch_shape,
        terms=terms,
        point_joints=joint_index,
        point_rest=rest,
        point_shapedirs=shapedirs,
        parents=torch.tensor(skeleton.tree.parents, device=rest.device),
        ancestors=ancestors.to(WIDE),
        carries=above[1 + joint_index].T.to(WIDE),
        couples=couples.to(WIDE),
        couples_below=(couples & ~is_same).to(WIDE),
        bone_groups=group_membership(skeleton.tree, bone_groups).to(rest),
    )


class _Builder:
    """Collects the points of all blocks into one table while the blocks become terms."""

    def __init__(self, skeleton: Skeleton, batch_shape: tuple[int, ...]) -> None:
        self._tree = skeleton
        self._batch = batch_shape
        self._like = skeleton.joints_template
        self._tables: list[AttachedPoints] = []
        self._num_points = 0

    def table(self) -> tuple[Tensor, Tensor, Tensor]:
        """The joint, the rest place and the shape directions of all points."""
        like, num_betas = self._like, self._tree.num_betas
        joints = [torch.zeros(0, dtype=torch.long, device=like.device)]
        rests, shapedirs = [like.new_zeros(0, 3)], [like.new_zeros(0, 3, num_betas)]
        for points in self._tables:
            joints.append(points.joint_index)
            rests.append(points.rest)
            shapedirs.append(points.shapedirs)
        return torch.cat(joints), torch.cat(rests), torch.cat(shapedirs)

    def term(self, block: ev.Evidence) -> res.Term:
        """Check one block and make it ready."""
        name = block.name
        match block:
            case ev.Points3D():
                first = self._add_points(name, block.points)
                target, weight = self._target(name, block.target, block.sigma, (len(block.points), 3))
                return res.PointTerm(name, block.loss, first, target, weight)
            case ev.Pins():
                return self._pins(block)
            case ev.RelativePoints3D():
                first = self._add_points(name, block.points)
                target, weight = self._target(name, block.target, block.sigma, (len(block.points), 3))
                axes = self._flat(name, "axes", block.axes, (3, 3))
                check_finite(f"{name}: axes", axes)
                return res.RelativePointTerm(name, block.loss, first, target, weight, axes, self._reference(block))
            case ev.Points2D():
                first = self._add_points(name, block.points)
                target, weight = self._target(name, block.target, block.sigma, (len(block.points), 2))
                return res.PixelTerm(name, block.loss, first, target, weight, self._camera(block))
            case ev.Orientation():
                joint_index = self._joints(name, block.joint_index)
                reference, weight = self._rotations(name, block.reference, block.sigma, len(joint_index))
                return res.OrientationTerm(name, block.loss, joint_index, reference, weight)
            case ev.Anchor():
                joint_index = torch.arange(self._tree.tree.num_joints, device=self._like.device)
                reference, weight = self._rotations(name, block.reference, block.sigma, len(joint_index))
                is_used = (weight > 0).any(-1).any(0)
                joint_index, reference, weight = joint_index[is_used], reference[:, is_used], weight[:, is_used]
                return res.AnchorTerm(name, block.loss, joint_index, reference, weight)
            case ev.Twist():
                return self._twist(block)
            case ev.Limits():
                return self._limits(block)
            case ev.ShapePrior():
                count = self._tree.num_betas
                mean, weight = self._target(name, block.mean[..., None, :], block.sigma[..., None, :], (1, count))
                return res.ShapeTerm(name, mean, weight)
            case ev.BonePrior():
                count = self._tree.tree.num_joints
                mean, weight = self._target(name, block.mean[..., None], block.sigma[..., None], (count, 1))
                is_bone = torch.arange(count, device=weight.device)[:, None] > 0
                return res.BoneTerm(name, mean, weight * is_bone)

    def _add_points(self, name: str, points: AttachedPoints) -> int:
        if points.num_betas != self._tree.num_betas:
            raise InputError(
                f"{name}: the points have {points.num_betas} shape directions, the tree {self._tree.num_betas}; "
                "take both from the same body"
            )
        self._joints(name, points.joint_index)
        self._check_like(name, "points", points.rest)
        first = self._num_points
        self._tables.append(points)
        self._num_points += len(points)
        return first

    def _pins(self, block: ev.Pins) -> res.PointTerm:
        if not (block.tolerance > 0 and math.isfinite(block.tolerance)):
            raise InputError(f"{block.name}: tolerance must be a positive number of metres, got {block.tolerance}")
        count = len(block.points)
        is_pinned = block.is_pinned
        if is_pinned is None:
            is_pinned = torch.ones(count, dtype=torch.bool, device=self._like.device)
        sigma = torch.where(is_pinned, 1.0, math.inf).to(self._like)
        target, weight = self._target(block.name, block.target, sigma, (count, 3))
        return res.PointTerm(
            block.name, None, self._add_points(block.name, block.points), target, weight, block.tolerance
        )

    def _reference(self, block: ev.RelativePoints3D) -> res.Reference:
        count = len(block.reference)
        if count == 0:
            raise InputError(f"{block.name}: at least one reference point is needed, got none")
        weights = block.reference_weights
        if weights is None:
            weights = self._like.new_full((count,), 1.0 / count)
        self._check_like(block.name, "reference_weights", weights)
        total = float(weights.detach().sum())
        if weights.shape != (count,) or not abs(total - 1.0) < 1e-4:
            raise InputError(
                f"{block.name}: reference_weights must be {count} numbers with sum 1, got shape "
                f"{tuple(weights.shape)} with sum {total:.4g}"
            )
        return res.Reference(self._add_points(block.name, block.reference), weights)

    def _camera(self, block: ev.Points2D) -> ev.Camera:
        camera = block.camera
        parts = {
            "focal": (camera.focal, (2,)),
            "center": (camera.center, (2,)),
            "R_camera_world": (camera.R_camera_world, (3, 3)),
            "t_camera_world": (camera.t_camera_world, (3,)),
        }
        flat = {key: self._flat(block.name, f"camera {key}", value, shape) for key, (value, shape) in parts.items()}
        for key, value in flat.items():
            check_finite(f"{block.name}: camera {key}", value)
        return replace(camera, **flat)

    def _twist(self, block: ev.Twist) -> res.TwistTerm:
        joint_index = self._joints(block.name, block.joint_index)
        count = len(joint_index)
        self._check_like(block.name, "axis", block.axis)
        if block.axis.shape != (count, 3) or not bool((block.axis.norm(dim=-1) - 1.0).abs().lt(1e-3).all()):
            raise InputError(f"{block.name}: axis must hold {count} unit vectors, got shape {tuple(block.axis.shape)}")
        angle, weight = self._target(block.name, block.angle[..., None], block.sigma[..., None], (count, 1))
        return res.TwistTerm(block.name, block.loss, joint_index, block.axis, angle.squeeze(-1), weight)

    def _limits(self, block: ev.Limits) -> res.LimitTerm:
        self._joints(block.name, block.limits.joint_index)
        self._check_like(block.name, "limits", block.limits.axes)
        if not (block.sigma > 0 and math.isfinite(block.sigma)):
            raise InputError(f"{block.name}: sigma must be a positive number of radians, got {block.sigma}")
        weight = self._like.new_full((1, len(block.limits.joint_index), 3), block.sigma**-2)
        return res.LimitTerm(block.name, block.limits, weight)

    def _rotations(self, name: str, reference: Tensor, sigma: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Flat reference rotations, the identity where missing, and the weights of their three rows."""
        flat = self._flat(name, "reference", reference, (count, 3, 3))
        # the rows of the weights are those of the rotations; the target stands in for their shape
        _, weight = self._target(name, reference[..., 0].new_zeros(reference.shape[:-1]), sigma, (count, 3))
        is_used = (weight > 0).any(-1)[..., None, None]
        eye = torch.eye(3, dtype=flat.dtype, device=flat.device)
        safe = torch.where(is_used, flat, eye)
        check_finite(f"{name}: reference", safe)
        check_rotations(f"{name}: reference", safe)
        return safe.expand(max(len(flat), len(weight)), -1, -1, -1), weight

    def _target(
        self, name: str, target: Tensor, sigma: Tensor, shape: tuple[int, int]
    ) -> tuple[Float[Tensor, "#n rows width"], Float[Tensor, "#n rows width"]]:
        """Flat targets, zero where missing, and weights 1/sigma^2."""
        flat = self._flat(name, "target", target, shape)
        count, width = shape
        is_per_row = sigma.ndim < target.ndim and sigma.shape[-1:] == (count,)
        if is_per_row and count == width > 1 and sigma.shape[-2:] == shape:
            is_per_row = broadcasts(sigma.shape[:-1], self._batch)
            if is_per_row and broadcasts(sigma.shape[:-2], self._batch):
                raise InputError(
                    f"{name}: a sigma of shape {tuple(sigma.shape)} may be one for each of {count} rows in a batch, or "
                    f"one for each of {width} axes of each row; give it as many dimensions as the target has, "
                    f"(*batch, {count}, {width})"
                )
        per_axis = sigma[..., None].expand(*sigma.shape, width) if is_per_row else sigma
        deviation = self._flat(name, "sigma", per_axis, shape)
        if bool((torch.isnan(deviation) | (deviation <= 0)).any()):
            raise InputError(f"{name}: sigma must be positive, inf where a row is missing; got NaN, zero or less")
        is_missing = torch.isinf(deviation)
        # inf would have no derivative: where rows are missing the weight is a constant
        weight = torch.where(is_missing, 0.0, torch.where(is_missing, 1.0, deviation).square().reciprocal())
        is_missing = weight == 0
        flat = torch.where(is_missing, 0.0, flat)
        check_finite(f"{name}: target", flat)
        return flat, weight

    def _joints(self, name: str, joint_index: Tensor) -> Int[Tensor, "rows"]:
        check_indices(name, joint_index, self._tree.tree.num_joints)
        return joint_index.long()

    def _flat(self, name: str, field: str, tensor: Tensor, shape: tuple[int, ...]) -> Float[Tensor, "..."]:
        return flatten(self._like, self._batch, f"{name}: {field}", tensor, shape)

    def _check_like(self, name: str, field: str, tensor: Tensor) -> None:
        check_like(self._like, f"{name}: {field}", tensor)


def flatten_state(state: SolveState, skeleton: Skeleton, batch_shape: tuple[int, ...]) -> SolveState:
    """Check the initial state and give it one batch dimension.

    Raises:
        InputError: it does not fit the tree, or is not finite.
    """
    count = skeleton.tree.num_joints
    shapes: dict[str, tuple[int, ...]] = {"transl": (3,), "local_rotmat": (count, 3, 3), "betas": (skeleton.num_betas,)}
    if state.bone_scale is not None:
        shapes["bone_scale"] = (count,)
    flat: dict[str, Tensor] = {}
    size = math.prod(batch_shape)
    for field, shape in shapes.items():
        what = f"initial state: {field}"
        value = flatten(skeleton.joints_template, batch_shape, what, getattr(state, field), shape)
        check_finite(what, value)
        flat[field] = value.expand(size, *shape)
    check_rotations("initial state: local_rotmat", flat["local_rotmat"])
    return SolveState(**flat)


def batch_shape_of(state: SolveState, evidence: Sequence[ev.Evidence]) -> tuple[int, ...]:
    """Return the batch shape that the state and all evidence broadcast to.

    Raises:
        InputError: they do not broadcast.
    """
    check_tensors("initial", vars(state))
    shapes: list[tuple[str, tuple[int, ...]]] = [
        ("initial transl", tuple(state.transl.shape[:-1])),
        ("initial local_rotmat", tuple(state.local_rotmat.shape[:-3])),
        ("initial betas", tuple(state.betas.shape[:-1])),
    ]
    if state.bone_scale is not None:
        shapes.append(("initial bone_scale", tuple(state.bone_scale.shape[:-1])))
    for block in evidence:
        if not isinstance(block, ev.Limits):  # whose sigma is a number
            check_tensors(block.name, vars(block))
        shapes += [(block.name, shape) for shape in _batches(block)]
    result: tuple[int, ...] = ()
    for name, shape in shapes:
        try:
            result = tuple(torch.broadcast_shapes(result, shape))
        except RuntimeError as error:
            raise InputError(
                f"{name}: its batch {shape} does not fit the batch {result} of what came before"
            ) from error
    return result


def _batches(block: ev.Evidence) -> list[tuple[int, ...]]:
    """The batch shapes of a block's main tensors; the others are checked when they are flattened."""
    match block:
        case ev.Points3D():
            return [tuple(block.target.shape[:-2])]
        case ev.Pins():
            masks = [] if block.is_pinned is None else [tuple(block.is_pinned.shape[:-1])]
            return [tuple(block.target.shape[:-2]), *masks]
        case ev.RelativePoints3D():
            return [tuple(block.target.shape[:-2]), tuple(block.axes.shape[:-2])]
        case ev.Points2D():
            return [tuple(block.target.shape[:-2]), tuple(block.camera.focal.shape[:-1])]
        case ev.Orientation() | ev.Anchor():
            return [tuple(block.reference.shape[:-3])]
        case ev.Twist():
            return [tuple(block.angle.shape[:-1])]
        case ev.Limits():
            return []
        case ev.ShapePrior() | ev.BonePrior():
            return [tuple(block.mean.shape[:-1])]


def _is_pins(term: res.Term) -> TypeGuard[res.PointTerm]:
    return isinstance(term, res.PointTerm) and term.tolerance is not None

# SPDX-License-Identifier: Apache-2.0
"""The normal equations of a whole sequence: each frame's own, what links add to them, and blocks between frames.

Seen from one frame, a link on a point is a spring to where its neighbours would have it: one more row of the ordinary
normal equations. Only the blocks between frames are new: J_t^T W J_{t+1} and J_t^T W J_{t+2}.
Imports: torch, the ordinary normal equations, the links, the band.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.solver.jacobian import motion_subspaces, point_subspaces
from ikol.solver.levenberg_marquardt import Evaluated
from ikol.solver.linear import WIDE, NormalEquations
from ikol.solver.normal_equations import Linearisation, add_on_joints, motion_by_lengths, normal_equations
from ikol.solver.one_sided import Unknowns
from ikol.solver.problem import Problem
from ikol.solver.residuals import OnJoints, OnPoints, Posed, Rows
from ikol.solver.robust import robust_weight
from ikol.solver.sequence.band import Band
from ikol.solver.sequence.links import Link, PointLink, RotationLink
from ikol.solver.sequence.problem import SequenceProblem

CHUNK = 32  # frames at a time: their matrices stay in the processor's cache; 1,000 at once took three times as long


@dataclass(frozen=True, eq=False)
class SequenceEquations:
    """H d = -g of all frames and what they share, in `WIDE`."""

    band: Band
    """H of what each frame has for itself, with the columns of what all share (betas, bone groups) as sides."""
    gradient: Float[Tensor, "frames columns"]
    shared: NormalEquations
    """Of what all share, a batch of one."""
    limits: tuple[Rows, ...]
    """Rows with a range, in `WIDE`; steps may enter or leave them."""


@dataclass(frozen=True, eq=False)
class _Pull:
    """What links on some points say: weights within and between frames, and the force on each point."""

    span: slice
    between: tuple[Float[Tensor, "frames points"], ...]
    """Of a frame with itself, with the next, with the one after if its rows reach as far."""
    force: Float[Tensor, "frames points 3"]

    def rows(self) -> Rows:
        """The neighbours as springs, seen from each frame."""
        weight = self.between[0][..., None]
        residual = torch.where(weight > 0, self.force / torch.where(weight > 0, weight, 1.0), 0.0)
        eye = torch.eye(3, dtype=residual.dtype, device=residual.device)[None, None]
        return Rows("links", residual, weight.expand_as(residual), eye, OnPoints(self.span.start))


@dataclass(frozen=True, eq=False)
class _Turn:
    """The same of links on joints' own rotations."""

    between: tuple[Float[Tensor, "frames joints 3 3"], ...]
    force: Float[Tensor, "frames joints 3"]


def sequence_equations(
    problem: SequenceProblem,
    here: Evaluated,
    each: Unknowns,
    *,
    inner: slice,
    with_shape: bool,
    with_bending: bool,
    convexity: float,
    panels: Tensor | None = None,
) -> SequenceEquations:
    """Assemble the equations of a sequence.

    Args:
        problem: the sequence.
        here: where it is.
        each: which of a frame's translation and rotations are free.
        inner: the frames that move; those before and after are held.
        with_shape: whether the betas are unknowns.
        with_bending: whether to take the Hessian's second-order part, with which it need not be definite.
        convexity: of the robust losses.
        panels: memory for the band, of its size; fresh pages for each iteration take as long as filling them.
    """
    posed = here.posed.to(WIDE)
    parts = _Parts(
        frames=problem.frames,
        posed=posed,
        pulls=[_pull(link, posed, convexity) for link in problem.links if isinstance(link, PointLink)],
        turns=[
            _turn(link, posed, convexity, with_bending=with_bending)
            for link in problem.links
            if isinstance(link, RotationLink)
        ],
        lengths=motion_by_lengths(problem.frames, posed, with_shape=with_shape),
    )
    num_shared = 0 if parts.lengths is None else parts.lengths.shape[-1]
    count, size = inner.stop - inner.start, len(each.columns)
    reach = min(max((link.stencil.shape[-1] for link in problem.links), default=1), count)
    shape = (count, size, reach * size + num_shared)
    # what stays zero between frames is written here only
    band = Band(posed.joints.new_zeros(shape) if panels is None else panels.view(shape), reach)
    gradient = posed.joints.new_empty(count, size)
    rows = (*here.rows, *(pull.rows() for pull in parts.pulls))

    corner = posed.joints.new_zeros(1, num_shared, num_shared)
    corner_gradient = posed.joints.new_zeros(1, num_shared)
    tree, shared = slice(each.count), slice(each.count, None)
    for start in range(inner.start, inner.stop, CHUNK):
        span = slice(start, min(start + CHUNK, inner.stop))
        place = _moved_by(span, inner.start)
        linear = parts.within(rows, span, with_shape=with_shape, convexity=convexity)
        full = linear.gauss_newton
        own = each.pick(NormalEquations(full.hessian[:, tree, tree], full.gradient[:, tree]))
        band.panels[place, :, band.blocks(0, 1)] = own.hessian
        if with_bending:
            band.panels[place, :, band.blocks(0, 1)] += each.pick_square(linear.bending[:, tree, tree])
        gradient[place] = own.gradient
        band.panels[place, :, band.sides] = full.hessian[:, each.columns, shared]
        corner += full.hessian[:, shared, shared].sum(0)
        corner_gradient += full.gradient[:, shared].sum(0)
        parts.write_between(band, span, inner, each)
    is_inner = torch.zeros(len(posed.joints), dtype=torch.bool, device=gradient.device)
    is_inner[inner] = True
    limits = [item.to(WIDE).spread(len(is_inner)).take(is_inner) for item in here.rows if item.range is not None]
    shared_equations = NormalEquations(corner + parts.between_lengths(), corner_gradient)
    return SequenceEquations(band, gradient, shared_equations, tuple(limits))


@dataclass(frozen=True, eq=False)
class _Parts:
    """What the equations of any of the frames are made from."""

    frames: Problem
    posed: Posed
    pulls: list[_Pull]
    turns: list[_Turn]
    lengths: Float[Tensor, "frames points 3 lengths"] | None
    """How the points move with what all frames share."""

    def within(self, rows: tuple[Rows, ...], span: slice, *, with_shape: bool, convexity: float) -> Linearisation:
        """Return the equations of some frames in all of their unknowns."""
        posed, some = _some_frames(self.posed, span), tuple(_some_rows(item, span) for item in rows)
        linear = normal_equations(self.frames, posed, some, with_shape=with_shape, convexity=convexity)
        full = linear.gauss_newton
        for turn in self.turns:
            touches = OnJoints(torch.arange(turn.force.shape[1], device=turn.force.device))
            add_on_joints(full.hessian, full.gradient, touches, turn.between[0][span], turn.force[span])
        return linear

    def write_between(self, band: Band, span: slice, inner: slice, each: Unknowns) -> None:
        """Write the blocks right of the diagonal, and add to the columns of what all frames share."""
        if band.reach == 1:
            return
        start, stop = span.start, span.stop
        seen = _some_frames(self.posed, slice(start, min(stop + band.reach - 1, inner.stop)))
        subspaces = motion_subspaces(seen).permute(0, 2, 1, 3).flatten(2)
        jacobians = [_point_columns(self.frames, seen, subspaces, pull.span) for pull in self.pulls]
        for ahead in range(1, band.reach):
            part = slice(start, max(min(stop, inner.stop - ahead), start))
            block = self._block(jacobians, part, ahead, each.count)
            band.panels[_moved_by(part, inner.start), :, band.blocks(ahead, ahead + 1)] = each.pick_square(block)
        if self.lengths is not None:
            for pull, jacobian in zip(self.pulls, jacobians, strict=True):
                mixed = _neighbours(pull, self.lengths[:, pull.span])[span]
                border = jacobian[: stop - start].flatten(1, 2).mT @ mixed.flatten(1, 2)
                band.panels[_moved_by(span, inner.start), :, band.sides] += border[:, each.columns]

    def between_lengths(self) -> Tensor:
        """Return what links add between frames to the block of what all frames share."""
        result = self.posed.joints.new_zeros(())
        if self.lengths is not None:
            for pull in self.pulls:
                own = self.lengths[:, pull.span]
                result = result + own.flatten(0, 2).mT @ _neighbours(pull, own).flatten(0, 2)
        return result

    def _block(self, jacobians: list[Tensor], part: slice, ahead: int, size: int) -> Float[Tensor, "some size size"]:
        """The blocks between frames and the ones `ahead` of them, in all of a frame's unknowns."""
        count = part.stop - part.start
        block = self.posed.joints.new_zeros(count, size, size)
        for pull, jacobian in zip(self.pulls, jacobians, strict=True):
            if ahead < len(pull.between):
                weighted = pull.between[ahead][part, :, None, None] * jacobian[:count]
                block += weighted.flatten(1, 2).mT @ jacobian[ahead : ahead + count].flatten(1, 2)
        for turn in self.turns:
            _add_turns(block, turn.between[ahead][part])
        return block


def _add_turns(block: Float[Tensor, "some size size"], own: Float[Tensor, "some joints 3 3"]) -> None:
    """Add, in place, a block of each joint's own rotation, in all of a frame's unknowns."""
    num_joints = own.shape[1]
    by_joint = block[:, 3:, 3:].unflatten(1, (num_joints, 3)).unflatten(3, (num_joints, 3))
    by_joint.diagonal(dim1=1, dim2=3).add_(own.permute(0, 2, 3, 1))


def _point_columns(
    frames: Problem,
    posed: Posed,
    subspaces: Float[Tensor, "frames 6 columns"],
    span: slice,
) -> Float[Tensor, "frames points 3 columns"]:
    """How points move with a frame's own unknowns."""
    movers = point_subspaces(replace(posed, points=posed.points[:, span]))
    moved = (movers.flatten(1, 2) @ subspaces).unflatten(1, movers.shape[1:3])
    return moved * frames.carries[:, span].mT.repeat_interleave(3, -1)[:, None]


def _neighbours(pull: _Pull, lengths: Float[Tensor, "frames points 3 lengths"]) -> Float[Tensor, "..."]:
    """What the rows of a link make of how neighbouring frames' points move with the shared unknowns."""
    result = torch.zeros_like(lengths)
    for ahead in range(1, len(pull.between)):
        weight = pull.between[ahead][: len(lengths) - ahead, :, None, None]
        result[: len(lengths) - ahead] += weight * lengths[ahead:]
        result[ahead:] += weight * lengths[: len(lengths) - ahead]
    return result


def _pull(link: PointLink, posed: Posed, convexity: float) -> _Pull:
    residual, weight = _weighted(link, posed, convexity)
    stencil = link.stencil.to(WIDE)[..., None]
    count = len(posed.points)

    def sums(ahead: int) -> Tensor:
        width = stencil.shape[1]
        return _scattered(count, width - ahead, lambda k: stencil[:, k] * stencil[:, k + ahead] * weight)

    force = _scattered(count, stencil.shape[1], lambda k: (stencil[:, k] * weight)[..., None] * residual)
    return _Pull(link.span, tuple(sums(ahead) for ahead in range(stencil.shape[1])), force)


def _turn(link: RotationLink, posed: Posed, convexity: float, *, with_bending: bool) -> _Turn:
    residual, weight = _weighted(link, posed, convexity)
    link = replace(link, stencil=link.stencil.to(WIDE))
    jacobians = link.jacobians(posed)
    weighted = [weight[..., None, None] * jacobian for jacobian in jacobians]
    count = len(posed.local_rotmat)

    def sums(ahead: int) -> Tensor:
        return _scattered(count, len(jacobians) - ahead, lambda k: weighted[k].mT @ jacobians[k + ahead])

    force = _scattered(count, len(jacobians), lambda k: (weighted[k].mT @ residual[..., None]).squeeze(-1))
    own, following, after_next = (sums(ahead) for ahead in range(len(jacobians)))
    if with_bending:
        following[: count - 1] += link.bending(posed, weight[..., None] * residual)
    return _Turn((own, following, after_next), force)


def _weighted(link: Link, posed: Posed, convexity: float) -> tuple[Tensor, Tensor]:
    """Residuals of a link's rows and their weights, robust losses counted."""
    residual = link.residual(posed).to(WIDE)
    weight = link.weight.to(WIDE)
    return residual, weight * robust_weight(link.loss, weight * residual.square().sum(-1), convexity)


def _scattered(count: int, width: int, part: Callable[[int], Tensor]) -> Tensor:
    """Sum over k of `part(k)`, of which row r belongs to frame r + k."""
    first = part(0)
    result = first.new_zeros(count, *first.shape[1:])
    for k in range(width):
        rows = part(k)
        result[k : k + len(rows)] += rows
    return result


def _moved_by(span: slice, frames: int) -> slice:
    return slice(span.start - frames, span.stop - frames)


def _some_frames(posed: Posed, span: slice) -> Posed:
    return Posed(
        local_rotmat=posed.local_rotmat[span],
        global_rotmat=posed.global_rotmat[span],
        joints=posed.joints[span],
        points=posed.points[span],
        betas=posed.betas[span],
        bone_scale=None if posed.bone_scale is None else posed.bone_scale[span],
    )


def _some_rows(rows: Rows, span: slice) -> Rows:
    def cut(part: Tensor) -> Tensor:
        return part if len(part) == 1 else part[span]

    return replace(rows, residual=cut(rows.residual), weight=cut(rows.weight), jacobian=cut(rows.jacobian), range=None)

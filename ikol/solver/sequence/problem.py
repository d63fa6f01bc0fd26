# SPDX-License-Identifier: Apache-2.0
"""A sequence made ready: the frames as a batch of ordinary solves, and what links them.

Frames enter `build_problem` as its batch; the points of links and floors get into its table as points that nobody has
seen. Here: the boundary's checks of sequence evidence. Not here: its residuals.
Imports: torch, ikol.body, ikol.errors, the ordinary problem.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.points import AttachedPoints
from ikol.errors import InputError
from ikol.solver.config import SolveConfig
from ikol.solver.evidence import Evidence, Pins, Points3D
from ikol.solver.problem import Problem, build_problem
from ikol.solver.residuals import BoneTerm, PointTerm, ShapeTerm
from ikol.solver.sequence.evidence import Contacts, Floor, SequenceEvidence, SmoothRotations, SmoothTranslation
from ikol.solver.sequence.links import FloorTerm, Link, PointLink, RotationLink
from ikol.solver.skeleton import Skeleton


@dataclass(frozen=True, eq=False)
class SequenceProblem:
    """Everything that stays the same over the iterations."""

    frames: Problem
    links: tuple[Link, ...]
    floors: tuple[FloorTerm, ...]


def build_sequence(
    skeleton: Skeleton,
    evidence: Sequence[Evidence],
    sequence_evidence: Sequence[SequenceEvidence],
    num_frames: int,
    config: SolveConfig,
) -> SequenceProblem:
    """Check all evidence and make it ready.

    Raises:
        InputError: a block does not fit the skeleton, the number of frames or itself.
    """
    if any(isinstance(block, Pins) for block in evidence):
        raise InputError("a sequence has no exact pins; give the points as Points3D with a small sigma")
    unseen = [_unseen(block.name, skeleton, _points(skeleton, block)) for block in sequence_evidence]
    frames = build_problem(skeleton, [*evidence, *unseen], (num_frames,), config.bone_groups)
    first = {term.name: term.first for term in frames.terms if isinstance(term, PointTerm)}
    # what is shared by all frames is counted once, not once a frame
    terms = [
        replace(term, weight=term.weight / num_frames) if isinstance(term, ShapeTerm | BoneTerm) else term
        for term in frames.terms[: len(evidence)]
    ]
    checked = _Checked(skeleton, num_frames)
    made = [checked.made(block, first[block.name]) for block in sequence_evidence]
    return SequenceProblem(
        frames=replace(frames, terms=tuple(terms)),
        links=tuple(item for item in made if not isinstance(item, FloorTerm)),
        floors=tuple(item for item in made if isinstance(item, FloorTerm)),
    )


def _points(skeleton: Skeleton, block: SequenceEvidence) -> AttachedPoints | None:
    """The points that a block speaks of."""
    match block:
        case SmoothRotations():
            return None
        case SmoothTranslation():
            root = (skeleton.joints_template[:1], skeleton.joints_shapedirs[:1])
            joint_index = torch.zeros(1, dtype=torch.long, device=root[0].device)
            return AttachedPoints((skeleton.tree.names[0],), joint_index, *root)
        case _:
            return block.points


def _unseen(name: str, skeleton: Skeleton, points: AttachedPoints | None) -> Points3D:
    like = skeleton.joints_template
    if points is None:
        none = torch.zeros(0, dtype=torch.long, device=like.device)
        points = AttachedPoints((), none, like[:0], skeleton.joints_shapedirs[:0])
    return Points3D(points, like.new_zeros(len(points), 3), like.new_full((len(points),), math.inf), name=name)


class _Checked:
    """Turns sequence evidence into links and terms, refusing what does not fit."""

    def __init__(self, skeleton: Skeleton, num_frames: int) -> None:
        self._skeleton = skeleton
        self._like = skeleton.joints_template
        self._frames = num_frames

    def made(self, block: SequenceEvidence, first: int) -> Link | FloorTerm:
        """Check one block; `first` is where its points lie in the table."""
        name = block.name
        match block:
            case SmoothRotations():
                count = self._skeleton.tree.num_joints
                weight = self._weight(name, "sigma", block.sigma, self._frames, count)[1:-1]
                return RotationLink(name, block.loss, weight, self._stencil(name, block.times))
            case SmoothTranslation():
                weight = self._weight(name, "sigma", block.sigma[..., None], self._frames, 1)[1:-1]
                return PointLink(name, block.loss, first, weight, self._stencil(name, block.times))
            case Contacts():
                pairs = max(self._frames - 1, 0)
                weight = self._weight(name, "sigma", block.sigma, pairs, len(block.points))
                difference = self._like.new_tensor((-1.0, 1.0)).expand(pairs, 2)
                return PointLink(name, block.loss, first, weight, difference)
            case Floor():
                return self._floor(block, first)
            case _:
                weight = self._weight(name, "sigma", block.sigma, self._frames, len(block.points))[1:-1]
                return PointLink(name, block.loss, first, weight, self._stencil(name, block.times))

    def _floor(self, block: Floor, first: int) -> FloorTerm:
        self._check_like(f"{block.name}: up", block.up)
        if tuple(block.up.shape) != (3,) or not abs(float(block.up.norm()) - 1.0) < 1e-3:
            raise InputError(f"{block.name}: up must be one unit vector, got {block.up.tolist()}")
        if not (block.sigma > 0 and math.isfinite(block.sigma) and math.isfinite(block.height)):
            raise InputError(
                f"{block.name}: sigma must be a positive number of metres and height finite, got {block.sigma} and "
                f"{block.height}"
            )
        count = len(block.points)
        contact = self._like.new_zeros(1, count)
        if block.contact_sigma is not None:
            contact = self._weight(block.name, "contact_sigma", block.contact_sigma, self._frames, count)
        return FloorTerm(block.name, first, block.up, block.height, block.sigma**-2, contact)

    def _weight(self, name: str, field: str, sigma: Tensor, num_rows: int, count: int) -> Float[Tensor, "rows count"]:
        """Weights 1 / sigma^2, one for each row in time."""
        self._check_like(f"{name}: {field}", sigma)
        if tuple(sigma.shape) not in ((count,), (num_rows, count)):
            raise InputError(
                f"{name}: {field} must have shape ({count},) or ({num_rows}, {count}) for {self._frames} frames, got "
                f"{tuple(sigma.shape)}"
            )
        if bool((torch.isnan(sigma) | (sigma <= 0)).any()):
            raise InputError(f"{name}: {field} must be positive, inf where a row is missing; got NaN, zero or less")
        return sigma.square().reciprocal().expand(num_rows, count)

    def _stencil(self, name: str, times: Tensor | None) -> Float[Tensor, "rows 3"]:
        """How the frames before, at and after each inner frame enter its second difference."""
        if times is None:
            return self._like.new_tensor((1.0, -2.0, 1.0)).expand(max(self._frames - 2, 0), 3)
        self._check_like(f"{name}: times", times)
        if tuple(times.shape) != (self._frames,) or not bool((times.diff() > 0).all()):
            raise InputError(f"{name}: times must be {self._frames} rising numbers, got shape {tuple(times.shape)}")
        step = times.diff()
        before, after = step[:-1], step[1:]
        mean = 0.5 * (before + after)
        return torch.stack((1 / (before * mean), -1 / (before * mean) - 1 / (after * mean), 1 / (after * mean)), dim=-1)

    def _check_like(self, what: str, tensor: Tensor) -> None:
        if tensor.dtype != self._like.dtype or tensor.device != self._like.device:
            raise InputError(
                f"{what} is {tensor.dtype} on {tensor.device}, the skeleton is {self._like.dtype} on "
                f"{self._like.device}; convert one of them with .to()"
            )

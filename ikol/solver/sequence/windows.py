# SPDX-License-Identifier: Apache-2.0
"""The few frames of a sequence that have not arrived yet, solved by themselves.

One difficult frame (a flipped shoulder, a limit that is grazed) would otherwise keep all others waiting for dozens of
steps, and its damping would hold them back. Frames beyond a window's edge stay; links to them count.
Here: which frames, and their part of the problem. Imports: torch, the ordinary problem, the sequence's.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ikol.solver.problem import Problem
from ikol.solver.residuals import (
    AnchorTerm,
    BoneTerm,
    LimitTerm,
    OrientationTerm,
    PixelTerm,
    PointTerm,
    RelativePointTerm,
    ShapeTerm,
    Term,
    TwistTerm,
)
from ikol.solver.sequence.links import FloorTerm, Link
from ikol.solver.sequence.problem import SequenceProblem

MARGIN = 6  # frames on each side of one that has not arrived: they move along
LARGEST_SHARE = 0.25  # of all frames; more are faster solved with the others
SMALL_PART = 0.1  # of what there is to gain: so much may wait for the next step of all frames
LEAST_FRAMES = 64  # in a shorter sequence all frames are near


def unsettled(promised: Float[Tensor, "frames"], least: float, *, is_poor: bool) -> list[slice]:
    """Return the few stretches of frames that have nearly all that there is to gain.

    Args:
        promised: what each frame has to gain by a step.
        least: what is not worth a step.
        is_poor: whether the step fell short of its promise; then a small part outside of the stretches may wait too.

    Returns:
        Stretches with their margins, apart from each other; none where they would be a large part of the sequence.
    """
    frames = len(promised)
    if frames < LEAST_FRAMES:
        return []
    if is_poor:
        least = max(least, SMALL_PART * float(promised.abs().sum()))
    gains, order = promised.abs().sort(stable=True)
    is_open = torch.zeros(frames, dtype=torch.bool, device=promised.device)
    is_open[order] = gains.cumsum(0) > least
    spans = stretches(is_open, MARGIN)
    return spans if sum(span.stop - span.start for span in spans) <= LARGEST_SHARE * frames else []


def stretches(is_open: Bool[Tensor, "frames"], margin: int) -> list[slice]:
    """Return the stretches of some frames and their neighbours on both sides, apart from each other."""
    spans: list[slice] = []
    frames = len(is_open)
    for frame in is_open.nonzero().flatten().tolist():
        start, stop = max(frame - margin, 0), min(frame + margin + 1, frames)
        if spans and start <= spans[-1].stop + 1:
            spans[-1] = slice(spans[-1].start, stop)
        else:
            spans.append(slice(start, stop))
    return spans


def some_frames(problem: SequenceProblem, span: slice) -> SequenceProblem:
    """Return the part of a problem that speaks of some successive frames only; what all share is held."""
    frames: Problem = replace(
        problem.frames,
        batch_shape=(span.stop - span.start,),
        terms=tuple(_some_of_term(term, span) for term in problem.frames.terms),
        bone_groups=problem.frames.bone_groups[:, :0],
    )
    return SequenceProblem(
        frames=frames,
        links=tuple(_some_of_link(link, span) for link in problem.links),
        floors=tuple(_some_of_floor(floor, span) for floor in problem.floors),
    )


def _some_of_link(link: Link, span: slice) -> Link:
    rows = slice(span.start, max(span.stop - link.stencil.shape[-1] + 1, span.start))
    return replace(link, weight=link.weight[rows], stencil=link.stencil[rows])


def _some_of_floor(floor: FloorTerm, span: slice) -> FloorTerm:
    return replace(floor, contact_weight=_cut(floor.contact_weight, span))


def _some_of_term(term: Term, span: slice) -> Term:
    match term:
        case RelativePointTerm():
            target, weight, axes = (_cut(part, span) for part in (term.target, term.weight, term.axes))
            return replace(term, target=target, weight=weight, axes=axes)
        case PixelTerm():
            camera = term.camera
            camera = replace(
                camera,
                focal=_cut(camera.focal, span),
                center=_cut(camera.center, span),
                R_camera_world=_cut(camera.R_camera_world, span),
                t_camera_world=_cut(camera.t_camera_world, span),
            )
            return replace(term, target=_cut(term.target, span), weight=_cut(term.weight, span), camera=camera)
        case PointTerm():
            return replace(term, target=_cut(term.target, span), weight=_cut(term.weight, span))
        case OrientationTerm() | AnchorTerm():
            return replace(term, reference=_cut(term.reference, span), weight=_cut(term.weight, span))
        case TwistTerm():
            return replace(term, angle=_cut(term.angle, span), weight=_cut(term.weight, span))
        case ShapeTerm() | BoneTerm():
            return replace(term, mean=_cut(term.mean, span), weight=_cut(term.weight, span))
        case LimitTerm():
            return term


def _cut(part: Tensor, span: slice) -> Tensor:
    """Return some frames of a tensor that may be the same for all."""
    return part if len(part) == 1 else part[span]

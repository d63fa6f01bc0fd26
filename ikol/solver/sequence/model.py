# SPDX-License-Identifier: Apache-2.0
"""What a sequence costs at a state and which equations it has there: by the compiled kernel, or in PyTorch.

The kernel takes translations and rotations as unknowns, on the CPU; a part of a sequence is then only a part of a call.
Imports: torch, the compiled equations, the sequence's equations and its parts.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.solver.config import SolveConfig
from ikol.solver.levenberg_marquardt import Evaluated, moved
from ikol.solver.linear import WIDE, NormalEquations
from ikol.solver.linearise_native import FloorRows, LinkKind, LinkRows, find_lineariser
from ikol.solver.one_sided import Unknowns
from ikol.solver.robust import RobustLoss, robust_cost
from ikol.solver.sequence.band import Band
from ikol.solver.sequence.band_native import Memory
from ikol.solver.sequence.equations import SequenceEquations, sequence_equations
from ikol.solver.sequence.links import FloorTerm, Link, PointLink, RotationLink
from ikol.solver.sequence.problem import SequenceProblem
from ikol.solver.sequence.windows import some_frames
from ikol.solver.state import SolveState


@dataclass(frozen=True, eq=False)
class Judged:
    """A state and what it costs."""

    state: SolveState
    each: Float[Tensor, "frames"]
    """1/2 sum rho(s^2) of each frame and of the links that begin with it, in `WIDE`."""
    evaluated: Evaluated | None = None
    """Residuals, where PyTorch took them."""

    @property
    def cost(self) -> Float[Tensor, "1"]:
        """Of all frames and links."""
        return self.each.sum()[None]


def evaluate_sequence(problem: SequenceProblem, state: SolveState) -> Evaluated:
    """Pose all frames and take their residuals, the floor's too."""
    posed = problem.frames.pose(state)
    return Evaluated(state, posed, (*problem.frames.rows(posed), *(floor.rows(posed) for floor in problem.floors)))


def frame_costs(problem: SequenceProblem, here: Evaluated, convexity: float = 1.0) -> Float[Tensor, "frames"]:
    """Return 1/2 sum rho(s^2) of each frame and of the links that begin with it, in `WIDE`."""
    total = here.cost(convexity).to(WIDE)
    for link in problem.links:
        squared = link.weight * link.residual(here.posed).square().sum(-1)
        total[: len(squared)] += 0.5 * robust_cost(link.loss, squared, convexity).to(WIDE).sum(-1)
    return total


def sequence_cost(problem: SequenceProblem, here: Evaluated, convexity: float = 1.0) -> float:
    """Return 1/2 sum rho(s^2) over frames and links."""
    return float(frame_costs(problem, here, convexity).sum())


class SequenceModel:
    """A sequence or some successive frames of one, of which all but those at the edges may move."""

    def __init__(self, problem: SequenceProblem, config: SolveConfig, unknowns: Unknowns) -> None:
        self.problem = problem
        self.unknowns = unknowns
        """Of one frame, which are free; betas and bone groups, which all share, among them."""
        tree = 3 * (1 + problem.frames.skeleton.tree.num_joints)
        self.each = Unknowns(tree, unknowns.columns[unknowns.columns < tree])
        """Those that each frame has for itself."""
        self._config = config
        self._outer = slice(0, problem.frames.batch_shape[0])
        self.inner = self._outer
        self._kernel = find_lineariser(problem.frames, config, [_link_rows(part) for part in self._parts()])
        self._panels: Tensor | None = None
        self.memory = Memory()
        """For factors; one at a time."""

    def part(self, outer: slice, inner: slice) -> "SequenceModel":
        """Return the part that speaks of some frames only; what all share is held.

        Args:
            outer: which frames.
            inner: which of these move.
        """
        part = SequenceModel.__new__(SequenceModel)
        part.problem = self.problem if self._kernel is not None else some_frames(self.problem, outer)
        part.unknowns = part.each = self.each
        part._config = replace(self._config, solve_shape=False, gnc_start=1.0)
        part._outer, part.inner = outer, inner
        part._kernel, part._panels, part.memory = self._kernel, None, self.memory
        return part

    @property
    def losses(self) -> list[RobustLoss | None]:
        """The losses of all blocks."""
        return [getattr(part, "loss", None) for part in (*self.problem.frames.terms, *self.problem.links)]

    def _parts(self) -> tuple[Link | FloorTerm, ...]:
        return (*self.problem.links, *self.problem.floors)

    def at(self, state: SolveState, convexity: float) -> Judged:
        """Return what a state costs."""
        if self._kernel is not None:
            return Judged(state, self._kernel.cost(state, self._outer.start, convexity))
        here = evaluate_sequence(self.problem, state)
        return Judged(state, frame_costs(self.problem, here, convexity), here)

    def moved(self, here: Judged, step: Float[Tensor, "inner all"], convexity: float) -> Judged:
        """Return where a step of the frames that move leads."""
        inner = self.inner
        state = here.state if inner == slice(0, len(here.state.transl)) else some_states(here.state, inner)
        new = moved(self.problem.frames, state, step, with_shape=self._config.solve_shape)
        return self.at(with_states(here.state, new, inner), convexity)

    def equations(self, here: Judged, convexity: float, *, with_bending: bool) -> SequenceEquations:
        """Assemble the equations; those from before are no longer valid."""
        if here.evaluated is not None:
            equations = sequence_equations(
                self.problem,
                here.evaluated,
                self.each,
                inner=self.inner,
                with_shape=self._config.solve_shape,
                with_bending=with_bending,
                convexity=convexity,
                panels=self._panels,
            )
            self._panels = equations.band.panels
            return equations
        return self._compiled(here, convexity, with_bending=with_bending)

    def _compiled(self, here: Judged, convexity: float, *, with_bending: bool) -> SequenceEquations:
        assert self._kernel is not None
        count, size, columns = self.inner.stop - self.inner.start, self.each.count, self.each.columns
        reach = min(max((link.stencil.shape[-1] for link in self.problem.links), default=1), count)
        if self._panels is None:  # what stays zero between frames is written here only
            self._panels = torch.zeros(count, size, reach * size, dtype=WIDE)
        gradient, limits = self._kernel.run(
            here.state, self._outer.start, self.inner, self._panels, with_bending=with_bending, convexity=convexity
        )
        band = Band(self._panels, reach)
        if len(columns) < size:
            some = (columns + size * torch.arange(reach)[:, None]).flatten()
            band, gradient = Band(self._panels[:, columns[:, None], some], reach), gradient[:, columns]
        shared = NormalEquations(gradient.new_zeros(1, 0, 0), gradient.new_zeros(1, 0))
        return SequenceEquations(band, gradient, shared, limits)


def some_states(state: SolveState, span: slice) -> SolveState:
    """Return the states of some frames."""
    scale = state.bone_scale
    return SolveState(
        transl=state.transl[span],
        local_rotmat=state.local_rotmat[span],
        betas=state.betas[span],
        bone_scale=None if scale is None else scale[span],
    )


def with_states(state: SolveState, some: SolveState, span: slice) -> SolveState:
    """Return the states with those of some frames replaced; of a part of the frames, betas and scales are kept."""
    if span == slice(0, len(state.transl)):
        return some

    def joined(whole: Tensor, part: Tensor) -> Tensor:
        return torch.cat((whole[: span.start], part, whole[span.stop :]))

    return replace(
        state,
        transl=joined(state.transl, some.transl),
        local_rotmat=joined(state.local_rotmat, some.local_rotmat),
    )


def _link_rows(part: Link | FloorTerm) -> LinkRows:
    match part:
        case PointLink():
            return LinkRows(LinkKind.POINTS, part.loss, part.first, part.weight, part.stencil)
        case RotationLink():
            return LinkRows(LinkKind.ROTATIONS, part.loss, 0, part.weight, part.stencil)
        case FloorTerm():
            x, y, z = part.up.tolist()
            stencil = part.contact_weight.new_ones(1, 1)
            floor = FloorRows((x, y, z), part.height, part.weight)
            return LinkRows(LinkKind.FLOOR, None, part.first, part.contact_weight, stencil, floor)

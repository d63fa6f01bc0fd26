# SPDX-License-Identifier: Apache-2.0
"""Levenberg-Marquardt over a whole sequence: one damping, one cost, one verdict a step.

The control is that of ordinary solves, for a batch of one. The cost never rises over an accepted step (with graduated
non-convexity: as long as the loss stays the same). Imports: torch, the ordinary iteration, the equations and the band.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.solver.config import SolveConfig
from ikol.solver.levenberg_marquardt import Control, Evaluated, moved, shrinkage, start_control, steer
from ikol.solver.linear import LEAST_DIAGONAL, WIDE, NormalEquations
from ikol.solver.linearise_native import find_lineariser
from ikol.solver.one_sided import Unknowns, change_of_decrease, change_of_sides, crossed_sides
from ikol.solver.result import SolveStatus
from ikol.solver.robust import GemanMcClure, robust_cost
from ikol.solver.sequence.band import Band, solve_band
from ikol.solver.sequence.equations import SequenceEquations, sequence_equations
from ikol.solver.sequence.problem import SequenceProblem
from ikol.solver.sequence.windows import some_frames, some_states, unsettled, with_states
from ikol.solver.state import SolveState

# limits that a step would cross are worth another factorisation only where they cost this part of what it gains
WORTH_A_ROUND = 0.1
MAX_ROUNDS = 2
POOR_GAIN = 0.75  # part of the promised decrease below which the second-order part is tried
RETRY = 4.0
EDGE = 2  # frames beside a window that links from inside reach


@dataclass(frozen=True, eq=False)
class SequenceEnd:
    """Where the iteration ended."""

    end: Evaluated
    status: SolveStatus
    iterations: int
    initial_cost: float
    gradient_norm: float


@dataclass(frozen=True, eq=False)
class _Step:
    """A damped step of all unknowns, and by how much the model falls along it."""

    full: Float[Tensor, "frames all"]
    decrease: Float[Tensor, "1"]
    promised: Float[Tensor, "moving"]
    """Each moving frame's part in the decrease, limits and damping not counted."""


@dataclass(frozen=True, eq=False)
class _Sides:
    """Limits on which a step ends on another side than it began: what that adds to their frames' equations."""

    frames: Tensor
    change: NormalEquations


def evaluate_sequence(problem: SequenceProblem, state: SolveState) -> Evaluated:
    """Pose all frames and take their residuals, the floor's too."""
    posed = problem.frames.pose(state)
    return Evaluated(state, posed, (*problem.frames.rows(posed), *(floor.rows(posed) for floor in problem.floors)))


def sequence_cost(problem: SequenceProblem, here: Evaluated, convexity: float = 1.0) -> Float[Tensor, "1"]:
    """Return 1/2 sum rho(s^2) over frames and links."""
    total = here.cost(convexity).to(WIDE).sum()
    for link in problem.links:
        squared = link.weight * link.residual(here.posed).square().sum(-1)
        total = total + 0.5 * robust_cost(link.loss, squared, convexity).to(WIDE).sum()
    return total[None].to(here.state.transl.dtype)


def minimise_sequence(
    problem: SequenceProblem,
    initial: SolveState,
    config: SolveConfig,
    unknowns: Unknowns,
    on_iteration: Callable[[int, Tensor], None],
    inner: slice | None = None,
) -> SequenceEnd:
    """Iterate until the sequence has ended.

    Args:
        problem: what to minimise.
        initial: states of all frames.
        config: see there.
        unknowns: of one frame, which are free.
        on_iteration: called with the iteration and the cost.
        inner: of a window, the frames that move. None: all, and windows may be opened.
    """
    solver = _Solver(problem, config, unknowns, slice(0, len(initial.transl)) if inner is None else inner)
    here = evaluate_sequence(problem, initial)
    losses = [*(rows.loss for rows in here.rows), *(link.loss for link in problem.links)]
    convexity = config.gnc_start if any(isinstance(loss, GemanMcClure) for loss in losses) else 1.0
    initial_cost, cost = sequence_cost(problem, here), sequence_cost(problem, here, convexity)
    control = start_control(cost, config)
    curvature, equations = _Curvature(), None
    for iteration in range(1, config.max_iterations + 1):
        if equations is None:
            equations = solver.equations(here, convexity, with_bending=curvature.is_full)
        if convexity == 1.0:
            is_flat = solver.gradient_norm(equations) <= config.gradient_tolerance
            control = control.ended(is_flat, SolveStatus.CONVERGED)
        if not bool(control.is_active):
            break
        step = solver.step(here, equations, control.damping)
        if step is None and curvature.is_full:
            curvature = curvature.failed()
            equations = solver.equations(here, convexity, with_bending=False)
            step = solver.step(here, equations, control.damping)
        if step is None:
            step = solver.no_step()
        trial = evaluate_sequence(problem, moved(problem.frames, here.state, step.full, with_shape=config.solve_shape))
        trial_cost = sequence_cost(problem, trial, convexity)
        decrease = cost - trial_cost
        is_accepted = (step.decrease > 0) & (decrease > 0)
        control = steer(control, is_accepted, decrease, step.decrease, cost, config, is_final=convexity == 1.0)
        was_full, curvature = curvature.is_full, curvature.after(float(decrease), float(step.decrease))
        if bool(is_accepted):
            here, cost = trial, trial_cost
        if bool(is_accepted) or curvature.is_full != was_full:
            equations = None
        on_iteration(iteration, cost)
        if inner is None and convexity == 1.0 and bool(control.is_active):
            is_poor = float(decrease) < POOR_GAIN * float(step.decrease)
            spans = unsettled(step.promised, config.cost_tolerance * float(cost), is_poor=is_poor)
            if spans:
                state = solver.windows(here.state, spans, partial(on_iteration, iteration, cost))
                here = evaluate_sequence(problem, state)
                cost, equations = sequence_cost(problem, here), None
        if convexity > 1.0:
            # a loss that changes is a new problem: what the damping has learnt from the old one holds it back
            convexity = max(1.0, convexity / config.gnc_factor)
            cost, equations = sequence_cost(problem, here, convexity), None
            control = _refreshed(control, config)
    if equations is None or convexity > 1.0:
        equations = solver.equations(here, 1.0, with_bending=False)
    status, norm = SolveStatus(int(control.status)), float(solver.gradient_norm(equations))
    return SequenceEnd(here, status, int(control.iterations), float(initial_cost), norm)


@dataclass(frozen=True)
class _Curvature:
    """Whether steps take the Hessian's second-order part.

    Far from the end it is not definite over a whole sequence, and Gauss-Newton is as fast. Where noise is large and
    priors are weak, Gauss-Newton's last steps fall short of what its model says; then the second-order part is tried.
    """

    is_full: bool = False
    retry_below: float = math.inf
    """How little a step must promise before it is tried again."""
    promised: float = math.inf
    """By the last step."""

    def failed(self) -> "_Curvature":
        """Return what to do after it was not definite."""
        return _Curvature(retry_below=self.promised / RETRY)

    def after(self, decrease: float, promised: float) -> "_Curvature":
        """Return what to do after a step."""
        is_poor = decrease < POOR_GAIN * promised
        return _Curvature(self.is_full or (is_poor and promised < self.retry_below), self.retry_below, promised)


def _refreshed(control: Control, config: SolveConfig) -> Control:
    return replace(
        control,
        damping=control.damping.clamp(max=config.initial_damping),
        growth=torch.full_like(control.growth, 2.0),
    )


class _Solver:
    """Makes steps of one sequence."""

    def __init__(self, problem: SequenceProblem, config: SolveConfig, unknowns: Unknowns, inner: slice) -> None:
        self._inner = inner
        self._panels: Tensor | None = None
        self._work: Tensor | None = None
        self._problem = problem
        self._config = config
        self._unknowns = unknowns
        tree = 3 * (1 + problem.frames.skeleton.tree.num_joints)
        self._kernel = find_lineariser(problem.frames, config)
        self._each = Unknowns(tree, unknowns.columns[unknowns.columns < tree])

    def equations(self, here: Evaluated, convexity: float, *, with_bending: bool) -> SequenceEquations:
        """Assemble the equations; those from before are no longer valid."""
        equations = sequence_equations(
            self._problem,
            here,
            self._each,
            inner=self._inner,
            with_shape=self._config.solve_shape,
            with_bending=with_bending,
            convexity=convexity,
            panels=self._panels,
            kernel=self._kernel,
        )
        self._panels = equations.band.panels
        return equations

    def gradient_norm(self, equations: SequenceEquations) -> Float[Tensor, "1"]:
        """Return the largest |g_i| / sqrt(H_ii): in standard deviations, whatever the unknown's unit."""
        each, shared = _diagonals(equations)
        parts = (equations.gradient.abs() / each.sqrt(), equations.shared.gradient.abs() / shared.sqrt())
        joined = torch.cat([part.flatten() for part in parts])
        return joined.amax()[None] if len(joined) else joined.new_zeros(1)

    def no_step(self) -> _Step:
        """Return a step that is rejected: what is not definite gets more damping."""
        like = self._problem.frames.carries
        num_frames = self._problem.frames.batch_shape[0]
        return _Step(like.new_zeros(num_frames, self._unknowns.count), like.new_zeros(1), like.new_zeros(num_frames))

    def step(self, here: Evaluated, equations: SequenceEquations, damping: Float[Tensor, "1"]) -> _Step | None:
        """Return the damped step, solved again where it would cross limits and these matter; None if not definite."""
        step = self._step(here, equations, damping, None)
        if step is None or all(rows.range is None for rows in here.rows):
            return step
        sided = [rows.to(WIDE).spread(len(step.full)) for rows in here.rows if rows.range is not None]
        before = torch.cat([rows.residual.sign() for rows in sided], dim=1)
        for _ in range(MAX_ROUNDS - 1):
            lost = change_of_decrease(here.rows, step.full).sum()
            if -lost < WORTH_A_ROUND * (step.decrease - lost):
                break
            sides = torch.cat([crossed_sides(rows, step.full) for rows in sided], dim=1)
            is_changed = (sides != before).flatten(1).any(-1)
            taken = [rows.take(is_changed) for rows in sided]
            change = change_of_sides(taken, sides[is_changed], self._unknowns.count)
            again = self._step(
                here, equations, damping, _Sides(is_changed.nonzero().squeeze(-1) - self._inner.start, change)
            )
            # rows that leave may take the definiteness with them: the step before stands then
            step = step if again is None else again
        return step

    def _step(
        self, here: Evaluated, equations: SequenceEquations, damping: Float[Tensor, "1"], sides: _Sides | None
    ) -> _Step | None:
        """Solve (H + damping D) d = -g and shorten d so that no joint turns too far."""
        each, shared = _diagonals(equations)
        gradient, hessian_change = equations.gradient, None
        band = equations.band
        if self._work is None:
            self._work = band.panels.new_empty(*band.panels.shape[:2], band.panels.shape[2] + 1)
        work = self._work
        work[..., :-1] = band.panels
        work.diagonal(dim1=1, dim2=2).add_(damping * each)
        if sides is not None:
            hessian_change = self._each.pick_square(sides.change.hessian[:, : self._each.count, : self._each.count])
            gradient = gradient.index_add(0, sides.frames, sides.change.gradient[:, self._each.columns])
            work[sides.frames, :, band.blocks(0, 1)] += hessian_change
        work[..., -1] = -gradient
        found = solve_band(Band(work, band.reach))
        if found is None:
            return None
        step, shared_step = found[..., -1], shared.new_zeros(0)
        if len(shared):
            border, through = band.panels[..., band.sides].flatten(0, 1), found[..., :-1].flatten(0, 1)
            corner = equations.shared.hessian[0] + torch.diag(damping * shared) - border.mT @ through
            factor, info = torch.linalg.cholesky_ex(corner)
            if int(info) != 0:
                return None
            right = -equations.shared.gradient[0] - border.mT @ step.flatten()
            shared_step = torch.cholesky_solve(right[:, None], factor).squeeze(-1)
            step = step - found[..., :-1] @ shared_step
        # (H + C + damping D) d = -g' tells what d^T H d is, C the change by limits
        against = (gradient * step).sum() + (equations.shared.gradient[0] * shared_step).sum()
        curved = -against - damping * ((each * step.square()).sum() + (shared * shared_step.square()).sum())
        if sides is not None and hessian_change is not None:
            some = step[sides.frames]
            curved = curved - ((hessian_change @ some[..., None]).squeeze(-1) * some).sum()
            against = against + ((equations.gradient - gradient) * step).sum()
        joined = torch.cat((step, shared_step.expand(len(step), -1)), dim=-1)
        moving = self._unknowns.spread(joined)
        full = moving.new_zeros(self._problem.frames.batch_shape[0], self._unknowns.count)
        full[self._inner] = moving
        shrink = shrinkage(self._problem.frames, full, self._config).amin()
        full = shrink * full
        if not bool(torch.isfinite(full).all()):
            return None
        decrease = -shrink * against - 0.5 * shrink.square() * curved
        promised = 0.5 * (equations.gradient * step).sum(-1).abs()
        return _Step(full, decrease + change_of_decrease(here.rows, full).sum(), promised)

    def windows(self, state: SolveState, spans: list[slice], on_iteration: Callable[[], None]) -> SolveState:
        """Solve some stretches of the sequence, each by itself."""
        config = replace(self._config, solve_shape=False, gnc_start=1.0)
        unknowns = Unknowns(self._each.count, self._each.columns)
        frames = len(state.transl)

        def report(_iteration: int, _cost: Tensor) -> None:
            on_iteration()

        for span in spans:
            outer = slice(max(span.start - EDGE, 0), min(span.stop + EDGE, frames))
            inner = slice(span.start - outer.start, span.stop - outer.start)
            part, start = some_frames(self._problem, outer), some_states(state, outer)
            found = minimise_sequence(part, start, config, unknowns, report, inner)
            state = with_states(state, found.end.state, outer)
        return state


def _diagonals(equations: SequenceEquations) -> tuple[Float[Tensor, "frames columns"], Float[Tensor, "shared"]]:
    """Return D: the diagonal of H, raised for what the evidence hardly sees."""
    each = equations.band.panels.diagonal(dim1=1, dim2=2)
    shared = equations.shared.hessian[0].diagonal()
    joined = torch.cat((each.flatten(), shared))
    largest = float(joined.amax()) if len(joined) else 1.0
    least = LEAST_DIAGONAL * (largest if largest > 0 else 1.0)
    return each.clamp(min=least), shared.clamp(min=least)

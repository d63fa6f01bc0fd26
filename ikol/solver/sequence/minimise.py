# SPDX-License-Identifier: Apache-2.0
"""Levenberg-Marquardt over a whole sequence: one damping, one cost, one verdict a step.

The control is that of ordinary solves, for a batch of one. The cost never rises over an accepted step (with graduated
non-convexity: as long as the loss stays the same). Imports: torch, the ordinary iteration, the model and its steps.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.solver.config import SolveConfig
from ikol.solver.levenberg_marquardt import Control, start_control, steer
from ikol.solver.result import SolveStatus
from ikol.solver.robust import GemanMcClure
from ikol.solver.sequence.equations import SequenceEquations
from ikol.solver.sequence.model import Judged, SequenceModel, some_states, with_states
from ikol.solver.sequence.steps import Stepper, diagonals
from ikol.solver.sequence.windows import unsettled
from ikol.solver.state import SolveState

POOR_GAIN = 0.75  # part of the promised decrease below which the second-order part is tried
RETRY = 4.0
EDGE = 2  # frames beside a window that links from inside reach


@dataclass(frozen=True, eq=False)
class SequenceEnd:
    """Where the iteration ended."""

    state: SolveState
    status: SolveStatus
    iterations: int
    initial_cost: float
    gradient_norm: float
    """Of a window it may be NaN."""
    damping: float
    """Of the last step."""


def minimise_sequence(
    model: SequenceModel,
    initial: SolveState,
    config: SolveConfig,
    on_iteration: Callable[[int, Tensor], None],
    *,
    is_window: bool = False,
) -> SequenceEnd:
    """Iterate until the sequence has ended.

    Args:
        model: what to minimise.
        initial: states of all its frames.
        config: see there.
        on_iteration: called with the iteration and the cost.
        is_window: whether these are the frames of a window, in which no others are opened.
    """
    stepper = Stepper(model, config)
    is_graduated = not is_window and any(isinstance(loss, GemanMcClure) for loss in model.losses)
    convexity = config.gnc_start if is_graduated else 1.0
    here = model.at(initial, convexity)
    initial_cost = here.cost if convexity == 1.0 else model.at(initial, 1.0).cost
    dtype = initial.transl.dtype  # in which costs are told apart
    control = start_control(here.cost.to(dtype), config)
    curvature, equations = _Curvature(), None
    local = torch.zeros_like(here.each[model.inner])  # damping of frames that needed it by themselves
    for iteration in range(1, config.max_iterations + 1):
        if equations is None:
            equations = model.equations(here, convexity, with_bending=curvature.is_full)
        if convexity == 1.0:
            is_flat = gradient_norm(equations) <= config.gradient_tolerance
            control = control.ended(is_flat, SolveStatus.CONVERGED)
        if not bool(control.is_active):
            break
        step = stepper.step(equations, control.damping, local)
        if step is None and curvature.is_full:
            curvature = curvature.failed()
            equations = model.equations(here, convexity, with_bending=False)
            step = stepper.step(equations, control.damping, local)
        if step is None:
            step = stepper.no_step()
        trial = model.moved(here, step.full, convexity)
        decrease = here.cost - trial.cost
        is_accepted = (step.decrease > 0) & (decrease > 0)
        is_final = convexity == 1.0
        before, damping = here.cost, control.damping
        control = steer(control, is_accepted, decrease, step.decrease, before.to(dtype), config, is_final=is_final)
        was_full, curvature = curvature.is_full, curvature.after(float(decrease), float(step.decrease))
        if bool(is_accepted):
            here, local = trial, local / 3.0
        if bool(is_accepted) or curvature.is_full != was_full:
            equations = None
        on_iteration(iteration, here.cost)
        if not is_window and is_final and bool(control.is_active):
            is_poor = float(decrease) < POOR_GAIN * float(step.decrease)
            least = config.cost_tolerance * float(here.cost)
            spans = unsettled(step.promised, least, is_poor=is_poor)
            if spans:
                here, local = _windows(model, here, local, spans, config, partial(on_iteration, iteration, here.cost))
                equations = None
                # neither the step nor those who have nearly all that there is to gain have gained anything
                is_last = (before - here.cost <= least) & (step.decrease > 0) & (step.decrease <= least)
                control = control.ended(is_last & (damping < 1.0), SolveStatus.CONVERGED)
        if convexity > 1.0:
            # a loss that changes is a new problem: what the damping has learnt from the old one holds it back
            convexity = max(1.0, convexity / config.gnc_factor)
            here, equations = model.at(here.state, convexity), None
            control = _refreshed(control, config)
    if (equations is None or convexity > 1.0) and not is_window:
        equations = model.equations(here, 1.0, with_bending=False)
    norm = math.nan if equations is None else float(gradient_norm(equations))
    return SequenceEnd(
        here.state,
        SolveStatus(int(control.status)),
        int(control.iterations),
        float(initial_cost),
        norm,
        float(control.damping),
    )


def gradient_norm(equations: SequenceEquations) -> Float[Tensor, "1"]:
    """Return the largest |g_i| / sqrt(H_ii): in standard deviations, whatever the unknown's unit."""
    each, shared = diagonals(equations)
    parts = (equations.gradient.abs() / each.sqrt(), equations.shared.gradient.abs() / shared.sqrt())
    joined = torch.cat([part.flatten() for part in parts])
    return joined.amax()[None] if len(joined) else joined.new_zeros(1)


def _windows(
    model: SequenceModel,
    here: Judged,
    local: Tensor,
    spans: list[slice],
    config: SolveConfig,
    on_iteration: Callable[[], None],
) -> tuple[Judged, Tensor]:
    """Solve some stretches of the sequence, each by itself; on threads they would wait for the interpreter's lock."""
    config, state, frames, local = replace(config, solve_shape=False), here.state, len(here.each), local.clone()

    def report(_iteration: int, _cost: Tensor) -> None:
        on_iteration()

    for span in spans:
        outer = slice(max(span.start - EDGE, 0), min(span.stop + EDGE, frames))
        part = model.part(outer, slice(span.start - outer.start, span.stop - outer.start))
        found = minimise_sequence(part, some_states(state, outer), config, report, is_window=True)
        state = with_states(state, found.state, outer)
        local[span] = found.damping
    return model.at(state, 1.0), local


def _refreshed(control: Control, config: SolveConfig) -> Control:
    return replace(
        control,
        damping=control.damping.clamp(max=config.initial_damping),
        growth=torch.full_like(control.growth, 2.0),
    )


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

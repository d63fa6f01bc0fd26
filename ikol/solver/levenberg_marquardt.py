# SPDX-License-Identifier: Apache-2.0
"""Levenberg-Marquardt over a flat batch of independent solves.

Each item has its own damping, acceptance and end; its result does not depend on its neighbours. The cost of an item
never rises over an accepted step (with graduated non-convexity: as long as the loss stays the same).
Imports: torch, the other modules of this package.

Source: Nielsen, Damping parameter in Marquardt's method, 1999 (gain ratio and damping update).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.solver.config import SolveConfig
from ikol.solver.linear import MIN_DAMPING, WIDE, NormalEquations, diagonal_scale, newton_where_definite
from ikol.solver.normal_equations import normal_equations
from ikol.solver.one_sided import Unknowns, one_sided_decrease, solve_one_sided_step
from ikol.solver.problem import Problem
from ikol.solver.residuals import Posed, Rows
from ikol.solver.result import SolveStatus
from ikol.solver.robust import GemanMcClure, robust_cost
from ikol.solver.state import SolveState

# damping above which Gauss-Newton is not believed to find a way along a curved valley; a decade above where it starts
HARD = 0.02
MAX_DAMPING = 1e10  # relative to the diagonal: steps are then below rounding


@dataclass(frozen=True, eq=False)
class Evaluated:
    """States and their residuals."""

    state: SolveState
    posed: Posed
    rows: tuple[Rows, ...]

    def cost(self, convexity: float = 1.0) -> Float[Tensor, "n"]:
        """Return 1/2 sum rho(s^2)."""
        total = self.state.transl.new_zeros(len(self.state.transl))
        for rows in self.rows:
            total = total + 0.5 * robust_cost(rows.loss, rows.squared, convexity).sum(-1)
        return total


@dataclass(frozen=True, eq=False)
class Minimised:
    """Where the iteration ended, for each item."""

    end: Evaluated
    status: Int[Tensor, "n"]
    iterations: Int[Tensor, "n"]
    initial_cost: Float[Tensor, "n"]
    gradient_norm: Float[Tensor, "n"]


@dataclass(frozen=True, eq=False)
class Control:
    """What steers the items: changed by every iteration."""

    damping: Float[Tensor, "n"]
    growth: Float[Tensor, "n"]
    """By how much the damping grows at the next rejection."""
    status: Int[Tensor, "n"]
    is_active: Bool[Tensor, "n"]
    iterations: Int[Tensor, "n"]

    def ended(self, items: Bool[Tensor, "n"], status: SolveStatus) -> "Control":
        """Return the control with some active items ended."""
        items = items & self.is_active
        return replace(self, status=self.status.masked_fill(items, int(status)), is_active=self.is_active & ~items)


def evaluate(problem: Problem, state: SolveState) -> Evaluated:
    """Pose the tree and take all residuals."""
    posed = problem.pose(state)
    return Evaluated(state, posed, problem.rows(posed))


def minimise(
    problem: Problem,
    initial: SolveState,
    config: SolveConfig,
    unknowns: Unknowns,
    on_iteration: Callable[[int, Float[Tensor, "n"], int], None] | None,
) -> Minimised:
    """Iterate until every item has ended.

    Args:
        problem: what to minimise.
        initial: flat batch of states.
        config: see there.
        unknowns: which are free.
        on_iteration: called with the iteration, the costs and the number of active items.
    """
    here = evaluate(problem, initial)
    convexity = config.gnc_start if any(isinstance(rows.loss, GemanMcClure) for rows in here.rows) else 1.0
    initial_cost = here.cost()
    cost = here.cost(convexity)
    control = start_control(cost, config)
    equations = None
    for iteration in range(1, config.max_iterations + 1):
        if equations is None:
            is_hard = control.is_active & (control.damping > HARD)
            equations = _free_equations(problem, here, config, unknowns, convexity, is_hard)
        if convexity == 1.0:
            is_flat = gradient_size(equations) <= config.gradient_tolerance
            control = control.ended(is_flat, SolveStatus.CONVERGED)
        if not bool(control.is_active.any()):
            break
        trial, predicted = _try_step(problem, here, equations, unknowns, config, control)
        trial_cost = trial.cost(convexity)
        decrease = cost - trial_cost
        is_accepted = control.is_active & (predicted > 0) & (decrease > 0)
        control = steer(control, is_accepted, decrease, predicted, cost, config, is_final=convexity == 1.0)
        here, has_moved = _advance(problem, here, trial, is_accepted)
        cost = torch.where(is_accepted, trial_cost, cost)
        if on_iteration is not None:
            on_iteration(iteration, cost, int(control.is_active.sum()))
        if convexity > 1.0:
            # a loss that changes is a new problem: what the damping has learnt from the old one holds it back
            convexity = max(1.0, convexity / config.gnc_factor)
            cost = here.cost(convexity)
            control = replace(
                control,
                damping=control.damping.clamp(max=config.initial_damping),
                growth=torch.full_like(control.growth, 2.0),
            )
            has_moved = True
        if has_moved:
            equations = None
    if equations is None or convexity > 1.0:
        equations = _free_equations(problem, here, config, unknowns, 1.0)
    gradient_norm = gradient_size(equations).to(initial_cost.dtype)
    return Minimised(here, control.status, control.iterations, initial_cost, gradient_norm)


def start_control(cost: Float[Tensor, "n"], config: SolveConfig) -> Control:
    """Return the control before the first step; items whose cost is not finite have ended."""
    is_finite = torch.isfinite(cost)
    count = torch.zeros_like(cost, dtype=torch.long)
    ended = torch.where(is_finite, int(SolveStatus.MAX_ITERATIONS), int(SolveStatus.FAILED))
    return Control(
        damping=torch.full_like(cost, config.initial_damping, dtype=WIDE),
        growth=torch.full_like(cost, 2.0, dtype=WIDE),
        status=ended,
        is_active=is_finite,
        iterations=count,
    )


def _free_equations(
    problem: Problem,
    here: Evaluated,
    config: SolveConfig,
    unknowns: Unknowns,
    convexity: float,
    is_hard: Bool[Tensor, "n"] | None = None,
) -> NormalEquations:
    """The normal equations of the free unknowns only."""
    full = normal_equations(problem, here.posed, here.rows, with_shape=config.solve_shape, convexity=convexity)
    free = unknowns.pick(full.gauss_newton)
    return newton_where_definite(free, unknowns.pick_square(full.bending), is_hard)


def gradient_size(equations: NormalEquations) -> Float[Tensor, "n"]:
    """Largest |g_i| / sqrt(H_ii): in standard deviations, whatever the unknown's unit."""
    if equations.gradient.shape[-1] == 0:
        return equations.gradient.new_zeros(len(equations.gradient))
    return (equations.gradient / diagonal_scale(equations.hessian)).abs().amax(-1)


def _try_step(
    problem: Problem,
    here: Evaluated,
    equations: NormalEquations,
    unknowns: Unknowns,
    config: SolveConfig,
    control: Control,
) -> tuple[Evaluated, Float[Tensor, "n"]]:
    """Return where a damped step leads, and by how much the model says that the cost falls; ended items stay."""
    free_step = solve_one_sided_step(equations, here.rows, control.damping, unknowns)
    shrink = shrinkage(problem, unknowns.spread(free_step), config) * control.is_active
    free_step = shrink[:, None] * free_step
    state = moved(problem, here.state, unknowns.spread(free_step), with_shape=config.solve_shape)
    return evaluate(problem, state), one_sided_decrease(equations, here.rows, free_step, unknowns)


def shrinkage(problem: Problem, step: Float[Tensor, "n all"], config: SolveConfig) -> Float[Tensor, "n"]:
    """Return the part of a step that turns no joint by more than allowed."""
    joints = 3 * (1 + problem.skeleton.tree.num_joints)
    turn_squared = step[:, 3:joints].unflatten(-1, (-1, 3)).square().sum(-1).amax(-1)
    return config.max_step / turn_squared.clamp(min=config.max_step**2).sqrt()


def moved(problem: Problem, state: SolveState, step: Float[Tensor, "n all"], *, with_shape: bool) -> SolveState:
    """Return the states after a step of all unknowns."""
    step = step.to(state.transl.dtype)
    joints = 3 * (1 + problem.skeleton.tree.num_joints)
    lengths = joints + (state.betas.shape[-1] if with_shape else 0)
    turned = state.local_rotmat @ rotvec_to_rotmat(step[:, 3:joints].unflatten(-1, (-1, 3)))
    scale = state.bone_scale
    return SolveState(
        transl=state.transl + step[:, :3],
        local_rotmat=turned,
        betas=state.betas + step[:, joints:lengths] if with_shape else state.betas,
        bone_scale=None if scale is None else scale + step[:, lengths:] @ problem.bone_groups.T,
    )


def steer(
    control: Control,
    is_accepted: Bool[Tensor, "n"],
    decrease: Float[Tensor, "n"],
    predicted: Float[Tensor, "n"],
    cost: Float[Tensor, "n"],
    config: SolveConfig,
    *,
    is_final: bool,
) -> Control:
    """Change the damping by the gain ratio and end the items that have arrived.

    Args:
        control: before the step.
        is_accepted: whether the cost fell.
        decrease: by how much.
        predicted: by how much the model said it would.
        cost: before the step.
        config: tolerances.
        is_final: whether the losses have reached their final shape, so that arriving means something.
    """
    eps = torch.finfo(cost.dtype).eps
    gain = decrease / torch.where(predicted > 0, predicted, torch.ones_like(predicted))
    shrink = (1.0 - (2.0 * gain.clamp(0.0, 1.0) - 1.0) ** 3).clamp(min=1.0 / 3.0)
    damping = torch.where(is_accepted, control.damping * shrink, control.damping * control.growth)
    damping = damping.clamp(min=MIN_DAMPING)
    was_gentle = control.damping < 1.0  # a short step because of heavy damping is no sign of having arrived
    growth = torch.where(is_accepted, torch.full_like(control.growth, 2.0), 2.0 * control.growth)
    iterations = control.iterations + control.is_active.to(torch.long)
    control = replace(control, damping=damping, growth=growth, iterations=iterations)
    if is_final:
        is_last = is_accepted & was_gentle & (decrease <= config.cost_tolerance * cost)
        # the cost is a sum of some hundred terms: changes below 16 eps cannot be told from rounding
        is_last = is_last | (~is_accepted & (predicted > 0) & (predicted <= 16 * eps * cost) & was_gentle)
        control = control.ended(is_last, SolveStatus.CONVERGED)
    return control.ended(~is_accepted & (damping > MAX_DAMPING), SolveStatus.STALLED)


def _advance(
    problem: Problem,
    here: Evaluated,
    trial: Evaluated,
    is_accepted: Bool[Tensor, "n"],
) -> tuple[Evaluated, bool]:
    """Move the accepted items; say whether any has moved."""
    if not bool(is_accepted.any()):
        return here, False
    if bool(is_accepted.all()):
        return trial, True
    return evaluate(problem, merge_states(is_accepted, trial.state, here.state)), True


def merge_states(is_new: Bool[Tensor, "n"], new: SolveState, old: SolveState) -> SolveState:
    """Return the new state of some items and the old one of the others."""
    merged = SolveState(
        transl=torch.where(is_new[:, None], new.transl, old.transl),
        local_rotmat=torch.where(is_new[:, None, None, None], new.local_rotmat, old.local_rotmat),
        betas=torch.where(is_new[:, None], new.betas, old.betas),
    )
    if old.bone_scale is not None and new.bone_scale is not None:
        merged = replace(merged, bone_scale=torch.where(is_new[:, None], new.bone_scale, old.bone_scale))
    return merged

# SPDX-License-Identifier: Apache-2.0
"""The search for the optimum in PyTorch: safeguarded Newton steps, from more than one start where forks are unclear.

Imports: torch, the modules beside it.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ikol.solver.directions.config import TOLERANCE, DirectionConfig, DirectionResult
from ikol.solver.directions.forks import NOISY, NUM_STARTS
from ikol.solver.directions.native import Arrays
from ikol.solver.directions.reference import (
    Problem,
    State,
    cost_of,
    factor,
    finish,
    make_problem,
    make_starter,
    move,
    step,
)
from ikol.solver.directions.tables import Tables
from ikol.solver.result import SolveStatus

NEWTON_AFTER = 2  # Gauss-Newton first: far from the optimum the exact Hessian is indefinite more often than useful
FIRST_FLOOR, FLOOR, LAST_FLOOR = 0.25, 0.05, 1e-3  # least curvature, as part of a joint's lever: in the first 4 steps,
# later, and after a step below NEAR radians, where Newton's method is to be left alone
NEAR = 0.1
STUCK_DAMPING = 1e6
LAST_EVEN = 3  # steps that change the cost by rounding only
REACHED = 1e-5  # of the extent: a root mean square that is not worth another start, nor a switch to one
WORTH = 1e-3  # part of the cost that another start must save


@dataclass(frozen=True, eq=False)
class _Found:
    state: State
    cost: Float[Tensor, "items"]
    status: Int[Tensor, "items"]
    iterations: Int[Tensor, "items"]

    def parts(self) -> tuple[Tensor, ...]:
        return self.state.rotmat, self.state.root, self.cost, self.status, self.iterations


def solve(tables: Tables, arrays: Arrays, config: DirectionConfig) -> DirectionResult:
    """Minimise from the analytic start, and from others where keypoints on a fork are missing. No gradient."""
    problem = make_problem(tables, arrays, hold_root=config.hold_root)
    starter = make_starter(problem)
    start = starter.next()
    found = _minimise(problem, State(start.rotmat, start.root), config.max_iterations)
    small = 0.5 * problem.weights.sum(-1) * (REACHED * _extent(problem)) ** 2
    on_forks = [child for below in tables.children if len(below) > 1 for child in below]
    size = problem.offsets[:, on_forks].square().sum(-1).mean(-1) if on_forks else torch.full_like(small, torch.inf)
    large = 0.5 * problem.weights.sum(-1) * NOISY**2 * size
    is_noisy = found.cost > large
    is_open = start.is_open | is_noisy
    for _ in range(NUM_STARTS - 1):
        is_open &= found.cost > small
        if config.max_iterations == 0 or not bool(is_open.any()):
            break
        index, start = is_open.nonzero().squeeze(-1), starter.next(is_noisy)
        other = _minimise(_rows(problem, index), State(start.rotmat[index], start.root[index]), config.max_iterations)
        is_better = other.cost < (1 - WORTH) * found.cost[index] - small[index]
        for mine, theirs in zip(found.parts(), other.parts(), strict=True):
            mine[index[is_better]] = theirs[is_better]
        is_noisy = found.cost > large
        is_open &= start.is_open | is_noisy
    rotmat, root = finish(problem, found.state)
    batch = arrays.keypoints.shape[:-2]
    return DirectionResult(
        local_rotmat=rotmat.reshape(*batch, *rotmat.shape[1:]),
        root=root.reshape(*batch, 3),
        cost=found.cost.reshape(batch),
        status=found.status.reshape(batch),
        iterations=found.iterations.reshape(batch),
    )


def _minimise(problem: Problem, state: State, max_iterations: int) -> _Found:
    """Take safeguarded Newton steps from one start."""
    eps, tolerance = torch.finfo(problem.weights.dtype).eps, TOLERANCE[problem.weights.dtype]
    lengths = torch.linalg.vector_norm(problem.offsets[:, 1:], dim=-1).amax(-1)
    weight, grain = problem.weights.sum(-1), eps * _extent(problem)  # what rounding does to a place
    best = cost_of(problem, state)
    damping, evens, last = torch.zeros_like(best), torch.zeros_like(best), torch.ones_like(best)
    done = torch.zeros_like(best, dtype=torch.bool)
    status = torch.full_like(best, SolveStatus.MAX_ITERATIONS, dtype=torch.int32)
    iterations = torch.zeros_like(status)
    for iteration in range(max_iterations):
        if bool(done.all()):
            break
        floor = torch.full_like(last, FIRST_FLOOR)
        if iteration >= 4:
            floor = torch.where(last < NEAR, LAST_FLOOR, FLOOR).to(last)
        factors = factor(problem, state, damping, newton=iteration >= NEWTON_AFTER, floor=floor)
        turns, shift = step(problem, factors, state)
        size = torch.linalg.vector_norm(turns, dim=-1).amax(-1)
        last = torch.maximum(size, torch.linalg.vector_norm(shift, dim=-1) / lengths)
        size = last * (1 + damping)
        candidate = move(state, turns, shift)
        cost = cost_of(problem, candidate)
        worse = ~(cost <= best)
        # costs that differ by rounding only cannot judge a step any more; a Newton step is better than they are
        # what the rounding of the sum, and of the places in it (first and second order), does to the cost
        slack = 8 * eps * best + (2 * weight * best).sqrt() * grain + weight * (8 * grain) ** 2
        even = worse & (size < 1e-2) & (cost <= best + slack)
        evens += even
        worse = worse & ~even
        small = (size < tolerance) | (evens >= LAST_EVEN)
        stuck = worse & (damping > STUCK_DAMPING)
        iterations += ~done
        status = torch.where(~done & stuck, SolveStatus.STALLED, status)
        status = torch.where(~done & small, SolveStatus.CONVERGED, status)
        keep = worse | done
        state = _choose(keep, state, candidate)
        best = torch.where(keep, best, cost)
        eased = torch.where((damping > 1e-3) & ~even, damping / 4, 0.0)
        last = torch.where(worse, 1.0, last)
        damping = torch.where(worse, (4 * damping).clamp(min=0.1, max=4 * STUCK_DAMPING), eased)
        done = done | small | stuck
    return _Found(state, best, status, iterations)


def _extent(problem: Problem) -> Float[Tensor, "items"]:
    """How far from the origin places are, metres."""
    lengths = torch.linalg.vector_norm(problem.offsets[:, 1:], dim=-1).amax(-1)
    return torch.linalg.vector_norm(problem.keypoints, dim=-1).amax(-1) + lengths


def _rows(problem: Problem, index: Int[Tensor, "rows"]) -> Problem:
    return replace(
        problem,
        keypoints=problem.keypoints[index],
        offsets=problem.offsets[index],
        weights=problem.weights[index],
        twist=problem.twist[index],
        origin=problem.origin[index],
    )


def _choose(keep: Bool[Tensor, "items"], old: State, new: State) -> State:
    return State(
        torch.where(keep[:, None, None, None], old.rotmat, new.rotmat), torch.where(keep[:, None], old.root, new.root)
    )

# SPDX-License-Identifier: Apache-2.0
"""Exact pins: the evidence is minimised under the condition that pinned points lie on their targets.

Method of multipliers: a pin is a spring whose end is moved, round by round, against the force that the other evidence
puts on it, while it is made stiffer; the point then settles on the pin itself. Every round is an ordinary solve, from
where the last one ended, so any minimiser can do it.

Pins that cannot all be reached would share their error. So one that comes no nearer gives way: from then on it is
pulled by a spring as stiff as all evidence together, which the others hold against.
Imports: torch, the iteration, the problem.

Source: Nocedal and Wright, Numerical Optimization, 2006, sec. 17.3 (augmented Lagrangian).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ikol.solver.config import SolveConfig
from ikol.solver.levenberg_marquardt import Evaluated, Minimised, evaluate, merge_states
from ikol.solver.normal_equations import normal_equations
from ikol.solver.problem import Problem
from ikol.solver.residuals import PointTerm, Posed, Rows
from ikol.solver.result import SolveStatus
from ikol.solver.state import SolveState

# stiffness, relative to what all evidence together says about the body's place
FIRST, STIFFER, STIFFEST = 0.1, 10.0, 1e4  # of the first round, by this factor from round to round, at most
TAUT = 1e6  # for derivatives: an exact pin's are met to as many digits, and float64 keeps more than that
LEAST = 1e4  # 1 / m^2: as if one point were known to a centimetre, where the evidence knows no place
STUCK = 0.8  # of the distance before the round; a spring as stiff as the evidence leaves half of it where it can
GOAL = 0.1  # of the tolerance: where the rounds stop, so that what counts as reached does not hang on rounding
# tolerances: smaller distances come and go while the springs of other pins change, and tell only when all are stiffest
FAR = 100.0
ROUGH = 1e-3  # cost tolerance of a round that others follow
MAX_ROUNDS = 30  # pins that can be reached take four or five, each one that cannot two more

Minimiser = Callable[[Problem, SolveState, SolveConfig], Minimised]


@dataclass(frozen=True, eq=False)
class Springs:
    """What the pins are in one round; a spring's end lies at the pin's target less `slack`."""

    unit: Float[Tensor, "n pins"]
    """The stiffness of all evidence; 0 where nothing is pinned."""
    at_start: Float[Tensor, "n pins"]
    """Distance from the pins before the first round, metres."""
    force: Float[Tensor, "n pins 3"]
    """What is known of the force that the points are held against: the multiplier."""
    stiffness: Float[Tensor, "n pins"]
    distance: Float[Tensor, "n pins"]
    """From the pins, before this round."""
    is_given_up: Bool[Tensor, "n pins"]

    @classmethod
    def first(cls, unit: Float[Tensor, "n pins"], offset: Float[Tensor, "n pins 3"]) -> "Springs":
        """Return springs without tension, beside which the evidence is stiff.

        Args:
            unit: the stiffness of all evidence; 0 where nothing is pinned.
            offset: from the pins to their points.
        """
        at_start = offset.norm(dim=-1)
        is_given_up = torch.zeros_like(at_start, dtype=torch.bool)
        return cls(unit, at_start, torch.zeros_like(offset), FIRST * unit, at_start, is_given_up)

    @property
    def slack(self) -> Float[Tensor, "n pins 3"]:
        """How far a spring's end is moved, against the force that the other evidence puts on it."""
        return self.force / self.stiffness.clamp(min=torch.finfo(self.force.dtype).tiny)[..., None]

    def problem(self, problem: Problem, end: Float[Tensor, "#n pins 3"]) -> Problem:
        """Return the problem with the springs under tension."""
        slack = self.slack
        return problem.with_pins(end - slack, self.stiffness[..., None].expand_as(slack))

    def taut(self, problem: Problem, here: Evaluated) -> "Springs":
        """Return springs that pull as much here, so stiff that derivatives of the optimum are those of exact pins."""
        offset = _offset(problem, here)
        is_near = offset.norm(dim=-1) <= FAR * tolerance_of(problem)
        stiffness = torch.where(is_near, TAUT * self.unit, self.stiffness)
        return replace(self, force=self.force + self.stiffness[..., None] * offset, stiffness=stiffness)


def minimise_pinned(
    problem: Problem, initial: SolveState, config: SolveConfig, minimiser: Minimiser
) -> tuple[Minimised, Springs]:
    """Minimise under the pins.

    Args:
        problem: with pins.
        initial: flat batch of states.
        config: `max_iterations` is of each round.
        minimiser: minimises a problem of springs from a state.

    Returns:
        Where it ended, with costs that leave the pins out; and the springs with which that is an optimum, so stiff that
        its derivatives are those of exact pins.
    """
    here = evaluate(problem, initial)
    unit = unit_stiffness(problem, here.rows, here.posed)[:, None] * (_pins(problem).weight[..., 0] > 0)
    springs = Springs.first(unit, _offset(problem, here))
    zero = torch.zeros_like(initial.transl[:, 0])
    count = torch.zeros_like(zero, dtype=torch.long)
    result = Minimised(here, count, count, cost_beside_pins(problem, here), zero)
    is_done, is_rough = count > 0, True
    for _ in range(MAX_ROUNDS):
        now = replace(config, cost_tolerance=max(ROUGH, config.cost_tolerance)) if is_rough else config
        found = minimiser(springs.problem(problem, _pins(problem).target), result.end.state, now)
        result = _joined(problem, result, found, is_done)
        offset = _offset(problem, result.end)
        is_off = ~springs.is_given_up & (offset.norm(dim=-1) > GOAL * tolerance_of(problem))
        is_done = is_done | (result.status == SolveStatus.FAILED) | (~is_off.any(-1) & (not is_rough))
        if bool(is_done.all()):
            break
        is_off = is_off & ~is_done[:, None]
        springs, is_suspect = next_round(springs, offset, is_off, FAR * tolerance_of(problem), is_rough=is_rough)
        is_rough = bool(is_off.any()) and not is_suspect
        # losses that have reached their final shape would let go again of what they have found
        config = replace(config, gnc_start=1.0)
    status = torch.where(is_done, result.status, int(SolveStatus.MAX_ITERATIONS))
    return replace(result, status=status), springs.taut(problem, result.end)


def with_springs(problem: Problem, springs: Springs, here: Evaluated) -> Problem:
    """Return the problem with taut springs that has its optimum here; their ends follow the pins, as gradients do."""
    return springs.problem(problem, _pins(problem).target + _offset(problem, here).detach())


def cost_beside_pins(problem: Problem, here: Evaluated) -> Float[Tensor, "n"]:
    """Return the cost of the evidence alone."""
    pins = problem.pins
    return replace(here, rows=tuple(rows for rows in here.rows if pins is None or rows.name != pins.name)).cost()


def tolerance_of(problem: Problem) -> float:
    """Return within how many metres a pin is reached."""
    tolerance = _pins(problem).tolerance
    assert tolerance is not None
    return tolerance


def _pins(problem: Problem) -> PointTerm:
    assert problem.pins is not None
    return problem.pins


def _offset(problem: Problem, here: Evaluated) -> Float[Tensor, "n pins 3"]:
    """From the pins to their points; 0 where nothing is pinned."""
    pins = _pins(problem)
    points = here.posed.points[:, pins.first : pins.first + pins.target.shape[1]]
    return torch.where(pins.weight > 0, points - pins.target, 0.0)


def unit_stiffness(problem: Problem, rows: tuple[Rows, ...], posed: Posed) -> Float[Tensor, "n"]:
    """Return what all evidence but the pins says about the body's place, 1 / m^2.

    Args:
        problem: with pins.
        rows: of all evidence at a pose.
        posed: the pose.
    """
    name = _pins(problem).name
    others = tuple(item for item in rows if item.name != name)
    hessian = normal_equations(problem, posed, others, with_shape=False).gauss_newton.hessian
    stiffness = hessian.diagonal(dim1=-2, dim2=-1)[:, :3].amax(-1).to(posed.points)
    return stiffness.clamp(min=LEAST)


def _joined(problem: Problem, old: Minimised, new: Minimised, is_done: Bool[Tensor, "n"]) -> Minimised:
    """Return the rounds so far with one more, for the items that are not done."""
    return Minimised(
        end=evaluate(problem, merge_states(~is_done, new.end.state, old.end.state)),
        status=torch.where(is_done, old.status, new.status),
        iterations=old.iterations + torch.where(is_done, 0, new.iterations),
        initial_cost=old.initial_cost,
        gradient_norm=torch.where(is_done, old.gradient_norm, new.gradient_norm),
    )


def next_round(
    springs: Springs,
    offset: Float[Tensor, "n pins 3"],
    is_off: Bool[Tensor, "n pins"],
    far: float,
    *,
    is_rough: bool,
) -> tuple[Springs, bool]:
    """Return the springs of the next round, and whether a pin is suspected to be stuck.

    Args:
        springs: of the round.
        offset: from the pins to where the points are after the round.
        is_off: which are still to come nearer.
        far: a distance that tells at once, metres.
        is_rough: whether the round may have ended too early to tell; items with a suspect are tried again then.
    """
    distance = offset.norm(dim=-1)
    is_telling = springs.stiffness >= torch.where(distance > far, springs.unit, STIFFEST * springs.unit)
    is_slow = is_off & is_telling & (distance > STUCK * springs.distance)
    has_slow = is_slow.any(-1, keepdim=True)
    if is_rough:
        is_off = is_off & ~has_slow
        gives_way = stays = torch.zeros_like(is_slow)
    else:
        # the farthest gives way; where that is a tie, the one that had the farthest to go
        worth = torch.where(is_off & (distance > far), distance + springs.at_start, 0.0)
        gives_way = has_slow & (worth > 0) & (worth == worth.amax(-1, keepdim=True))
        # near ones, where there is no far one to blame, have come as near as they get
        stays = is_slow & (distance <= far) & ~gives_way.any(-1, keepdim=True)
    force = springs.force + torch.where(is_off[..., None], springs.stiffness[..., None] * offset, 0.0)
    stiffer = torch.where(is_off, STIFFER * springs.stiffness, springs.stiffness).minimum(STIFFEST * springs.unit)
    # that one gives way is a chance for the others
    before = torch.where(gives_way.any(-1, keepdim=True), math.inf, torch.where(is_off, distance, springs.distance))
    following = replace(
        springs,
        force=torch.where(gives_way[..., None], 0.0, force),
        stiffness=torch.where(gives_way, springs.unit, stiffer),
        distance=before,
        is_given_up=springs.is_given_up | gives_way | stays,
    )
    return following, is_rough and bool(is_slow.any())

# SPDX-License-Identifier: Apache-2.0
"""Gradients under exact pins are those of the constrained optimum."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from derivative_cases import KINDS, make_case, make_inputs, make_points, noise, unflattened
from torch import Tensor

from ikol.solver import Pins, SolveConfig, SolveResult, SolveState, SolveStatus, solve
from ikol.solver.backward.columns import point_columns
from ikol.solver.backward.hessian import exact_hessian
from ikol.solver.evidence import Evidence
from ikol.solver.levenberg_marquardt import evaluate, moved
from ikol.solver.normal_equations import normal_equations
from ikol.solver.problem import build_problem, flatten_state
from ikol.solver.skeleton import Skeleton

CONFIG = SolveConfig(backend="torch", gnc_start=1.0)
PINNED = ("tip_end", "chest")
STEP = 2e-5


def make(inputs: dict[str, Tensor]) -> tuple[Skeleton, list[Evidence], SolveState]:
    """The case of all evidence but lengths, with two points pinned, one of them twice."""
    case = make_case(inputs, tuple(kind for kind in KINDS if kind not in ("shape_prior", "bone_prior")))
    points = make_points(inputs).select(PINNED)
    return case.skeleton, [*case.evidence, Pins(points, inputs["pins"], tolerance=1e-6)], case.start


def make_pinned() -> dict[str, Tensor]:
    inputs = make_inputs()
    inputs["pins"] = inputs["target_3d"][[5, 7]] + 0.02 * noise(2, 3, seed=70)
    return inputs


def pinned_optimum(inputs: dict[str, Tensor], start: SolveState) -> SolveState:
    """The constrained optimum, by Newton's method on its conditions."""
    skeleton, evidence, _ = make(inputs)
    problem = build_problem(skeleton, evidence, ())
    pins = problem.pins
    assert pins is not None
    span, stiffness = slice(pins.first, pins.first + 2), 1e4
    state, force = flatten_state(start, skeleton, ()), torch.zeros(1, 2, 3, dtype=torch.float64)
    change = torch.ones(1)
    for _ in range(30):
        place = problem.pose(state).points[:, span]
        # a spring that pulls with the force: the second-order parts of it are in the Hessian
        sprung = problem.with_pins(place - force / stiffness, torch.full_like(force, stiffness))
        here = evaluate(sprung, state)
        gradient = normal_equations(sprung, here.posed, here.rows, with_shape=False).gauss_newton.gradient
        hessian = exact_hessian(sprung, here.posed, with_shape=False)
        rows = point_columns(sprung, here.posed, span, with_shape=False).flatten(1, 2)
        matrix = torch.cat(
            (torch.cat((hessian, rows.mT), -1), torch.cat((rows, torch.zeros(1, 6, 6, dtype=torch.float64)), -1)), -2
        )
        change = torch.linalg.solve(matrix, -torch.cat((gradient, (place - pins.target).flatten(1)), -1)[..., None])[
            ..., 0
        ]
        state = moved(problem, state, change[:, :-6], with_shape=False)
        force = force + change[:, -6:].unflatten(-1, (2, 3))
        if change[:, :-6].abs().max() < 1e-13:
            return unflattened(state)
    raise AssertionError(f"Newton's method has not converged: {float(change.abs().max()):.1e}")


def loss_of(state: SolveState) -> Tensor:
    return (noise(5, 3, 3, seed=30) * state.local_rotmat).sum() + (noise(3, seed=31) * state.transl).sum()


@cache
def solved() -> tuple[dict[str, Tensor], SolveState]:
    """The inputs, and their constrained optimum."""
    inputs = make_pinned()
    return inputs, pinned_optimum(inputs, solve(*make(inputs), CONFIG).state)


@pytest.mark.parametrize("name", ["pins", "target_3d", "sigma_anchor", "joints", "points", "twist", "start_betas"])
def test_gradient_under_pins_is_that_of_the_constrained_optimum(name: str) -> None:
    inputs, best = solved()
    direction = noise(*inputs[name].shape, seed=71)

    def shifted(size: Tensor | float) -> dict[str, Tensor]:
        at_best = {"start_rotmat": best.local_rotmat, "start_transl": best.transl}
        return {**inputs, **at_best, name: inputs[name] + size * direction}

    def at(size: float) -> Tensor:
        changed = shifted(size)
        return loss_of(pinned_optimum(changed, replace(best, betas=changed["start_betas"])))

    wanted = (8 * (at(STEP) - at(-STEP)) - (at(2 * STEP) - at(-2 * STEP))) / (12 * STEP)
    size = torch.zeros((), dtype=torch.float64, requires_grad=True)
    found_result: SolveResult = solve(
        *make(shifted(size)), replace(CONFIG, gradient_tolerance=1e-9, cost_tolerance=0.0)
    )
    assert found_result.status == SolveStatus.CONVERGED
    (found,) = torch.autograd.grad(loss_of(found_result.state), size)
    # the solve ends a thousandth of a standard deviation from the optimum, which changes the derivative a little
    error = float((found - wanted).abs() / wanted.abs())
    assert error < 1e-4, f"{error:.1e}"

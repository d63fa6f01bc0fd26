# SPDX-License-Identifier: Apache-2.0
"""Gradients under exact pins are those of the constrained optimum."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from derivative_cases import KINDS, elastic, make_case, make_inputs, make_points, noise, unflattened
from torch import Tensor

from ikol.solver import Pins, SolveConfig, SolveResult, SolveState, SolveStatus, solve
from ikol.solver.backward import attach_native
from ikol.solver.backward.columns import point_columns
from ikol.solver.backward.hessian import exact_hessian
from ikol.solver.evidence import Evidence
from ikol.solver.general_native import PackedProblem
from ikol.solver.levenberg_marquardt import evaluate, moved
from ikol.solver.normal_equations import normal_equations
from ikol.solver.pins import TAUT, Springs, unit_stiffness
from ikol.solver.problem import build_problem, flatten_state
from ikol.solver.skeleton import Skeleton
from ikol.solver.solve import free_axes

CONFIGS = {
    "torch": SolveConfig(backend="torch", gnc_start=1.0),
    "native": SolveConfig(backend="native", gnc_start=1.0),
    "lengths": SolveConfig(backend="native", gnc_start=1.0, solve_shape=True, bone_groups=elastic()),
}
PINNED = ("tip_end", "chest")
STEP = 2e-5


def make(inputs: dict[str, Tensor]) -> tuple[Skeleton, list[Evidence], SolveState]:
    """The case of all evidence, with two points pinned, one of them twice."""
    case = make_case(inputs, KINDS)
    points = make_points(inputs).select(PINNED)
    return case.skeleton, [*case.evidence, Pins(points, inputs["pins"], tolerance=1e-6)], case.start


def make_pinned() -> dict[str, Tensor]:
    inputs = make_inputs()
    inputs["pins"] = inputs["target_3d"][[5, 7]] + 0.02 * noise(2, 3, seed=70)
    return inputs


def pinned_optimum(inputs: dict[str, Tensor], start: SolveState, config: SolveConfig) -> tuple[SolveState, Tensor]:
    """The constrained optimum and the forces on the pins, by Newton's method on its conditions."""
    skeleton, evidence, _ = make(inputs)
    problem, with_shape = build_problem(skeleton, evidence, (), config.bone_groups), config.solve_shape
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
        gradient = normal_equations(sprung, here.posed, here.rows, with_shape=with_shape).gauss_newton.gradient
        hessian = exact_hessian(sprung, here.posed, with_shape=with_shape)
        rows = point_columns(sprung, here.posed, span, with_shape=with_shape).flatten(1, 2)
        matrix = torch.cat(
            (torch.cat((hessian, rows.mT), -1), torch.cat((rows, torch.zeros(1, 6, 6, dtype=torch.float64)), -1)), -2
        )
        change = torch.linalg.solve(matrix, -torch.cat((gradient, (place - pins.target).flatten(1)), -1)[..., None])[
            ..., 0
        ]
        state = moved(problem, state, change[:, :-6], with_shape=with_shape)
        force = force + change[:, -6:].unflatten(-1, (2, 3))
        if change[:, :-6].abs().max() < 1e-13:
            return unflattened(state), force
    raise AssertionError(f"Newton's method has not converged: {float(change.abs().max()):.1e}")


def loss_of(state: SolveState) -> Tensor:
    total = (noise(5, 3, 3, seed=30) * state.local_rotmat).sum() + (noise(3, seed=31) * state.transl).sum()
    assert state.bone_scale is not None
    return total + (noise(2, seed=32) * state.betas).sum() + (noise(5, seed=33) * state.bone_scale).sum()


def differentiable(inputs: dict[str, Tensor], best: SolveState, force: Tensor, config: SolveConfig) -> SolveState:
    """An optimum with the compiled derivative."""
    skeleton, evidence, start = make(inputs)
    problem = build_problem(skeleton, evidence, (), config.bone_groups)
    packed = PackedProblem(problem, config, free_axes(skeleton, config))
    with torch.no_grad():
        here = evaluate(problem, flatten_state(best, skeleton, ()))
        unit = unit_stiffness(problem, here.rows, here.posed)[:, None].expand(1, 2)
    springs = replace(Springs.first(unit, 0.0 * force), force=force, stiffness=TAUT * unit)
    zero = torch.zeros((), dtype=torch.long)
    result = SolveResult(best, zero, zero, *(zero.double(),) * 3, ())
    return attach_native(packed, flatten_state(start, skeleton, ()), result, springs).state


@cache
def solved(which: str) -> tuple[dict[str, Tensor], SolveState, Tensor]:
    """The inputs, their constrained optimum and its forces."""
    inputs, config = make_pinned(), CONFIGS[which]
    return inputs, *pinned_optimum(inputs, solve(*make(inputs), config).state, config)


@pytest.mark.parametrize("name", ["pins", "target_3d", "sigma_anchor", "joints", "points", "twist", "start_betas"])
@pytest.mark.parametrize("which", CONFIGS)
def test_gradient_under_pins_is_that_of_the_constrained_optimum(which: str, name: str) -> None:
    inputs, best, force = solved(which)
    config = CONFIGS[which]
    direction = noise(*inputs[name].shape, seed=71)
    name = "shape_mean" if config.solve_shape and name == "start_betas" else name
    at_best = {"start_rotmat": best.local_rotmat, "start_transl": best.transl}
    if config.solve_shape:
        at_best |= {"start_betas": best.betas, "start_scale": best.bone_scale}

    def shifted(size: Tensor | float) -> dict[str, Tensor]:
        values = {**inputs, **at_best}
        return {**values, name: values[name] + size * direction}

    def at(size: float) -> Tensor:
        changed = shifted(size)
        start = replace(best, betas=changed["start_betas"], bone_scale=changed["start_scale"])
        return loss_of(pinned_optimum(changed, start, config)[0])

    wanted = (8 * (at(STEP) - at(-STEP)) - (at(2 * STEP) - at(-2 * STEP))) / (12 * STEP)
    size = torch.zeros((), dtype=torch.float64, requires_grad=True)
    found_result: SolveResult = solve(
        *make(shifted(size)), replace(config, gradient_tolerance=1e-9, cost_tolerance=0.0)
    )
    assert found_result.status == SolveStatus.CONVERGED
    states = {"solved": found_result.state}
    if config.backend == "native":
        states["exact"] = differentiable(shifted(size), best, force, config)
    for where, state in states.items():
        (found,) = torch.autograd.grad(loss_of(state), size)
        # The solve ends a thousandth of a standard deviation from the optimum, which changes the derivative a little.
        # At the optimum itself a spring is left that is a million times as stiff as the evidence, beside a derivative
        # that, to pins, is a twentieth of its parts.
        error = float((found - wanted).abs() / wanted.abs())
        assert error < (1e-4 if where == "solved" else 2e-5 if name == "pins" else 2e-6), f"{where}: {error:.1e}"

# SPDX-License-Identifier: Apache-2.0
"""Gradients of a converged solve are those of the optimum: against differences of two optima, input by input."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from derivative_cases import ROTATIONS, elastic, make_case, make_inputs, noise, optimum
from torch import Tensor

from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.solver import SolveConfig, SolveState, SolveStatus, solve

STEP = 2e-5  # optima are known to 1e-13, so derivatives to 1e-8; what is left out is of the order of STEP^4
HELD = ("start_transl", "start_rotmat", "start_betas", "start_scale")
PLAIN = SolveConfig(backend="torch", gnc_start=1.0)  # from an optimum, which then stays
FREE = replace(PLAIN, solve_shape=True, bone_groups=elastic())
# the first and the third joint are held, and one axis of the last
TURNS = torch.tensor(((False,) * 3, (True,) * 3, (False,) * 3, (True,) * 3, (True, False, False)))
FEW = replace(PLAIN, free_joints=TURNS, free_transl=False)


def loss_of(state: SolveState) -> Tensor:
    """A fixed linear function of everything that comes back."""
    total = (noise(5, 3, 3, seed=30) * state.local_rotmat).sum() + (noise(3, seed=31) * state.transl).sum()
    total = total + (noise(2, seed=32) * state.betas).sum()
    return total if state.bone_scale is None else total + (noise(5, seed=33) * state.bone_scale).sum()


@cache
def solved(config: SolveConfig) -> tuple[dict[str, Tensor], SolveState]:
    """The inputs, and their optimum."""
    inputs = make_inputs()
    case = make_case(inputs)
    result = solve(case.skeleton, case.evidence, case.start, config)
    return inputs, optimum(case, config, result.state)


def started_from(inputs: dict[str, Tensor], state: SolveState, config: SolveConfig) -> dict[str, Tensor]:
    """The inputs with the free parts of the start at a state."""
    parts = dict(zip(HELD, (state.transl, state.local_rotmat, state.betas, state.bone_scale), strict=True))
    if config is FREE:
        return {**inputs, **parts}
    rotmat = torch.where(TURNS.any(-1)[:, None, None], state.local_rotmat, inputs["start_rotmat"])
    return {**inputs, "start_rotmat": rotmat}


def relative_error(name: str, config: SolveConfig) -> float:
    """How far the derivative along a direction is from central differences of optima."""
    inputs, best = solved(config)
    inputs = started_from(inputs, best, config)
    is_rotation = name in ROTATIONS
    value = inputs[name]
    direction = noise(*(value.shape[:-1] if is_rotation else value.shape), seed=40)
    if name == "reference_weights":
        direction = direction - direction.mean()  # their sum stays 1

    def shifted(size: Tensor) -> dict[str, Tensor]:
        turned = value @ rotvec_to_rotmat(size * direction) if is_rotation else value + size * direction
        return {**inputs, name: turned}

    def difference(size: float) -> Tensor:
        sides: list[Tensor] = []
        for sign in (1.0, -1.0):
            case = make_case(shifted(torch.tensor(sign * size, dtype=torch.float64)))
            sides.append(loss_of(optimum(case, config, case.start)))
        return sides[0] - sides[1]

    wanted = (8 * difference(STEP) - difference(2 * STEP)) / (12 * STEP)
    size = torch.zeros((), dtype=torch.float64, requires_grad=True)
    case = make_case(shifted(size))
    result = solve(case.skeleton, case.evidence, case.start, config)
    assert result.status == SolveStatus.CONVERGED
    (found,) = torch.autograd.grad(loss_of(result.state), size)
    return float((found - wanted).abs() / wanted.abs())


@pytest.mark.parametrize("name", sorted(make_inputs().keys() - set(HELD)))
def test_gradient_with_everything_unknown_is_that_of_the_optimum(name: str) -> None:
    error = relative_error(name, FREE)
    assert error < 1e-6, f"{error:.1e}"


@pytest.mark.parametrize("name", ["start_rotmat", "start_transl", "start_betas", "start_scale", "joints", "target_2d"])
def test_gradient_to_what_is_held_is_that_of_the_optimum(name: str) -> None:
    error = relative_error(name, FEW)
    assert error < 1e-6, f"{error:.1e}"

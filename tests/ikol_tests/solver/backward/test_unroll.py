# SPDX-License-Identifier: Apache-2.0
"""Unrolled Gauss-Newton steps: their derivative has all terms, and becomes that of the optimum."""

from dataclasses import replace

import pytest
import torch
from solve_cases import POINTS, RIG, near, sigmas, true_state
from torch import Tensor

from ikol.errors import InputError
from ikol.solver import Anchor, Points3D, SolveConfig, SolveResult, SolveStatus, solve

CONFIG = SolveConfig(backend="torch", backward="unrolled", unrolled_steps=3)
TRUTH = true_state(())
ONES = sigmas(24, value=1.0)


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def solved(target: Tensor, config: SolveConfig) -> SolveResult:
    # anchored where the targets come from, so that nothing is left but their noise
    return solve(RIG, [Points3D(POINTS, target, sigmas(35)), Anchor(TRUTH.local_rotmat, ONES)], near(TRUTH), config)


def loss_of(result: SolveResult) -> Tensor:
    return (noise(24, 3, 3, seed=1) * result.state.local_rotmat).sum()


def target(noise_sd: float) -> Tensor:
    return RIG.posed_points(POINTS, TRUTH) + noise_sd * noise(35, 3, seed=2)


def test_gradient_is_that_of_the_steps() -> None:
    # far from the optimum, where the term of the Jacobian counts
    at, direction = target(0.03), noise(35, 3, seed=3)
    step = 1e-5
    wanted = (loss_of(solved(at + step * direction, CONFIG)) - loss_of(solved(at - step * direction, CONFIG))) / (
        2 * step
    )
    leaf = at.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss_of(solved(leaf, CONFIG)), leaf)
    found = (gradient * direction).sum()
    assert abs(found / wanted - 1) < 1e-6, f"{float(found / wanted - 1):.1e}"


def test_many_steps_have_the_gradient_of_the_optimum() -> None:
    # residuals of a tenth of a millimetre: Gauss-Newton converges at a rate of 1e-3 or better
    leaf = target(1e-4).requires_grad_()
    many = solved(leaf, replace(CONFIG, unrolled_steps=12))
    assert many.status == SolveStatus.CONVERGED
    (unrolled,) = torch.autograd.grad(loss_of(many), leaf)
    exact = replace(CONFIG, backward="implicit", gradient_tolerance=1e-9, cost_tolerance=0.0)
    (implicit,) = torch.autograd.grad(loss_of(solved(leaf, exact)), leaf)
    torch.testing.assert_close(unrolled, implicit, rtol=1e-5, atol=1e-5 * float(implicit.abs().max()))


def test_the_state_is_the_same_with_and_without_a_gradient() -> None:
    at = target(0.03)
    assert torch.equal(
        solved(at.clone().requires_grad_(), CONFIG).state.local_rotmat.detach(), solved(at, CONFIG).state.local_rotmat
    )


def test_too_few_steps_say_so() -> None:
    result = solved(target(0.03), replace(CONFIG, unrolled_steps=1))
    assert result.status == SolveStatus.MAX_ITERATIONS
    assert result.iterations == 1


def test_at_least_one_step_is_unrolled() -> None:
    with pytest.raises(InputError, match="unrolled_steps must be at least 1, got 0"):
        replace(CONFIG, unrolled_steps=0)

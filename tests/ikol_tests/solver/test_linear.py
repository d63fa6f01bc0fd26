# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import Tensor

from ikol.solver.linear import NormalEquations, newton_where_definite, predicted_decrease, solve_damped_step


def make_system(size: int = 7, batch: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    jacobian = torch.randn(batch, 20, size, dtype=torch.float64, generator=generator)
    residual = torch.randn(batch, 20, 1, dtype=torch.float64, generator=generator)
    return jacobian.transpose(-1, -2) @ jacobian, (jacobian.transpose(-1, -2) @ residual).squeeze(-1)


@pytest.mark.parametrize("damping", [0.0, 1e-3, 10.0])
def test_step_solves_the_damped_equations(damping: float) -> None:
    hessian, gradient = make_system()
    step = solve_damped_step(hessian, gradient, torch.full((3,), damping, dtype=torch.float64))
    damped = hessian + damping * torch.diag_embed(hessian.diagonal(dim1=-2, dim2=-1))
    assert torch.allclose((damped @ step[..., None]).squeeze(-1), -gradient, atol=1e-11)


def test_step_does_not_depend_on_units() -> None:
    hessian, gradient = make_system()
    units = 10.0 ** torch.linspace(-2, 2, 7, dtype=torch.float64)
    damping = torch.full((3,), 0.1, dtype=torch.float64)
    step = solve_damped_step(hessian, gradient, damping)
    rescaled = solve_damped_step(hessian * units[:, None] * units, gradient * units, damping)
    assert torch.allclose(rescaled * units, step, rtol=1e-10)


def test_unseen_unknowns_stay() -> None:
    hessian, gradient = make_system()
    hessian[:, 2], hessian[:, :, 2], gradient[:, 2] = 0.0, 0.0, 0.0
    step = solve_damped_step(hessian, gradient, torch.full((3,), 1e-3, dtype=torch.float64))
    assert torch.isfinite(step).all()
    assert torch.equal(step[:, 2], torch.zeros(3, dtype=torch.float64))


def test_an_item_that_is_not_positive_definite_does_not_move_and_disturbs_nobody() -> None:
    hessian, gradient = make_system()
    good = solve_damped_step(hessian, gradient, torch.zeros(3, dtype=torch.float64))
    hessian[1, 0, 1] = hessian[1, 1, 0] = 1e3
    step = solve_damped_step(hessian, gradient, torch.zeros(3, dtype=torch.float64))
    assert torch.equal(step[1], torch.zeros(7, dtype=torch.float64))
    assert torch.allclose(step[[0, 2]], good[[0, 2]], rtol=1e-12)


def test_no_information_gives_no_step() -> None:
    zero = torch.zeros(2, 4, 4, dtype=torch.float64)
    step = solve_damped_step(zero, zero[..., 0], torch.ones(2, dtype=torch.float64))
    assert torch.equal(step, torch.zeros(2, 4, dtype=torch.float64))


def test_predicted_decrease_is_that_of_the_quadratic() -> None:
    hessian, gradient = make_system()
    step = solve_damped_step(hessian, gradient, torch.zeros(3, dtype=torch.float64))
    # at the minimum the decrease is half of -g.d
    assert torch.allclose(predicted_decrease(hessian, gradient, step), -0.5 * (gradient * step).sum(-1), rtol=1e-10)
    assert torch.allclose(predicted_decrease(hessian, gradient, 0 * step), torch.zeros(3, dtype=torch.float64))


def test_the_second_order_part_is_used_where_the_sum_is_definite() -> None:
    hessian, gradient = make_system()
    bending = torch.zeros_like(hessian)
    bending[0] = 0.1 * hessian[0]
    bending[1] = -2.0 * hessian[1]
    chosen = newton_where_definite(NormalEquations(hessian, gradient), bending)
    assert torch.equal(chosen.hessian, hessian + bending * torch.tensor((1.0, 0.0, 0.0))[:, None, None])
    assert torch.equal(chosen.gradient, gradient)


def test_a_hard_item_gets_the_indefinite_sum_with_positive_eigenvalues() -> None:
    hessian, gradient = make_system()
    bending = torch.zeros_like(hessian)
    bending[1:] = -2.0 * hessian[1:]
    is_hard = torch.tensor([True, True, False])
    chosen = newton_where_definite(NormalEquations(hessian, gradient), bending, is_hard)
    # the sum is minus the Hessian, so that its eigenvalues made positive are the Hessian's
    assert torch.allclose(chosen.hessian, hessian, rtol=1e-12)
    coupling = torch.zeros_like(hessian)
    coupling[:, 0, 1] = coupling[:, 1, 0] = 3.0 * (hessian[:, 0, 0] * hessian[:, 1, 1]).sqrt()
    saddle = newton_where_definite(NormalEquations(hessian, gradient), coupling, is_hard).hessian
    assert (torch.linalg.eigvalsh(saddle) > 0).all()
    assert torch.equal(saddle[2], hessian[2])
    assert not torch.allclose(saddle[:2], hessian[:2], rtol=0.1)

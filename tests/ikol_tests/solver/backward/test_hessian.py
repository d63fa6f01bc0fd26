# SPDX-License-Identifier: Apache-2.0
"""The exact Hessian is that of automatic differentiation, for every kind of evidence and with lengths unknown."""

import pytest
import torch
from autodiff import autodiff_jacobian
from derivative_cases import KINDS, LOSSES, elastic, make_case, make_inputs
from torch import Tensor

from ikol.solver.backward.hessian import exact_hessian
from ikol.solver.levenberg_marquardt import evaluate, moved
from ikol.solver.problem import build_problem, flatten_state

COUNT = 3 + 15 + 2 + 4  # translation, five joints, betas, four bones


def hessians(kinds: tuple[str, ...], *, robust: bool) -> tuple[Tensor, Tensor]:
    """Ours and autograd's."""
    case = make_case(make_inputs(noise_sd=0.1), kinds, LOSSES if robust else {})
    problem = build_problem(case.skeleton, case.evidence, (), elastic())
    state = flatten_state(case.start, case.skeleton, ())

    def cost(step: Tensor) -> Tensor:
        return evaluate(problem, moved(problem, state, step[None], with_shape=True)).cost().sum()

    zero = torch.zeros(COUNT, dtype=torch.float64)
    wanted = autodiff_jacobian(lambda at: autodiff_jacobian(cost, at), zero)
    return exact_hessian(problem, evaluate(problem, state).posed, with_shape=True)[0], wanted


@pytest.mark.parametrize("robust", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_hessian_is_that_of_automatic_differentiation(kind: str, robust: bool) -> None:
    found, wanted = hessians((kind,), robust=robust)
    # both are sums of some hundred products, rounded at 1e-16 of the largest
    error = (found - wanted).abs().max() / wanted.abs().max()
    assert error < 1e-12, f"{float(error):.2e}"


def test_hessians_of_all_evidence_add_up() -> None:
    found, wanted = hessians(KINDS, robust=True)
    error = (found - wanted).abs().max() / wanted.abs().max()
    assert error < 1e-12, f"{float(error):.2e}"

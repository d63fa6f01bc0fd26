# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ikol.errors import InputError
from ikol.solver.robust import GemanMcClure, Huber, RobustLoss, robust_cost, robust_weight

SQUARED = torch.tensor((0.0, 1e-12, 0.5, 8.99, 9.0, 9.01, 100.0, 1e8), dtype=torch.float64)
LOSSES = (None, Huber(3.0), GemanMcClure(3.0))


@pytest.mark.parametrize("convexity", [1.0, 4.0, 64.0])
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_weight_is_the_derivative_of_the_cost(loss: RobustLoss | None, convexity: float) -> None:
    squared = SQUARED.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(robust_cost(loss, squared, convexity).sum(), squared)
    assert torch.allclose(robust_weight(loss, SQUARED, convexity), gradient, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_small_residuals_are_quadratic(loss: RobustLoss | None) -> None:
    squared = torch.tensor((1e-4,), dtype=torch.float64)
    assert float(robust_cost(loss, squared)) == pytest.approx(1e-4, rel=1e-4)
    assert float(robust_weight(loss, squared)) == pytest.approx(1.0, abs=1e-4)


@given(st.floats(0.0, 1e6))
def test_costs_are_ordered_by_robustness(squared: float) -> None:
    value = torch.tensor((squared,), dtype=torch.float64)
    plain, huber, bounded = (float(robust_cost(loss, value)) for loss in LOSSES)
    assert bounded <= huber * (1 + 1e-12)
    assert huber <= plain * (1 + 1e-12)
    assert bounded <= 9.0


def test_geman_mcclure_becomes_quadratic_with_convexity() -> None:
    value = torch.tensor((25.0,), dtype=torch.float64)
    costs = [float(robust_cost(GemanMcClure(3.0), value, convexity)) for convexity in (1.0, 4.0, 64.0, 1e6)]
    assert costs == sorted(costs)
    assert costs[-1] == pytest.approx(25.0, rel=1e-5)


@pytest.mark.parametrize("k", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("kind", [Huber, GemanMcClure])
def test_impossible_widths_are_refused(kind: type[Huber] | type[GemanMcClure], k: float) -> None:
    with pytest.raises(InputError, match="must be a positive number of standard deviations"):
        kind(k)

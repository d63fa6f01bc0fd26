# SPDX-License-Identifier: Apache-2.0
"""The gradient of each residual group against differences of its cost; all kinds of evidence, shape and bones free."""

from dataclasses import replace

import torch
from derivative_cases import elastic, make_case, make_inputs, optimum
from torch import Tensor

from ikol.solver import SolveConfig, SolveState, solve
from ikol.solver.levenberg_marquardt import evaluate, moved
from ikol.solver.problem import Problem
from ikol.solver.pulls import group_gradients
from ikol.solver.robust import robust_cost
from ikol.solver.uncertainty import find_optimum

FREE = SolveConfig(backend="torch", gnc_start=1.0, solve_shape=True, bone_groups=elastic())
STEP = 1e-6


def group_costs(problem: Problem, state: SolveState) -> Tensor:
    """The cost of each group, blocks one after the other."""
    rows = evaluate(problem, state).rows
    return torch.cat([0.5 * robust_cost(item.loss, item.squared) for item in rows], dim=1)


def test_gradient_of_each_group_is_that_of_its_cost() -> None:
    case = make_case(make_inputs())
    result = solve(case.skeleton, case.evidence, case.start, FREE)
    found = find_optimum(case.skeleton, case.evidence, result, FREE)
    groups = group_gradients(found)
    count = found.unknowns.count
    steps = STEP * torch.eye(count, dtype=torch.float64)
    state = SolveState(*(part[None].expand(count, *part.shape) for part in vars(result.state).values()))
    ahead, behind = (
        group_costs(found.problem, moved(found.problem, state, sign * steps, with_shape=True)) for sign in (1.0, -1.0)
    )
    expected = ((ahead - behind) / (2 * STEP)).T
    gradient = torch.cat([group.gradient[0] for group in groups])
    cost = torch.cat([group.cost[0] for group in groups])
    # differences of costs of some tens are known to 1e-14 / 1e-6 of them
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(cost.sum(), result.cost)


def test_all_gradients_together_are_nothing_at_an_optimum() -> None:
    case = make_case(make_inputs())
    result = solve(case.skeleton, case.evidence, case.start, FREE)
    result = replace(result, state=optimum(case, FREE, result.state))
    groups = group_gradients(find_optimum(case.skeleton, case.evidence, result, FREE))
    total = torch.cat([group.gradient[0] for group in groups]).sum(0)
    largest = max(float(group.gradient.abs().max()) for group in groups if group.gradient.numel())
    assert float(total.abs().max()) < 1e-7 * largest, float(total.abs().max())  # Newton's steps end at rounding

# SPDX-License-Identifier: Apache-2.0
"""A fixed number of Gauss-Newton steps, each of them differentiable: GN-Diff.

x_k = x_k-1 Exp(d_k), d_k = -H^-1 g with H = J^T W J, so that

    d x_k / dp = d x_k-1 / dp - [dH^-1/dp] g - H^-1 dg/dp

with all terms, those of the Jacobian included. No safeguard but the largest turn: where the solve's steps would be
taken back or damped, these are not. Memory grows with the steps. Imports: torch, the solve's modules.

Source: Zhang et al., IKOL: Inverse kinematics optimization layer for 3D human pose and shape estimation via
Gauss-Newton differentiation, AAAI 2023 (arXiv 2302.01058), fig. 2.
"""

from dataclasses import replace

import torch

from ikol.solver.backward.tensors import detached
from ikol.solver.config import SolveConfig
from ikol.solver.levenberg_marquardt import Evaluated, Minimised, evaluate, gradient_size, moved, shrinkage
from ikol.solver.linear import MIN_DAMPING, NormalEquations, solve_damped_step
from ikol.solver.normal_equations import normal_equations
from ikol.solver.one_sided import Unknowns
from ikol.solver.problem import Problem
from ikol.solver.result import SolveStatus
from ikol.solver.state import SolveState


def unroll(
    problem: Problem, initial: SolveState, config: SolveConfig, unknowns: Unknowns, *, fixed_operator: bool = False
) -> Minimised:
    """Return where `config.unrolled_steps` Gauss-Newton steps lead; converged where the gradient is small there.

    Args:
        problem: with history.
        initial: the same.
        config: of the solve.
        unknowns: which are free.
        fixed_operator: leave out [dH^-1/dp] g and what the Jacobian in g contributes, as the authors' released code
            does; for comparison.

    Gradient: of the steps, whether or not they have converged.
    """
    here = evaluate(problem, initial)
    initial_cost = here.cost().detach()
    damping = initial_cost.new_full(initial_cost.shape, MIN_DAMPING)
    equations = unknowns.pick(
        normal_equations(problem, here.posed, here.rows, with_shape=config.solve_shape).gauss_newton
    )
    for _ in range(config.unrolled_steps):
        step = unknowns.spread(solve_damped_step(equations.hessian, equations.gradient, damping))
        step = shrinkage(problem, step, config)[:, None] * step
        here = evaluate(problem, moved(problem, here.state, step, with_shape=config.solve_shape))
        equations = _equations(problem, here, config, unknowns, fixed_operator=fixed_operator)
    norm = gradient_size(equations).detach().to(initial_cost.dtype)
    is_small = norm <= config.gradient_tolerance
    status = torch.where(is_small, int(SolveStatus.CONVERGED), int(SolveStatus.MAX_ITERATIONS))
    iterations = torch.full_like(status, config.unrolled_steps)
    return Minimised(here, status, iterations, initial_cost, norm)


def _equations(
    problem: Problem, here: Evaluated, config: SolveConfig, unknowns: Unknowns, *, fixed_operator: bool
) -> NormalEquations:
    posed, rows = here.posed, here.rows
    if fixed_operator:
        problem, posed = detached((problem, posed))
        rows = tuple(replace(item, jacobian=item.jacobian.detach()) for item in rows)
    full = normal_equations(problem, posed, rows, with_shape=config.solve_shape)
    return unknowns.pick(full.gauss_newton)

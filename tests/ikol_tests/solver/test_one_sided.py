# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from rigs import plausible_rotmats, random_rotmats, smpl_points, smpl_skeleton
from torch import Tensor

from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.solver.anatomy import default_limits
from ikol.solver.evidence import Anchor, Limits, Points3D
from ikol.solver.levenberg_marquardt import Evaluated, evaluate
from ikol.solver.limits import limit_excess
from ikol.solver.linear import NormalEquations, solve_damped_step
from ikol.solver.normal_equations import normal_equations
from ikol.solver.one_sided import Unknowns, one_sided_decrease, solve_one_sided_step
from ikol.solver.problem import build_problem, flatten_state
from ikol.solver.state import SolveState

ALL = Unknowns(75, torch.arange(75))
NO_DAMPING = torch.full((2,), 1e-9, dtype=torch.float64)


def make_case() -> tuple[NormalEquations, Evaluated]:
    """Two poses inside the limits, pulled by points to poses outside."""
    skeleton, points = smpl_skeleton(0), smpl_points(0)
    zero = torch.zeros(2, 3, dtype=torch.float64)
    betas = torch.zeros(2, 0, dtype=torch.float64)
    state = SolveState(zero, plausible_rotmats((2,), seed=0, scale=0.9), betas)
    wanted = SolveState(zero, state.local_rotmat @ random_rotmats((2, 24), 0.15, seed=1), betas)
    evidence = [
        Points3D(points, skeleton.posed_points(points, wanted), torch.full((35,), 0.01, dtype=torch.float64)),
        Anchor(torch.eye(3, dtype=torch.float64).expand(24, 3, 3), torch.ones(24, dtype=torch.float64)),
        Limits(default_limits(skeleton.tree, dtype=torch.float64)),
    ]
    problem = build_problem(skeleton, evidence, (2,))
    here = evaluate(problem, flatten_state(state, skeleton, (2,)))
    return normal_equations(problem, here.posed, here.rows, with_shape=False).gauss_newton, here


def model(equations: NormalEquations, here: Evaluated, step: Tensor) -> Tensor:
    """The one-sided model by its definition: the quadratic without ranges, and ranges one by one."""
    sided = next(rows for rows in here.rows if rows.range is not None)
    assert sided.range is not None
    quadratic = (equations.gradient * step).sum(-1) + 0.5 * torch.einsum("ni,nij,nj->n", step, equations.hessian, step)
    total = quadratic
    for k, joint in enumerate(sided.touches.joint_index.tolist()):
        moved = (sided.jacobian[:, k] @ step[:, 3 + 3 * joint : 6 + 3 * joint, None]).squeeze(-1)
        above, below = sided.range.above[:, k] + moved, sided.range.below[:, k] + moved
        one_sided = above.clamp(min=0).square() + below.clamp(max=0).square()
        already = torch.where(sided.residual[:, k] != 0, (sided.residual[:, k] + moved).square(), 0.0)
        total = total + 0.5 * (sided.range.weight[:, k] * (one_sided - already)).sum(-1)
    return total


def test_decrease_is_that_of_the_model() -> None:
    equations, here = make_case()
    step = solve_damped_step(equations.hessian, equations.gradient, NO_DAMPING)
    decrease = one_sided_decrease(equations, here.rows, step, ALL)
    expected = model(equations, here, torch.zeros_like(step)) - model(equations, here, step)
    assert torch.allclose(decrease, expected, rtol=1e-9)


def test_step_is_the_minimum_of_the_one_sided_model() -> None:
    equations, here = make_case()
    plain = solve_damped_step(equations.hessian, equations.gradient, NO_DAMPING)
    step = solve_one_sided_step(equations, here.rows, NO_DAMPING, ALL).requires_grad_()
    (gradient,) = torch.autograd.grad(model(equations, here, step).sum(), step)
    # in standard deviations; that of the plain step is 170
    scale = equations.hessian.diagonal(dim1=-2, dim2=-1).sqrt()
    assert (gradient / scale).abs().max() < 1e-3
    assert (model(equations, here, step) < 0.5 * model(equations, here, plain).abs()).all()


def test_known_limits_make_the_step_better_than_the_plain_one_in_truth() -> None:
    equations, here = make_case()
    plain = solve_damped_step(equations.hessian, equations.gradient, NO_DAMPING)
    warned = solve_one_sided_step(equations, here.rows, NO_DAMPING, ALL)
    limits = default_limits(smpl_skeleton(0).tree, dtype=torch.float64)

    def beyond(step: Tensor) -> float:
        moved = here.state.local_rotmat @ rotvec_to_rotmat(step[:, 3:].unflatten(-1, (24, 3)))
        return float(limit_excess(limits, moved[:, limits.joint_index]).residual.abs().max())

    assert beyond(plain) > 0.1
    assert beyond(warned) < 0.6 * beyond(plain)  # what is left is the curvature of rotations, not of limits


def test_without_ranges_the_step_is_the_plain_one() -> None:
    equations, here = make_case()
    rows = tuple(item for item in here.rows if item.range is None)
    plain = solve_damped_step(equations.hessian, equations.gradient, NO_DAMPING)
    assert torch.equal(solve_one_sided_step(equations, rows, NO_DAMPING, ALL), plain)


@pytest.mark.parametrize("columns", [[0, 1, 2], [3, 10, 11, 74]])
def test_fixed_unknowns_are_left_out_and_put_back(columns: list[int]) -> None:
    equations, here = make_case()
    unknowns = Unknowns(75, torch.tensor(columns))
    free = unknowns.pick(equations)
    assert free.hessian.shape == (2, len(columns), len(columns))
    step = solve_one_sided_step(free, here.rows, NO_DAMPING, unknowns)
    full = unknowns.spread(step)
    assert full.shape == (2, 75)
    assert torch.equal(full[:, columns], step)
    assert int((full != 0).sum(-1).max()) == len(columns)

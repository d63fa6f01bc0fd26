# SPDX-License-Identifier: Apache-2.0
"""The inverse by proximal steps: exact where something is seen, nothing where nothing is, small steps in between."""

import math
from dataclasses import replace
from typing import Literal

import pytest
import torch
from derivative_cases import noise
from solve_cases import POINTS, RIG, near, sigmas, true_state
from torch import Tensor

from ikol.solver import Points3D, SolveConfig, SolveState, SolveStatus, solve
from ikol.solver.backward.proximal import LOOSE, invert_proximally, settle
from ikol.solver.levenberg_marquardt import evaluate
from ikol.solver.normal_equations import normal_equations
from ikol.solver.problem import build_problem, flatten_state
from ikol.solver.solve import find_unknowns, free_axes

JOINTS = POINTS.select(RIG.tree.names)
TIGHT = SolveConfig(gnc_start=1.0, gradient_tolerance=1e-11, cost_tolerance=0.0, max_iterations=300)


def diagonal(*values: float) -> Tensor:
    return torch.diag(torch.tensor(values, dtype=torch.float64))[None]


def inverse_of(hessian: Tensor, rows: Tensor, rest: Tensor | None = None) -> Tensor:
    right = torch.eye(hessian.shape[-1], dtype=torch.float64)[None]
    return invert_proximally(hessian, rows, hessian.new_zeros(1, len(right[0])) if rest is None else rest).solve(right)


def test_what_is_seen_is_inverted_and_what_is_not_is_left_out() -> None:
    hessian = diagonal(1e6, 1.0, 3.0**-2, 1e-2, 1e-4, 1e-9, 0.0)
    share = (inverse_of(hessian, hessian)[0] * hessian[0]).diagonal()
    assert (share[:3] - 1).abs().max() < 1e-7
    assert (share[3:].diff() < 0).all()
    assert share[3] > 0.99  # of ten radians, which is the prior itself
    assert share[-2:].abs().max() < 1e-12


def test_no_target_moves_anything_by_more_than_its_standard_deviations_allow() -> None:
    # a row of weight 1 along an eigenvector moves it by (1 / a) sqrt(a) for one standard deviation of its target
    values = 10.0 ** torch.linspace(-9.0, 4.0, 200, dtype=torch.float64)
    hessian = torch.diag(torch.cat((values, values.new_tensor([1e5]))))[None]
    moves = inverse_of(hessian, hessian)[0].diagonal()[:-1] * values.sqrt()
    assert moves.max() < 2 * LOOSE


def test_small_weights_altogether_are_no_reason_to_leave_anything_out() -> None:
    hessian = 1e-6 * diagonal(1.0, 0.1, 1e-2)
    torch.testing.assert_close(inverse_of(hessian, hessian)[0] @ hessian[0], torch.eye(3, dtype=torch.float64))


def test_what_only_a_force_holds_is_kept_and_what_the_rest_of_the_gradient_could_make_is_not() -> None:
    rows, hessian = diagonal(1e4, 1e4, 0.0), diagonal(1e4, 1e4, 1.0)
    assert abs(float(inverse_of(hessian, rows)[0, 2, 2]) - 1) < 1e-6
    rest = torch.tensor([[0.0, 0.0, 10.0]], dtype=torch.float64)
    found = inverse_of(hessian, rows, rest)[0]
    assert float(found[2, 2]) < 0.01
    torch.testing.assert_close(found[0, 0] * 1e4, torch.ones((), dtype=torch.float64))


def test_where_the_end_lies_flat_only_what_is_seen_better_has_a_derivative_and_on_a_saddle_nothing() -> None:
    rows = diagonal(1e4, 1e4)
    flat = inverse_of(diagonal(1e4, -1e-3), rows)[0]
    torch.testing.assert_close(flat[0, 0] * 1e4, torch.ones((), dtype=torch.float64))
    assert abs(float(flat[1, 1])) < 1.0  # of 1,000
    assert not inverse_of(diagonal(1e4, -1e3), rows).any()


@pytest.mark.parametrize("backend", ["torch", "native"])
def test_places_follow_targets_as_finite_differences_of_solves_say(backend: Literal["torch", "native"]) -> None:
    # without anchors twists are open, places are not: whatever the twists do, places must be right
    config = replace(TIGHT, backend=backend)
    truth = true_state(())
    world = RIG.posed_points(JOINTS, truth) + 0.02 * noise(24, 3, seed=53)
    best = solve(RIG, [Points3D(JOINTS, world, sigmas(24))], near(truth, 0.1), config).state
    direction, wanted = noise(24, 3, seed=54), noise(24, 3, seed=55)

    def places(target: Tensor, start: SolveState) -> Tensor:
        result = solve(RIG, [Points3D(JOINTS, target, sigmas(24))], start, config)
        assert result.status == SolveStatus.CONVERGED
        return (wanted * RIG.pose(result.state).joints).sum()

    step = 1e-4
    with torch.no_grad():
        far, close = (
            (places(world + size * direction, best) - places(world - size * direction, best)) / (2 * size)
            for size in (2 * step, step)
        )
    target = world.clone().requires_grad_()
    (found,) = torch.autograd.grad(places(target, best), target)
    difference = (4 * close - far) / 3
    assert abs(float((found * direction).sum() / difference) - 1) < 1e-6


def test_what_nothing_sees_moves_as_little_as_it_can() -> None:
    truth = true_state(())
    target = (RIG.posed_points(JOINTS, truth) + 0.02 * noise(24, 3, seed=53)).requires_grad_()
    result = solve(RIG, [Points3D(JOINTS, target, sigmas(24))], near(truth, 0.1), TIGHT)
    problem = build_problem(RIG, [Points3D(JOINTS, target.detach(), sigmas(24))], (), None)
    posed = problem.pose(flatten_state(replace(result.state, local_rotmat=result.state.local_rotmat.detach()), RIG, ()))
    rows = normal_equations(problem, posed, problem.rows(posed), with_shape=False).gauss_newton.hessian.detach()[0]
    values, vectors = torch.linalg.eigh(rows)
    unseen = vectors[:, values < 1e-6]
    assert unseen.shape[1] > 20
    # along a twist that nothing sees, as right perturbations of the joints, no target moves anything
    turns = unseen[3:].unflatten(0, (24, 3))
    rotmat = result.state.local_rotmat
    for number in (0, 7, unseen.shape[1] - 1):
        x, y, z = turns[..., number].unbind(-1)
        skew = torch.stack((0 * x, -z, y, z, 0 * x, -x, -y, x, 0 * x), dim=-1).unflatten(-1, (3, 3))
        along = 0.5 * (rotmat.detach().mT @ rotmat * skew).sum() + unseen[:3, number] @ result.state.transl
        (found,) = torch.autograd.grad(along, target, retain_graph=True)
        # in radians for a metre; what is seen moves by some ten
        assert float(found.abs().max()) < 1e-4


def test_settling_lowers_the_gradient_where_it_would_count_and_leaves_the_others() -> None:
    truth = true_state((3,))
    world = RIG.posed_points(JOINTS, truth) + 0.01 * noise(3, 24, 3, seed=53)
    evidence = [Points3D(JOINTS, world, sigmas(24))]
    best = solve(RIG, evidence, near(truth, 0.1), TIGHT).state
    off = replace(best, transl=best.transl + torch.tensor([[0.0], [1e-4], [0.0]], dtype=torch.float64))
    problem = build_problem(RIG, evidence, (3,), None)
    unknowns = find_unknowns(problem, TIGHT, free_axes(RIG, TIGHT))
    settled = settle(problem, flatten_state(off, RIG, (3,)), unknowns, with_shape=False)

    def size(state: SolveState) -> Tensor:
        here = evaluate(problem, state)
        return normal_equations(problem, here.posed, here.rows, with_shape=False).gauss_newton.gradient.abs().amax(-1)

    assert float(size(settled)[1]) < 1e-6 * float(size(off)[1])
    for item in (0, 2):
        assert torch.equal(settled.local_rotmat[item], off.local_rotmat[item])
        assert torch.equal(settled.transl[item], off.transl[item])
    assert math.isfinite(float(settled.local_rotmat.sum()))

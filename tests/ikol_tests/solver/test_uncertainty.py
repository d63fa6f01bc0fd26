# SPDX-License-Identifier: Apache-2.0
"""Covariances against a dense inverse of a Hessian by differences and against re-solving with drawn noise."""

from dataclasses import replace

import pytest
import torch
from derivative_cases import KINDS, TREE, elastic, make_case, make_inputs, make_points, noise, optimum
from torch import Tensor

from ikol.errors import InputError
from ikol.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from ikol.solver import Pins, Points3D, SolveConfig, SolveResult, SolveState, covariance, sensitivity, solve
from ikol.solver.levenberg_marquardt import evaluate, moved
from ikol.solver.problem import build_problem, flatten_state

PLAIN = SolveConfig(backend="torch", gnc_start=1.0)
FREE = replace(PLAIN, solve_shape=True, bone_groups=elastic())
COUNT = 3 + 15 + 2 + 4


def solved(inputs: dict[str, Tensor], kinds: tuple[str, ...] = KINDS, config: SolveConfig = FREE) -> SolveResult:
    """A result whose gradient is zero to rounding."""
    case = make_case(inputs, kinds)
    result = solve(case.skeleton, case.evidence, case.start, config)
    best = optimum(case, config, result.state)
    return solve(case.skeleton, case.evidence, best, config)


def joints_of(inputs: dict[str, Tensor], state: SolveState, kinds: tuple[str, ...] = KINDS) -> Tensor:
    return make_case(inputs, kinds).skeleton.pose(state).joints


def test_covariances_are_those_of_a_dense_inverse_by_differences() -> None:
    inputs = make_inputs()
    result = solved(inputs)
    case = make_case(inputs)
    problem = build_problem(case.skeleton, case.evidence, (), elastic())
    state = flatten_state(result.state, case.skeleton, ())
    step = 1e-4
    eye = step * torch.eye(COUNT, dtype=torch.float64)
    pairs = [(i, j) for i in range(COUNT) for j in range(COUNT)]
    corners = torch.stack([a * eye[i] + b * eye[j] for a in (1, -1) for b in (1, -1) for i, j in pairs])
    spread = SolveState(*(part.expand(len(corners), *part.shape[1:]) for part in vars(state).values()))
    cost = evaluate(problem, moved(problem, spread, corners, with_shape=True)).cost().reshape(4, COUNT, COUNT)
    hessian = (cost[0] - cost[1] - cost[2] + cost[3]) / (4 * step**2)
    inverse = torch.linalg.inv(hessian)
    around = SolveState(*(part.expand(COUNT, *part.shape[1:]) for part in vars(state).values()))
    ahead = problem.pose(moved(problem, around, eye, with_shape=True)).joints
    behind = problem.pose(moved(problem, around, -eye, with_shape=True)).joints
    places = ((ahead - behind) / (2 * step)).permute(1, 2, 0)
    marginals = covariance(case.skeleton, case.evidence, result, FREE)
    wanted = places @ inverse @ places.transpose(-1, -2)
    # second differences of a cost of 100 are known to 1e-14 * 100 / step^2 = 1e-4 of entries of 1e3 and more
    torch.testing.assert_close(marginals.position, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
    turns = torch.stack([inverse[3 + 3 * j : 6 + 3 * j, 3 + 3 * j : 6 + 3 * j] for j in range(5)])
    torch.testing.assert_close(marginals.rotation, turns, rtol=1e-3, atol=1e-4 * float(turns.abs().max()))
    assert marginals.is_position_seen.all()
    assert marginals.is_rotation_seen.all()


@pytest.mark.slow
def test_covariance_is_that_of_solves_with_drawn_noise() -> None:
    # rows that fit but for their noise: the covariance of the solutions is the inverse Hessian to first order
    inputs = make_inputs(noise_sd=0.0)
    sigma, draws = 0.002, 20000
    inputs["sigma_3d"] = torch.full((8, 3), sigma, dtype=torch.float64)
    inputs["sigma_anchor"] = torch.full((5, 3), 0.02, dtype=torch.float64)
    kinds = ("points_3d", "anchor")
    inputs["anchor"] = solved(inputs, ("points_3d",), PLAIN).state.local_rotmat
    case = make_case(inputs, kinds, {})
    result = solve(case.skeleton, case.evidence, case.start, PLAIN)
    marginals = covariance(case.skeleton, case.evidence, result, PLAIN)
    inputs["target_3d"] = inputs["target_3d"] + sigma * noise(draws, 8, 3, seed=60)
    inputs["anchor"] = inputs["anchor"] @ rotvec_to_rotmat(0.02 * noise(draws, 5, 3, seed=61))
    many = make_case(inputs, kinds, {})
    drawn = solve(many.skeleton, many.evidence, result.state, PLAIN)
    places = many.skeleton.pose(drawn.state).joints - many.skeleton.pose(result.state).joints
    found = torch.einsum("bji,bjk->jik", places, places) / draws
    # 20,000 draws give a variance to 1 %; four standard deviations of that
    scale = marginals.position.diagonal(dim1=-2, dim2=-1).amax(-1)[:, None, None]
    assert ((found - marginals.position).abs() / scale).max() < 0.05
    turns = rotmat_to_rotvec(result.state.local_rotmat.transpose(-1, -2) @ drawn.state.local_rotmat)
    found = torch.einsum("bji,bjk->jik", turns, turns) / draws
    scale = marginals.rotation.diagonal(dim1=-2, dim2=-1).amax(-1)[:, None, None]
    assert ((found - marginals.rotation).abs() / scale).max() < 0.05


def test_what_nothing_sees_is_flagged() -> None:
    # joints alone show neither how the ends turn nor the turns about bones; what follows a turn may undo it
    inputs = make_inputs()
    case = make_case(inputs)
    points = make_points(inputs).select(TREE.names)
    sigma = torch.full((5,), 0.01, dtype=torch.float64)
    evidence = [Points3D(points, inputs["target_3d"][:5], sigma)]
    result = solve(case.skeleton, evidence, case.start, PLAIN)
    marginals = covariance(case.skeleton, evidence, result, PLAIN)
    assert marginals.is_position_seen.all()
    assert not marginals.is_rotation_seen.any()
    assert torch.isfinite(marginals.rotation).all()


def test_what_is_held_is_certain() -> None:
    case = make_case(make_inputs())
    config = replace(PLAIN, free_transl=False, free_joints=torch.zeros(5, dtype=torch.bool))
    result = solve(case.skeleton, case.evidence, case.start, config)
    marginals = covariance(case.skeleton, case.evidence, result, config)
    assert not marginals.position.any()
    assert not marginals.rotation.any()
    assert marginals.is_position_seen.all()


def test_items_that_have_not_converged_are_not_seen() -> None:
    case = make_case(make_inputs())
    config = replace(FREE, max_iterations=1)
    result = solve(case.skeleton, case.evidence, case.start, config)
    assert not covariance(case.skeleton, case.evidence, result, config).is_position_seen.any()
    assert not sensitivity(case.skeleton, case.evidence, result, "points_3d", config).any()


@pytest.mark.parametrize("name", ["points_3d", "relative_points_3d", "points_2d"])
def test_sensitivity_is_what_moves_when_a_target_does(name: str) -> None:
    inputs = make_inputs()
    result = solved(inputs)
    case = make_case(inputs)
    found = sensitivity(case.skeleton, case.evidence, result, name, FREE)
    key = {"points_3d": "target_3d", "relative_points_3d": "target_relative", "points_2d": "target_2d"}[name]
    point, axis = 4, 1
    step = 1e-5 if name != "points_2d" else 1e-2
    shift = torch.zeros_like(inputs[key])
    shift[point, axis] = step
    sides = [
        joints_of(inputs, optimum(make_case({**inputs, key: inputs[key] + sign * shift}), FREE, result.state))
        for sign in (1.0, -1.0)
    ]
    wanted = (sides[0] - sides[1]) / (2 * step)
    torch.testing.assert_close(found[..., point, axis], wanted, rtol=1e-5, atol=1e-6 * float(wanted.abs().max()))


def test_missing_targets_move_nothing() -> None:
    inputs = make_inputs()
    found = sensitivity(make_case(inputs).skeleton, make_case(inputs).evidence, solved(inputs), "points_3d", FREE)
    assert found.shape == (5, 3, 8, 3)
    assert not found[..., 3, :].any()


def test_sensitivity_to_rotations_is_refused() -> None:
    case = make_case(make_inputs())
    result = solve(case.skeleton, case.evidence, case.start, replace(FREE, max_iterations=0))
    with pytest.raises(InputError, match="needs a block of points, got 'anchor'"):
        sensitivity(case.skeleton, case.evidence, result, "anchor", FREE)


def test_a_pin_is_certain_and_takes_its_point_along() -> None:
    inputs = make_inputs()
    case = make_case(inputs, ("points_3d", "anchor"), {})
    points = make_points(inputs).select(("tip", "right"))
    pinned = [*case.evidence, Pins(points, inputs["target_3d"][[4, 3]], torch.tensor((True, False)), tolerance=1e-7)]
    result = solve(case.skeleton, pinned, case.start, PLAIN)
    free = covariance(case.skeleton, case.evidence, solved(inputs, ("points_3d", "anchor"), PLAIN), PLAIN)
    held = covariance(case.skeleton, pinned, result, PLAIN)
    tip, other = TREE.index("tip"), TREE.index("left")
    # a spring is a million times as stiff as the evidence
    assert held.position[tip].abs().max() < 1e-5 * free.position[tip].abs().max()
    assert held.position[other].diagonal().sum() < free.position[other].diagonal().sum()
    found = sensitivity(case.skeleton, pinned, result, "pins", PLAIN)
    torch.testing.assert_close(found[tip, :, 0], torch.eye(3, dtype=torch.float64), rtol=0.0, atol=1e-5)
    assert not found[:, :, 1].any()
    step = 1e-4
    target = inputs["target_3d"][[4, 3]].clone()
    target[0, 2] += step
    again = solve(case.skeleton, [*case.evidence, replace(pinned[-1], target=target)], result.state, PLAIN)
    moved = case.skeleton.pose(again.state).joints - case.skeleton.pose(result.state).joints
    # the solve's tolerances leave a thousandth of a standard deviation, 1e-5 m, of what is not pinned
    torch.testing.assert_close(found[..., 0, 2], moved / step, rtol=0.0, atol=0.02)

# SPDX-License-Identifier: Apache-2.0
"""Gradients of a converged solve are those of the optimum: against differences of two optima, input by input."""

import math
from dataclasses import replace
from functools import cache
from typing import Literal
from weakref import WeakSet

import pytest
import torch
from derivative_cases import ROTATIONS, elastic, make_case, make_inputs, noise, optimum, truth
from solve_cases import EYE, INDEX, POINTS, RIG, near, prior, sigmas, true_state
from torch import Tensor

from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.solver import (
    Anchor,
    Huber,
    Limits,
    Points3D,
    Skeleton,
    SolveConfig,
    SolveResult,
    SolveState,
    SolveStatus,
    Twist,
    default_limits,
    solve,
)
from ikol.solver.evidence import Evidence

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


@pytest.mark.parametrize("mode", ["implicit", "one_step"])
def test_solve_passes_gradcheck_where_nothing_is_left(mode: Literal["implicit", "one_step"]) -> None:
    # without a residual the Gauss-Newton step is Newton's, and both modes are exact
    inputs, kinds = make_inputs(noise_sd=0.0), ("points_3d", "anchor")
    config = replace(PLAIN, backward=mode, gradient_tolerance=1e-9, cost_tolerance=0.0)
    inputs["anchor"] = truth(inputs).local_rotmat
    start = truth(inputs)

    def places(target: Tensor, twist_of_anchor: Tensor) -> Tensor:
        anchor = inputs["anchor"] @ rotvec_to_rotmat(twist_of_anchor)
        case = make_case({**inputs, "target_3d": target, "anchor": anchor}, kinds, {})
        state = optimum(case, config, start)
        return case.skeleton.pose(solve(case.skeleton, case.evidence, state, config).state).joints

    target = inputs["target_3d"].clone().requires_grad_()
    turn = torch.zeros(5, 3, dtype=torch.float64, requires_grad=True)
    # differences of two optima that are known to 1e-13, over 1e-6
    assert torch.autograd.gradcheck(places, (target, turn), eps=1e-6, atol=1e-5, rtol=1e-4, fast_mode=True)


def test_one_step_is_wrong_where_a_residual_is_left() -> None:
    # the Gauss-Newton matrix leaves out second-order parts: this is what the exact one is for
    inputs, best = solved(FREE)
    gradients: dict[str, Tensor] = {}
    for mode in ("implicit", "one_step"):
        target = inputs["target_3d"].clone().requires_grad_()
        case = make_case({**started_from(inputs, best, FREE), "target_3d": target})
        result = solve(case.skeleton, case.evidence, case.start, replace(FREE, backward=mode))
        (gradients[mode],) = torch.autograd.grad(loss_of(result.state), target)
    change = (gradients["one_step"] - gradients["implicit"]).norm() / gradients["implicit"].norm()
    assert change > 0.1, f"{float(change):.3f}"


def gradients_of(
    evidence: list[Evidence], start: SolveState, leaves: list[Tensor], config: SolveConfig = PLAIN
) -> tuple[SolveResult, list[Tensor]]:
    """Of a loss that looks at every rotation and place of SMPL's tree."""
    result = solve(RIG, evidence, start, config)
    state = result.state
    loss = (noise(24, 3, 3, seed=50) * state.local_rotmat).sum() + (noise(3, seed=51) * state.transl).sum()
    return result, list(torch.autograd.grad(loss, leaves, materialize_grads=True))


def points_of(state: SolveState) -> Tensor:
    return RIG.posed_points(POINTS, state)


@pytest.mark.parametrize("pose", ["rest", "straight limbs", "swings of nearly half a turn", "swings of half a turn"])
def test_gradients_are_bounded_at(pose: str) -> None:
    state = RIG.rest_state()
    rotmat = state.local_rotmat.clone()
    if pose == "straight limbs":
        rotmat[1:] = rotvec_to_rotmat(1e-9 * noise(23, 3, seed=52))
    if pose.startswith("swings"):
        missing = 0.0 if pose == "swings of half a turn" else 1e-4
        for name, axis in (("L_Shoulder", 1), ("R_Shoulder", 2), ("L_Hip", 0)):
            turn = torch.zeros(3, dtype=torch.float64)
            turn[axis] = math.pi - missing
            rotmat[INDEX(name)] = rotvec_to_rotmat(turn)
    state = replace(state, local_rotmat=rotmat)
    target = points_of(state).requires_grad_()
    sigma = sigmas(35).requires_grad_()
    angle = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    reference = rotmat.clone().requires_grad_()
    joints = torch.tensor([INDEX(name) for name in ("L_Shoulder", "R_Shoulder", "L_Hip")])
    evidence: list[Evidence] = [
        Points3D(POINTS, target, sigma),
        Anchor(reference, sigmas(24, value=1.0)),
        Twist(joints, EYE[[0, 0, 1]], angle, sigmas(3, value=0.2)),
        Limits(default_limits(RIG.tree, dtype=torch.float64)),
    ]
    result, found = gradients_of(evidence, state, [target, sigma, angle, reference])
    # a hand's turn follows a keypoint a few centimetres away: 100 rad/m, times the some 200 numbers of the loss
    for gradient in found:
        assert torch.isfinite(gradient).all(), result.status
        assert gradient.abs().max() < 1e4, f"{float(gradient.abs().max()):.1e}"


def test_what_nothing_sees_gets_no_gradient() -> None:
    # joints without a prior: how hands turn is open, and the loss asks for it
    state = true_state(())
    target = points_of(state)[:24].clone().requires_grad_()
    evidence: list[Evidence] = [Points3D(POINTS.select(RIG.tree.names), target, sigmas(24))]
    result, (gradient,) = gradients_of(evidence, state, [target])
    assert result.status == SolveStatus.CONVERGED
    assert gradient.abs().max() < 1e3, f"{float(gradient.abs().max()):.1e}"


def test_missing_rows_get_no_gradient_whatever_they_hold() -> None:
    state = true_state(())
    target = points_of(state).clone()
    target[5] = math.nan
    sigma = sigmas(35)
    sigma[5] = math.inf
    reference = torch.eye(3, dtype=torch.float64).repeat(24, 1, 1)
    reference[3] = math.nan
    anchored = sigmas(24, value=1.0)
    anchored[3] = math.inf
    leaves = [target.requires_grad_(), sigma.requires_grad_(), reference.requires_grad_(), anchored.requires_grad_()]
    evidence: list[Evidence] = [Points3D(POINTS, target, sigma), Anchor(reference, anchored)]
    _, found = gradients_of(evidence, state, leaves)
    assert all(bool(torch.isfinite(gradient).all()) for gradient in found)
    assert not found[0][5].any()
    assert found[0][6].any()
    assert not any(bool(gradient.any()) for gradient in (found[1][5], found[2][3], found[3][3]))


def test_items_that_have_not_converged_get_no_gradient() -> None:
    # the first item starts at its optimum, the second far away, the third overflows
    truth_state = true_state((3,))
    world = points_of(truth_state)
    target = torch.cat((world[:2], world[2:] * 1e200)).requires_grad_()
    sigma = sigmas(35).requires_grad_()
    evidence: list[Evidence] = [Points3D(POINTS, target, sigma, Huber(3.0)), prior()]
    best = solve(RIG, [Points3D(POINTS, world, sigmas(35), Huber(3.0)), prior()], near(truth_state), PLAIN).state
    start = replace(best, local_rotmat=torch.stack((best.local_rotmat[0], *near(best, 1.0).local_rotmat[1:])))
    result, (to_target, to_sigma) = gradients_of(evidence, start, [target, sigma], replace(PLAIN, max_iterations=2))
    assert result.status.tolist() == [SolveStatus.CONVERGED, SolveStatus.MAX_ITERATIONS, SolveStatus.FAILED]
    assert to_target[0].any()
    assert not to_target[1:].any()
    assert torch.isfinite(to_target).all()
    assert torch.isfinite(to_sigma).all()
    assert torch.isfinite(result.cost[:2]).all()


def test_items_of_a_batch_do_not_see_each_other() -> None:
    truth_state = true_state((3,))
    target = (points_of(truth_state) + 0.02 * noise(3, 35, 3, seed=53)).requires_grad_()
    _, (together,) = gradients_of([Points3D(POINTS, target, sigmas(35)), prior()], near(truth_state), [target])
    alone = target[1].detach().clone().requires_grad_()
    start = SolveState(*(part[1] for part in (near(truth_state).transl, near(truth_state).local_rotmat)), EYE[0, :0])
    _, (single,) = gradients_of([Points3D(POINTS, alone, sigmas(35)), prior()], start, [alone])
    # both ended within the solve's tolerances of the same optimum
    torch.testing.assert_close(together[1], single, rtol=1e-3, atol=1e-3 * float(single.abs().max()))


def test_what_is_held_altogether_passes_its_gradient_on() -> None:
    start = near(true_state(()))
    transl = start.transl.clone().requires_grad_()
    target = points_of(start).requires_grad_()
    nothing = replace(PLAIN, free_transl=False, free_joints=torch.zeros(24, dtype=torch.bool))
    evidence: list[Evidence] = [Points3D(POINTS, target, sigmas(35))]
    _, (to_transl, to_target) = gradients_of(evidence, replace(start, transl=transl), [transl, target], nothing)
    torch.testing.assert_close(to_transl, noise(3, seed=51))
    assert not to_target.any()


def test_float32_has_the_gradient_of_float64() -> None:
    truth_state = true_state(())
    world = points_of(truth_state) + 0.02 * noise(35, 3, seed=53)
    tight = replace(PLAIN, gradient_tolerance=1e-9, cost_tolerance=0.0)
    best = solve(RIG, [Points3D(POINTS, world, sigmas(35)), prior()], near(truth_state), tight).state
    found: list[Tensor] = []
    for dtype in (torch.float64, torch.float32):
        rig = Skeleton.from_rest_joints(RIG.tree, RIG.joints_template.to(dtype))
        target = world.to(dtype).requires_grad_()
        start = SolveState(best.transl.to(dtype), best.local_rotmat.to(dtype), best.betas.to(dtype))
        evidence = [Points3D(POINTS.to(dtype=dtype), target, sigmas(35, dtype=dtype)), prior(dtype=dtype)]
        result = solve(rig, evidence, start, PLAIN)
        assert result.status == SolveStatus.CONVERGED
        loss = (noise(24, 3, 3, seed=50).to(dtype) * result.state.local_rotmat).sum()
        found.append(torch.autograd.grad(loss, target)[0].double())
    # a rounding of 1e-7 m is up to 1e-5 of the turns that follow keypoints through levers of centimetres, and of this
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-3 * float(found[0].abs().max()))


def test_result_keeps_its_value_and_nothing_is_attached_without_need() -> None:
    truth_state = true_state((2,))
    evidence = [Points3D(POINTS, points_of(truth_state), sigmas(35)), prior()]
    plain = solve(RIG, evidence, near(truth_state), PLAIN)
    assert not plain.state.local_rotmat.requires_grad
    leaf = points_of(truth_state).requires_grad_()
    attached = solve(RIG, [Points3D(POINTS, leaf, sigmas(35)), prior()], near(truth_state), PLAIN)
    assert attached.cost.requires_grad
    assert not attached.residual("points_3d").residual.requires_grad
    for name in ("transl", "local_rotmat"):
        assert torch.equal(getattr(attached.state, name).detach(), getattr(plain.state, name))
    with torch.no_grad():
        assert not solve(RIG, [Points3D(POINTS, leaf, sigmas(35)), prior()], near(truth_state)).cost.requires_grad


def test_cost_has_the_gradient_of_the_optimal_cost() -> None:
    # what the state does is of second order at the optimum; left is the direct derivative, weight times residual
    truth_state = true_state(())
    leaf = (points_of(truth_state) + 0.02 * noise(35, 3, seed=53)).requires_grad_()
    config = replace(PLAIN, gradient_tolerance=1e-10, cost_tolerance=0.0)
    result = solve(RIG, [Points3D(POINTS, leaf, sigmas(35)), prior()], near(truth_state), config)
    (found,) = torch.autograd.grad(result.cost, leaf)
    wanted = -result.residual("points_3d").residual.detach() / 0.01**2
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6 * float(wanted.abs().max()))


class Saved:
    """A tensor that autograd keeps for as long as it keeps this."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def saved_bytes(config: SolveConfig, start: SolveState) -> int:
    """What autograd still keeps of a solve that is over, for its backward pass."""
    kept: WeakSet[Saved] = WeakSet()

    def pack(tensor: Tensor) -> Saved:
        saved = Saved(tensor)
        kept.add(saved)
        return saved

    leaf = points_of(true_state((2,))).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor):
        result = solve(RIG, [Points3D(POINTS, leaf, sigmas(35)), prior()], start, config)
    total = sum(saved.tensor.numel() * saved.tensor.element_size() for saved in kept)
    del result
    return total


def test_memory_does_not_grow_with_the_iterations() -> None:
    start = near(true_state((2,)), 0.3)
    few, many = (saved_bytes(replace(PLAIN, max_iterations=count, gnc_start=1.0), start) for count in (1, 40))
    # masks of items that have not converged differ a little; forty graphs of one step would be ten times as much
    assert many < 1.2 * few
    assert many > 0

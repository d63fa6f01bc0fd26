# SPDX-License-Identifier: Apache-2.0
"""Exact pins: reached to the tolerance, or reported, whatever else is known."""

import math
from dataclasses import replace
from typing import Literal

import pytest
import torch
from rigs import smpl_points, smpl_skeleton
from solve_cases import EYE, INDEX, POINTS, RIG, prior, sigmas, status_of, true_state
from strategies import DTYPES
from torch import Tensor

from ikol.errors import InputError
from ikol.geometry.rotations import rotmat_to_rotvec
from ikol.solver import GemanMcClure, Orientation, Pins, Points3D, SolveConfig, SolveState, SolveStatus, solve

WRIST = POINTS.select(("L_Wrist",))
ENDS = POINTS.select(("L_Wrist", "R_Ankle", "L_Ankle", "nose"))
SHAPES = ((), (3,), (2, 3))


def soft(truth: SolveState) -> list[Points3D]:
    """All points, noisy: the other evidence."""
    world = RIG.posed_points(POINTS, truth)
    generator = torch.Generator().manual_seed(0)
    noise = 0.01 * torch.randn(world.shape, dtype=torch.float64, generator=generator)
    return [Points3D(POINTS, world + noise, sigmas(35, value=0.02))]


def moved(truth: SolveState, size: float, names: tuple[str, ...] = ENDS.names) -> Tensor:
    """Places some way from where points are."""
    world = RIG.posed_points(POINTS.select(names), truth)
    generator = torch.Generator().manual_seed(1)
    return world + size / math.sqrt(3.0) * torch.randn(world.shape, dtype=torch.float64, generator=generator)


def reached(pin_distance: Tensor | None) -> Tensor:
    assert pin_distance is not None
    return pin_distance


@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize("shape", SHAPES)
def test_pins_that_can_be_reached_are_reached(shape: tuple[int, ...], backend: Literal["auto", "torch"]) -> None:
    truth = true_state(shape)
    target = moved(truth, 0.05)
    result = solve(RIG, [*soft(truth), prior(), Pins(ENDS, target)], truth, SolveConfig(backend=backend))
    assert (result.status == SolveStatus.CONVERGED).all()
    assert result.is_pin_reached is not None
    assert result.is_pin_reached.all()
    assert reached(result.pin_distance).shape == (*shape, 4)
    # a tenth of the tolerance is where the rounds end
    assert float(reached(result.pin_distance).max()) < 1e-5
    distance = (RIG.posed_points(ENDS, result.state) - target).norm(dim=-1)
    assert torch.allclose(distance, reached(result.pin_distance), atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_pin_is_reached_in_any_type(dtype: torch.dtype) -> None:
    skeleton, points = smpl_skeleton(0, dtype), smpl_points(0, dtype)
    truth = true_state((), dtype=dtype)
    world = skeleton.posed_points(points, truth)
    pin = Pins(points.select(("L_Wrist",)), world[None, INDEX("L_Wrist")] + 0.1)
    result = solve(
        skeleton, [Points3D(points, world, sigmas(35, value=0.02, dtype=dtype)), prior(dtype=dtype), pin], truth
    )
    assert status_of(result) == SolveStatus.CONVERGED
    assert float(reached(result.pin_distance)) < 1e-5


def test_a_pin_weighs_more_than_any_evidence() -> None:
    truth = true_state(())
    sure = replace(soft(truth)[0], sigma=sigmas(35, value=1e-5))
    result = solve(RIG, [sure, prior(), Pins(WRIST, moved(truth, 0.02, ("L_Wrist",)))], truth)
    assert float(reached(result.pin_distance)) < 1e-5


def test_the_rest_of_the_evidence_is_at_its_optimum_under_the_pins() -> None:
    # a heavy weight in the place of the pin comes to the same pose as it grows
    truth = true_state(())
    target = moved(truth, 0.1, ("L_Wrist",))
    config = SolveConfig(cost_tolerance=1e-13, gradient_tolerance=1e-9, max_iterations=200)
    pinned = solve(RIG, [*soft(truth), prior(), Pins(WRIST, target)], truth, config)
    heavy = Points3D(WRIST, target, sigmas(1, value=1e-5), name="heavy")
    weighed = solve(RIG, [*soft(truth), prior(), heavy], pinned.state, config)
    # the spring still gives by the evidence's force over its stiffness: 1e3 / 1e10 m
    assert (pinned.state.local_rotmat - weighed.state.local_rotmat).abs().max() < 1e-4
    assert float(pinned.cost) == pytest.approx(float(weighed.cost), rel=1e-4)


def test_an_unreachable_pin_is_reported_with_the_arm_stretched_towards_it() -> None:
    truth = true_state((2,))
    target = RIG.posed_points(WRIST, truth) + torch.tensor((3.0, 0.0, 0.0), dtype=torch.float64)
    result = solve(RIG, [*soft(truth), prior(), Pins(WRIST, target)], truth, SolveConfig(free_transl=False))
    assert (result.status == SolveStatus.CONVERGED).all()
    assert result.is_pin_reached is not None
    assert not result.is_pin_reached.any()
    joints = RIG.pose(result.state).joints
    shoulder, elbow, wrist = (joints[:, INDEX(f"L_{part}")] for part in ("Shoulder", "Elbow", "Wrist"))
    to_elbow, to_wrist, to_pin = elbow - shoulder, wrist - elbow, target[:, 0] - wrist
    # with all evidence as stiff as the spring, an arm's length against metres: a few degrees
    assert torch.cosine_similarity(to_elbow, to_wrist).min() > math.cos(math.radians(5))
    assert torch.cosine_similarity(to_wrist, to_pin).min() > math.cos(math.radians(5))
    # what cannot help stays where its evidence says: 2 cm are a standard deviation
    legs = [INDEX(f"{side}_{part}") for side in "LR" for part in ("Knee", "Ankle")]
    before = RIG.pose(truth).joints
    assert (joints - before)[:, legs].norm(dim=-1).mean() < 0.03


@pytest.mark.parametrize("backend", ["auto", pytest.param("torch", marks=pytest.mark.slow)])
def test_of_pins_that_cannot_all_be_reached_the_far_one_gives_way(backend: Literal["auto", "torch"]) -> None:
    # both feet stand and the hand is asked for something 3 m away; a compromise would tear the feet off the ground
    truth = true_state((2,))
    points = POINTS.select(("L_Wrist", "R_Ankle", "L_Ankle"))
    target = RIG.posed_points(points, truth)
    target[:, 0, 0] += 3.0
    result = solve(RIG, [*soft(truth), prior(), Pins(points, target)], truth, SolveConfig(backend=backend))
    assert result.is_pin_reached is not None
    assert result.is_pin_reached.tolist() == [[False, True, True]] * 2
    assert float(reached(result.pin_distance)[:, 0].min()) > 1.0


def test_items_of_a_batch_have_pins_of_their_own() -> None:
    truth = true_state((3,))
    target = moved(truth, 0.05)
    target[2] = math.nan
    is_pinned = torch.tensor([[True, False, True, False], [False, True, False, False], [False] * 4])
    result = solve(RIG, [*soft(truth), prior(), Pins(ENDS, target, is_pinned)], truth)
    distance = (RIG.posed_points(ENDS, result.state) - target).norm(dim=-1)
    assert float(distance[is_pinned].max()) < 1e-5
    assert float(distance[:2][~is_pinned[:2]].min()) > 1e-3
    assert torch.equal(reached(result.pin_distance)[~is_pinned], torch.zeros(9, dtype=torch.float64))
    free = solve(RIG, [*soft(truth), prior()], truth)
    # nothing is pinned there; its rounds end later than one solve does, along soft directions by a milliradian
    assert (result.state.local_rotmat - free.state.local_rotmat)[2].abs().max() < 1e-2


def test_pins_alone_are_reached() -> None:
    target = RIG.posed_points(ENDS, true_state(()))
    result = solve(RIG, [Pins(ENDS, target)], RIG.rest_state())
    assert float(reached(result.pin_distance).max()) < 1e-5
    assert float(result.cost) == 0.0


def test_an_orientation_beside_a_pin_is_soft() -> None:
    truth = true_state(())
    hand = torch.tensor([INDEX("L_Wrist")])
    turn = Orientation(hand, EYE[None], sigmas(1, value=0.02))
    result = solve(RIG, [*soft(truth), prior(), turn, Pins(WRIST, moved(truth, 0.05, ("L_Wrist",)))], truth)
    assert float(reached(result.pin_distance)) < 1e-5
    off = rotmat_to_rotvec(RIG.pose(result.state).global_rotmat[hand])
    before = rotmat_to_rotvec(RIG.pose(truth).global_rotmat[hand])
    assert 1e-4 < float(off.norm()) < 0.3 * float(before.norm())


def test_robust_losses_keep_their_outliers_beside_pins() -> None:
    truth = true_state(())
    points = replace(soft(truth)[0], loss=GemanMcClure(3.0))
    target = points.target.clone()
    target[INDEX("R_Knee")] += 0.5
    pins = Pins(WRIST, moved(truth, 0.05, ("L_Wrist",)))
    result = solve(RIG, [replace(points, target=target), prior(), pins], truth)
    assert float(reached(result.pin_distance)) < 1e-5
    assert float(result.residual("points_3d").robust_weight[INDEX("R_Knee")]) < 0.05


@pytest.mark.parametrize(
    ("evidence", "message"),
    [
        ([Pins(WRIST, EYE[:1], tolerance=0.0)], "pins: tolerance must be a positive number of metres, got 0.0"),
        ([Pins(WRIST, EYE[:1]), Pins(WRIST, EYE[:1], name="more")], "more than one block of pins"),
        ([Pins(WRIST, math.nan * EYE[:1])], "pins: target holds NaN"),
        ([Pins(WRIST, EYE)], r"pins: target must have shape \(\*batch, 1, 3\)"),
    ],
)
def test_pins_that_make_no_sense_are_refused(evidence: list[Pins], message: str) -> None:
    with pytest.raises(InputError, match=message):
        solve(RIG, evidence, RIG.rest_state())


def test_unrolled_steps_do_not_go_with_pins() -> None:
    with pytest.raises(InputError, match="pins are not reached in steps that could be unrolled"):
        solve(RIG, [Pins(WRIST, EYE[:1])], RIG.rest_state(), SolveConfig(backward="unrolled"))


def test_without_pins_the_result_has_none() -> None:
    result = solve(RIG, [prior()], RIG.rest_state())
    assert result.pin_distance is None
    assert result.is_pin_reached is None

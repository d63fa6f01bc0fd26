# SPDX-License-Identifier: Apache-2.0
"""A prepared solve finds what an ordinary one finds, and refuses what does not fit what was prepared."""

import math
from dataclasses import replace
from typing import Literal

import pytest
import torch
from solve_cases import POINTS, RIG, full_evidence, near, prior, sigmas, true_state

from ikol.errors import InputError
from ikol.solver import Anchor, Pins, Points2D, Points3D, SolveConfig, SolveState, SolveStatus, solve
from ikol.solver.prepared import PreparedSolve


@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize("batch", [(), (3,), (2, 2)])
def test_other_targets_are_solved_as_if_they_had_been_given_at_first(
    batch: tuple[int, ...], backend: Literal["auto", "torch"]
) -> None:
    config = SolveConfig(backend=backend)
    first, second = true_state(batch), true_state(batch, seed=1)
    prepared = PreparedSolve(RIG, full_evidence(first), near(first), config)
    prepared.solve()
    evidence = full_evidence(second)
    targets = {block.name: block.target for block in evidence if isinstance(block, Points3D | Points2D)}
    found = prepared.solve(near(second), targets)
    expected = solve(RIG, evidence, near(second), config)
    assert found.state.local_rotmat.shape == (*batch, 24, 3, 3)
    assert torch.equal(found.state.local_rotmat, expected.state.local_rotmat)
    assert torch.equal(found.cost, expected.cost)
    assert torch.equal(found.status, expected.status)


def test_an_anchor_on_some_joints_can_be_moved() -> None:
    truth = true_state(())
    sigma = sigmas(24, value=0.2)
    sigma[:5] = math.inf
    points = Points3D(POINTS, RIG.posed_points(POINTS, truth), sigmas(35, value=0.1))
    anchor = Anchor(truth.local_rotmat, sigma)
    prepared = PreparedSolve(RIG, [points, anchor, prior()], near(truth))
    other = near(truth, 0.3).local_rotmat
    found = prepared.solve(targets={"anchor": other})
    expected = solve(RIG, [points, replace(anchor, reference=other), prior()], near(truth))
    assert torch.equal(found.state.local_rotmat, expected.state.local_rotmat)


def test_targets_that_do_not_fit_are_refused() -> None:
    truth = true_state(())
    prepared = PreparedSolve(RIG, full_evidence(truth), near(truth))
    good = RIG.posed_points(POINTS, truth)
    for name, target, message in (
        ("nothing", good, "no evidence called 'nothing'"),
        ("limits", good, "no evidence called 'limits'"),
        ("points_3d", good[1:], "must stay"),
        ("points_3d", good.float(), "must stay"),
    ):
        with pytest.raises(InputError, match=message):
            prepared.solve(targets={name: target})
    with pytest.raises(InputError, match="transl must be"):
        prepared.solve(replace(truth, transl=truth.transl[None]))


@pytest.mark.parametrize("reach", [0.05, 0.6])
def test_pins_of_one_frame_end_as_in_an_ordinary_solve(reach: float) -> None:
    """Within reach and out of it, after other targets were prepared."""
    truth = true_state(())
    world = RIG.posed_points(POINTS, truth)
    soft = Points3D(POINTS, world, sigmas(35, value=0.02))
    ends = POINTS.select(("L_Wrist", "L_Elbow"))
    target = RIG.posed_points(ends, truth) + torch.tensor([[reach, 0.0, 0.0], [0.0, 0.01, 0.0]], dtype=torch.float64)
    prepared = PreparedSolve(RIG, [soft, prior(), Pins(ends, target - reach)], truth)
    prepared.solve()
    found = prepared.solve(truth, {"pins": target})
    expected = solve(RIG, [soft, prior(), Pins(ends, target)], truth)
    assert found.pin_distance is not None
    assert expected.pin_distance is not None
    assert found.is_pin_reached is not None
    assert found.is_pin_reached.tolist() == [reach < 0.1] * 2 or not found.is_pin_reached.all()
    # the scale of the springs comes from another pose, and with it the number of rounds: equal to the tolerance
    assert torch.allclose(found.pin_distance, expected.pin_distance, atol=1e-3)
    assert torch.allclose(found.state.transl, expected.state.transl, atol=1e-3)
    assert float(found.cost) == pytest.approx(float(expected.cost), rel=0.02)
    assert float(found.initial_cost) == pytest.approx(float(expected.initial_cost))


def test_pins_of_several_frames_are_refused() -> None:
    truth = true_state((2,))
    pins = Pins(POINTS.select(("L_Wrist",)), torch.zeros(1, 3, dtype=torch.float64))
    with pytest.raises(InputError, match="single frame"):
        PreparedSolve(RIG, [pins, prior()], truth)


def test_a_target_that_is_no_number_fails_and_keeps_the_start() -> None:
    truth = true_state(())
    start = near(truth)
    prepared = PreparedSolve(RIG, full_evidence(truth), start, SolveConfig(backend="native"))
    bad = RIG.posed_points(POINTS, truth)
    bad[3, 0] = math.nan
    result = prepared.solve(targets={"points_3d": bad})
    assert int(result.status) == SolveStatus.FAILED
    assert isinstance(result.state, SolveState)
    assert torch.equal(result.state.local_rotmat, start.local_rotmat)

# SPDX-License-Identifier: Apache-2.0
"""How a solve goes: what may move, batches, steps, progress and status."""

from dataclasses import replace

import pytest
import torch
from rigs import (
    smpl_points,
    smpl_skeleton,
)
from solve_cases import (
    INDEX,
    POINTS,
    RIG,
    full_evidence,
    near,
    prior,
    sigmas,
    status_of,
    true_state,
)
from torch import Tensor

from ikol.errors import Cancelled
from ikol.geometry.rotations import rotmat_to_rotvec
from ikol.solver import (
    Points2D,
    Points3D,
    Progress,
    SolveConfig,
    SolveState,
    SolveStatus,
    general_native,
    solve,
)


def test_only_free_joints_and_axes_move() -> None:
    truth = true_state(())
    start = near(truth)
    free = torch.zeros(24, 3, dtype=torch.bool)
    free[INDEX("L_Elbow"), 1] = True
    free[INDEX("R_Knee")] = True
    evidence = [Points3D(POINTS, RIG.posed_points(POINTS, truth), sigmas(35))]
    result = solve(RIG, evidence, start, SolveConfig(free_joints=free, free_transl=False))
    assert torch.equal(result.state.transl, start.transl)
    fixed = [k for k in range(24) if not free[k].any()]
    assert torch.equal(result.state.local_rotmat[fixed], start.local_rotmat[fixed])
    turn = rotmat_to_rotvec(start.local_rotmat.mT @ result.state.local_rotmat)
    assert turn[INDEX("R_Knee")].norm() > 0.01
    elbow = turn[INDEX("L_Elbow")]
    assert abs(float(elbow[1])) > 0.01
    assert elbow[[0, 2]].abs().max() < 1e-12


def test_nothing_free_changes_nothing() -> None:
    start = true_state(())
    config = SolveConfig(free_joints=torch.zeros(24, dtype=torch.bool), free_transl=False)
    evidence = [Points3D(POINTS, RIG.posed_points(POINTS, near(start)), sigmas(35))]
    result = solve(RIG, evidence, start, config)
    assert torch.equal(result.state.local_rotmat, start.local_rotmat)
    assert status_of(result) == SolveStatus.CONVERGED
    assert torch.equal(result.cost, result.initial_cost)


def test_batch_equals_singles() -> None:
    truth = true_state((2, 3), seed=9)
    start = near(truth, 0.4)
    evidence = full_evidence(truth)
    together = solve(RIG, evidence, start)
    points, pixels = evidence[0], evidence[1]
    assert isinstance(points, Points3D)
    assert isinstance(pixels, Points2D)
    for item in ((0, 0), (1, 2)):
        single = SolveState(start.transl[item], start.local_rotmat[item], start.betas[item])
        alone = [
            replace(points, target=points.target[item]),
            replace(pixels, target=pixels.target[item]),
            *evidence[2:],
        ]
        result = solve(RIG, alone, single)
        assert int(result.iterations) == int(together.iterations[item])
        assert int(result.status) == int(together.status[item])
        # batched and single products round differently, and iterations carry that on along soft directions
        assert (result.state.local_rotmat - together.state.local_rotmat[item]).abs().max() < 1e-6
        assert float(result.cost) == pytest.approx(float(together.cost[item]), rel=1e-9)


def test_cost_never_rises() -> None:
    truth = true_state((8,), seed=11)
    costs: list[Tensor] = []
    result = solve(RIG, full_evidence(truth), near(truth, 0.6), on_iteration=lambda p: costs.append(p.cost))
    history = torch.stack([result.initial_cost, *costs])
    assert (history.diff(dim=0) <= 0).all()
    # the last, orthonormal state costs what the last step said
    assert torch.allclose(result.cost, history[-1], rtol=1e-9)


def test_evidence_broadcasts_over_many_starts() -> None:
    truth = true_state(())
    turns = torch.stack([near(truth, 0.1, seed).local_rotmat for seed in range(3)])
    start = SolveState(truth.transl, turns, truth.betas)
    result = solve(RIG, [Points3D(POINTS, RIG.posed_points(POINTS, truth), sigmas(35)), prior()], start)
    assert result.state.transl.shape == (3, 3)
    assert result.cost.shape == (3,)
    assert torch.allclose(result.cost, result.cost[:1].expand(3), rtol=1e-3)


def test_rotations_of_the_result_are_orthonormal_in_float32() -> None:
    skeleton, points = smpl_skeleton(0, torch.float32), smpl_points(0, torch.float32)
    truth = true_state((), dtype=torch.float32)
    evidence = [Points3D(points, skeleton.posed_points(points, truth), sigmas(35, dtype=torch.float32))]
    rotmat = solve(skeleton, evidence, skeleton.rest_state()).state.local_rotmat
    assert (rotmat.mT @ rotmat - torch.eye(3)).abs().max() < 1e-6


def test_steps_are_bounded() -> None:
    truth = true_state((), seed=2)
    seen: list[float] = []
    start = RIG.rest_state()
    evidence = [Points3D(POINTS, RIG.posed_points(POINTS, truth), sigmas(35))]
    for count in range(1, 6):
        state = solve(RIG, evidence, start, SolveConfig(max_iterations=1, max_step=0.3)).state
        seen.append(float(rotmat_to_rotvec(start.local_rotmat.mT @ state.local_rotmat).norm(dim=-1).max()))
        start = state
        assert count
    assert max(seen) < 0.3 + 1e-9
    assert max(seen) > 0.2


def test_progress_is_reported_and_can_cancel() -> None:
    truth = true_state(())
    evidence = [Points3D(POINTS, RIG.posed_points(POINTS, truth), sigmas(35))]
    seen: list[Progress] = []

    def stop_at_three(progress: Progress) -> None:
        seen.append(progress)
        if progress.iteration == 3:
            raise Cancelled("the user pressed Escape")

    with pytest.raises(Cancelled, match="Escape"):
        solve(RIG, evidence, RIG.rest_state(), SolveConfig(backend="torch"), on_iteration=stop_at_three)
    assert [progress.iteration for progress in seen] == [1, 2, 3]
    assert seen[0].max_iterations == SolveConfig().max_iterations
    assert seen[0].num_active == 1


@pytest.mark.skipif(general_native.find_library() is None, reason="the compiled kernel cannot be loaded here")
def test_a_long_batch_tells_how_far_it_is_and_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(general_native, "REPORT_FRAMES", 2)
    truth = true_state((5,))
    evidence = [Points3D(POINTS, RIG.posed_points(POINTS, truth), sigmas(35)), prior()]
    seen: list[Progress] = []
    result = solve(RIG, evidence, near(truth), on_iteration=seen.append)
    assert [progress.num_active for progress in seen] == [3, 1, 0]
    assert seen[0].cost.isnan().tolist() == [False, False, True, True, True]
    assert torch.equal(seen[-1].cost, result.cost)
    whole = solve(RIG, evidence, near(truth))
    assert torch.equal(whole.state.local_rotmat, result.state.local_rotmat)
    assert torch.equal(whole.status, result.status)

    def stop(progress: Progress) -> None:
        seen.append(progress)
        raise Cancelled("the user pressed Escape")

    seen.clear()
    with pytest.raises(Cancelled, match="Escape"):
        solve(RIG, evidence, near(truth), on_iteration=stop)
    assert len(seen) == 1


def test_status_of_a_solve_at_its_solution_is_converged_without_a_step() -> None:
    truth = true_state(())
    result = solve(RIG, [Points3D(POINTS, RIG.posed_points(POINTS, truth), sigmas(35))], truth)
    assert status_of(result) == SolveStatus.CONVERGED
    assert int(result.iterations) == 0


def test_status_of_a_solve_cut_short_is_max_iterations() -> None:
    truth = true_state(())
    evidence = [Points3D(POINTS, RIG.posed_points(POINTS, truth), sigmas(35))]
    result = solve(RIG, evidence, RIG.rest_state(), SolveConfig(max_iterations=2))
    assert status_of(result) == SolveStatus.MAX_ITERATIONS
    assert int(result.iterations) == 2


def test_zero_iterations_only_evaluate() -> None:
    truth = true_state(())
    evidence = [Points3D(POINTS, RIG.posed_points(POINTS, truth) + 0.03, sigmas(35))]
    result = solve(RIG, evidence, truth, SolveConfig(max_iterations=0))
    assert status_of(result) == SolveStatus.MAX_ITERATIONS
    assert float(result.cost) == pytest.approx(0.5 * 35 * 3 * 9.0, rel=1e-9)
    assert float(result.gradient_norm) > 1.0
    assert torch.allclose(result.residual("points_3d").residual, torch.full((35, 3), -0.03, dtype=torch.float64))


def test_status_of_numbers_that_overflow_is_failed_and_the_others_go_on() -> None:
    skeleton, points = smpl_skeleton(0, torch.float32), smpl_points(0, torch.float32)
    truth = true_state((2,), dtype=torch.float32)
    target = skeleton.posed_points(points, truth)
    target[1] = 1e30  # its square is infinite in float32
    start = near(truth)
    result = solve(skeleton, [Points3D(points, target, sigmas(35, dtype=torch.float32))], start)
    assert result.status.tolist() == [SolveStatus.CONVERGED, SolveStatus.FAILED]
    assert torch.allclose(result.state.local_rotmat[1], start.local_rotmat[1], atol=1e-6)
    assert torch.isfinite(result.state.transl).all()

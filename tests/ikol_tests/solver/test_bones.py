# SPDX-License-Identifier: Apache-2.0
"""Bone lengths as unknowns: which move together, and what a solve finds."""

from dataclasses import replace

import pytest
import torch
from rigs import chain_tree, smpl_tree
from solve_cases import INDEX, POINTS, RIG, near, prior, sigmas, status_of, true_state
from torch import Tensor

from ikol.errors import InputError
from ikol.solver import BonePrior, Points3D, SolveConfig, SolveState, SolveStatus, elastic_bones, solve
from ikol.solver.bones import group_membership


def stretched_truth(shape: tuple[int, ...] = (), seed: int = 0) -> SolveState:
    generator = torch.Generator().manual_seed(seed)
    scale = 0.9 + 0.2 * torch.rand(*shape, 24, dtype=torch.float64, generator=generator)
    scale[..., 0] = 1.0
    return replace(true_state(shape, seed), bone_scale=scale)


def bone_prior(sigma: float = 0.05) -> BonePrior:
    return BonePrior(torch.ones(24, dtype=torch.float64), sigmas(24, value=sigma))


def test_elastic_bones_are_groups_of_one() -> None:
    tree = smpl_tree()
    expected = torch.cat((torch.zeros(1, 23), torch.eye(23)))
    assert torch.equal(group_membership(tree, elastic_bones(tree)), expected)


def test_groups_are_the_equal_numbers_without_the_root() -> None:
    numbers = torch.tensor((2, 9, -1, 5, 9))
    expected = torch.zeros(5, 2)
    expected[3, 0] = expected[[1, 4], 1] = 1.0
    assert torch.equal(group_membership(chain_tree(5), numbers), expected)


@pytest.mark.parametrize("numbers", [torch.zeros(3, dtype=torch.long), torch.zeros(24, 3, dtype=torch.long)])
def test_other_than_a_number_for_each_joint_is_refused(numbers: Tensor) -> None:
    with pytest.raises(InputError, match="bone_groups must be 24 whole numbers, one for each joint, got"):
        solve(RIG, [], RIG.rest_state(), SolveConfig(bone_groups=numbers))


def test_lengths_and_pose_of_another_body_are_found_together() -> None:
    truth = stretched_truth((3,))
    target = RIG.posed_points(POINTS, truth)
    start = replace(near(truth), bone_scale=None)
    config = SolveConfig(bone_groups=elastic_bones(RIG.tree), cost_tolerance=1e-12)
    # points of a tenth of a millimetre outweigh lengths known to 5 %
    result = solve(RIG, [Points3D(POINTS, target, sigmas(35, value=1e-4)), bone_prior()], start, config)
    assert (result.status == SolveStatus.CONVERGED).all()
    assert result.residual("points_3d").distance.max() < 1e-4
    found, wanted = result.state.bone_scale, truth.bone_scale
    assert found is not None
    assert wanted is not None
    limbs = [INDEX(f"{side}_{part}") for side in "LR" for part in ("Knee", "Ankle", "Elbow", "Wrist")]
    # lengths between two seen joints; that of a collar trades with the spine's
    assert (found - wanted)[:, limbs].abs().max() < 1e-3


def test_bones_of_a_group_change_by_the_same_amount_and_others_stay() -> None:
    truth = stretched_truth()
    numbers = torch.full((24,), -1)
    numbers[[INDEX("L_Knee"), INDEX("R_Knee")]] = 0
    numbers[INDEX("L_Elbow")] = 1
    evidence = [Points3D(POINTS, RIG.posed_points(POINTS, truth), sigmas(35)), bone_prior(), prior()]
    before = stretched_truth(seed=1).bone_scale
    start = replace(near(truth), bone_scale=before)
    scale = solve(RIG, evidence, start, SolveConfig(bone_groups=numbers)).state.bone_scale
    assert before is not None
    assert scale is not None
    change = scale - before
    assert torch.equal(change[numbers < 0], torch.zeros(21, dtype=torch.float64))
    assert abs(float(change[INDEX("L_Knee")])) > 1e-3
    # sums of the same steps onto different numbers near 1
    assert float(change[INDEX("L_Knee")]) == pytest.approx(float(change[INDEX("R_Knee")]), abs=1e-14)


def test_one_scale_for_all_bones_is_the_size_of_the_body() -> None:
    truth = replace(true_state(()), bone_scale=torch.full((24,), 1.2, dtype=torch.float64))
    names = RIG.tree.names
    joints = POINTS.select(names)
    config = SolveConfig(bone_groups=torch.zeros(24, dtype=torch.long))
    evidence = [Points3D(joints, RIG.posed_points(joints, truth), sigmas(24)), prior(10.0)]
    result = solve(RIG, evidence, near(true_state(())), config)
    assert status_of(result) == SolveStatus.CONVERGED
    assert result.state.bone_scale is not None
    assert result.state.bone_scale[1:].tolist() == pytest.approx([1.2] * 23, abs=1e-4)


def test_without_groups_a_given_scale_stays() -> None:
    truth = stretched_truth()
    target = RIG.posed_points(POINTS, truth)
    result = solve(RIG, [Points3D(POINTS, target, sigmas(35))], near(replace(truth, bone_scale=None)))
    assert result.state.bone_scale is None
    start = replace(near(truth), bone_scale=truth.bone_scale)
    result = solve(RIG, [Points3D(POINTS, target, sigmas(35)), prior(100.0)], start)
    assert result.residual("points_3d").distance.max() < 1e-4
    assert result.state.bone_scale is not None
    assert truth.bone_scale is not None
    assert torch.equal(result.state.bone_scale, truth.bone_scale)


def test_lengths_differ_between_the_items_of_a_batch_of_priors() -> None:
    mean = torch.ones(2, 24, dtype=torch.float64)
    mean[1] = 1.1
    evidence = [BonePrior(mean, sigmas(24)), prior()]
    result = solve(RIG, evidence, RIG.rest_state(), SolveConfig(bone_groups=elastic_bones(RIG.tree)))
    assert result.state.bone_scale is not None
    expected = mean.clone()
    expected[1, 0] = 1.0
    # quadratic: exact but for the damping of the last step
    assert torch.allclose(result.state.bone_scale, expected, atol=1e-6)
    assert result.residual("bone_prior").distance.max() < 1e-6

# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest
import torch
from rigs import chain_tree, random_rotmats, smpl_points, smpl_rest_joints, smpl_skeleton, smpl_tree
from strategies import BATCH_SHAPES, DTYPES

from ikol.body.default_body import load_default_body
from ikol.errors import InputError
from ikol.solver.skeleton import Skeleton
from ikol.solver.state import SolveState


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", BATCH_SHAPES)
def test_rest_state_is_the_rest_pose(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    skeleton = smpl_skeleton(3, dtype)
    state = skeleton.rest_state(shape)
    joints = skeleton.pose(state).joints
    assert joints.shape == (*shape, 24, 3)
    assert joints.dtype == dtype
    assert torch.allclose(joints, smpl_rest_joints(dtype).expand(*shape, 24, 3), atol=1e-6)


def test_posed_joints_as_points_are_the_posed_joints() -> None:
    skeleton, points = smpl_skeleton(3), smpl_points(3)
    betas = torch.tensor((0.5, -1.0, 2.0), dtype=torch.float64)
    state = SolveState(torch.ones(3, dtype=torch.float64), random_rotmats((24,), 0.5, seed=0), betas)
    assert torch.allclose(skeleton.posed_points(points, state)[:24], skeleton.pose(state).joints, atol=1e-14)


def test_a_bone_scale_stretches_the_bone_and_carries_what_is_below_along() -> None:
    skeleton, points = smpl_skeleton(3), smpl_points(3)
    betas = torch.tensor((0.5, -1.0, 2.0), dtype=torch.float64)
    state = SolveState(torch.ones(3, dtype=torch.float64), random_rotmats((24,), 0.5, seed=0), betas)
    scale = torch.ones(24, dtype=torch.float64)
    scale[[0, 18]] = torch.tensor((3.0, 1.5), dtype=torch.float64)  # the root has no bone; the left elbow has
    stretched = replace(state, bone_scale=scale)
    before, after = skeleton.pose(state).joints, skeleton.pose(stretched).joints
    shift = 0.5 * (before[18] - before[16])
    assert torch.allclose(after[[18, 20, 22]], before[[18, 20, 22]] + shift, atol=1e-14)
    others = [joint for joint in range(24) if joint not in (18, 20, 22)]
    assert torch.equal(after[others], before[others])
    moved = skeleton.posed_points(points, stretched) - skeleton.posed_points(points, state)
    knuckles = [points.index("left_index"), points.index("left_pinky")]
    assert torch.allclose(moved[knuckles], shift.expand(2, 3), atol=1e-14)


def test_tree_of_a_body_has_its_rest_joints() -> None:
    body = load_default_body()
    skeleton = Skeleton.from_body(body)
    betas = torch.linspace(-1, 1, body.num_betas)
    assert torch.allclose(skeleton.rest_joints(betas), body.rest_joints(betas), atol=1e-6)


def test_a_rig_without_shape_space() -> None:
    skeleton = Skeleton.from_rest_joints(smpl_tree(), smpl_rest_joints())
    assert skeleton.num_betas == 0
    assert torch.equal(skeleton.rest_joints(torch.zeros(2, 0, dtype=torch.float64))[1], smpl_rest_joints())


def test_a_table_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(InputError, match="skeleton of 3 joints needs as many rest joints and shape directions, got 24"):
        Skeleton(chain_tree(3), smpl_rest_joints(), torch.zeros(24, 3, 0, dtype=torch.float64))

# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from rigs import random_rotmats, smpl_rest_joints, smpl_tree
from torch import Tensor

from ikol.errors import InputError
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.solver.baselines import BaselineProblem, twist_of, with_leaf_points

TREE, REST = smpl_tree(), smpl_rest_joints()


def test_a_problem_without_extras_is_filled_with_rest_and_equal_weights() -> None:
    flat = BaselineProblem(TREE, REST, REST.expand(2, 3, 24, 3)).flat()
    assert flat.target.shape == (6, 24, 3)
    assert not flat.twist.any()
    assert bool((flat.weights == 1).all())
    assert torch.equal(flat.leaf_rotmat, torch.eye(3, dtype=torch.float64).expand(6, 5, 3, 3))


def test_batch_shapes_broadcast() -> None:
    problem = BaselineProblem(TREE, REST.expand(3, 24, 3), REST.expand(2, 1, 24, 3), weights=torch.ones(24).double())
    assert problem.batch == (2, 3)


@pytest.mark.parametrize(
    ("field", "tensor", "message"),
    [
        ("target", torch.zeros(23, 3), "target must have shape (..., 24, 3) for a skeleton of 24 joints, got (23, 3)"),
        ("leaf_rotmat", torch.zeros(24, 3, 3), "leaf_rotmat must have shape (..., 5, 3, 3)"),
        ("weights", torch.zeros(24, 1), "weights must have shape (..., 24)"),
        ("target", torch.full((24, 3), math.nan), "give missing joints the weight 0"),
    ],
)
def test_unfit_input_is_refused_in_words(field: str, tensor: Tensor, message: str) -> None:
    arguments = {"rest_joints": REST, "target": REST, field: tensor.double()}
    with pytest.raises(InputError) as error:
        BaselineProblem(TREE, **arguments)
    assert message in str(error.value)


def test_batches_that_do_not_broadcast_are_refused() -> None:
    with pytest.raises(InputError, match="do not broadcast"):
        _ = BaselineProblem(TREE, REST.expand(2, 24, 3), REST.expand(3, 24, 3)).batch


def test_a_missing_target_may_be_anything() -> None:
    target, weights = REST.clone(), torch.ones(24, dtype=torch.float64)
    target[7], weights[7] = math.nan, 0.0
    problem = BaselineProblem(TREE, REST, target, weights=weights)
    flat = problem.flat()
    result = problem.result(flat, flat.start())
    assert float(result.distance.abs().max()) < 1e-12  # rest poses: rounding of positions around one metre


def test_twist_of_undoes_a_given_twist() -> None:
    bone = REST[4] - REST[1]
    axis = bone / bone.norm()
    local = torch.eye(3, dtype=torch.float64).repeat(24, 1, 1)
    local[1] = rotvec_to_rotmat(torch.linalg.cross(axis, axis.roll(1))) @ rotvec_to_rotmat(0.7 * axis)
    found = twist_of(TREE, REST, local)
    # 1e-12: a few roundings of numbers around one
    assert abs(float(found[1]) - 0.7) < 1e-12
    assert float(found.abs().sum()) - 0.7 < 1e-12


def test_the_root_start_finds_a_turned_body() -> None:
    root = random_rotmats((4,), 2.0, 5)
    flat = BaselineProblem(TREE, REST, (REST - REST[0]) @ root.mT).flat()
    # 1e-12: rounding of an SVD of centimetres
    assert float((flat.root_rotation() - root).abs().max()) < 1e-12


def test_leaf_points_make_leaves_of_smpls_leaves_children() -> None:
    tree = with_leaf_points(TREE, ("head", "left_finger"), (15, 22))
    assert tree.num_joints == 26
    assert tree.children[15] == (24,)
    assert tree.children[22] == (25,)

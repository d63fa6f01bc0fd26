# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from rigs import chain_tree, random_rotmats, smpl_rest_joints, smpl_tree, star_tree
from strategies import BATCH_SHAPES, DTYPES
from torch import Tensor

from ikol.body.joint_tree import JointTree
from ikol.body.kinematics import forward_kinematics
from ikol.geometry.rotations import rotvec_to_rotmat


def walk_down(tree: JointTree, rest: Tensor, local: Tensor, transl: Tensor) -> tuple[Tensor, Tensor]:
    """The definition, one joint after the other."""
    rotations = [local[0]]
    positions = [rest[0] + transl]
    for joint, parent in enumerate(tree.parents[1:], start=1):
        rotations.append(rotations[parent] @ local[joint])
        positions.append(positions[parent] + rotations[parent] @ (rest[joint] - rest[parent]))
    return torch.stack(rotations), torch.stack(positions)


@pytest.mark.parametrize("tree", [chain_tree(1), chain_tree(2), chain_tree(70), star_tree(4), smpl_tree()])
def test_doubling_equals_the_walk_down_the_tree(tree: JointTree) -> None:
    generator = torch.Generator().manual_seed(5)
    rest = torch.randn(tree.num_joints, 3, dtype=torch.float64, generator=generator)
    local = random_rotmats((tree.num_joints,), 1.0, seed=6)
    transl = torch.randn(3, dtype=torch.float64, generator=generator)
    pose = forward_kinematics(tree, rest, local, transl)
    rotations, positions = walk_down(tree, rest, local, transl)
    assert (pose.global_rotmat - rotations).abs().max() < 1e-13  # up to 70 products
    assert (pose.joints - positions).abs().max() < 1e-12  # sums of 70 bones of metres


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", BATCH_SHAPES)
def test_any_batch_shape_equals_single_calls(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    tree, rest = smpl_tree(), smpl_rest_joints(dtype)
    local = random_rotmats((*shape, 24), 0.5, seed=2, dtype=dtype)
    transl = torch.ones(*shape, 3, dtype=dtype)
    pose = forward_kinematics(tree, rest, local, transl)
    assert pose.joints.shape == (*shape, 24, 3)
    assert pose.global_rotmat.shape == (*shape, 24, 3, 3)
    assert pose.joints.dtype == dtype
    flat = local.reshape(-1, 24, 3, 3)
    singles = torch.stack([forward_kinematics(tree, rest, one, transl.reshape(-1, 3)[0]).joints for one in flat])
    assert torch.allclose(pose.joints.reshape(-1, 24, 3), singles, rtol=0, atol=20 * torch.finfo(dtype).eps)


def test_rest_pose_is_the_rest_moved_by_the_translation() -> None:
    rest = smpl_rest_joints()
    transl = torch.tensor((1.0, -2.0, 3.0), dtype=torch.float64)
    pose = forward_kinematics(smpl_tree(), rest, torch.eye(3, dtype=torch.float64).expand(24, 3, 3), transl)
    assert torch.allclose(pose.joints, rest + transl, rtol=0, atol=1e-15)


def test_root_rotation_turns_about_the_root_joint() -> None:
    rest = smpl_rest_joints()
    local = torch.eye(3, dtype=torch.float64).repeat(24, 1, 1)
    local[0] = rotvec_to_rotmat(torch.tensor((0.0, torch.pi, 0.0), dtype=torch.float64))
    joints = forward_kinematics(smpl_tree(), rest, local, torch.zeros(3, dtype=torch.float64)).joints
    assert torch.allclose(joints[0], rest[0])
    relative = rest - rest[0]
    assert torch.allclose(joints - joints[0], relative * torch.tensor((-1.0, 1.0, -1.0)), atol=1e-12)


def test_one_pose_for_many_bodies_and_many_poses_for_one_body() -> None:
    tree, rest = smpl_tree(), smpl_rest_joints()
    local = random_rotmats((24,), 0.5, seed=2)
    bodies = torch.stack((rest, 1.1 * rest))
    zero = torch.zeros(3, dtype=torch.float64)
    pose = forward_kinematics(tree, bodies, local, zero)
    assert pose.joints.shape == (2, 24, 3)
    assert pose.global_rotmat.shape == (2, 24, 3, 3)
    assert torch.allclose(pose.joints[1], 1.1 * pose.joints[0], atol=1e-14)


def test_gradients_equal_finite_differences() -> None:
    tree = chain_tree(4)
    rest = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    local = random_rotmats((2, 4), 0.7, seed=1).requires_grad_()
    transl = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)

    def pose(rest: Tensor, local: Tensor, transl: Tensor) -> tuple[Tensor, Tensor]:
        result = forward_kinematics(tree, rest, local, transl)
        return result.joints, result.global_rotmat

    assert torch.autograd.gradcheck(pose, (rest, local, transl))

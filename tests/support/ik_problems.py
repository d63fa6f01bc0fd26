# SPDX-License-Identifier: Apache-2.0
"""Inverse-kinematics problems with known answers, on the rigs made by hand and on the default body."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from rigs import random_rotmats, smpl_rest_joints, smpl_tree
from torch import Tensor

from ikol.body.default_body import load_default_body
from ikol.body.joint_tree import JointTree
from ikol.body.kinematics import forward_kinematics
from ikol.geometry.rotations import rotmat_to_rotvec
from ikol.solver.baselines import BaselineProblem, twist_of, with_leaf_points

BODIES = ("rig", "default", "rig29")


@dataclass(frozen=True)
class KnownPose:
    """A problem, and the pose that made its targets."""

    problem: BaselineProblem
    local_rotmat: Tensor
    joints: Tensor
    """Before noise."""


def tree_of(body: str, dtype: torch.dtype = torch.float64) -> tuple[JointTree, Tensor]:
    """Skeleton and rest joints: SMPL's tree with rounded lengths, the default body's, or the first with 29 points."""
    if body == "default":
        model = load_default_body(dtype=dtype)
        return model.tree, model.joints_template
    tree, rest = smpl_tree(), smpl_rest_joints(dtype)
    if body == "rig":
        return tree, rest
    # top of the head, middle fingers, big toes
    arms = torch.tensor([[0, 0.15, 0.02], [0.09, 0, 0], [-0.09, 0, 0], [0.02, 0, 0.07], [-0.02, 0, 0.07]], dtype=dtype)
    parents = (15, 22, 23, 10, 11)
    names = ("head", "left_finger", "right_finger", "left_toe", "right_toe")
    return with_leaf_points(tree, names, parents), torch.cat((rest, rest[list(parents)] + arms))


def known_pose(
    body: str = "rig",
    shape: Sequence[int] = (100,),
    *,
    angle_sd: float = 0.5,
    noise: float = 0.0,
    seed: int = 1,
    dtype: torch.dtype = torch.float64,
) -> KnownPose:
    """Random rotations of every joint, `angle_sd` radians a component; noise in metres but on the root."""
    tree, rest = tree_of(body, dtype)
    count = tree.num_joints
    local = random_rotmats((*shape, count), angle_sd, seed, dtype)
    joints = forward_kinematics(tree, rest, local, rest.new_zeros(3)).joints
    generator = torch.Generator().manual_seed(seed + 1000)
    error = noise * torch.randn(joints.shape, dtype=torch.float64, generator=generator).to(dtype)
    error[..., 0, :] = 0.0
    leaves = [joint for joint, children in enumerate(tree.children) if not children]
    problem = BaselineProblem(tree, rest, joints + error, twist_of(tree, rest, local), local[..., leaves, :, :])
    return KnownPose(problem, local, joints)


def mean_mm(distance: Tensor) -> float:
    """Mean over frames and all joints but the root, millimetres."""
    return 1000.0 * float(distance[..., 1:].mean())


def rotation_error_deg(found: Tensor, truth: Tensor) -> Tensor:
    """Angles between rotations, degrees."""
    return torch.rad2deg(rotmat_to_rotvec(found.mT @ truth).norm(dim=-1))

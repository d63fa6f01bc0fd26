# SPDX-License-Identifier: Apache-2.0
"""Trees of keypoints for the tests of the direction solver, with reachable and noisy targets."""

from dataclasses import dataclass

import rigs
import torch
from torch import Tensor

from ikol.body.joint_tree import JointTree
from ikol.geometry.rotations import quat_to_rotmat, rotvec_to_rotmat
from ikol.geometry.swing_twist import swing_twist

ENDS = {"head_top": "Head", "l_finger": "L_Hand", "r_finger": "R_Hand", "l_toe": "L_Foot", "r_toe": "R_Foot"}
END_OFFSETS = ((0.0, 0.18, 0.02), (0.09, 0.0, 0.0), (-0.09, 0.0, 0.0), (0.0, -0.01, 0.06), (0.0, -0.01, 0.06))


@dataclass(frozen=True, eq=False)
class Case:
    """Poses, and the keypoints that they reach."""

    tree: JointTree
    offsets: Tensor
    local_rotmat: Tensor
    twist: Tensor
    keypoints: Tensor


def paper_tree() -> JointTree:
    """SMPL's 24 joints and the ends of head, hands and feet: the 29 keypoints of the paper's problem."""
    parents = (*rigs.SMPL_PARENTS, *(rigs.SMPL_NAMES.index(joint) for joint in ENDS.values()))
    return JointTree((*rigs.SMPL_NAMES, *ENDS), parents)


def paper_offsets() -> Tensor:
    """Bone offsets of `paper_tree`, float64."""
    joints = rigs.smpl_skeleton().joints_template.double()
    parents = torch.tensor(rigs.SMPL_PARENTS)
    bones = joints - torch.where(parents[:, None] < 0, 0.0, joints[parents])
    return torch.cat((bones, torch.tensor(END_OFFSETS, dtype=torch.float64)))


def random_tree(num_nodes: int, seed: int) -> tuple[JointTree, Tensor]:
    """A tree with branches of every kind and its offsets."""
    generator = torch.Generator().manual_seed(seed)
    parents = [-1, 0]
    for node in range(2, num_nodes):
        # mostly chains, sometimes a fork
        is_fork = bool(torch.rand((), generator=generator) < 0.3)
        parents.append(int(torch.randint(0, node, (), generator=generator)) if is_fork else node - 1)
    offsets = 0.15 * torch.randn(num_nodes, 3, generator=generator, dtype=torch.float64)
    return JointTree(tuple(f"n{node}" for node in range(num_nodes)), tuple(parents)), offsets


def place(tree: JointTree, offsets: Tensor, local_rotmat: Tensor, root: Tensor) -> Tensor:
    """Forward kinematics written out: where every node is."""
    joints = [joint for joint, children in enumerate(tree.children) if children]
    rotmat: dict[int, Tensor] = {}
    places = [root]
    for node, parent in enumerate(tree.parents):
        if node:
            places.append(places[parent] + (rotmat[parent] @ offsets[..., node, :, None]).squeeze(-1))
        if tree.children[node]:
            own = local_rotmat[..., joints.index(node), :, :]
            rotmat[node] = own if node == 0 else rotmat[parent] @ own
    return torch.stack(places, dim=-2)


def twists_of(tree: JointTree, offsets: Tensor, local_rotmat: Tensor) -> Tensor:
    """The twist of each joint with one child about its bone, 0 for the others."""
    joints = [joint for joint, children in enumerate(tree.children) if children]
    twists = local_rotmat.new_zeros(local_rotmat.shape[:-2])
    for index, joint in enumerate(joints):
        if len(tree.children[joint]) == 1:
            bone = offsets[tree.children[joint][0]]
            axis = (bone / bone.norm()).expand((*local_rotmat.shape[:-3], 3))
            twists[..., index] = swing_twist(local_rotmat[..., index, :, :], axis).twist_angle
    return twists


def make_case(
    num_items: int,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    max_angle: float | None = None,
    noise: float = 0.0,
    shape: tuple[JointTree, Tensor] | None = None,
) -> Case:
    """Random poses: each joint uniform on all rotations, or about a random axis by up to `max_angle` radians.

    `noise`: standard deviation added to each coordinate of the keypoints, metres.
    """
    tree, offsets = shape or (paper_tree(), paper_offsets())
    generator = torch.Generator().manual_seed(seed)
    num_joints = sum(bool(children) for children in tree.children)
    if max_angle is None:
        rotmat = quat_to_rotmat(torch.randn(num_items, num_joints, 4, generator=generator, dtype=torch.float64))
    else:
        axis = torch.randn(num_items, num_joints, 3, generator=generator, dtype=torch.float64)
        angle = max_angle * torch.rand(num_items, num_joints, 1, generator=generator, dtype=torch.float64)
        rotmat = rotvec_to_rotmat(axis / axis.norm(dim=-1, keepdim=True) * angle)
    root = torch.randn(num_items, 3, generator=generator, dtype=torch.float64)
    keypoints = place(tree, offsets, rotmat, root)
    keypoints = keypoints + noise * torch.randn(keypoints.shape, generator=generator, dtype=torch.float64)
    twist = twists_of(tree, offsets, rotmat)
    return Case(tree, offsets.to(dtype), rotmat.to(dtype), twist.to(dtype), keypoints.to(dtype))

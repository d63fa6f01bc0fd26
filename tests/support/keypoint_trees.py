# SPDX-License-Identifier: Apache-2.0
"""Trees of keypoints for the tests of the direction solver, with reachable and noisy targets."""

from dataclasses import dataclass

import rigs
import torch
from torch import Tensor

from ikol.body.skeleton import Skeleton
from ikol.geometry.rotations import quat_to_rotmat, rotvec_to_rotmat
from ikol.geometry.swing_twist import swing_twist

ENDS = {"head_top": "Head", "l_finger": "L_Hand", "r_finger": "R_Hand", "l_toe": "L_Foot", "r_toe": "R_Foot"}
END_OFFSETS = ((0.0, 0.18, 0.02), (0.09, 0.0, 0.0), (-0.09, 0.0, 0.0), (0.0, -0.01, 0.06), (0.0, -0.01, 0.06))


@dataclass(frozen=True, eq=False)
class Case:
    """Poses, and the keypoints that they reach."""

    skeleton: Skeleton
    offsets: Tensor
    local_rotmat: Tensor
    twist: Tensor
    keypoints: Tensor


def paper_skeleton() -> Skeleton:
    """SMPL's 24 joints and the ends of head, hands and feet: the 29 keypoints of the paper's problem."""
    parents = (*rigs.SMPL_PARENTS, *(rigs.SMPL_NAMES.index(joint) for joint in ENDS.values()))
    return Skeleton((*rigs.SMPL_NAMES, *ENDS), parents)


def paper_offsets() -> Tensor:
    """Bone offsets of `paper_skeleton`, float64."""
    joints = rigs.smpl_tree().joints_template.double()
    parents = torch.tensor(rigs.SMPL_PARENTS)
    bones = joints - torch.where(parents[:, None] < 0, 0.0, joints[parents])
    return torch.cat((bones, torch.tensor(END_OFFSETS, dtype=torch.float64)))


def random_tree(num_nodes: int, seed: int) -> tuple[Skeleton, Tensor]:
    """A tree with branches of every kind and its offsets."""
    generator = torch.Generator().manual_seed(seed)
    parents = [-1, 0]
    for node in range(2, num_nodes):
        # mostly chains, sometimes a fork
        is_fork = bool(torch.rand((), generator=generator) < 0.3)
        parents.append(int(torch.randint(0, node, (), generator=generator)) if is_fork else node - 1)
    offsets = 0.15 * torch.randn(num_nodes, 3, generator=generator, dtype=torch.float64)
    return Skeleton(tuple(f"n{node}" for node in range(num_nodes)), tuple(parents)), offsets


def place(skeleton: Skeleton, offsets: Tensor, local_rotmat: Tensor, root: Tensor) -> Tensor:
    """Forward kinematics written out: where every node is."""
    joints = [joint for joint, children in enumerate(skeleton.children) if children]
    rotmat: dict[int, Tensor] = {}
    places = [root]
    for node, parent in enumerate(skeleton.parents):
        if node:
            places.append(places[parent] + (rotmat[parent] @ offsets[..., node, :, None]).squeeze(-1))
        if skeleton.children[node]:
            own = local_rotmat[..., joints.index(node), :, :]
            rotmat[node] = own if node == 0 else rotmat[parent] @ own
    return torch.stack(places, dim=-2)


def twists_of(skeleton: Skeleton, offsets: Tensor, local_rotmat: Tensor) -> Tensor:
    """The twist of each joint with one child about its bone, 0 for the others."""
    joints = [joint for joint, children in enumerate(skeleton.children) if children]
    twists = local_rotmat.new_zeros(local_rotmat.shape[:-2])
    for index, joint in enumerate(joints):
        if len(skeleton.children[joint]) == 1:
            bone = offsets[skeleton.children[joint][0]]
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
    tree: tuple[Skeleton, Tensor] | None = None,
) -> Case:
    """Random poses: each joint uniform on all rotations, or about a random axis by up to `max_angle` radians.

    `noise`: standard deviation added to each coordinate of the keypoints, metres.
    """
    skeleton, offsets = tree or (paper_skeleton(), paper_offsets())
    generator = torch.Generator().manual_seed(seed)
    num_joints = sum(bool(children) for children in skeleton.children)
    if max_angle is None:
        rotmat = quat_to_rotmat(torch.randn(num_items, num_joints, 4, generator=generator, dtype=torch.float64))
    else:
        axis = torch.randn(num_items, num_joints, 3, generator=generator, dtype=torch.float64)
        angle = max_angle * torch.rand(num_items, num_joints, 1, generator=generator, dtype=torch.float64)
        rotmat = rotvec_to_rotmat(axis / axis.norm(dim=-1, keepdim=True) * angle)
    root = torch.randn(num_items, 3, generator=generator, dtype=torch.float64)
    keypoints = place(skeleton, offsets, rotmat, root)
    keypoints = keypoints + noise * torch.randn(keypoints.shape, generator=generator, dtype=torch.float64)
    twist = twists_of(skeleton, offsets, rotmat)
    return Case(skeleton, offsets.to(dtype), rotmat.to(dtype), twist.to(dtype), keypoints.to(dtype))

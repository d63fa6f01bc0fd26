# SPDX-License-Identifier: Apache-2.0
"""Index tables of a tree of keypoints, for the batched sweeps. Imports: torch, the skeleton, ikol.errors."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ikol.body.joint_tree import JointTree
from ikol.errors import InputError


@dataclass(frozen=True, eq=False)
class Level:
    """The joints of one depth and their children. Joints are eliminated level by level."""

    joints: tuple[int, ...]
    children: tuple[int, ...]
    child_index: Int[Tensor, "children"]
    owner: Int[Tensor, "children"]
    """Which of `joints` is the parent of each of `children`."""
    only: Int[Tensor, "joints"]
    """The first child of each joint."""
    is_single: Bool[Tensor, "joints 1 1"]
    """Whether it is the only one: then the turn about the bone moves nothing."""


@dataclass(frozen=True, eq=False)
class Tables:
    """What follows from the parents."""

    parents: Int[Tensor, "bones"]
    """Of all nodes but the root."""
    joints: tuple[int, ...]
    """The nodes that have children: those that have a rotation."""
    children: tuple[tuple[int, ...], ...]
    """Of each node."""
    levels: tuple[Level, ...]
    """Root first."""
    below: Float[Tensor, "nodes nodes"]
    """1 where the second node lies on the way from the root to the first, or is it."""


@lru_cache(maxsize=16)
def joints_of(tree: JointTree) -> tuple[int, ...]:
    """Return the joints that have children, in order.

    Raises:
        InputError: there is none.
    """
    joints = tuple(joint for joint, children in enumerate(tree.children) if children)
    if not joints:
        raise InputError("the skeleton must have at least one bone, got a single joint")
    return joints


@lru_cache(maxsize=16)
def make_tables(tree: JointTree, device: torch.device, dtype: torch.dtype) -> Tables:
    """Return the tables of a skeleton on a device."""
    levels: list[Level] = []
    for nodes in tree.levels:
        joints = tuple(node for node in nodes if tree.children[node])
        if not joints:
            continue
        children = tuple(child for joint in joints for child in tree.children[joint])
        owner = [position for position, joint in enumerate(joints) for _ in tree.children[joint]]
        levels.append(
            Level(
                joints=joints,
                children=children,
                child_index=torch.tensor(children, device=device),
                owner=torch.tensor(owner, device=device),
                only=torch.tensor([tree.children[joint][0] for joint in joints], device=device),
                is_single=torch.tensor([len(tree.children[joint]) == 1 for joint in joints], device=device)[
                    :, None, None
                ],
            )
        )
    return Tables(
        parents=torch.tensor(tree.parents[1:], device=device),
        joints=joints_of(tree),
        children=tree.children,
        levels=tuple(levels),
        below=tree.ancestor_mask.to(device=device, dtype=dtype),
    )

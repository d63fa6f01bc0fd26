# SPDX-License-Identifier: Apache-2.0
"""Which bones may change their length, and which do so together. Imports: torch, ikol.body, ikol.errors."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ikol.body.joint_tree import JointTree
from ikol.errors import InputError


def elastic_bones(tree: JointTree) -> Int[Tensor, "joints"]:
    """Return `bone_groups` in which each bone's length is an unknown of its own; give a `BonePrior` then."""
    return torch.arange(tree.num_joints) - 1


def group_membership(tree: JointTree, bone_groups: Int[Tensor, "..."] | None) -> Float[Tensor, "joints groups"]:
    """Return 1 where a joint's bone is in a group, the groups in the order of their numbers.

    Args:
        tree: the tree.
        bone_groups: (J,) equal numbers for bones that change together, -1 for a fixed one; the root's is ignored.

    Raises:
        InputError: there is not one number for each joint.
    """
    if bone_groups is None:
        return torch.zeros(tree.num_joints, 0)
    if bone_groups.dtype.is_floating_point or tuple(bone_groups.shape) != (tree.num_joints,):
        raise InputError(
            f"bone_groups must be {tree.num_joints} whole numbers, one for each joint, got {bone_groups.dtype} "
            f"{tuple(bone_groups.shape)}"
        )
    numbers = bone_groups[1:].unique()
    is_member = bone_groups[:, None] == numbers[numbers >= 0]
    is_member[0] = False
    return is_member.to(torch.get_default_dtype())

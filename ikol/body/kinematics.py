# SPDX-License-Identifier: Apache-2.0
"""Forward kinematics of any joint tree, for any batch shape.

Here: local rotations and rest joints to posed joints. Not here: vertices (skinning). Imports: torch, the skeleton.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.joint_tree import JointTree


@dataclass(frozen=True)
class BodyPose:
    """Where the joints are. A point p of joint j at rest goes to joints_j + global_rotmat_j (p - rest_j)."""

    global_rotmat: Float[Tensor, "*batch joints 3 3"]
    """From the rest frame of each joint to the world."""
    joints: Float[Tensor, "*batch joints 3"]
    """Metres, world."""


def forward_kinematics(
    tree: JointTree,
    rest_joints: Float[Tensor, "*#batch joints 3"],
    local_rotmat: Float[Tensor, "*#batch joints 3 3"],
    transl: Float[Tensor, "*#batch 3"],
    bone_scale: Float[Tensor, "*#batch joints"] | None = None,
) -> BodyPose:
    """Pose the tree: G_j = G_parent R_j, x_j = x_parent + G_parent s_j (rest_j - rest_parent), x_0 = rest_0 + transl.

    The products along the paths are built by doubling: after round k each joint holds the product over its last 2^k
    bones, so a tree of depth 9 takes 4 rounds of batched products instead of 9. The batch shapes broadcast.

    Args:
        tree: the tree.
        rest_joints: metres, in the model frame.
        local_rotmat: relative to the parent; the root's is relative to the world.
        transl: metres, added to the root joint.
        bone_scale: s, how much longer each joint's bone from its parent is than at rest; the root's is ignored. None
            for ones.

    Returns:
        Global rotations and joint positions, in the world.
    """
    batch = torch.broadcast_shapes(rest_joints.shape[:-2], local_rotmat.shape[:-3], transl.shape[:-1])
    bones = rest_joints[..., 1:, :] - rest_joints[..., tree.parents[1:], :]
    if bone_scale is not None:
        batch = torch.broadcast_shapes(batch, bone_scale.shape[:-1])
        bones = bone_scale[..., 1:, None] * bones
    identity = torch.eye(3, 4, dtype=local_rotmat.dtype, device=local_rotmat.device).expand(*batch, 1, 3, 4)
    offsets = torch.cat(
        (
            (rest_joints[..., :1, :] + transl[..., None, :]).expand(*batch, 1, 3),
            bones.expand(*batch, -1, 3),
        ),
        dim=-2,
    )
    # the product over the bones so far, as (3, 4) rigid transforms; the identity at the end is the parent of the root
    transform = torch.cat((local_rotmat.expand(*batch, -1, 3, 3), offsets[..., None]), dim=-1)
    for jump in tree.ancestor_jumps.to(local_rotmat.device):
        above = torch.cat((transform, identity), dim=-3).index_select(-3, jump)
        rotated = above[..., :3] @ transform
        transform = torch.cat((rotated[..., :3], rotated[..., 3:] + above[..., 3:]), dim=-1)
    return BodyPose(global_rotmat=transform[..., :3], joints=transform[..., 3])

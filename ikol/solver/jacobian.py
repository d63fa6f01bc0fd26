# SPDX-License-Identifier: Apache-2.0
"""How the unknowns move the tree: spatial motion of the joints, and the effect of lengths on points.

The unknowns are the root translation, a right perturbation R_j <- R_j Exp(d_j) of each joint's own rotation, and what
changes lengths: the betas and the bone scales. d_j moves everything below joint j as one rigid body: a point p by
G_j d_j x (p - x_j). That motion is written as a spatial velocity (w, v) about the root joint, w = G_j d_j and
v = x_j x w, with p moving by w x p + v. Places are taken relative to the root joint, so that a person far from the
origin loses no digits.
Imports: torch, ikol.geometry, ikol.solver.residuals.

Source: Featherstone, Rigid Body Dynamics Algorithms, 2008, ch. 2 and 4 (motion subspaces).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ikol.geometry.rotations import skew
from ikol.solver.residuals import Posed


def motion_subspaces(posed: Posed) -> Float[Tensor, "n blocks 6 3"]:
    """Return the spatial velocity that each unknown causes: block 0 is the translation, 1 + j joint j's rotation."""
    rotmat = posed.global_rotmat
    lever = skew(posed.joints - posed.joints[:, :1])
    turns = torch.cat((rotmat, lever @ rotmat), dim=-2)
    eye = torch.eye(3, dtype=rotmat.dtype, device=rotmat.device)
    shift = torch.cat((torch.zeros_like(eye), eye)).expand(len(rotmat), 1, 6, 3)
    return torch.cat((shift, turns), dim=1)


def point_subspaces(posed: Posed) -> Float[Tensor, "n points 3 6"]:
    """Return how a spatial velocity (w, v) of its body moves each point: [-[p]x, I]."""
    lever = skew(posed.joints[:, :1] - posed.points)
    eye = torch.eye(3, dtype=lever.dtype, device=lever.device)
    return torch.cat((lever, eye.expand_as(lever)), dim=-1)


def length_motion(
    posed: Posed,
    parents: Int[Tensor, "joints"],
    ancestors: Float[Tensor, "joints joints"],
    offsets: Float[Tensor, "#n joints 3 lengths"],
    point_joints: Int[Tensor, "points"],
    arms: Float[Tensor, "points 3 lengths"],
) -> Float[Tensor, "n points 3 lengths"]:
    """Return d x_p / d lengths: the bones on the way to the root, each turned as its parent, then the point's own arm.

    Args:
        posed: the states.
        parents: of each joint; the root's is ignored.
        ancestors: 1 where the second joint is the first one or lies above it.
        offsets: how the unknowns change each joint's rest offset from its parent, the root's from the origin.
        point_joints: the joint that carries each point.
        arms: how they change the points' rest offsets from their joints.
    """
    turned = posed.global_rotmat[:, parents[1:]] @ offsets[:, 1:]
    root = offsets[:, :1].expand(len(turned), -1, -1, -1)
    steps = torch.cat((root, turned), dim=1)
    joints = (ancestors @ steps.flatten(-2)).unflatten(-1, steps.shape[-2:])
    return joints[:, point_joints] + posed.global_rotmat[:, point_joints] @ arms

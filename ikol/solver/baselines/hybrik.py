# SPDX-License-Identifier: Apache-2.0
"""HybrIK's analytic inverse kinematics: one walk down the tree, naive or adaptive.

R_i = R_swing R_twist. The swing turns the rest bone t_i to its target direction, seen from the parent's frame:

    naive     d = G_parent^T (P_child - P_i)       errors of bone length add up along a limb
    adaptive  d = G_parent^T (P_child - x_i)       x_i, where the joint has come to lie: the next bone makes up for them

The root's rotation is that of its children's bones by SVD. Known of the original: these formulas, the SVD at test time
(training aligns the spine first, then the hips), a fallback at test time that drops the adaptive correction of a bone
where it exceeds 15 mm, and a branch for the chest's three children by SVD that its table of children makes unreachable:
the chest follows the neck. Not known: whether the paper's tables were made with the fallback. The swing is written as a
product of reflections (exact up to half a turn) where the original uses the axis t x d.
Imports: torch, ikol.geometry, the problem.

Source: Li et al., HybrIK: A hybrid analytical-neural inverse kinematics solution for 3D human pose and shape
estimation, CVPR 2021, sec. 3.3, eq. 8 to 15.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.errors import InputError
from ikol.geometry.rotations import rotation_between, rotvec_to_rotmat
from ikol.solver.baselines.problem import BaselineProblem, BaselineResult, FlatProblem

RELEASED_FALLBACK = 0.015
"""Metres: the released code's threshold at test time."""


@dataclass(frozen=True)
class HybrikConfig:
    """Which of the published variants."""

    rule: Literal["naive", "adaptive"] = "adaptive"
    """Where a bone starts: at its joint's target, or where the joint has come to lie."""
    fallback: float | None = None
    """Metres; a bone whose adaptive end differs by more from the naive one takes the naive direction. None: never."""
    fork: Literal["svd", "first_child"] = "svd"
    """The chest: from all its children, or as if the neck were its only one (what the released code does)."""

    def __post_init__(self) -> None:
        if self.fallback is not None and not self.fallback > 0:
            raise InputError(f"fallback must be a positive length or None, got {self.fallback}")


def solve_hybrik(problem: BaselineProblem, config: HybrikConfig | None = None) -> BaselineResult:
    """Return the analytic pose. Any number of leaf points; a weight of zero is not understood, all targets count.

    Args:
        problem: targets, twist, leaf rotations.
        config: the variant; None for adaptive without the fallback.

    Gradient: to everything, also through the root's rotation.
    """
    config = HybrikConfig() if config is None else config
    flat = problem.flat()
    tree = flat.tree
    local = [flat.root_rotation()]
    rotmats, places = [local[0]], [flat.target[:, 0]]
    leaf_number = {leaf: k for k, leaf in enumerate(flat.leaves)}
    for joint in range(1, tree.num_joints):
        parent, children = tree.parents[joint], tree.children[joint]
        places.append(places[parent] + (rotmats[parent] @ flat.bone(joint)[..., None]).squeeze(-1))
        if not children:
            turned = flat.leaf_rotmat[:, leaf_number[joint]]
        elif len(children) > 1 and config.fork == "svd":
            origin = flat.target[:, joint] if config.rule == "naive" else places[joint]
            turned = flat.fork_rotation(joint, origin, rotmats[parent])
        else:
            turned = _swing_and_twist(flat, joint, places[joint], rotmats[parent], config)
        local.append(turned)
        rotmats.append(rotmats[parent] @ turned)
    return problem.result(flat, torch.stack(local, dim=1))


def _swing_and_twist(
    flat: FlatProblem, joint: int, place: Float[Tensor, "n 3"], above: Float[Tensor, "n 3 3"], config: HybrikConfig
) -> Float[Tensor, "n 3 3"]:
    """Return the local rotation of a joint that follows its first child."""
    child = flat.tree.children[joint][0]
    bone = flat.bone(child)
    length = torch.linalg.vector_norm(bone, dim=-1, keepdim=True)
    direction = flat.target[:, child] - flat.target[:, joint]
    if config.rule == "adaptive":
        corrected = flat.target[:, child] - place
        if config.fallback is not None:
            naive = direction * length / torch.linalg.vector_norm(direction, dim=-1, keepdim=True).clamp(min=1e-9)
            is_far = torch.linalg.vector_norm(corrected - naive, dim=-1, keepdim=True) > config.fallback
            corrected = torch.where(is_far, direction, corrected)
        direction = corrected
    swing = rotation_between(bone, (direction[:, None] @ above).squeeze(1))
    return swing @ rotvec_to_rotmat(flat.twist[:, joint, None] * bone / length)

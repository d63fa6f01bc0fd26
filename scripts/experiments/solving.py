# SPDX-License-Identifier: Apache-2.0
"""The methods behind a network, with settings that a training does not change."""

from typing import Literal

import torch
from study import body
from torch import Tensor

from ikol.geometry.rotations import kabsch
from ikol.solver.baselines import (
    BaselineProblem,
    HybrikConfig,
    ReleasedIkolConfig,
    solve_hybrik,
    solve_released_ikol,
)
from ikol.solver.directions import DirectionConfig, IKOLLayer
from ikol.training.network.posing import NUM_BODY_JOINTS, PosingLayer, skeleton_29


def ours(
    posing: PosingLayer, keypoints: Tensor, twist: Tensor, betas: Tensor, weights: Tensor | None = None, steps: int = 50
) -> Tensor:
    """Return rotations (batch, 24, 3, 3) by our layer.

    Args:
        posing: of the body.
        keypoints: (batch, 29, 3) metres, from the pelvis.
        twist: (batch, 24) radians.
        betas: (batch, 10).
        weights: (batch, 29), 0 where a keypoint is missing.
        steps: at most; 0 for the analytic start.
    """
    layer = IKOLLayer(skeleton_29(body()), DirectionConfig(hold_root=True, max_iterations=steps))
    turning = [joint for joint, children in enumerate(posing.tree.children) if children]
    found = layer(keypoints, twist[:, turning], betas, weights).local_rotmat
    eye = torch.eye(3).expand(len(found), NUM_BODY_JOINTS, 3, 3)
    return eye.index_copy(1, torch.tensor(turning), found)


def _problem(posing: PosingLayer, keypoints: Tensor, twist: Tensor, betas: Tensor) -> BaselineProblem:
    angles = torch.cat((twist, twist.new_zeros(len(twist), posing.tree.num_joints - NUM_BODY_JOINTS)), 1)
    return BaselineProblem(posing.tree, posing.rest_joints(betas), keypoints, angles)


def hybrik(
    posing: PosingLayer,
    keypoints: Tensor,
    twist: Tensor,
    betas: Tensor,
    rule: Literal["naive", "adaptive"] = "adaptive",
) -> Tensor:
    """Return rotations by one of HybrIK's rules."""
    problem = _problem(posing, keypoints, twist, betas)
    return solve_hybrik(problem, HybrikConfig(rule)).local_rotmat[:, :NUM_BODY_JOINTS]


def released(
    posing: PosingLayer, keypoints: Tensor, twist: Tensor, betas: Tensor, steps: int = 5, damping: float = 0.1
) -> Tensor:
    """Return rotations by the released IKOL."""
    config = ReleasedIkolConfig(iterations=steps, damping=damping)
    return solve_released_ikol(_problem(posing, keypoints, twist, betas), config).local_rotmat[:, :NUM_BODY_JOINTS]


def on_parents(posing: PosingLayer, keypoints: Tensor, weights: Tensor, betas: Tensor) -> Tensor:
    """Return keypoints whose missing ones hang on their parents', for methods that know no weights.

    As at rest, with the body turned as a whole to the keypoints that are there.
    """
    rest = posing.rest_joints(betas)
    turn = kabsch(rest - rest[:, :1], keypoints - keypoints[:, :1], weights)
    rest = rest @ turn.mT
    filled = [keypoints[:, 0]]
    for joint, parent in enumerate(posing.tree.parents[1:], start=1):
        hung = filled[parent] + rest[:, joint] - rest[:, parent]
        filled.append(torch.where(weights[:, joint, None] > 0, keypoints[:, joint], hung))
    return torch.stack(filled, 1)

# SPDX-License-Identifier: Apache-2.0
"""Damped least squares on all rotations at once: one dense system a step, constant damping, nothing safeguarded.

    R_j <- R_j Exp(d_j),  (J^T W J + u I) d = -J^T W r,  d x_k / d d_j = -[x_k - x_j]x G_j  for j above k

Three unknowns for every joint that is no leaf: 72 with 29 points, 57 with SMPL's 24 joints. Positions alone leave the
twist of every joint with one child open, which the damping merely freezes; the optional rows w (tau_j - phi_j) close
it. No step is refused, whatever it does to the cost: this is the textbook method, not a good one.
Imports: torch, ikol.geometry, the problem.

Source: Wampler, Manipulator inverse kinematic solutions based on vector formulations and damped least-squares methods,
IEEE Trans. SMC 16(1), 1986; Nakamura and Hanafusa, J. Dyn. Syst. Meas. Control 108, 1986. Both are about one arm; the
choice of damping, start and number of steps for a body is ours.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.kinematics import forward_kinematics
from ikol.errors import InputError
from ikol.geometry.rotations import rotvec_to_rotmat, skew
from ikol.geometry.swing_twist import twist_angle, twist_gradient
from ikol.solver.baselines.problem import BaselineProblem, BaselineResult, FlatProblem


@dataclass(frozen=True)
class DampedLeastSquaresConfig:
    """Settings."""

    iterations: int = 50
    """Steps, all of them taken."""
    damping: float = 1e-3
    """u in square metres, constant. A tenth of the square of a hand's length: smaller ones overshoot from rest."""
    twist_weight: float = 0.0
    """Metres a radian: how far off a joint may be for one radian of twist. 0 leaves the twists open."""

    def __post_init__(self) -> None:
        if self.iterations < 0 or not self.damping > 0 or not self.twist_weight >= 0:
            raise InputError(
                "iterations and twist_weight must not be negative and damping must be positive, got "
                f"{self.iterations}, {self.twist_weight} and {self.damping}"
            )


def solve_damped_least_squares(
    problem: BaselineProblem, config: DampedLeastSquaresConfig | None = None
) -> BaselineResult:
    """Return the pose after a fixed number of steps from rest, the root turned to its children first.

    Args:
        problem: targets with weights, twists where `twist_weight` is positive, leaf rotations.
        config: settings; None for the defaults.

    Gradient: none; the result is detached.
    """
    config = DampedLeastSquaresConfig() if config is None else config
    flat = problem.flat()
    free = [joint for joint, children in enumerate(flat.tree.children) if children]
    with torch.no_grad():
        local = flat.start()
        for _ in range(config.iterations):
            step = _step(flat, local, free, config)
            turned = local[:, free] @ rotvec_to_rotmat(step)
            local = local.index_copy(1, torch.tensor(free, device=local.device), turned)
        return problem.result(flat, local)


def _step(
    flat: FlatProblem, local: Float[Tensor, "n joints 3 3"], free: list[int], config: DampedLeastSquaresConfig
) -> Float[Tensor, "n free 3"]:
    """Return the damped Gauss-Newton step of the free joints."""
    transl = flat.target[:, 0] - flat.rest_joints[:, 0]
    pose = forward_kinematics(flat.tree, flat.rest_joints, local, transl)
    lever = pose.joints[:, :, None] - pose.joints[:, None, free]
    is_above = flat.tree.ancestor_mask.to(lever.device)[:, free]
    is_above = is_above & (
        torch.arange(len(is_above), device=lever.device)[:, None] != is_above.new_tensor(free).long()
    )
    blocks = -skew(lever) @ pose.global_rotmat[:, None, free] * is_above[..., None, None]
    jacobian = blocks.transpose(2, 3).reshape(len(local), -1, 3 * len(free))
    weights = flat.weights.repeat_interleave(3, dim=1)
    residual = (pose.joints - flat.target).flatten(1)
    if config.twist_weight > 0:
        rows, gaps = _twist_rows(flat, local, free)
        jacobian = torch.cat((jacobian, rows), dim=1)
        residual = torch.cat((residual, gaps), dim=1)
        weights = torch.cat((weights, torch.full_like(gaps, config.twist_weight**2)), dim=1)
    weighted = jacobian * weights[..., None]
    eye = torch.eye(jacobian.shape[-1], dtype=local.dtype, device=local.device)
    right = -(weighted.mT @ residual[..., None]).squeeze(-1)
    return torch.linalg.solve(weighted.mT @ jacobian + config.damping * eye, right).unflatten(-1, (-1, 3))


def _twist_rows(
    flat: FlatProblem, local: Float[Tensor, "n joints 3 3"], free: list[int]
) -> tuple[Float[Tensor, "n twists columns"], Float[Tensor, "n twists"]]:
    """Return d tau_j / d d_j and the wrapped tau_j - phi_j of the joints with one child."""
    single = [joint for joint in free if len(flat.tree.children[joint]) == 1]
    children = [flat.tree.children[joint][0] for joint in single]
    bone = flat.rest_joints[:, children] - flat.rest_joints[:, single]
    axis = bone / torch.linalg.vector_norm(bone, dim=-1, keepdim=True)
    gap = twist_angle(local[:, single], axis) - flat.twist[:, single]
    gap = torch.remainder(gap + math.pi, 2 * math.pi) - math.pi
    rows = local.new_zeros(len(local), len(single), len(free), 3)
    rows[:, range(len(single)), [free.index(joint) for joint in single]] = twist_gradient(local[:, single], axis)
    return rows.flatten(2), gap

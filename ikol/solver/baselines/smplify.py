# SPDX-License-Identifier: Apache-2.0
"""SMPLify's way: L-BFGS on rotation vectors, a robust joint term and pose priors that fade in stages.

    E = sum_k w_k rho(|x_k - P_k| / sigma) + lambda |theta|^2 / s^2 + lambda sum_hinges exp(2 k theta)

theta are the rotation vectors of all joints that are no leaves, the root included but without a prior; rho is Geman and
McClure's. Known of the original (Bogo et al. 2016): the form of the energy with 2D joints, the exponential at elbows
and knees, and that the priors' weight falls over the stages. Changed here, because the inputs differ: 3D targets
instead of 2D, no interpenetration term, no shape. Replaced: its mixture of Gaussians over poses, whose file may not be
redistributed, by one Gaussian about the rest pose; dogleg by torch's L-BFGS, as its successor SMPLify-X has it. Not
known: a setting meant for 3D joints, so the weights are ours.
Imports: torch, ikol.geometry, the problem.

Source: Bogo et al., Keep it SMPL, ECCV 2016, sec. 3.2, eq. 1 to 4; Pavlakos et al., SMPLify-X, CVPR 2019, sec. 3.3.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.errors import InputError
from ikol.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from ikol.solver.baselines.problem import BaselineProblem, BaselineResult, FlatProblem

# joint, axis, sign: positive sign * theta is a bend that no body does (backwards)
HINGES = (("L_Elbow", 1, 1.0), ("R_Elbow", 1, -1.0), ("L_Knee", 0, -1.0), ("R_Knee", 0, -1.0))


@dataclass(frozen=True)
class SmplifyConfig:
    """Settings."""

    sigma: float = 0.02
    """Metres: so far off costs as much as a joint turned by `prior_sigma`, at a weight of one."""
    robust_width: float | None = 0.3
    """Metres, where Geman and McClure's loss turns from quadratic to constant; None for squares. Not much
    smaller: joints are that far from their targets at the start, and those beyond are given up."""
    prior_sigma: float = 0.8
    """Radians: the spread of each joint's rotation vector about rest."""
    stages: tuple[float, ...] = (3.0, 0.3, 0.03, 0.003)
    """What the priors weigh, stage after stage."""
    iterations: int = 30
    """L-BFGS iterations a stage, at most."""

    def __post_init__(self) -> None:
        lengths = (self.sigma, self.prior_sigma, 1.0 if self.robust_width is None else self.robust_width)
        if not all(length > 0 for length in lengths) or self.iterations < 1 or any(w < 0 for w in self.stages):
            raise InputError(
                "sigmas and widths must be positive, weights of stages not negative, iterations at least 1"
            )


def solve_smplify(problem: BaselineProblem, config: SmplifyConfig | None = None) -> BaselineResult:
    """Return the pose after all stages, from rest with the root turned to its children.

    Frame after frame: frames in one L-BFGS would share its steps, and one's result would hang on its neighbours.

    Args:
        problem: targets with weights, leaf rotations. The twist is not used: the prior alone decides it.
        config: settings; None for the defaults.

    Gradient: none; the result is detached.
    """
    config = SmplifyConfig() if config is None else config
    flat = problem.flat()
    start = flat.start().detach()
    frames = [_fit(_one(flat, k), start[k : k + 1], config) for k in range(len(start))]
    with torch.no_grad():
        return problem.result(flat, torch.cat(frames) if frames else start)


def _one(flat: FlatProblem, k: int) -> FlatProblem:
    frame = slice(k, k + 1)
    return FlatProblem(
        tree=flat.tree,
        leaves=flat.leaves,
        rest_joints=flat.rest_joints[frame].detach(),
        target=flat.target[frame].detach(),
        twist=flat.twist[frame].detach(),
        leaf_rotmat=flat.leaf_rotmat[frame].detach(),
        weights=flat.weights[frame].detach(),
    )


def _fit(
    flat: FlatProblem, start: Float[Tensor, "1 joints 3 3"], config: SmplifyConfig
) -> Float[Tensor, "1 joints 3 3"]:
    """Fit one frame."""
    free = [joint for joint, children in enumerate(flat.tree.children) if children]
    index = torch.tensor(free, device=start.device)
    hinges = [(free.index(joint), axis, sign) for joint, axis, sign in _hinges(flat) if joint in free]
    theta = rotmat_to_rotvec(start[:, free]).requires_grad_()
    for weight in config.stages:
        optimiser = torch.optim.LBFGS([theta], max_iter=config.iterations, line_search_fn="strong_wolfe")

        def closure(weight: float = weight, optimiser: torch.optim.LBFGS = optimiser) -> Tensor:
            optimiser.zero_grad()
            joints = flat.joints(start.index_copy(1, index, rotvec_to_rotmat(theta)))
            energy = _joint_term(flat, joints, config) + weight * _prior(theta, hinges, config)
            torch.autograd.backward(energy)
            return energy

        with torch.enable_grad():
            optimiser.step(closure)
    return start.index_copy(1, index, rotvec_to_rotmat(theta.detach()))


def _hinges(flat: FlatProblem) -> list[tuple[int, int, float]]:
    """Return elbows and knees, where the skeleton has them by SMPL's names."""
    return [(flat.tree.index(name), axis, sign) for name, axis, sign in HINGES if name in flat.tree.names]


def _joint_term(flat: FlatProblem, joints: Float[Tensor, "1 joints 3"], config: SmplifyConfig) -> Float[Tensor, ""]:
    squared = (joints - flat.target).square().sum(-1)
    if config.robust_width is not None:
        width = config.robust_width**2
        squared = width * squared / (width + squared)
    return (flat.weights * squared).sum() / config.sigma**2


def _prior(
    theta: Float[Tensor, "1 free 3"], hinges: list[tuple[int, int, float]], config: SmplifyConfig
) -> Float[Tensor, ""]:
    total = theta[:, 1:].square().sum() / config.prior_sigma**2
    for row, axis, sign in hinges:
        total = total + (2.0 * sign * theta[:, row, axis]).exp().sum()
    return total

# SPDX-License-Identifier: Apache-2.0
"""What the head is trained with: likelihoods of its own outputs, and the angle of the rotations after the layer.

Imports: torch, the head, the IKOL layer, the truth.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.regressor.head import HeadOutput
from ikol.regressor.head.network import NUM_JOINTS, NUM_TREE
from ikol.solver.directions import IKOLLayer
from ikol.solver.result import SolveStatus
from ikol.training.head.truth import HeadTruth

Through = Literal["none", "detached", "end_to_end"]
"""How the rotations train the head. `none`: not at all, there is no layer. `detached`: the keypoints enter the layer
without their gradient, so that the rotations train twists and shape and leave the joints alone. `end_to_end`: to all
three."""
# Of the likelihood's weight by the variance: with 0 joints of large variance hardly learn their place, with 1 all
# errors count alike. Source: Seitzer et al., "On the pitfalls of heteroscedastic uncertainty estimation", 2022.
BETA_NLL = 0.5
_EPSILON = 1e-6


@dataclass(frozen=True)
class LossWeights:
    """Of each part of the loss."""

    joints: float = 1.0
    bones: float = 0.5
    twist: float = 0.5
    betas: float = 0.1
    hips: float = 0.1
    rotations: float = 0.5


@dataclass(frozen=True)
class Losses:
    """Parts of the loss, each a mean over people and its rows."""

    joints: Tensor
    bones: Tensor
    twist: Tensor
    betas: Tensor
    hips: Tensor
    rotations: Tensor

    def total(self, weights: LossWeights) -> Tensor:
        """Return the weighted sum."""
        return sum((getattr(weights, name) * value for name, value in vars(self).items()), start=torch.zeros(()))


def head_losses(
    output: HeadOutput,
    truth: HeadTruth,
    distance: Float[Tensor, " people"],
    parents: list[int],
    layer: IKOLLayer,
    through: Through,
    shaped: slice = slice(None),
) -> Losses:
    """Return the losses of what the head says in the persons' own frames.

    Args:
        output: what it says.
        truth: in the same frames.
        distance: the canonical one, metres.
        parents: of the nodes.
        layer: of a skeleton with the ends.
        through: how the rotations train the head.
        shaped: the people who teach the shape.
    """
    error = output.joints - truth.joints
    bones = (output.joints - output.joints[:, parents])[:, 1:] - (truth.joints - truth.joints[:, parents])[:, 1:]
    cosine = cosine_apart(output.twist, truth.twist)[:, 1:]
    twist = von_mises(cosine, output.concentration[:, 1:])
    depth = truth.hips[:, 2:]
    hips = torch.cat((truth.hips[:, :2] / depth, (depth / distance[:, None]).log()), -1)
    # x and y are angles times the canonical distance: metres at the person
    hips = torch.cat((hips[:, :2] * distance[:, None], hips[:, 2:]), -1)
    return Losses(
        joints=_gaussian(error, output.joints_sigma),
        # 5 cm: what a bone's ends are usually off by, one against the other
        bones=(bones / 0.05).square().sum(-1).add(1.0).sqrt().mean(),
        twist=twist.mean() + (1.0 - cosine).mean(),
        betas=_gaussian((output.betas - truth.betas)[shaped], output.betas_sigma[shaped]),
        # a body that reaches for the camera has no distance to speak of
        hips=_gaussian((output.hips - hips).clamp(-1.0, 1.0), output.hips_sigma),
        rotations=rotation_loss(output, truth, layer, through),
    )


def rotation_loss(output: HeadOutput, truth: HeadTruth, layer: IKOLLayer, through: Through) -> Tensor:
    """Return the mean angle between the layer's rotations and the true ones, radians; local ones, the root's as well.

    People whose solve did not converge do not count: the layer has no gradient for them.
    """
    if through == "none":
        return output.joints.new_zeros(())
    joints = output.joints[:, :NUM_TREE]
    joints = joints.detach() if through == "detached" else joints
    result = layer(joints, torch.atan2(output.twist[..., 1], output.twist[..., 0]), output.betas)
    angle = geodesic(result.local_rotmat[:, :NUM_JOINTS], truth.local_rotmat)
    used = (result.status == int(SolveStatus.CONVERGED)).to(angle)
    return (angle.mean(-1) * used).sum() / used.sum().clamp_min(1.0)


def geodesic(one: Float[Tensor, "*batch 3 3"], other: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch"]:
    """Return the angle between rotations, radians: 2 asin(|R - S|_F / sqrt(8)).

    Gradient: bounded near 0, where the angle has a corner, and near half a turn, where it has another.
    """
    chord = ((one - other).square().sum((-2, -1)) + _EPSILON).sqrt() / math.sqrt(8.0)
    return 2.0 * torch.asin(chord.clamp_max(1.0 - 1e-3))


def cosine_apart(direction: Float[Tensor, "*batch 2"], angle: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Return the cosine of the angle between a unit vector (cos, sin) and an angle, radians."""
    return direction[..., 0] * angle.cos() + direction[..., 1] * angle.sin()


def von_mises(cosine: Float[Tensor, "*batch"], concentration: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Return von Mises' negative log likelihood without ln(2 pi), by the cosine of the error."""
    # ln I0(k) = ln(i0e(k)) + k
    return concentration * (1.0 - cosine) + torch.special.i0e(concentration).log()


def _gaussian(error: Tensor, sigma: Tensor) -> Tensor:
    """Return the mean Gaussian negative log likelihood, weighted by variance^BETA_NLL; see there."""
    variance = sigma.square()
    each = 0.5 * (error.square() / variance + variance.log())
    weight = variance.detach().pow(BETA_NLL)
    return (weight * each).mean() / weight.mean()

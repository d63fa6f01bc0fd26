# SPDX-License-Identifier: Apache-2.0
"""The head's network: a residual MLP from canonical landmarks to joints, twists, shape and distance.

Everything is in the person's own frame (see `inputs`). Imports: torch, the inputs.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ikol.regressor.head.inputs import NUM_COMPONENTS, NUM_FEATURES, NUM_INNER_FEATURES
from ikol.regressor.landmarks import NUM_INNER, NUM_LANDMARKS

NUM_JOINTS = 24
ENDS = ("L_Foot", "R_Foot", "Head", "L_Hand", "R_Hand")
"""The joints without children; the network also says where their bones would end, so that a solve can turn them."""
NUM_TREE = NUM_JOINTS + len(ENDS)
NUM_NODES = NUM_TREE + NUM_LANDMARKS
NUM_BETAS = 10
MIN_SIGMA, MAX_SIGMA = 0.003, 1.0  # metres; below it no landmark network is, beyond it nothing is known
INNER_DROPOUT = 0.2  # of the inner values' components in training, as whoever knows them all knows the person
MAX_CONCENTRATION = 400.0  # a standard deviation of 3 degrees


@dataclass(frozen=True)
class HeadOutput:
    """What the network says, in the persons' own frames, before it is calibrated."""

    joints: Float[Tensor, "people nodes 3"]
    """Metres from the middle of the hip landmarks: 24 joints, 5 ends, 33 landmarks."""
    joints_sigma: Float[Tensor, "people nodes 3"]
    twist: Float[Tensor, "people joints 2"]
    """cos and sin of the angle about each joint's bone; of unit length."""
    concentration: Float[Tensor, "people joints"]
    """kappa of the von Mises distribution of the angle."""
    betas: Float[Tensor, "people betas"]
    betas_sigma: Float[Tensor, "people betas"]
    hips: Float[Tensor, "people 3"]
    """The middle of the hip landmarks: x and y over the canonical distance, and log(z / canonical distance)."""
    hips_sigma: Float[Tensor, "people 3"]


class ResidualBlock(nn.Module):
    """Two layers beside a path that leaves the values as they are; at first it changes nothing."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, values: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """Return the values, changed."""
        inner = functional.silu(self.inner(self.norm(values)))
        return values + self.outer(self.dropout(inner))


class InnerComponents(nn.Module):
    """The directions in which the landmark network's inner values vary most over rendered people, each of unit spread.

    They are found once and not trained: 6048 values of ten thousand people would be learned by heart.
    """

    mean: Tensor
    scale: Tensor
    basis: Tensor

    def __init__(self) -> None:
        """Make components that are all zero, which says that nothing is known."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(NUM_INNER))
        self.register_buffer("scale", torch.ones(NUM_INNER))
        self.register_buffer("basis", torch.zeros(NUM_INNER, NUM_COMPONENTS))

    def forward(self, inner: Float[Tensor, "*batch inner"]) -> Float[Tensor, "*batch components"]:
        """Return the components, half of their standard deviations from the mean."""
        return (self._standard(inner) @ self.basis).clamp(-2.5, 2.5)

    def _standard(self, inner: Tensor) -> Tensor:
        return ((inner.float() - self.mean) * self.scale).clamp(-5.0, 5.0)

    def fit(self, inner: Float[Tensor, "crops inner"]) -> None:
        """Find the directions; there must be more crops than components."""
        values = inner.float()
        self.mean.copy_(values.mean(0))
        self.scale.copy_(1.0 / values.std(0).clamp_min(1e-2))
        _, length, directions = torch.svd_lowrank(self._standard(inner), q=NUM_COMPONENTS, niter=2)
        self.basis.copy_(0.5 * directions * math.sqrt(len(values)) / length)


_SIZES = (3 * NUM_NODES, 3 * NUM_NODES, 2 * NUM_JOINTS, NUM_JOINTS, 3, 3)


class HeadNetwork(nn.Module):
    """Residual MLP; a linear path beside it carries what is nearly linear, as landmarks to joints are.

    The shape is linear in the landmarks alone: a picture says little of it, and a deep network would rather learn the
    people by heart.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int = 384, depth: int = 5, dropout: float = 0.0) -> None:
        """Make the network with random weights.

        Args:
            width: of the layers.
            depth: how many blocks of two layers.
            dropout: share of the inner values that training leaves out.
        """
        super().__init__()
        self.register_buffer("mean", torch.zeros(NUM_FEATURES))
        self.register_buffer("scale", torch.ones(NUM_FEATURES))
        self.components = InnerComponents()
        self.inlet = nn.Linear(NUM_FEATURES, width)
        self.inner_dropout = nn.Dropout(INNER_DROPOUT)
        self.inner_inlet = nn.Linear(NUM_INNER_FEATURES, width, bias=False)
        self.blocks = nn.Sequential(*(ResidualBlock(width, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.outlet = nn.Linear(width, sum(_SIZES))
        self.direct = nn.Linear(NUM_FEATURES, 3 * NUM_NODES, bias=False)
        nn.init.normal_(self.outlet.weight, std=0.01)
        nn.init.zeros_(self.outlet.bias)
        nn.init.normal_(self.inner_inlet.weight, std=0.02)
        nn.init.zeros_(self.direct.weight)
        self.shape = nn.Linear(NUM_FEATURES, NUM_BETAS)
        nn.init.zeros_(self.shape.weight)
        nn.init.zeros_(self.shape.bias)
        self.shape_spread = nn.Parameter(torch.zeros(NUM_BETAS))

    def standardise(self, features: Float[Tensor, "people features"]) -> None:
        """Take the mean and the spread of the training's features as those that the network expects."""
        landmarks = features[:, :NUM_FEATURES]
        self.mean.copy_(landmarks.mean(0))
        self.scale.copy_(1.0 / landmarks.std(0).clamp_min(0.02))

    def forward(self, features: Float[Tensor, "people features"]) -> HeadOutput:
        """Return what the features say; see `HeadOutput`."""
        # five deviations off is as far as training has seen; a wild value must not take all others along
        landmarks, inner = features.split((NUM_FEATURES, NUM_INNER_FEATURES), -1)
        standard = ((landmarks - self.mean) * self.scale).clamp(-5.0, 5.0)
        deep = self.outlet(self.norm(self.blocks(self.inlet(standard) + self.inner_inlet(self.inner_dropout(inner)))))
        joints, spread, twist, concentration, hips, hips_spread = deep.split(_SIZES, -1)
        joints = (joints + self.direct(standard)).unflatten(-1, (NUM_NODES, 3))
        return HeadOutput(
            joints=joints,
            joints_sigma=_sigma(spread - 2.5).unflatten(-1, (NUM_NODES, 3)),
            twist=functional.normalize(twist.unflatten(-1, (NUM_JOINTS, 2)) + twist.new_tensor((0.1, 0.0)), dim=-1),
            concentration=functional.softplus(concentration + 1.0).clamp(1e-3, MAX_CONCENTRATION),
            betas=self.shape(standard),
            betas_sigma=_sigma(self.shape_spread, 0.05, 1.5).expand(len(standard), -1),
            hips=hips,
            hips_sigma=_sigma(hips_spread - 2.0),
        )


def _sigma(raw: Tensor, least: float = MIN_SIGMA, most: float = MAX_SIGMA) -> Tensor:
    """Return a standard deviation between two bounds, exponential in between."""
    return raw.exp().clamp(least, most)

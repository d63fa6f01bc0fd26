# SPDX-License-Identifier: Apache-2.0
"""The network that reads an arm: where the body has it and how the hand is turned, to the twists of elbow and wrist.

Imports: torch, the head's network.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ikol.regressor.head.network import MAX_CONCENTRATION, ResidualBlock

TWISTS = ("Elbow", "Wrist")
NUM_PLACES = 14
"""Points of the body of which the place and its standard deviation are read."""
PALM = (0, 1, 5, 9, 13, 17)
"""Points of a hand that do not move with its fingers, which a rendered hand holds straight and a real one does not."""
NUM_HAND = 2 * (3 * len(PALM) + 2)
"""Of two crops: the palm's points, presence, handedness."""
NUM_FOREARM_FEATURES = 6 * NUM_PLACES + NUM_HAND


@dataclass(frozen=True)
class ForearmOutput:
    """What the network says of arms that are right arms, before it is calibrated."""

    twist: Float[Tensor, "*batch 2 2"]
    """cos and sin of the angle about the bone of elbow and wrist; of unit length."""
    concentration: Float[Tensor, "*batch 2"]
    """kappa of the von Mises distribution of the angle."""


class ForearmNetwork(nn.Module):
    """Residual MLP from an arm's features to the twists of its elbow and its wrist."""

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int = 256, depth: int = 2, dropout: float = 0.0) -> None:
        """Make the network with random weights; `dropout` is what the blocks leave out in training."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(NUM_FOREARM_FEATURES))
        self.register_buffer("scale", torch.ones(NUM_FOREARM_FEATURES))
        self.inlet = nn.Linear(NUM_FOREARM_FEATURES, width)
        self.blocks = nn.Sequential(*(ResidualBlock(width, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.outlet = nn.Linear(width, 3 * len(TWISTS))
        nn.init.normal_(self.outlet.weight, std=0.01)
        nn.init.zeros_(self.outlet.bias)

    def standardise(self, features: Float[Tensor, "arms features"]) -> None:
        """Take the mean and the spread of the training's features as those that the network expects."""
        self.mean.copy_(features.mean(0))
        self.scale.copy_(1.0 / features.std(0).clamp_min(0.02))

    def forward(self, features: Float[Tensor, "*batch features"]) -> ForearmOutput:
        """Return what the features say; see `ForearmOutput`."""
        standard = ((features - self.mean) * self.scale).clamp(-5.0, 5.0)
        raw = self.outlet(self.norm(self.blocks(self.inlet(standard)))).unflatten(-1, (len(TWISTS), 3))
        return ForearmOutput(
            functional.normalize(raw[..., :2] + raw.new_tensor((0.1, 0.0)), dim=-1),
            functional.softplus(raw[..., 2] + 1.0).clamp(1e-3, MAX_CONCENTRATION),
        )

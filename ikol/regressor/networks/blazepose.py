# SPDX-License-Identifier: Apache-2.0
"""BlazePose in the backbone's place: its landmarks of a crop, and three layers that say of them what a network says.

It begins with the shipped weights, which are parameters here, so that a training can go on from what BlazePose knows.
Imports: torch, the landmark network.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ikol.regressor.graph import GraphNetwork
from ikol.regressor.landmarks import NUM_LANDMARKS, run_landmarks
from ikol.regressor.weights import load_network

BLAZEPOSES = ("blazepose_full", "blazepose_heavy")
INPUT_SIZE = 256
NUM_FEATURES = NUM_LANDMARKS * 6
"""Of each landmark: place in the crop, place in space, visibility."""
_WIDTH = 512


class BlazePose(nn.Module):
    """Crops (0 to 1) to landmarks."""

    def __init__(self, name: str) -> None:
        """Read the shipped weights of one of `BLAZEPOSES`."""
        super().__init__()
        self.graph = GraphNetwork(load_network(name))
        for module in self.graph.modules():
            for key, value in list(module.named_buffers(recurse=False)):
                delattr(module, key)
                module.register_parameter(key, nn.Parameter(value))

    def forward(self, pictures: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch features"]:
        """Return the landmarks: places in units of uv (see `heatmaps`), metres, and visibility."""
        is_learning = torch.is_grad_enabled() and any(each.requires_grad for each in self.parameters())
        with torch.set_grad_enabled(is_learning):
            seen = run_landmarks(self.graph, pictures)
        place = seen.points[:, :NUM_LANDMARKS] - 0.5 - 0.5 / INPUT_SIZE
        return torch.cat((place, seen.world, seen.visibility[..., None]), -1).flatten(1)


class LandmarkLayers(nn.Module):
    """Three layers from landmarks to numbers of several kinds."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, sizes: tuple[int, ...]) -> None:
        """Make the layers with random weights.

        Args:
            sizes: how many numbers of each kind.
        """
        super().__init__()
        self.register_buffer("mean", torch.zeros(NUM_FEATURES))
        self.register_buffer("deviation", torch.ones(NUM_FEATURES))
        self.sizes = sizes
        self.layers = nn.Sequential(
            nn.Linear(NUM_FEATURES, _WIDTH),
            nn.ReLU(),
            nn.Linear(_WIDTH, _WIDTH),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Linear(_WIDTH, sum(sizes)),
        )

    def forward(self, features: Float[Tensor, "batch features"]) -> tuple[Tensor, ...]:
        """Return the numbers of each kind."""
        return self.layers((features - self.mean) / self.deviation).split(self.sizes, -1)

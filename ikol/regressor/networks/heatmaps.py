# SPDX-License-Identifier: Apache-2.0
"""3D heat maps to coordinates: soft-argmax, its spread, and the mirror image of coordinates. Imports: torch.

Coordinates are "uvd" as in HybrIK and IKOL: -0.5 to 0.5 along the crop's width, its height, and in depth, the cell of
index i of n at i / n - 0.5. A cell of the map stands for the pixel at its upper left corner, so the crop's own
coordinate of u (0 to 1, edges at the pixels' borders) is u + 0.5 + half a pixel.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class HeatmapPoints:
    """What 3D heat maps say."""

    uvd: Float[Tensor, "batch joints 3"]
    spread: Float[Tensor, "batch joints 3"]
    """Standard deviation of each map along each axis, in units of uvd."""
    peak: Float[Tensor, "batch joints"]
    """The largest probability of a cell: near 0 where a network has no idea, 1 for a map of one cell."""


def soft_argmax(heatmaps: Float[Tensor, "batch joints depth rows columns"]) -> HeatmapPoints:
    """Return the mean place of each map after a softmax over all of its cells.

    Gradient: everywhere; `peak` has one too, `spread` is kept off zero (a hundredth of a cell) so that its square root
    has.

    Source: Sun et al., Integral Human Pose Regression, 2018.
    """
    # In float16 a softmax over 262144 cells loses the small ones, and sums of them the rest.
    probability = heatmaps.flatten(2).float().softmax(-1).reshape(heatmaps.shape)
    if heatmaps.dtype == torch.float64:
        probability = heatmaps.flatten(2).softmax(-1).reshape(heatmaps.shape)
    marginals = (probability.sum((2, 3)), probability.sum((2, 4)), probability.sum((3, 4)))
    means: list[Tensor] = []
    spreads: list[Tensor] = []
    for marginal in marginals:
        cells = marginal.shape[-1]
        place = torch.arange(cells, dtype=marginal.dtype, device=marginal.device) / cells - 0.5
        mean = (marginal * place).sum(-1)
        variance = (marginal * (place - mean[..., None]).square()).sum(-1)
        means.append(mean)
        spreads.append((variance + (0.01 / cells) ** 2).sqrt())
    return HeatmapPoints(torch.stack(means, -1), torch.stack(spreads, -1), probability.flatten(2).amax(-1))


def mirrored_uvd(uvd: Float[Tensor, "batch joints 3"], pixels: int) -> Float[Tensor, "batch joints 3"]:
    """Return the coordinates in the mirrored crop, whose pixel i is pixel `pixels` - 1 - i; joints are not swapped."""
    return torch.cat([-uvd[..., :1] - 1.0 / pixels, uvd[..., 1:]], -1)


def crop_coordinates(uvd: Float[Tensor, "batch joints 3"], pixels: int) -> Float[Tensor, "batch joints 2"]:
    """Return the crop's own coordinates, 0 to 1 over a crop of so many pixels; see the module's text."""
    return uvd[..., :2] + 0.5 + 0.5 / pixels

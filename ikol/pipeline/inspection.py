# SPDX-License-Identifier: Apache-2.0
"""What the solver knows about a pose: how sure it is of each joint, and what pulls at it."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

RowKind = Literal[
    "keypoints_2d",
    "keypoints_3d",
    "relative_keypoints_3d",
    "anchor",
    "twist",
    "pins",
    "orientations",
    "stay",
    "stance",
    "limits",
    "shape",
]
Unit = Literal["px", "m", "rad", ""]


@dataclass(frozen=True)
class InspectedRow:
    """One piece of evidence at the solved pose."""

    kind: RowKind
    """What the evidence was, or which of the solver's own: near `initial`, the relaxed stance, limits, the shape."""
    name: str
    """The point or joint; of the shape, "betas"."""
    residual: float
    """How far the pose is from it, in `unit`."""
    unit: Unit
    """Pixels, metres or radians; betas have none."""
    cost: float
    """Its part of the cost."""


@dataclass(frozen=True)
class Inspection:
    """How sure a solved pose is, and what pulls at it."""

    joint_covariance: Float[Tensor, "joints 3 3"]
    """Of each joint's place in the world, square metres."""
    rows: tuple[InspectedRow, ...]
    pulls: Float[Tensor, "rows joints 3"]
    """How far each row holds each joint off where it would be without the row, metres, world: towards what the row
    wants, to first order."""
    next_points: tuple[str, ...]
    """Points of the body whose placement on the picture would make the pose surer, the best first."""
    next_gains: Float[Tensor, "candidates"]
    """By how much the sum of the variances of all joints' places would drop, square metres."""

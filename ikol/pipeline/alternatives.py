# SPDX-License-Identifier: Apache-2.0
"""Other poses of one limb that fit the picture about as well: what one picture leaves open is mostly depth."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from ikol.pipeline.evidence import Pose

Limb = Literal["left_arm", "right_arm", "left_leg", "right_leg", "head", "torso"]


@dataclass(frozen=True)
class Alternative:
    """One pose that would do."""

    pose: Pose
    cost: float
    """Under all evidence."""
    reprojection_px: float
    """Median over the limb's 2D evidence; -1 when there is none."""
    joints: Float[Tensor, "joints 3"]
    """Metres, world."""

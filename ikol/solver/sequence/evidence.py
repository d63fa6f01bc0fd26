# SPDX-License-Identifier: Apache-2.0
"""What is known about how frames follow each other, and about the floor under them.

The first dimension of every tensor is time, T frames; a row with sigma = inf is missing. Shapes are checked by
`solve_sequence`, in words. Imports: torch, ikol.body, the robust losses.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.points import AttachedPoints
from ikol.solver.robust import RobustLoss


@dataclass(frozen=True, eq=False)
class SmoothPoints:
    """Points move evenly: the second difference of their places, x_{t+1} - 2 x_t + x_{t-1}.

    With `times` it is the acceleration: 2 ((x_{t+1} - x_t) / h_t - (x_t - x_{t-1}) / h_{t-1}) / (h_t + h_{t-1}).
    """

    points: AttachedPoints
    sigma: Float[Tensor, "..."]
    """(P,) or (T, P), about frame t; the first and the last frame's are ignored. Metres, with `times` per unit of time
    squared. Where motion is fast, larger ones keep it crisp."""
    times: Float[Tensor, "..."] | None = None
    """(T,) of the frames, rising, in any unit; None: evenly spaced, one unit apart."""
    loss: RobustLoss | None = None
    name: str = "smooth_points"


@dataclass(frozen=True, eq=False)
class SmoothTranslation:
    """The root joint moves evenly: the same for its place."""

    sigma: Float[Tensor, "..."]
    """() or (T,) metres, with `times` per unit of time squared; the first and the last frame's are ignored."""
    times: Float[Tensor, "..."] | None = None
    loss: RobustLoss | None = None
    name: str = "smooth_translation"


@dataclass(frozen=True, eq=False)
class SmoothRotations:
    """Joints turn evenly: Log(R_t^T R_{t+1}) - Log(R_{t-1}^T R_t) of each joint's own rotation, the root's too."""

    sigma: Float[Tensor, "..."]
    """(J,) or (T, J) radians, with `times` per unit of time squared; the first and the last frame's are ignored."""
    times: Float[Tensor, "..."] | None = None
    loss: RobustLoss | None = None
    name: str = "smooth_rotations"


@dataclass(frozen=True, eq=False)
class Contacts:
    """Points that stand still from one frame to the next, such as heels, toes, a hand on a table: x_{t+1} - x_t."""

    points: AttachedPoints
    sigma: Float[Tensor, "..."]
    """(P,) or (T - 1, P) metres, between frame t and t + 1; `contact_sigma` makes it from probabilities."""
    loss: RobustLoss | None = None
    name: str = "contacts"


@dataclass(frozen=True, eq=False)
class Floor:
    """No point is below the floor; those in contact are on it."""

    points: AttachedPoints
    up: Float[Tensor, "..."]
    """(3,) unit vector, world."""
    height: float = 0.0
    """Of the floor along `up`, metres. Points at the sole's height need it as it is, others are that much higher."""
    sigma: float = 0.01
    """Metres below the floor that weigh one standard deviation."""
    contact_sigma: Float[Tensor, "..."] | None = None
    """(P,) or (T, P) metres above or below the floor in contact, inf elsewhere; None for nowhere."""
    name: str = "floor"


SequenceEvidence = SmoothPoints | SmoothTranslation | SmoothRotations | Contacts | Floor


def contact_sigma(probability: Float[Tensor, "*shape"], sigma: float = 0.005) -> Float[Tensor, "*shape"]:
    """Return the standard deviations that weigh contacts by their probability: sigma / sqrt(p), inf for p = 0.

    Args:
        probability: 0 to 1.
        sigma: of a certain contact, metres.
    """
    return sigma / torch.clamp(probability, 0.0, 1.0).sqrt()

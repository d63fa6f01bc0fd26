# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of the solver about several pictures of one pose or of one person, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .record import Evidence, PhotoCamera, Solution, Vector3

Same = Literal["pose", "person"]
MIN_VIEWS, MAX_VIEWS = 2, 8


@dataclass(frozen=True)
class PictureView:
    """What one picture says of the person, and its camera."""

    evidence: tuple[Evidence, ...]
    camera: PhotoCamera


@dataclass(frozen=True)
class SolveViewsCall:
    """Find what fits all pictures best; see `SolveViews` of the protocol. `betas` hold the shape."""

    views: tuple[PictureView, ...]
    same: Same = "pose"
    betas: tuple[float, ...] | None = None


@dataclass(frozen=True)
class SurePoint:
    """Where a point of the body is in the SMPL world, and its standard deviation, in metres."""

    position: Vector3
    sigma: float


@dataclass(frozen=True)
class ViewsSolution:
    """One solution for each picture; of one pose all are the same but for camera and points."""

    solutions: tuple[Solution, ...]
    points: Mapping[str, SurePoint]
    """Of one pose: joints and landmarks."""
    seconds: float = 0.0
    doubts: tuple[str, ...] = ()
    """Why the one pose may be wrong as a whole, beside what is doubtful of each picture."""

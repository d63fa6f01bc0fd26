# SPDX-License-Identifier: Apache-2.0
"""What an evaluation is made of: a picture of one person, its lens, and what is known to be true about the person.

Data sets differ in what they know. Whatever one does not know is None here, and no metric of it is in the report.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from ikol.body.model import BodyModel
from ikol.errors import InputError
from ikol.pipeline import Intrinsics
from ikol.regressor.person import PersonLandmarks

_BONES = (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
_ACROSS = ("shoulder", "hip")


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known about the person on a picture. Camera axes: x right, y down, z forward; metres, radians."""

    names: tuple[str, ...]
    """Of the points: joints and landmarks of the body, by name."""
    points: Float[Tensor, "points 3"]
    """In camera axes."""
    valid: Bool[Tensor, "points"]
    """Which points are known; the others may be NaN."""
    camera_rotmat: Float[Tensor, "24 3 3"] | None = None
    """Local rotations of SMPL's joints; the root's takes SMPL's model axes to camera axes."""
    betas: Float[Tensor, "betas"] | None = None
    """Shape of the set's body."""
    up: Float[Tensor, "3"] | None = None
    """The vertical in camera axes."""

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.points) == len(self.valid):
            raise InputError(
                f"truth needs one place and one mark for each name, got {len(self.names)} names, "
                f"{len(self.points)} places, {len(self.valid)} marks"
            )

    def select(self, names: tuple[str, ...]) -> tuple[Float[Tensor, "some 3"], Bool[Tensor, "some"]]:
        """Return places and marks of named points."""
        index = [self.names.index(name) for name in names]
        return self.points[index], self.valid[index]


@dataclass(frozen=True, eq=False)
class EvaluationSample:
    """One person on one picture."""

    name: str
    """What to call the picture in messages and in the report."""
    intrinsics: Intrinsics
    truth: Truth
    picture: Callable[[], np.ndarray] | None = None
    """Reads the picture, (height, width, 3) bytes; None where only keypoints are there."""
    person: PersonLandmarks | None = None
    """Landmarks that were found before; None to look for the person."""
    box: tuple[float, float, float, float] | None = None
    """x0, y0, x1, y1: which person of several is meant; None for the one that is plainest to see."""


@runtime_checkable
class EvaluationSet(Protocol):
    """A data set: samples, and what is counted on them."""

    @property
    def name(self) -> str:
        """What to call it."""
        ...

    @property
    def scored(self) -> tuple[str, ...]:
        """The points that MPJPE and the 2D error count; each sample's truth has them all."""
        ...

    @property
    def origin(self) -> tuple[str, ...]:
        """The points whose middle is laid on the truth's; among the truth's names."""
        ...

    @property
    def body(self) -> BodyModel | None:
        """The body that truth's betas belong to; None for the default body, or where there are none."""
        ...

    def __len__(self) -> int:
        """How many samples there are."""
        ...

    def __iter__(self) -> Iterator[EvaluationSample]:
        """Give the samples, pictures unread."""
        ...


def bones_of(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return the bones whose direction is compared, as far as both ends are among the names.

    Upper and lower arms and legs, and the lines between the shoulders and between the hips: the bones that every data
    set has, in the same definition.
    """
    wanted = [(side + a, side + b) for side in ("left_", "right_") for a, b in _BONES]
    wanted += [(side + a.title(), side + b.title()) for side in ("L_", "R_") for a, b in _BONES]
    wanted += [("left_" + part, "right_" + part) for part in _ACROSS]
    wanted += [("L_" + part.title(), "R_" + part.title()) for part in _ACROSS]
    return tuple(bone for bone in wanted if bone[0] in names and bone[1] in names)

# SPDX-License-Identifier: Apache-2.0
"""Evidence by the names of the body's points, and what a solve returns. Data only.

This is the form in which evidence is stored and sent: it mentions no joint numbers and no body, so that it can be
solved again on another body or after a change of the skeleton.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from jaxtyping import Float
from torch import Tensor

from ikol.camera import Camera
from ikol.distortion import UNDISTORTED
from ikol.regressor.person import PersonLandmarks

Progress = Callable[[float, str], None]
"""Told how far the work is, 0 to 1, and what is being done; raises `ikol.errors.Cancelled` to stop it."""
Extrinsics = tuple[Float[Tensor, "3 3"], Float[Tensor, "3"]]
"""R_camera_world and t_camera_world: a point of the world is R x + t in camera axes, metres."""


@dataclass(frozen=True)
class Intrinsics:
    """What a picture tells of its lens. `focal_source` says where the focal length comes from.

    With a `distortion` (`ikol.distortion`) 2D evidence is where the picture shows it, bent by the lens.
    """

    width: int
    height: int
    focal: tuple[float, float]
    center: tuple[float, float]
    focal_source: str
    distortion: tuple[float, float, float, float] = UNDISTORTED


@dataclass(frozen=True)
class Keypoints2D:
    """Points seen on the picture, in pixels; sigma in pixels."""

    names: tuple[str, ...]
    points: Float[Tensor, "points 2"]
    sigma: Float[Tensor, "points"]
    is_robust: bool = True
    """False for points that somebody has placed: they are meant, also where they are far from what all others say. A
    detector's outliers are let go of."""


@dataclass(frozen=True)
class Keypoints3D:
    """Points in the SMPL world, in metres; sigma in metres."""

    names: tuple[str, ...]
    points: Float[Tensor, "points 3"]
    sigma: Float[Tensor, "points"]


@dataclass(frozen=True)
class RelativeKeypoints3D:
    """Points relative to the middle of the hip landmarks, in camera axes, metres; sigma along each axis."""

    names: tuple[str, ...]
    points: Float[Tensor, "points 3"]
    sigma: Float[Tensor, "points 3"]


@dataclass(frozen=True)
class Anchor:
    """Local rotations to stay near; sigma in radians for each joint."""

    local_rotmat: Float[Tensor, "joints 3 3"]
    sigma: Float[Tensor, "joints"]


@dataclass(frozen=True)
class Twist:
    """Angle about the bone of each named joint, radians."""

    names: tuple[str, ...]
    angles: Float[Tensor, "points"]
    sigma: Float[Tensor, "points"]


@dataclass(frozen=True)
class Shape:
    """The shape of one body, by its betas; it takes the place of the prior about the mean shape.

    Betas mean nothing on another body than the one called `body`; there this says nothing and is passed over.
    """

    body: str
    betas: Float[Tensor, "betas"]
    sigma: Float[Tensor, "betas"]


@dataclass(frozen=True)
class Pins:
    """Points that must lie at places of the SMPL world, metres, exactly as far as they can be reached."""

    names: tuple[str, ...]
    points: Float[Tensor, "points 3"]


@dataclass(frozen=True)
class Orientations:
    """Rotations of joints in the SMPL world, from the rest pose; sigma in radians."""

    names: tuple[str, ...]
    rotmat: Float[Tensor, "points 3 3"]
    sigma: Float[Tensor, "points"]


@dataclass(frozen=True)
class ViewKeypoints2D:
    """Points that somebody has placed on another picture of the pose, in pixels; sigma in pixels.

    They are meant, as those of `Keypoints2D` that are not robust. Each block has the camera of its picture, so that
    there may be any number of pictures; what is told of *the* picture is that of the problem's own camera.
    """

    names: tuple[str, ...]
    points: Float[Tensor, "points 2"]
    sigma: Float[Tensor, "points"]
    intrinsics: Intrinsics
    """The lens of the other picture, whose distortion bends the points."""
    extrinsics: Extrinsics


NamedEvidence = (
    Keypoints2D | Keypoints3D | RelativeKeypoints3D | Anchor | Twist | Shape | Pins | Orientations | ViewKeypoints2D
)


@dataclass(frozen=True)
class Pose:
    """A pose of the body: root translation in metres, local rotations, shape."""

    transl: Float[Tensor, "3"]
    local_rotmat: Float[Tensor, "joints 3 3"]
    betas: Float[Tensor, "betas"]


@dataclass(frozen=True)
class DetectedPerson:
    """One person: evidence ready for `solve`, and the network's own landmarks for whoever wants them raw."""

    score: float
    box: tuple[float, float, float, float]
    evidence: tuple[NamedEvidence, ...]
    confidence: dict[str, float]
    landmarks: PersonLandmarks
    doubts: tuple[str, ...] = ()
    """Why the pose may be wrong as a whole, of `ikol.regressor.doubts.DOUBTS`."""

    def with_pixels(self, moved: Callable[[Tensor], Tensor]) -> "DetectedPerson":
        """Return the person with the 2D evidence moved by `moved` ((points, 2) -> (points, 2)), as for a lens."""
        return replace(
            self,
            evidence=tuple(
                replace(block, points=moved(block.points)) if isinstance(block, Keypoints2D) else block
                for block in self.evidence
            ),
        )


@dataclass(frozen=True)
class Detection:
    """Persons, the largest on the picture first (maybe none), and the lens."""

    intrinsics: Intrinsics
    persons: tuple[DetectedPerson, ...]


@dataclass(frozen=True)
class PoseSolution:
    """A pose and how well it meets the evidence."""

    pose: Pose
    camera: Camera | None
    joints: Float[Tensor, "joints 3"]
    point_names: tuple[str, ...]
    """The points that the evidence names, each once."""
    point_positions: Float[Tensor, "points 3"]
    point_pixels: Float[Tensor, "pixels 2"]
    """As many as points; (0, 2) without a camera."""
    status: str
    iterations: int
    cost: float
    reprojection_px_median: float
    """Over the 2D evidence; -1 when there is none."""
    unreached: dict[str, float] = field(default_factory=dict[str, float])
    """Pins that could not be met, and how far from them their points are, metres."""

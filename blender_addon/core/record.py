# SPDX-License-Identifier: GPL-3.0-or-later
"""What the add-on remembers of a picture: evidence, camera, edits, last solution; stored as JSON on the armature.

Here: the stored form, its checks, and what is sent of it when the user solves again. Not here: the wire
(client/wire.py), the axes (pose_conversion.py). All in the SMPL world (metres, Y up) and in pixels from the top left.
"""

import math
from functools import lru_cache
from typing import Literal

import msgspec
from msgspec import Struct

from .errors import EvidenceError
from .rig import JOINT_NAMES, POINT_NAMES

RECORD_VERSION = 1
"""Rises when a field changes its meaning. An older record is read as long as it can be; a newer one is refused."""

EDIT_SIGMA = 0.005
"""Metres. A keypoint that the user placed counts like a measurement good to 5 mm: at 1 cm neighbouring
landmarks of the picture (the knuckles of a moved wrist) still pulled it 3 cm away."""

Vector2 = tuple[float, float]
Vector3 = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]
Rotation = tuple[float, float, float, float, float, float, float, float, float]


class PhotoCamera(Struct, frozen=True):
    """The camera of a photograph: OpenCV axes, pixels; x_camera = rotation @ x_world + translation (SMPL world)."""

    width: int
    height: int
    focal_x: float
    focal_y: float
    center_x: float
    center_y: float
    rotation: Rotation | None = None
    translation: Vector3 | None = None
    focal_source: Literal["exif", "default", "given"] = "given"

    def __post_init__(self) -> None:
        numbers = (self.focal_x, self.focal_y, self.center_x, self.center_y)
        numbers += (self.rotation or ()) + (self.translation or ())
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError("camera holds a number that is not finite")
        if min(self.width, self.height) < 1 or min(self.focal_x, self.focal_y) <= 0:
            raise ValueError("camera must have a positive size and focal length")
        if (self.rotation is None) != (self.translation is None):
            raise ValueError("camera must have both rotation and translation, or neither")


class Keypoints2D(Struct, frozen=True, tag="keypoints_2d"):
    """Points of the body seen on the picture, with a standard deviation in pixels each."""

    names: tuple[str, ...]
    points: tuple[Vector2, ...]
    sigma: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_points(self.names, self.points, self.sigma)


class Keypoints3D(Struct, frozen=True, tag="keypoints_3d"):
    """Points of the body in the SMPL world, with a standard deviation in metres each."""

    names: tuple[str, ...]
    points: tuple[Vector3, ...]
    sigma: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_points(self.names, self.points, self.sigma)


class RelativeKeypoints3D(Struct, frozen=True, tag="relative_keypoints_3d"):
    """Points relative to the middle of the hips in camera axes, with a standard deviation in metres along each axis."""

    names: tuple[str, ...]
    points: tuple[Vector3, ...]
    sigma: tuple[Vector3, ...]

    def __post_init__(self) -> None:
        _check_points(self.names, self.points, tuple(min(axes) for axes in self.sigma))


class Anchor(Struct, frozen=True, tag="anchor"):
    """Local rotations (wxyz, in joint order) to stay near, with a standard deviation in radians for each joint."""

    local_quat: tuple[Quaternion, ...]
    sigma: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.local_quat) == len(self.sigma) == len(JOINT_NAMES):
            raise ValueError(f"anchor must have {len(JOINT_NAMES)} rotations and sigmas, got {len(self.local_quat)}")
        _check_sigma(self.sigma)


class Twist(Struct, frozen=True, tag="twist"):
    """Angle about the bone of each named joint, with a standard deviation, in radians."""

    names: tuple[str, ...]
    angles: tuple[float, ...]
    sigma: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_points(self.names, tuple((angle,) for angle in self.angles), self.sigma)


Evidence = Keypoints2D | Keypoints3D | RelativeKeypoints3D | Anchor | Twist


class Pose(Struct, frozen=True):
    """A pose of the body: root translation in metres, 24 local rotations (wxyz), shape."""

    transl: Vector3
    local_quat: tuple[Quaternion, ...]
    betas: tuple[float, ...]


class Solution(Struct, frozen=True):
    """What the solver answered last: pose, placed camera, and where every point of the evidence ended up.

    `pixels` is empty without a camera; `reprojection_px` is -1 without 2D evidence.
    """

    pose: Pose
    camera: PhotoCamera | None
    points: dict[str, Vector3]
    pixels: dict[str, Vector2]
    status: str
    iterations: int
    reprojection_px: float
    seconds: float


class Record(Struct, frozen=True):
    """One person of one picture (or of one keypoint file, then without a camera) as stored on an armature.

    `edits` are the keypoints that the user moved, by name, in the SMPL world.
    """

    source: str
    evidence: tuple[Evidence, ...]
    solution: Solution
    confidence: dict[str, float] = {}
    score: float = 1.0
    box: tuple[float, float, float, float] | None = None
    edits: dict[str, Vector3] = {}
    version: int = RECORD_VERSION

    @property
    def camera(self) -> PhotoCamera | None:
        """The placed camera of the picture, if there is a picture."""
        return self.solution.camera


def _check_sigma(sigma: tuple[float, ...]) -> None:
    if not all(math.isfinite(value) and value > 0 for value in sigma):
        raise ValueError("sigma must be positive and finite")


def _check_points(names: tuple[str, ...], points: tuple[tuple[float, ...], ...], sigma: tuple[float, ...]) -> None:
    if not len(names) == len(points) == len(sigma):
        raise ValueError(f"names, points and sigma differ in length: {len(names)}, {len(points)}, {len(sigma)}")
    unknown = [name for name in names if name not in POINT_NAMES]
    if unknown:
        raise ValueError(f"unknown point {unknown[0]!r}")
    if not all(math.isfinite(value) for point in points for value in point):
        raise ValueError("points hold a number that is not finite")
    _check_sigma(sigma)


def encode_record(record: Record) -> str:
    """Return `record` as JSON, ready to be stored in a custom property."""
    return msgspec.json.encode(record).decode("utf-8")


@lru_cache(maxsize=8)  # the panel asks at each redraw: for every move of the mouse over it
def decode_record(text: str) -> Record:
    """Return the record stored as `text`; the same object for the same text, hence not to be changed.

    Raises:
        EvidenceError: The text is no record, or one of a newer add-on.
    """
    try:
        version = msgspec.json.decode(text, type=_Versioned).version
        if version > RECORD_VERSION:
            raise EvidenceError(
                f"the evidence on this armature was stored by a newer IKOL add-on (version {version}, this one reads "
                f"{RECORD_VERSION}); update the add-on"
            )
        return msgspec.json.decode(text, type=Record)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise EvidenceError(
            f"the evidence stored on this armature cannot be read ({error}); run Pose from Image again"
        ) from error


class _Versioned(Struct):
    """Only the version of a record: read first, so that a newer record is named as such and not as damaged."""

    version: int


def keypoint_names(evidence: tuple[Evidence, ...]) -> tuple[str, ...]:
    """Return the points of the body that the evidence speaks of, each once, in order of appearance."""
    names: dict[str, None] = {}
    for block in evidence:
        if isinstance(block, Keypoints2D | Keypoints3D | RelativeKeypoints3D):
            names.update(dict.fromkeys(block.names))
    return tuple(names)


def evidence_with_edits(evidence: tuple[Evidence, ...], edits: dict[str, Vector3]) -> tuple[Evidence, ...]:
    """Return the evidence in which the user's keypoints replace what the picture says of the same points.

    The rest keeps its say. A point that the user placed would otherwise be pulled back by its own landmark: the
    two contradict each other, or the user had not moved it.
    """
    if not edits:
        return evidence
    kept = [block for block in (_without_points(block, edits) for block in evidence) if block is not None]
    names = tuple(sorted(edits))
    placed = Keypoints3D(names=names, points=tuple(edits[name] for name in names), sigma=(EDIT_SIGMA,) * len(names))
    return (*kept, placed)


def _without_points(block: Evidence, dropped: dict[str, Vector3]) -> Evidence | None:
    """Return the block without the named points, or None when nothing is left of it."""
    if not isinstance(block, Keypoints2D | Keypoints3D | RelativeKeypoints3D):
        return block
    kept = [index for index, name in enumerate(block.names) if name not in dropped]
    if not kept:
        return None
    return msgspec.structs.replace(
        block,
        names=tuple(block.names[index] for index in kept),
        points=tuple(block.points[index] for index in kept),
        sigma=tuple(block.sigma[index] for index in kept),
    )

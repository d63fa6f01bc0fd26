# SPDX-License-Identifier: GPL-3.0-or-later
"""What the add-on remembers of a picture: evidence, camera, edits, last solution; stored as JSON on the armature.

Here: the stored form and its checks. Not here: what edits do to the evidence (keypoints.py), the wire
(client/wire.py), the axes (pose_conversion.py). All in the SMPL world (metres, Y up) and in pixels from the top left.
"""

import math
from functools import lru_cache
from typing import Literal

import msgspec
from msgspec import Struct

from .errors import EvidenceError
from .rig import POINT_NAMES, TREES, Tree

RECORD_VERSION = 3
"""Rises when a field changes its meaning or evidence is of a new kind; 3: shapes, and pixels that a lens has bent. An
older record is read as long as it can be; a newer one is refused."""

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
    distortion: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """k1, k2, p1, p2 of the lens, as OpenCV has them; what is said of pixels is where the picture shows it."""

    def __post_init__(self) -> None:
        numbers = (self.focal_x, self.focal_y, self.center_x, self.center_y)
        numbers += (self.rotation or ()) + (self.translation or ()) + self.distortion
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError("camera holds a number that is not finite")
        if min(self.width, self.height) < 1 or min(self.focal_x, self.focal_y) <= 0:
            raise ValueError("camera must have a positive size and focal length")
        if (self.rotation is None) != (self.translation is None):
            raise ValueError("camera must have both rotation and translation, or neither")


class Keypoints2D(Struct, frozen=True, tag="keypoints_2d"):
    """Points of the body seen on the picture, with a standard deviation in pixels each.

    `is_robust`: far outliers lose their say, as is right for what a network saw; False for what the user placed.
    """

    names: tuple[str, ...]
    points: tuple[Vector2, ...]
    sigma: tuple[float, ...]
    is_robust: bool = True

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
        if len(self.local_quat) != len(self.sigma):
            raise ValueError(f"anchor must have a sigma for each of its {len(self.local_quat)} rotations")
        _check_count("anchor", len(self.local_quat))
        _check_sigma(self.sigma)


class Twist(Struct, frozen=True, tag="twist"):
    """Angle about the bone of each named joint, with a standard deviation, in radians."""

    names: tuple[str, ...]
    angles: tuple[float, ...]
    sigma: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_points(self.names, tuple((angle,) for angle in self.angles), self.sigma)


class Shape(Struct, frozen=True, tag="shape"):
    """The shape of the body called `body`: betas, with a standard deviation each."""

    body: str
    betas: tuple[float, ...]
    sigma: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.betas) != len(self.sigma):
            raise ValueError(f"betas and sigma differ in length: {len(self.betas)}, {len(self.sigma)}")
        if not all(math.isfinite(value) for value in self.betas):
            raise ValueError("betas hold a number that is not finite")
        _check_sigma(self.sigma)


class Pins(Struct, frozen=True, tag="pins"):
    """Points of the body that must be met exactly, in the SMPL world, metres."""

    names: tuple[str, ...]
    points: tuple[Vector3, ...]

    def __post_init__(self) -> None:
        _check_points(self.names, self.points, (1.0,) * len(self.points))


class Orientations(Struct, frozen=True, tag="orientations"):
    """Rotations of the named joints in the SMPL world (wxyz), with a standard deviation in radians each."""

    names: tuple[str, ...]
    quat: tuple[Quaternion, ...]
    sigma: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_points(self.names, self.quat, self.sigma)


class ViewKeypoints2D(Struct, frozen=True, tag="view_keypoints_2d"):
    """Points of the body that the user has placed on another picture of the pose, whose camera has a place."""

    names: tuple[str, ...]
    points: tuple[Vector2, ...]
    sigma: tuple[float, ...]
    camera: PhotoCamera

    def __post_init__(self) -> None:
        _check_points(self.names, self.points, self.sigma)


Evidence = (
    Keypoints2D | Keypoints3D | RelativeKeypoints3D | Anchor | Twist | Shape | Pins | Orientations | ViewKeypoints2D
)


class Pose(Struct, frozen=True):
    """A pose of the body: root translation in metres, a local rotation (wxyz) for each joint of its tree, shape."""

    transl: Vector3
    local_quat: tuple[Quaternion, ...]
    betas: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_count("pose", len(self.local_quat))
        numbers = (*self.transl, *self.betas, *(value for quat in self.local_quat for value in quat))
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError("pose holds a number that is not finite")


class Solution(Struct, frozen=True):
    """What the solver answered last: pose, placed camera, and where every point of the evidence ended up.

    `points` are all joints and the points of the evidence; `pixels` the same on the picture, empty without a camera.
    `reprojection_px` is -1 without 2D evidence. `unreached` are the pins that could not be met, with their distance in
    metres.
    """

    pose: Pose
    camera: PhotoCamera | None
    points: dict[str, Vector3]
    pixels: dict[str, Vector2]
    status: str
    iterations: int
    reprojection_px: float
    seconds: float
    unreached: dict[str, float] = {}


class KeypointEdit(Struct, frozen=True):
    """What the user said of one point of the body; what is None was not said.

    `pixel` is where it belongs on the picture, `position` where in the SMPL world, `orientation` how its joint is
    turned there. `tolerance_px` and `tolerance_m` are standard deviations. A locked point is met exactly, at `position`
    or at `locked_at`, where it was when it was locked. A removed one is not shown any more.
    """

    pixel: Vector2 | None = None
    position: Vector3 | None = None
    orientation: Quaternion | None = None
    tolerance_px: float | None = None
    tolerance_m: float | None = None
    is_locked: bool = False
    is_muted: bool = False
    is_removed: bool = False
    locked_at: Vector3 | None = None

    def __post_init__(self) -> None:
        numbers = (self.pixel or ()) + (self.position or ()) + (self.orientation or ()) + (self.locked_at or ())
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError("an edit holds a number that is not finite")
        _check_sigma(tuple(value for value in (self.tolerance_px, self.tolerance_m) if value is not None))


class Picture(Struct, frozen=True):
    """One of several pictures of a pose: its placed camera, and where it shows the person.

    `edits` are pixels and tolerances that the user gave to points on it; of the picture that is shown they are among
    the record's.
    """

    name: str
    camera: PhotoCamera
    keypoints: Keypoints2D
    box: tuple[float, float, float, float] | None = None
    edits: dict[str, KeypointEdit] = {}


class Record(Struct, frozen=True):
    """One person of one picture (or of one keypoint file, then without a camera) as stored on an armature.

    `edits` are what the user said, by point. While `solo` names points, only these count. `detected_px` is a standard
    deviation in pixels that no detected point falls below. Of the points in `without_depth` the network's depth has no
    say: the user has taken another pose of that limb. `doubts` are why the pose may be wrong as a whole. Of several
    `pictures` of the pose, keypoints, camera and box are those of the one that is `shown`.
    """

    source: str
    evidence: tuple[Evidence, ...]
    solution: Solution
    confidence: dict[str, float] = {}
    score: float = 1.0
    box: tuple[float, float, float, float] | None = None
    edits: dict[str, KeypointEdit] = {}
    solo: tuple[str, ...] = ()
    detected_px: float | None = None
    without_depth: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    shown: int = 0
    version: int = RECORD_VERSION

    def __post_init__(self) -> None:
        placed = [name for picture in self.pictures for name in picture.edits]
        unknown = [name for name in (*self.edits, *self.solo, *self.without_depth, *placed) if name not in POINT_NAMES]
        if unknown:
            raise ValueError(f"unknown point {unknown[0]!r}")
        _check_sigma(() if self.detected_px is None else (self.detected_px,))
        if self.pictures and not 0 <= self.shown < len(self.pictures):
            raise ValueError(f"picture {self.shown} of {len(self.pictures)} cannot be shown")

    @property
    def tree(self) -> Tree:
        """The joints of the body."""
        return TREES[len(self.solution.pose.local_quat)]

    @property
    def camera(self) -> PhotoCamera | None:
        """The placed camera of the picture, if there is a picture."""
        return self.solution.camera


def _check_count(what: str, count: int) -> None:
    if count not in TREES:
        raise ValueError(f"{what} must have {', '.join(map(str, TREES))} rotations, got {count}")


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
        if version == 1:
            return _read_first_version(text)
        return msgspec.structs.replace(msgspec.json.decode(text, type=Record), version=RECORD_VERSION)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise EvidenceError(
            f"the evidence stored on this armature cannot be read ({error}); run Pose from Image again"
        ) from error


class _Versioned(Struct):
    """Only the version of a record: read first, so that a newer record is named as such and not as damaged."""

    version: int


class _RecordV1(Struct):
    """What version 1 had otherwise: edits were places in the SMPL world."""

    edits: dict[str, Vector3] = {}


def _read_first_version(text: str) -> Record:
    fields = msgspec.json.decode(text, type=dict[str, object])
    edits = msgspec.json.decode(text, type=_RecordV1).edits
    placed = {name: KeypointEdit(position=position) for name, position in edits.items()}
    return msgspec.convert({**fields, "edits": placed, "version": RECORD_VERSION}, type=Record)

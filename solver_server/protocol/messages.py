# SPDX-License-Identifier: Apache-2.0
"""Every message of the wire as a typed struct; docs/protocol.md is the authority on their meaning.

Here: field names, types and bounds. Not here: bytes (codec), sockets, torch. Imports: stdlib and msgspec.
Numbers that are many travel as extra frames and appear in a struct as an `ArrayRef`; an image as a `BlobRef`.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

MAX_ID = 2**63 - 1
MAX_FRAMES = 256  # sixteen persons with eight arrays each, and as much again in reserve
MAX_NAMES = 512
MAX_TEXT = 4096
MAX_ROWS = 16384  # sixteen blocks of 512 names, and as many rows of what nobody sent: stance, limits, stay
MAX_POSES = 4
MAX_VIEWS = 8

RequestId = Annotated[int, Meta(ge=0, le=MAX_ID)]
FrameIndex = Annotated[int, Meta(ge=0, lt=MAX_FRAMES)]
Dimension = Annotated[int, Meta(ge=0, le=65536)]
NameIndex = Annotated[int, Meta(ge=0, lt=MAX_NAMES)]
ParentIndex = Annotated[int, Meta(ge=-1, lt=MAX_NAMES)]
Name = Annotated[str, Meta(max_length=128)]
Names = Annotated[tuple[Name, ...], Meta(max_length=MAX_NAMES)]
Doubts = Annotated[tuple[Name, ...], Meta(max_length=16)]
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Seconds = Annotated[float, Meta(ge=0)]
Timeout = Annotated[float, Meta(gt=0, le=3600)]
Dtype = Literal["<f4", "<f8", "<i4", "<i8", "|u1"]
FocalSource = Literal["exif", "default", "given"]
SameKind = Literal["pose", "person"]
SolveStatus = Literal["converged", "stalled", "max_iterations", "failed"]
Limb = Literal["left_arm", "right_arm", "left_leg", "right_leg", "head", "torso", "arms", "legs", "sides"]


class ArrayRef(Struct, frozen=True):
    """An array whose little-endian, C-ordered bytes are extra frame number `frame` of the same message."""

    dtype: Dtype
    shape: Annotated[tuple[Dimension, ...], Meta(max_length=4)]
    frame: FrameIndex


class BlobRef(Struct, frozen=True):
    """Bytes kept as they are (an encoded image), in extra frame number `frame`."""

    frame: FrameIndex


class CameraSpec(Struct, frozen=True):
    """A pinhole camera. Pixels have their origin at the top left corner of the picture, x right, y down.

    A world point X (SMPL world: metres, Y up) is R X + t in camera axes (x right, y down, z forward).
    `rotation` is R row by row; both extrinsics are None while nobody has placed the camera yet. `distortion` is k1, k2,
    p1, p2 of the lens (Brown and Conrady's model, as OpenCV's): keypoints on the picture are where it shows them.
    """

    width: Annotated[int, Meta(ge=1, le=65536)]
    height: Annotated[int, Meta(ge=1, le=65536)]
    focal_x: Annotated[float, Meta(gt=0)]
    focal_y: Annotated[float, Meta(gt=0)]
    center_x: float
    center_y: float
    rotation: tuple[float, float, float, float, float, float, float, float, float] | None = None
    translation: tuple[float, float, float] | None = None
    focal_source: FocalSource = "given"
    distortion: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


class PoseSpec(Struct, frozen=True):
    """A pose of the body: root translation (3) in metres, local rotations (J, 4) as quaternions wxyz, shape (B)."""

    transl: ArrayRef
    local_quat: ArrayRef
    betas: ArrayRef


class Keypoints2D(Struct, frozen=True, tag="keypoints_2d"):
    """Points of the body seen on the picture: (K, 2) pixels with a standard deviation (K) in pixels each.

    `is_robust` lets a point go that lies many deviations off, as a detector's mistake does; a point that the user has
    placed is no mistake, however far it is.
    """

    names: Names
    points: ArrayRef
    sigma: ArrayRef
    is_robust: bool = True


class Keypoints3D(Struct, frozen=True, tag="keypoints_3d"):
    """Points of the body in the SMPL world: (K, 3) metres with a standard deviation (K) in metres each."""

    names: Names
    points: ArrayRef
    sigma: ArrayRef


class RelativeKeypoints3D(Struct, frozen=True, tag="relative_keypoints_3d"):
    """Points relative to the middle of the hips, in camera axes: (K, 3) metres, sigma (K, 3) metres along each axis."""

    names: Names
    points: ArrayRef
    sigma: ArrayRef


class Anchor(Struct, frozen=True, tag="anchor"):
    """Stay near these local rotations (J, 4, wxyz): sigma (J) in radians for each joint."""

    local_quat: ArrayRef
    sigma: ArrayRef


class Twist(Struct, frozen=True, tag="twist"):
    """Angle about the bone of each named joint, (K) radians, sigma (K) radians."""

    names: Names
    angles: ArrayRef
    sigma: ArrayRef


class Shape(Struct, frozen=True, tag="shape"):
    """The shape of the body called `body`, in place of the prior: betas (B), sigma (B); passed over on other bodies."""

    body: Name
    betas: ArrayRef
    sigma: ArrayRef


class Pins(Struct, frozen=True, tag="pins"):
    """Where points of the body are exactly: (K, 3) metres in the SMPL world, met as far as the body can reach."""

    names: Names
    points: ArrayRef


class Orientations(Struct, frozen=True, tag="orientations"):
    """Rotations of joints in the SMPL world: (K, 4) wxyz, with a standard deviation (K) in radians each."""

    names: Names
    quat: ArrayRef
    sigma: ArrayRef


class ViewKeypoints2D(Struct, frozen=True, tag="view_keypoints_2d"):
    """Points of the body that the user has placed on another picture of the pose: (K, 2) pixels, sigma (K) in pixels.

    `camera` is that picture's, with its extrinsics. The points are no mistakes, however far they are.
    """

    names: Names
    points: ArrayRef
    sigma: ArrayRef
    camera: CameraSpec


Evidence = (
    Keypoints2D | Keypoints3D | RelativeKeypoints3D | Anchor | Twist | Shape | Pins | Orientations | ViewKeypoints2D
)


class Person(Struct, frozen=True):
    """One detected person: what the picture says of it, ready to be stored and to be sent in `solve`.

    `box` is x0, y0, x1, y1 in pixels. `confidence` holds, by keypoint name, 0 (noise) to 1 (certain). `doubts` say why
    the pose may be wrong as a whole; none for a person as the networks know them.
    """

    score: float
    box: tuple[float, float, float, float]
    evidence: Annotated[tuple[Evidence, ...], Meta(max_length=16)]
    confidence: dict[Name, float]
    doubts: Doubts = ()


class Latency(Struct, frozen=True):
    """How long things took, in seconds: how many there were, and quantiles of the latest 1000 of them."""

    count: int
    p50: Seconds
    p90: Seconds
    p99: Seconds
    max: Seconds


class Hello(Struct, frozen=True, tag="hello"):
    """First message of a client; another major version is answered with `unsupported_version`."""

    id: RequestId
    protocol: tuple[int, int]
    client: Name
    build: Name = ""


class Ping(Struct, frozen=True, tag="ping"):
    """Answered at once, also while the worker computes."""

    id: RequestId


class Detect(Struct, frozen=True, tag="detect"):
    """Find persons on an encoded picture (JPEG, PNG or WebP) and return their evidence.

    `model` is heavy, full, or the name of a network that whoever started the server brought (`Pong`); own is the first
    of these. `boxes` (x0, y0, x1, y1 in pixels of the upright picture) replace the detector. `rotation_deg` says by how
    much the persons are turned clockwise from upright. `focal_px` overrides EXIF and the default. `shape` asks for
    evidence of that kind, which clients of 1.2 cannot read. `thorough` looks for small and turned persons also in a
    picture where others are found. `timeout_seconds` counts from the arrival of the request; None leaves it to the
    server.
    """

    id: RequestId
    image: BlobRef
    model: Name = "heavy"
    max_persons: Annotated[int, Meta(ge=1, le=16)] = 8
    boxes: Annotated[tuple[tuple[float, float, float, float], ...], Meta(max_length=16)] = ()
    rotation_deg: Annotated[float, Meta(ge=-360, le=360)] = 0.0
    focal_px: Annotated[float, Meta(gt=0)] | None = None
    timeout_seconds: Timeout | None = None
    thorough: bool = False
    shape: bool = False


class Problem(Struct, frozen=True):
    """What `solve`, `inspect` and `alternatives` are asked about: evidence, camera, and where to begin.

    What the evidence does not concern stays near `initial`; without it the start comes from the evidence. Iterations
    begin at `start`, else at `initial`. Only the rotations of `joints` may move, and the root's translation only with
    the root among them; all of them when it is empty. A camera without extrinsics is placed by the server so that the
    body stands on the floor at the origin. `solve_shape` lets the betas move (under their prior). `timeout_seconds` is
    as that of `Detect`. `all_betas`: poses of the reply have all betas of the server's body, else the first ten, with
    the others at rest; a pose that is sent may have fewer than the body, the others are zero.
    """

    id: RequestId
    evidence: Annotated[tuple[Evidence, ...], Meta(max_length=16)]
    camera: CameraSpec | None = None
    initial: PoseSpec | None = None
    body: Name = "default"
    solve_shape: bool = True
    timeout_seconds: Timeout | None = None
    start: PoseSpec | None = None
    joints: Names = ()
    all_betas: bool = False


class LimitsSpec(Struct, frozen=True):
    """How far K joints of a tree may turn from rest, radians: R = Exp(swing) Exp(twist about the first axis).

    `axes` (K, 3, 3) are rows at right angles in the joint's frame: twist axis, first and second swing axis. `swing`
    (K, 4) is lowest, highest about the first, lowest, highest about the second; `twist` (K, 2) lowest, highest.
    """

    joints: Annotated[tuple[NameIndex, ...], Meta(max_length=MAX_NAMES)]
    axes: ArrayRef
    swing: ArrayRef
    twist: ArrayRef


class TreeSpec(Struct, frozen=True):
    """A skeleton of any rig: names, parents (before their children, -1 for the first), rest places (J, 3) in metres.

    `point_names` are further points that evidence may name: each rides on one of the joints and rests at a place of
    `point_rest` (P, 3).
    """

    names: Names
    parents: Annotated[tuple[ParentIndex, ...], Meta(max_length=MAX_NAMES)]
    rest_joints: ArrayRef
    point_names: Names = ()
    point_joints: Annotated[tuple[NameIndex, ...], Meta(max_length=MAX_NAMES)] = ()
    point_rest: ArrayRef | None = None
    limits: LimitsSpec | None = None


class Solve(Problem, frozen=True, tag="solve"):
    """Find the pose that fits the evidence best; with a `tree` on that skeleton, and not on the solver's body.

    On a tree, evidence is of the kinds keypoints_2d (seen by a camera that is placed), view_keypoints_2d, keypoints_3d,
    pins, orientations and anchor, and poses have no betas.
    """

    tree: TreeSpec | None = None


class Inspect(Problem, frozen=True, tag="inspect"):
    """Solve, and say how sure the pose is and what pulls at it."""


class Alternatives(Problem, frozen=True, tag="alternatives", kw_only=True):
    """Find poses of one limb that fit the evidence about as well: elbow or knee towards the camera or away from it.

    `arms`, `legs` and `sides` are both arms, both legs and the whole body, with left and right taken for each other.
    """

    limb: Limb


class ViewSpec(Struct, frozen=True):
    """One of several pictures: what it says of a person, and its camera."""

    evidence: Annotated[tuple[Evidence, ...], Meta(max_length=16)]
    camera: CameraSpec


class SolveViews(Struct, frozen=True, tag="solve_views"):
    """Find what fits several pictures best: of one pose (`same` is pose), or one shape for the poses of one person.

    Either all cameras come with extrinsics or none. Cameras of one pose that nobody knows are found from the person;
    the first stays, and the body's size is the scale. Of one person each picture has a world of its own, in which the
    body stands on the floor at the origin. `betas` (B) hold the shape; None finds it. `timeout_seconds` is as that of
    `Detect`.
    """

    id: RequestId
    views: Annotated[tuple[ViewSpec, ...], Meta(min_length=2, max_length=MAX_VIEWS)]
    same: SameKind = "pose"
    body: Name = "default"
    betas: ArrayRef | None = None
    timeout_seconds: Timeout | None = None


class Cancel(Struct, frozen=True, tag="cancel"):
    """Give up request `target`; that request is then answered with the error `cancelled`."""

    id: RequestId
    target: RequestId


class Stats(Struct, frozen=True, tag="stats"):
    """Ask for counters, latencies, memory and versions."""

    id: RequestId


class Shutdown(Struct, frozen=True, tag="shutdown"):
    """Stop the server after this reply."""

    id: RequestId


Work = Detect | Solve | SolveViews | Inspect | Alternatives
"""The requests that the worker computes; all others are answered at once."""

Request = Hello | Ping | Work | Cancel | Stats | Shutdown


class HelloReply(Struct, frozen=True, tag="hello_reply"):
    """Who answers. `session` changes with every server process.

    `device` is where torch computes; until the worker is ready it is what was asked for (auto, cpu or cuda).
    """

    id: RequestId
    protocol: tuple[int, int]
    server: Name
    session: Name
    device: Name


class Pong(Struct, frozen=True, tag="pong"):
    """`ready`: weights are loaded. `busy`: the worker computes. `queued`: requests that wait.

    `device` is empty until `ready`. `problem` is a sentence when the worker cannot be started, else empty. `models` are
    the names of the networks beside heavy and full that `detect` takes, none until `ready`.
    """

    id: RequestId
    ready: bool
    busy: bool
    queued: int
    device: Name = ""
    problem: Text = ""
    models: Annotated[tuple[Name, ...], Meta(max_length=16)] = ()


class Progress(Struct, frozen=True, tag="progress"):
    """How far request `id` is: never falling, 0 to 1; none comes after the reply."""

    id: RequestId
    fraction: Annotated[float, Meta(ge=0, le=1)]
    text: Text


class DetectReply(Struct, frozen=True, tag="detect_reply"):
    """Persons (may be none) and the camera as far as the picture tells (no extrinsics).

    The largest on the picture is first; persons of `boxes` keep the order of these.
    """

    id: RequestId
    camera: CameraSpec
    persons: tuple[Person, ...]
    seconds: float


class SolveReply(Struct, frozen=True, tag="solve_reply"):
    """The pose, the placed camera, and how well every point of the evidence is met.

    `joints` (J, 3) world metres in skeleton order. `point_names` are the keypoints of the evidence (each once), with
    `point_positions` (K, 3) in the world and `point_pixels` (K, 2) on the picture (empty (0, 2) without a camera).
    `reprojection_px_median` is over the 2D evidence, NaN-free: -1 when there is none. `unreached` are the pins that
    could not be met: their distance in metres, by name.
    """

    id: RequestId
    pose: PoseSpec
    camera: CameraSpec | None
    joints: ArrayRef
    point_names: Names
    point_positions: ArrayRef
    point_pixels: ArrayRef
    status: SolveStatus
    iterations: int
    cost: float
    reprojection_px_median: float
    seconds: float
    unreached: dict[Name, float] = {}


class SolveViewsReply(Struct, frozen=True, tag="solve_views_reply"):
    """The answer for each picture, in their order, as that to a `solve` of it would be; of one pose all have the same.

    Of one pose also how sure it is: `point_sigma` (K) are standard deviations in metres of the body's joints and
    landmarks `point_names`, which are at `point_positions` (K, 3) in the world; and why it may be wrong as a whole
    (`doubts`). Of one person these are empty.
    """

    id: RequestId
    solutions: Annotated[tuple[SolveReply, ...], Meta(max_length=MAX_VIEWS)]
    point_names: Names
    point_positions: ArrayRef
    point_sigma: ArrayRef
    seconds: float
    doubts: Doubts = ()


class EvidenceRow(Struct, frozen=True):
    """What one point or joint of the evidence, or of what the solver adds, has to do with the pose.

    `kind` is the tag of an evidence block, or stay, stance, limits or shape; `residual` is in `unit` (px, m or rad),
    `cost` its part of the whole cost.
    """

    kind: Name
    name: Name
    residual: float
    unit: Name
    cost: float


class InspectReply(Struct, frozen=True, tag="inspect_reply"):
    """How sure the solved pose is, and what pulls at it.

    `joint_covariance` (J, 3, 3) square metres in the world, in skeleton order. `pulls` (R, J, 3) is how far each of the
    `rows` moves each joint, metres in the world, towards what the row wants. `next_points` are the keypoints whose
    placement on the picture would lower the summed variance of the joints, relative to the root, most, best first;
    `next_gains` (K) by how many square metres.
    """

    id: RequestId
    joint_covariance: ArrayRef
    rows: Annotated[tuple[EvidenceRow, ...], Meta(max_length=MAX_ROWS)]
    pulls: ArrayRef
    next_points: Names
    next_gains: ArrayRef
    seconds: float


class AlternativesReply(Struct, frozen=True, tag="alternatives_reply"):
    """Poses that fit about as well, the best first.

    Each has a cost and a median distance on the picture (`reprojection_px` of the limb's 2D evidence, pixels, -1
    without any); `joints` (N, J, 3) are in world metres.
    """

    id: RequestId
    poses: Annotated[tuple[PoseSpec, ...], Meta(max_length=MAX_POSES)]
    costs: Annotated[tuple[float, ...], Meta(max_length=MAX_POSES)]
    reprojection_px: Annotated[tuple[float, ...], Meta(max_length=MAX_POSES)]
    joints: ArrayRef
    seconds: float


class CancelReply(Struct, frozen=True, tag="cancel_reply"):
    """`found` is False when `target` was not waiting or running (already answered, or never asked)."""

    id: RequestId
    found: bool


class StatsReply(Struct, frozen=True, tag="stats_reply"):
    """How the server is: counters since the start of the process, the queue, latencies, memory, versions."""

    id: RequestId
    uptime_seconds: float
    counts: dict[Name, int]
    device: Name
    worker_pid: int
    worker_restarts: int
    clients: int = 0
    queued: int = 0
    queued_bytes: int = 0
    memory_bytes: int = 0
    worker_memory_bytes: int = 0
    latencies: dict[Name, Latency] = {}
    versions: dict[Name, Name] = {}


class ShutdownReply(Struct, frozen=True, tag="shutdown_reply"):
    """The last message of a server."""

    id: RequestId


class Error(Struct, frozen=True, tag="error"):
    """A request that failed. `id` is None when the frame could not be read far enough to know it."""

    id: RequestId | None
    code: Name
    message: Text


Result = DetectReply | SolveReply | SolveViewsReply | InspectReply | AlternativesReply
Reply = HelloReply | Pong | Progress | Result | CancelReply | StatsReply | ShutdownReply | Error

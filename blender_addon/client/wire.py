# SPDX-License-Identifier: GPL-3.0-or-later
"""Between what the add-on stores (core/record.py) and what travels (the protocol's messages and their frames)."""

from collections.abc import Callable
from typing import TypedDict, TypeVar

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._vendor import solver_protocol as wire
from ..core.errors import SolverError
from ..core.jobs import (
    Alternative,
    Alternatives,
    AlternativesCall,
    Answer,
    Call,
    DetectCall,
    DetectedPerson,
    Detection,
    EvidenceRow,
    InspectCall,
    Inspection,
    SolveCall,
)
from ..core.pose_conversion import as_vector, project
from ..core.record import (
    Anchor,
    Evidence,
    Keypoints2D,
    Keypoints3D,
    Orientations,
    PhotoCamera,
    Pins,
    Pose,
    Quaternion,
    RelativeKeypoints3D,
    Shape,
    Solution,
    Twist,
    Vector2,
    Vector3,
)
from ..core.rig import POINT_NAMES, TREES, Tree
from ..core.rig_call import TreeCall
from .tree_wire import is_of_tree, read_tree_solution, tree_message

FloatArray = NDArray[np.float64]
T = TypeVar("T")

OLD_BETAS = 10
"""All that solvers before protocol 1.5 know of."""

_TOO_OLD = "this needs a newer solver (it speaks protocol {}.{}, needed is {}.{}); update the solver"


def encode_call(call: Call, request_id: int, server: tuple[int, int] = wire.PROTOCOL_VERSION) -> list[bytes]:
    """Return the frames of a call.

    Args:
        call: What is asked.
        request_id: The number that the answer will carry.
        server: The protocol of the server, as its `hello_reply` says. An older one would pass over what it does not
            know, and move more of the body than it should.

    Raises:
        SolverError: The call cannot be sent, because it is too large or the server too old.
    """
    needed = _needed_version(call)
    if server < needed:
        raise SolverError(_TOO_OLD.format(*server, *needed), code="unsupported_version")
    frames = wire.FrameWriter()
    try:
        return wire.encode(_message(call, request_id, frames, server), frames)
    except wire.ProtocolError as error:
        raise SolverError(f"the request cannot be sent: {error}", code=error.code) from error


def _needed_version(call: Call) -> tuple[int, int]:
    """Return the protocol that a call needs. A thorough search is no need: an older solver looks as it can."""
    match call:
        case DetectCall():
            return (1, 3) if call.model == "own" else (1, 0)
        case InspectCall() | AlternativesCall():
            is_swap = isinstance(call, AlternativesCall) and call.limb in ("arms", "legs", "sides")
            return (1, 3) if is_swap else max((1, 2), _needed_version(call.solve))
        case SolveCall():
            if any(any(pose.betas[OLD_BETAS:]) for pose in (call.initial, call.start) if pose is not None):
                return (1, 5)
            if call.camera is not None and any(call.camera.distortion):
                return (1, 3)
            is_new = bool(call.joints) or any(isinstance(block, Pins | Orientations) for block in call.evidence)
            return (1, 2) if is_new else (1, 0)
        case TreeCall():
            return (1, 4) if call.seen is None else (1, 5)


def _message(call: Call, request_id: int, frames: wire.FrameWriter, server: tuple[int, int]) -> wire.Request:
    match call:
        case DetectCall():
            image = frames.add_blob(call.image)
            return wire.Detect(
                request_id,
                image,
                model=call.model,
                max_persons=call.max_persons,
                boxes=call.boxes,
                focal_px=call.focal_px,
                thorough=call.thorough,
                shape=True,
            )
        case SolveCall():
            return wire.Solve(request_id, **_problem(call, frames, server))
        case InspectCall():
            return wire.Inspect(request_id, **_problem(call.solve, frames, server))
        case AlternativesCall():
            return wire.Alternatives(request_id, limb=call.limb, **_problem(call.solve, frames, server))
        case TreeCall():
            return tree_message(call, request_id, frames)


class _Problem(TypedDict):
    evidence: tuple[wire.Evidence, ...]
    camera: wire.CameraSpec | None
    initial: wire.PoseSpec | None
    solve_shape: bool
    start: wire.PoseSpec | None
    joints: tuple[str, ...]
    all_betas: bool


def _problem(call: SolveCall, frames: wire.FrameWriter, server: tuple[int, int]) -> _Problem:
    """Return the fields that all messages have that solve."""
    # a solver of 1.2 cannot read a shape; without it the pose is a little worse, and no other one than is asked for
    known = (block for block in call.evidence if server >= (1, 3) or not isinstance(block, Shape))
    return _Problem(
        evidence=tuple(_evidence_message(block, frames) for block in known),
        camera=None if call.camera is None else _camera_message(call.camera),
        initial=None if call.initial is None else _pose_message(call.initial, frames, server),
        solve_shape=call.solve_shape,
        start=None if call.start is None else _pose_message(call.start, frames, server),
        joints=call.joints,
        all_betas=True,
    )


def read_answer(message: wire.Result, frames: wire.Frames) -> Answer:
    """Return what was found.

    Raises:
        SolverError: The reply is not usable: the solver is of another version.
    """
    match message:
        case wire.DetectReply():
            return read_detection(message, frames)
        case wire.SolveReply() if is_of_tree(message):
            return _checked(lambda: read_tree_solution(message, frames))
        case wire.SolveReply():
            return read_solution(message, frames)
        case wire.InspectReply():
            return read_inspection(message, frames)
        case wire.AlternativesReply():
            return read_alternatives(message, frames)


def read_detection(message: wire.DetectReply, frames: wire.Frames) -> Detection:
    """Return what was found on the picture.

    Raises:
        SolverError: The reply is not usable: the solver is of another version.
    """
    return _checked(
        lambda: Detection(
            camera=_camera(message.camera),
            persons=tuple(
                DetectedPerson(
                    evidence=tuple(_evidence(block, frames) for block in person.evidence),
                    confidence=dict(person.confidence),
                    score=person.score,
                    box=person.box,
                    doubts=tuple(person.doubts),
                )
                for person in message.persons
            ),
            seconds=message.seconds,
        )
    )


def read_solution(message: wire.SolveReply, frames: wire.Frames) -> Solution:
    """Return the pose that was found.

    Raises:
        SolverError: The reply is not usable: the solver is of another version.
    """

    def build() -> Solution:
        pose = _pose(message.pose, frames)
        tree = TREES[len(pose.local_quat)]
        joints = _array(frames, message.joints, (len(tree.names), 3))
        positions = _array(frames, message.point_positions, (len(message.point_names), 3))
        camera = None if message.camera is None else _camera(message.camera)
        names = (*tree.names, *message.point_names)
        points = np.concatenate([joints, positions])
        return Solution(
            pose=pose,
            camera=camera,
            points=dict(zip(names, _vectors3(points), strict=True)),
            pixels=_pixels(camera, names, points),
            status=message.status,
            iterations=message.iterations,
            reprojection_px=message.reprojection_px_median,
            seconds=message.seconds,
            unreached=dict(message.unreached),
        )

    return _checked(build)


def read_inspection(message: wire.InspectReply, frames: wire.Frames) -> Inspection:
    """Return how sure the pose is and what pulls at it.

    Raises:
        SolverError: The reply is not usable: the solver is of another version.
    """

    def build() -> Inspection:
        covariance = _array(frames, message.joint_covariance, (None, 3, 3))
        gains = _list(frames, message.next_gains, len(message.next_points))
        known = [(name, gain) for name, gain in zip(message.next_points, gains, strict=True) if name in POINT_NAMES]
        return Inspection(
            joint_covariance=covariance,
            rows=tuple(EvidenceRow(row.kind, row.name, row.residual, row.unit, row.cost) for row in message.rows),
            pulls=_array(frames, message.pulls, (len(message.rows), len(_tree(len(covariance)).names), 3)),
            next_points=tuple(name for name, _ in known),
            next_gains=tuple(gain for _, gain in known),
            seconds=message.seconds,
        )

    return _checked(build)


def read_alternatives(message: wire.AlternativesReply, frames: wire.Frames) -> Alternatives:
    """Return the poses that fit about as well.

    Raises:
        SolverError: The reply is not usable: the solver is of another version.
    """

    def build() -> Alternatives:
        joints = _array(frames, message.joints, (len(message.poses), None, 3))
        rows = zip(message.poses, message.costs, message.reprojection_px, joints, strict=True)
        found = tuple(Alternative(_pose(pose, frames), cost, px, where) for pose, cost, px, where in rows)
        return Alternatives(found, message.seconds)

    return _checked(build)


def _checked(build: Callable[[], T]) -> T:
    try:
        return build()
    except (ValueError, wire.ProtocolError) as error:
        raise SolverError(f"the solver's answer cannot be used ({error}); update add-on and solver") from error


def _array(frames: wire.Frames, ref: wire.ArrayRef, shape: tuple[int | None, ...]) -> FloatArray:
    """Return an array of the reply as float64, checked against its shape (None: any length)."""
    array = np.asarray(frames.array(ref), dtype=np.float64)
    same_rank = len(array.shape) == len(shape)
    if not same_rank or any(want not in (None, got) for want, got in zip(shape, array.shape, strict=True)):
        raise ValueError(f"an array has shape {array.shape}, expected {shape}")
    if not np.isfinite(array).all():
        raise ValueError("an array holds numbers that are not finite")
    return array


def _tree(count: int) -> Tree:
    """Return the tree of a body with so many joints."""
    if count not in TREES:
        raise ValueError(f"a body has {count} joints, expected {', '.join(map(str, TREES))}")
    return TREES[count]


def _pixels(camera: PhotoCamera | None, names: tuple[str, ...], points: FloatArray) -> dict[str, Vector2]:
    if camera is None or camera.rotation is None:
        return {}
    return dict(zip(names, _vectors2(project(camera, points)), strict=True))


def _vectors2(array: FloatArray) -> tuple[Vector2, ...]:
    return tuple((x, y) for x, y in array.tolist())


def _vectors3(array: FloatArray) -> tuple[Vector3, ...]:
    return tuple((x, y, z) for x, y, z in array.tolist())


def _quaternions(array: FloatArray) -> tuple[Quaternion, ...]:
    return tuple((w, x, y, z) for w, x, y, z in array.tolist())


def _floats(frames: wire.FrameWriter, values: ArrayLike, *shape: int) -> wire.ArrayRef:
    return frames.add_array(np.ascontiguousarray(values, dtype="<f4").reshape(shape).data)


def _camera_message(camera: PhotoCamera) -> wire.CameraSpec:
    return wire.CameraSpec(**msgspec.structs.asdict(camera))  # both have the same fields


def _camera(camera: wire.CameraSpec) -> PhotoCamera:
    return PhotoCamera(**msgspec.structs.asdict(camera))


def _pose_message(pose: Pose, frames: wire.FrameWriter, server: tuple[int, int]) -> wire.PoseSpec:
    betas = pose.betas if server >= (1, 5) else pose.betas[:OLD_BETAS]  # the others are zero, or it is not asked
    return wire.PoseSpec(
        transl=_floats(frames, pose.transl, 3),
        local_quat=_floats(frames, pose.local_quat, len(pose.local_quat), 4),
        betas=_floats(frames, betas, len(betas)),
    )


def _pose(pose: wire.PoseSpec, frames: wire.Frames) -> Pose:
    quats = _array(frames, pose.local_quat, (None, 4))
    _tree(len(quats))
    lengths = np.linalg.norm(quats, axis=1, keepdims=True)
    if lengths.min() < 1e-3:
        raise ValueError("a rotation has length zero")
    return Pose(
        transl=as_vector(_array(frames, pose.transl, (3,))),
        local_quat=_quaternions(quats / lengths),
        betas=tuple(_array(frames, pose.betas, (None,)).tolist()),
    )


def _rows(block: Evidence) -> int:
    match block:
        case Anchor():
            return len(block.local_quat)
        case Shape():
            return len(block.betas)
        case _:
            return len(block.names)


def _evidence_message(block: Evidence, frames: wire.FrameWriter) -> wire.Evidence:
    count = _rows(block)
    match block:
        case Keypoints2D():
            points = _floats(frames, block.points, count, 2)
            return wire.Keypoints2D(block.names, points, _floats(frames, block.sigma, count), block.is_robust)
        case Keypoints3D():
            points = _floats(frames, block.points, count, 3)
            return wire.Keypoints3D(block.names, points, _floats(frames, block.sigma, count))
        case RelativeKeypoints3D():
            points = _floats(frames, block.points, count, 3)
            return wire.RelativeKeypoints3D(block.names, points, _floats(frames, block.sigma, count, 3))
        case Anchor():
            return wire.Anchor(_floats(frames, block.local_quat, count, 4), _floats(frames, block.sigma, count))
        case Twist():
            angles = _floats(frames, block.angles, count)
            return wire.Twist(block.names, angles, _floats(frames, block.sigma, count))
        case Shape():
            return wire.Shape(block.body, _floats(frames, block.betas, count), _floats(frames, block.sigma, count))
        case Pins():
            return wire.Pins(block.names, _floats(frames, block.points, count, 3))
        case Orientations():
            quat = _floats(frames, block.quat, count, 4)
            return wire.Orientations(block.names, quat, _floats(frames, block.sigma, count))


def _evidence(block: wire.Evidence, frames: wire.Frames) -> Evidence:
    if isinstance(block, wire.Shape):
        betas = tuple(_array(frames, block.betas, (None,)).tolist())
        return Shape(block.body, betas, _list(frames, block.sigma, len(betas)))
    count = None if isinstance(block, wire.Anchor) else len(block.names)
    match block:
        case wire.Keypoints2D():
            points = _vectors2(_array(frames, block.points, (count, 2)))
            return Keypoints2D(block.names, points, _list(frames, block.sigma, count), block.is_robust)
        case wire.Keypoints3D():
            points = _vectors3(_array(frames, block.points, (count, 3)))
            return Keypoints3D(block.names, points, _list(frames, block.sigma, count))
        case wire.RelativeKeypoints3D():
            points = _vectors3(_array(frames, block.points, (count, 3)))
            return RelativeKeypoints3D(block.names, points, _vectors3(_array(frames, block.sigma, (count, 3))))
        case wire.Anchor():
            quats = _quaternions(_array(frames, block.local_quat, (count, 4)))
            return Anchor(quats, _list(frames, block.sigma, len(quats)))
        case wire.Twist():
            return Twist(block.names, _list(frames, block.angles, count), _list(frames, block.sigma, count))
        case wire.Pins():
            return Pins(block.names, _vectors3(_array(frames, block.points, (count, 3))))
        case wire.Orientations():
            quats = _quaternions(_array(frames, block.quat, (count, 4)))
            return Orientations(block.names, quats, _list(frames, block.sigma, count))


def _list(frames: wire.Frames, ref: wire.ArrayRef, count: int | None) -> tuple[float, ...]:
    return tuple(_array(frames, ref, (count,)).tolist())

# SPDX-License-Identifier: GPL-3.0-or-later
"""Between what the add-on stores (core/record.py) and what travels (the protocol's messages and their frames)."""

from collections.abc import Callable
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._vendor import solver_protocol as wire
from ..core.errors import SolverError
from ..core.jobs import Call, DetectCall, DetectedPerson, Detection, SolveCall
from ..core.pose_conversion import as_quaternion, as_vector
from ..core.record import (
    Anchor,
    Evidence,
    Keypoints2D,
    Keypoints3D,
    PhotoCamera,
    Pose,
    RelativeKeypoints3D,
    Solution,
    Twist,
    Vector2,
)
from ..core.rig import JOINT_NAMES

FloatArray = NDArray[np.float64]
T = TypeVar("T")


def encode_call(call: Call, request_id: int) -> list[bytes]:
    """Return the frames of a call.

    Raises:
        SolverError: The call cannot be sent, because it is too large.
    """
    frames = wire.FrameWriter()
    try:
        match call:
            case DetectCall():
                image = frames.add_blob(call.image)
                message = wire.Detect(request_id, image, model=call.model, max_persons=call.max_persons)
            case SolveCall():
                message = wire.Solve(
                    request_id,
                    tuple(_evidence_message(block, frames) for block in call.evidence),
                    camera=None if call.camera is None else _camera_message(call.camera),
                    initial=None if call.initial is None else _pose_message(call.initial, frames),
                    solve_shape=call.solve_shape,
                )
        return wire.encode(message, frames)
    except wire.ProtocolError as error:
        raise SolverError(f"the request cannot be sent: {error}", code=error.code) from error


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
        positions = _array(frames, message.point_positions, (len(message.point_names), 3))
        pixels = _array(frames, message.point_pixels, (None, 2))
        return Solution(
            pose=_pose(message.pose, frames),
            camera=None if message.camera is None else _camera(message.camera),
            points=dict(zip(message.point_names, map(as_vector, positions), strict=True)),
            pixels=dict(zip(message.point_names, map(_as_vector2, pixels), strict=True)) if len(pixels) else {},
            status=message.status,
            iterations=message.iterations,
            reprojection_px=message.reprojection_px_median,
            seconds=message.seconds,
        )

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


def _as_vector2(values: ArrayLike) -> Vector2:
    x, y = (float(value) for value in np.asarray(values))
    return (x, y)


def _floats(frames: wire.FrameWriter, values: ArrayLike, *shape: int) -> wire.ArrayRef:
    return frames.add_array(np.ascontiguousarray(values, dtype="<f4").reshape(shape).data)


def _camera_message(camera: PhotoCamera) -> wire.CameraSpec:
    return wire.CameraSpec(**msgspec.structs.asdict(camera))  # both have the same fields


def _camera(camera: wire.CameraSpec) -> PhotoCamera:
    return PhotoCamera(**msgspec.structs.asdict(camera))


def _pose_message(pose: Pose, frames: wire.FrameWriter) -> wire.PoseSpec:
    return wire.PoseSpec(
        transl=_floats(frames, pose.transl, 3),
        local_quat=_floats(frames, pose.local_quat, len(pose.local_quat), 4),
        betas=_floats(frames, pose.betas, len(pose.betas)),
    )


def _pose(pose: wire.PoseSpec, frames: wire.Frames) -> Pose:
    quats = _array(frames, pose.local_quat, (len(JOINT_NAMES), 4))
    lengths = np.linalg.norm(quats, axis=1, keepdims=True)
    if lengths.min() < 1e-3:
        raise ValueError("a rotation has length zero")
    return Pose(
        transl=as_vector(_array(frames, pose.transl, (3,))),
        local_quat=tuple(as_quaternion(quat) for quat in quats / lengths),
        betas=tuple(float(beta) for beta in _array(frames, pose.betas, (None,))),
    )


def _evidence_message(block: Evidence, frames: wire.FrameWriter) -> wire.Evidence:
    count = len(block.sigma)
    match block:
        case Keypoints2D():
            points = _floats(frames, block.points, count, 2)
            return wire.Keypoints2D(block.names, points, _floats(frames, block.sigma, count))
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


def _evidence(block: wire.Evidence, frames: wire.Frames) -> Evidence:
    match block:
        case wire.Keypoints2D():
            count = len(block.names)
            points = tuple(map(_as_vector2, _array(frames, block.points, (count, 2))))
            return Keypoints2D(block.names, points, _list(frames, block.sigma, count))
        case wire.Keypoints3D():
            count = len(block.names)
            points = tuple(map(as_vector, _array(frames, block.points, (count, 3))))
            return Keypoints3D(block.names, points, _list(frames, block.sigma, count))
        case wire.RelativeKeypoints3D():
            count = len(block.names)
            points = tuple(map(as_vector, _array(frames, block.points, (count, 3))))
            sigma = tuple(map(as_vector, _array(frames, block.sigma, (count, 3))))
            return RelativeKeypoints3D(block.names, points, sigma)
        case wire.Anchor():
            count = len(JOINT_NAMES)
            quats = tuple(map(as_quaternion, _array(frames, block.local_quat, (count, 4))))
            return Anchor(quats, _list(frames, block.sigma, count))
        case wire.Twist():
            count = len(block.names)
            return Twist(block.names, _list(frames, block.angles, count), _list(frames, block.sigma, count))


def _list(frames: wire.Frames, ref: wire.ArrayRef, count: int) -> tuple[float, ...]:
    return tuple(float(value) for value in _array(frames, ref, (count,)))

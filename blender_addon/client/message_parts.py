# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of messages: evidence, cameras, poses and arrays, as the add-on stores them and as they travel."""

from collections.abc import Callable
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._vendor import solver_protocol as wire
from ..core.errors import SolverError
from ..core.pose_conversion import as_pixels, as_vector, project
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
    Twist,
    Vector2,
    Vector3,
    ViewKeypoints2D,
)
from ..core.rig import TREES, Tree

FloatArray = NDArray[np.float64]
T = TypeVar("T")

OLD_BETAS = 10
"""All that solvers before protocol 1.5 know of."""


def checked(build: Callable[[], T]) -> T:
    """Return what is built of a reply.

    Raises:
        SolverError: The reply is not usable: the solver is of another version.
    """
    try:
        return build()
    except (ValueError, wire.ProtocolError) as error:
        raise SolverError(f"the solver's answer cannot be used ({error}); update add-on and solver") from error


def read_array(frames: wire.Frames, ref: wire.ArrayRef, shape: tuple[int | None, ...]) -> FloatArray:
    """Return an array of the reply as float64, checked against its shape (None: any length)."""
    array = np.asarray(frames.array(ref), dtype=np.float64)
    same_rank = len(array.shape) == len(shape)
    if not same_rank or any(want not in (None, got) for want, got in zip(shape, array.shape, strict=True)):
        raise ValueError(f"an array has shape {array.shape}, expected {shape}")
    if not np.isfinite(array).all():
        raise ValueError("an array holds numbers that are not finite")
    return array


def tree_of(count: int) -> Tree:
    """Return the tree of a body with so many joints."""
    if count not in TREES:
        raise ValueError(f"a body has {count} joints, expected {', '.join(map(str, TREES))}")
    return TREES[count]


def pixels_of(camera: PhotoCamera | None, names: tuple[str, ...], points: FloatArray) -> dict[str, Vector2]:
    """Return where points are on the picture, by name; none where the camera has no place."""
    if camera is None or camera.rotation is None:
        return {}
    return dict(zip(names, as_pixels(project(camera, points)), strict=True))


def vectors3(array: FloatArray) -> tuple[Vector3, ...]:
    """Return the rows of an array."""
    return tuple((x, y, z) for x, y, z in array.tolist())


def _quaternions(array: FloatArray) -> tuple[Quaternion, ...]:
    return tuple((w, x, y, z) for w, x, y, z in array.tolist())


def floats(frames: wire.FrameWriter, values: ArrayLike, *shape: int) -> wire.ArrayRef:
    """Put numbers into the message as float32."""
    return frames.add_array(np.ascontiguousarray(values, dtype="<f4").reshape(shape).data)


def camera_message(camera: PhotoCamera) -> wire.CameraSpec:
    """Return a camera as it travels."""
    return wire.CameraSpec(**msgspec.structs.asdict(camera))  # both have the same fields


def read_camera(camera: wire.CameraSpec) -> PhotoCamera:
    """Return a camera of a reply."""
    return PhotoCamera(**msgspec.structs.asdict(camera))


def pose_message(pose: Pose, frames: wire.FrameWriter, server: tuple[int, int]) -> wire.PoseSpec:
    """Return a pose as it travels to a server of this version."""
    betas = pose.betas if server >= (1, 5) else pose.betas[:OLD_BETAS]  # the others are zero, or it is not asked
    return wire.PoseSpec(
        transl=floats(frames, pose.transl, 3),
        local_quat=floats(frames, pose.local_quat, len(pose.local_quat), 4),
        betas=floats(frames, betas, len(betas)),
    )


def read_pose(pose: wire.PoseSpec, frames: wire.Frames) -> Pose:
    """Return a pose of a reply.

    Raises:
        ValueError: It is none.
    """
    quats = read_array(frames, pose.local_quat, (None, 4))
    tree_of(len(quats))
    lengths = np.linalg.norm(quats, axis=1, keepdims=True)
    if lengths.min() < 1e-3:
        raise ValueError("a rotation has length zero")
    return Pose(
        transl=as_vector(read_array(frames, pose.transl, (3,))),
        local_quat=_quaternions(quats / lengths),
        betas=tuple(read_array(frames, pose.betas, (None,)).tolist()),
    )


def _rows(block: Evidence) -> int:
    match block:
        case Anchor():
            return len(block.local_quat)
        case Shape():
            return len(block.betas)
        case _:
            return len(block.names)


def evidence_message(block: Evidence, frames: wire.FrameWriter) -> wire.Evidence:
    """Return a block of evidence as it travels."""
    count = _rows(block)
    match block:
        case Keypoints2D():
            points = floats(frames, block.points, count, 2)
            return wire.Keypoints2D(block.names, points, floats(frames, block.sigma, count), block.is_robust)
        case Keypoints3D():
            points = floats(frames, block.points, count, 3)
            return wire.Keypoints3D(block.names, points, floats(frames, block.sigma, count))
        case RelativeKeypoints3D():
            points = floats(frames, block.points, count, 3)
            return wire.RelativeKeypoints3D(block.names, points, floats(frames, block.sigma, count, 3))
        case Anchor():
            return wire.Anchor(floats(frames, block.local_quat, count, 4), floats(frames, block.sigma, count))
        case Twist():
            angles = floats(frames, block.angles, count)
            return wire.Twist(block.names, angles, floats(frames, block.sigma, count))
        case Shape():
            return wire.Shape(block.body, floats(frames, block.betas, count), floats(frames, block.sigma, count))
        case Pins():
            return wire.Pins(block.names, floats(frames, block.points, count, 3))
        case Orientations():
            quat = floats(frames, block.quat, count, 4)
            return wire.Orientations(block.names, quat, floats(frames, block.sigma, count))
        case ViewKeypoints2D():
            points, sigma = floats(frames, block.points, count, 2), floats(frames, block.sigma, count)
            return wire.ViewKeypoints2D(block.names, points, sigma, camera_message(block.camera))


def read_evidence(block: wire.Evidence, frames: wire.Frames) -> Evidence:
    """Return a block of evidence of a reply.

    Raises:
        ValueError: Its arrays do not fit.
    """
    if isinstance(block, wire.Shape):
        betas = tuple(read_array(frames, block.betas, (None,)).tolist())
        return Shape(block.body, betas, read_list(frames, block.sigma, len(betas)))
    count = None if isinstance(block, wire.Anchor) else len(block.names)
    match block:
        case wire.Keypoints2D():
            points = as_pixels(read_array(frames, block.points, (count, 2)))
            return Keypoints2D(block.names, points, read_list(frames, block.sigma, count), block.is_robust)
        case wire.Keypoints3D():
            points = vectors3(read_array(frames, block.points, (count, 3)))
            return Keypoints3D(block.names, points, read_list(frames, block.sigma, count))
        case wire.RelativeKeypoints3D():
            points = vectors3(read_array(frames, block.points, (count, 3)))
            return RelativeKeypoints3D(block.names, points, vectors3(read_array(frames, block.sigma, (count, 3))))
        case wire.Anchor():
            quats = _quaternions(read_array(frames, block.local_quat, (count, 4)))
            return Anchor(quats, read_list(frames, block.sigma, len(quats)))
        case wire.Twist():
            return Twist(block.names, read_list(frames, block.angles, count), read_list(frames, block.sigma, count))
        case wire.Pins():
            return Pins(block.names, vectors3(read_array(frames, block.points, (count, 3))))
        case wire.Orientations():
            quats = _quaternions(read_array(frames, block.quat, (count, 4)))
            return Orientations(block.names, quats, read_list(frames, block.sigma, count))
        case wire.ViewKeypoints2D():
            points = as_pixels(read_array(frames, block.points, (count, 2)))
            sigma, camera = read_list(frames, block.sigma, count), read_camera(block.camera)
            return ViewKeypoints2D(block.names, points, sigma, camera)


def read_list(frames: wire.Frames, ref: wire.ArrayRef, count: int | None) -> tuple[float, ...]:
    """Return a row of numbers of the reply, checked as `read_array` does."""
    return tuple(read_array(frames, ref, (count,)).tolist())

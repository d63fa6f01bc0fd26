# SPDX-License-Identifier: Apache-2.0
"""Between the structs of the wire and the objects of `ikol.pipeline`: tensors for frames, matrices for quaternions.

What comes from outside is checked here (shapes that belong together, finite, positive), so that the pipeline gets only
float64 tensors that it can use. Imports: torch, ikol. Not here: what is computed, sockets.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from ikol.camera import Camera
from ikol.distortion import Coefficients, check_distortion
from ikol.errors import InputError
from ikol.geometry.rotations import quat_to_rotmat, rotmat_to_quat
from ikol.pipeline import evidence as named
from ikol.pipeline.multiview import View
from ikol.pipeline.problem import camera_of
from solver_server import protocol
from solver_server.protocol import ArrayRef, CameraSpec, Frames, FrameWriter, PoseSpec

MAX_ROTATION_ERROR = 1e-3  # of R R^T from 1: float32 of several tools gives 1e-6, a wrong matrix 0.1
MAX_NUMBER = 1e6  # pixels, metres, radians: beyond it the squares in the solver lose all their digits
MIN_SIGMA = 1e-6  # a thousandth of a millimetre; much smaller ones overflow as weights
SIGMA_ROUNDING = 1e-6  # relative: a client's 1e-6 becomes 9.99999997e-7 as float32
MIN_FOCAL = 1.0  # pixels; a picture of at most 65536 pixels is then seen under 179.99 degrees
MIN_BOX = 1.0  # pixels
HELD_SIGMA = 1e-4  # of a beta that stays at rest: it moves no joint by more than a hundredth of a millimetre
MIN_QUAT_NORM = 1e-6  # shorter ones have no direction


class Reader:
    """Reads the arrays of one request.

    Args:
        frames: The extra frames of the request.
        num_joints: Of the body that is posed.
        num_betas: Of the body that is posed.
        free_betas: How many of them may be solved, where the client speaks of no more; None for all.
    """

    def __init__(self, frames: Frames, num_joints: int, num_betas: int, free_betas: int | None = None) -> None:
        self._frames = frames
        self._num_joints = num_joints
        self._num_betas = num_betas
        self._free_betas = num_betas if free_betas is None else min(free_betas, num_betas)

    def evidence(self, block: protocol.Evidence) -> named.NamedEvidence:
        """Give one block of evidence.

        Raises:
            InputError: Says which array of the block is wrong, and how.
        """
        kind = str(type(block).__struct_config__.tag)
        match block:
            case protocol.Keypoints2D(names, points, sigma, is_robust):
                count = _count(kind, names)
                pixels = self._read(kind, points, count, 2)
                return named.Keypoints2D(names, pixels, self._sigma(kind, sigma, count), is_robust)
            case protocol.Keypoints3D(names, points, sigma):
                count = _count(kind, names)
                return named.Keypoints3D(names, self._read(kind, points, count, 3), self._sigma(kind, sigma, count))
            case protocol.RelativeKeypoints3D(names, points, sigma):
                count = _count(kind, names)
                return named.RelativeKeypoints3D(
                    names, self._read(kind, points, count, 3), self._sigma(kind, sigma, count, 3)
                )
            case protocol.Anchor(local_quat, sigma):
                count = self._num_joints
                return named.Anchor(self._rotmat(kind, local_quat, count), self._sigma(kind, sigma, count))
            case protocol.Twist(names, angles, sigma):
                count = _count(kind, names)
                return named.Twist(names, self._read(kind, angles, count), self._sigma(kind, sigma, count))
            case protocol.Shape(body, betas, sigma):
                if len(betas.shape) != 1 or not betas.shape[0]:
                    raise InputError(f"{kind} needs one row of betas, got an array of shape {betas.shape}")
                count = betas.shape[0]
                return self.shape(body, self._read(kind, betas, count), self._sigma(kind, sigma, count))
            case protocol.Pins(names, points):
                return named.Pins(names, self._read(kind, points, _count(kind, names), 3))
            case protocol.Orientations(names, quat, sigma):
                count = _count(kind, names)
                return named.Orientations(names, self._rotmat(kind, quat, count), self._sigma(kind, sigma, count))
            case protocol.ViewKeypoints2D(names, points, sigma, camera):
                count, place = _count(kind, names), extrinsics(camera)
                if place is None:
                    raise InputError(f"{kind} needs to know where its camera is; send its extrinsics along")
                pixels = self._read(kind, points, count, 2)
                return named.ViewKeypoints2D(names, pixels, self._sigma(kind, sigma, count), intrinsics(camera), place)

    def pose(self, pose: PoseSpec, what: str) -> named.Pose:
        """Give a pose; `what` it is, for sentences.

        Raises:
            InputError: Says which array is wrong, and how.
        """
        return named.Pose(
            transl=self._read(f"the translation of {what}", pose.transl, 3),
            local_rotmat=self._rotmat(what, pose.local_quat, self._num_joints),
            betas=self._betas(f"the shape of {what}", pose.betas),
        )

    def shape(self, body: str, betas: Tensor, sigma: Tensor) -> named.Shape:
        """Give what is known of a shape; of betas that it does not tell, the prior, or that they stay at rest."""
        mean, spread = betas.new_zeros(self._num_betas), betas.new_full((self._num_betas,), HELD_SIGMA)
        spread[: self._free_betas] = 1.0
        count = min(len(betas), self._num_betas)  # of another body it may be longer; the pipeline passes over that one
        mean[:count], spread[:count] = betas[:count], sigma[:count]
        return named.Shape(body, mean, spread)

    def held_shape(self, body: str, ref: ArrayRef) -> named.Shape:
        """Give a shape that stays as it is told.

        Raises:
            InputError: Says what is wrong with the array.
        """
        betas = self._betas("the shape", ref)
        return named.Shape(body, betas, torch.full_like(betas, HELD_SIGMA))

    def _betas(self, what: str, ref: ArrayRef) -> Tensor:
        """Give as many betas as the body has: those that are not told are zero."""
        is_short = len(ref.shape) == 1 and 0 < ref.shape[0] < self._num_betas
        told = self._read(what, ref, ref.shape[0] if is_short else self._num_betas)
        return torch.cat([told, told.new_zeros(self._num_betas - len(told))])

    def array(self, what: str, ref: ArrayRef, *shape: int) -> Tensor:
        """Give an array of numbers; `what` it is, for sentences.

        Raises:
            InputError: Shape, type or numbers are not what they should be.
        """
        return self._read(what, ref, *shape)

    def _read(self, what: str, ref: ArrayRef, *shape: int) -> Tensor:
        if ref.shape != shape:
            raise InputError(f"{what} needs an array of shape {shape}, got {ref.shape}; names and numbers must agree")
        if ref.dtype not in ("<f4", "<f8"):
            raise InputError(f"{what} needs an array of floating-point numbers, got {ref.dtype}")
        if 0 in shape:  # the shape of what has no shape space
            return torch.zeros(shape, dtype=torch.float64)
        dtype = torch.float32 if ref.dtype == "<f4" else torch.float64
        # frombuffer warns of memory that cannot be written
        tensor = torch.frombuffer(bytearray(self._frames.array(ref)), dtype=dtype).reshape(shape).to(torch.float64)
        _check_size(what, float(tensor.abs().max()))  # torch's max keeps a NaN
        return tensor

    def _sigma(self, what: str, ref: ArrayRef, *shape: int) -> Tensor:
        sigma = self._read(f"the standard deviation of {what}", ref, *shape)
        if float(sigma.min()) < MIN_SIGMA * (1 - SIGMA_ROUNDING):
            raise InputError(
                f"the standard deviation of {what} must be at least {MIN_SIGMA}, got {float(sigma.min()):g}"
            )
        return sigma

    def _rotmat(self, what: str, ref: ArrayRef, count: int) -> Tensor:
        quat = self._read(f"the rotations of {what}", ref, count, 4)
        shortest = float(quat.norm(dim=-1).min())
        if shortest < MIN_QUAT_NORM:
            raise InputError(f"the rotations of {what} must be unit quaternions, got one of length {shortest:g}")
        return quat_to_rotmat(quat)


def check_detect(request: protocol.Detect) -> None:
    """Check the numbers of a request for detection.

    Raises:
        InputError: Names the field that the pipeline could not use.
    """
    for box in request.boxes:
        for number in box:
            _check_size("a box", number)
        x0, y0, x1, y1 = box
        if min(x1 - x0, y1 - y0) < MIN_BOX:
            raise InputError(
                f"a box is x0, y0, x1, y1 with x0 < x1 and y0 < y1, at least {MIN_BOX:g} pixel apart, got {box}"
            )
    _check_size("rotation_deg", request.rotation_deg)
    if request.focal_px is not None:
        _check_focal("focal_px", request.focal_px)


def check_joints(names: Sequence[str]) -> Sequence[str]:
    """Give the joints that may move; none for all.

    Raises:
        InputError: A name comes twice.
    """
    if names:
        _count("joints", names)
    return names


def intrinsics(camera: CameraSpec) -> named.Intrinsics:
    """Give the lens of a camera.

    Raises:
        InputError: A number is out of all proportion.
    """
    _check_focal("focal_x of the camera", camera.focal_x)
    _check_focal("focal_y of the camera", camera.focal_y)
    _check_size("center_x of the camera", camera.center_x)
    _check_size("center_y of the camera", camera.center_y)
    check_distortion(camera.distortion)
    return named.Intrinsics(
        width=camera.width,
        height=camera.height,
        focal=(camera.focal_x, camera.focal_y),
        center=(camera.center_x, camera.center_y),
        focal_source=camera.focal_source,
        distortion=camera.distortion,
    )


def extrinsics(camera: CameraSpec) -> tuple[Tensor, Tensor] | None:
    """Give R (3, 3) and t (3) of a camera, None while it is not placed.

    Raises:
        InputError: Only one of both is there, or R is no rotation.
    """
    if camera.rotation is None and camera.translation is None:
        return None
    if camera.rotation is None or camera.translation is None:
        raise InputError("a camera has both rotation and translation, or neither; got only one of them")
    for field, numbers in (("rotation", camera.rotation), ("translation", camera.translation)):
        for number in numbers:
            _check_size(f"the {field} of the camera", number)
    R = torch.tensor(camera.rotation, dtype=torch.float64).reshape(3, 3)
    error = float((R @ R.T - torch.eye(3, dtype=torch.float64)).abs().max())
    if error > MAX_ROTATION_ERROR or float(torch.linalg.det(R)) < 0:
        raise InputError(f"the rotation of the camera must be a rotation matrix, got {camera.rotation}")
    return R, torch.tensor(camera.translation, dtype=torch.float64)


def read_views(request: protocol.SolveViews, reader: Reader, body: str) -> list[View]:
    """Give several pictures of one request.

    Args:
        request: What is asked.
        reader: Of its arrays.
        body: The name of the body, for a shape that is held.

    Raises:
        InputError: Says what is wrong; or some cameras are placed and others not.
    """
    held = None if request.betas is None else reader.held_shape(body, request.betas)
    views: list[View] = []
    for view in request.views:
        evidence = [reader.evidence(block) for block in view.evidence]
        if held is not None:
            evidence = [*(block for block in evidence if not isinstance(block, named.Shape)), held]
        views.append(View(tuple(evidence), intrinsics(view.camera), extrinsics(view.camera)))
    if len({view.extrinsics is None for view in views}) > 1:
        raise InputError("the cameras of some pictures are placed and of others not; place all of them, or none")
    return views


class Writer:
    """Writes results into one reply and its frames."""

    def __init__(self) -> None:
        self.frames = FrameWriter()

    def evidence(self, block: named.NamedEvidence) -> protocol.Evidence:
        """Write one block of evidence."""
        match block:
            case named.Keypoints2D():
                points, sigma = self.array(block.points), self.array(block.sigma)
                return protocol.Keypoints2D(block.names, points, sigma, block.is_robust)
            case named.Keypoints3D():
                return protocol.Keypoints3D(block.names, self.array(block.points), self.array(block.sigma))
            case named.RelativeKeypoints3D():
                return protocol.RelativeKeypoints3D(block.names, self.array(block.points), self.array(block.sigma))
            case named.Anchor():
                return protocol.Anchor(self.array(rotmat_to_quat(block.local_rotmat)), self.array(block.sigma))
            case named.Twist():
                return protocol.Twist(block.names, self.array(block.angles), self.array(block.sigma))
            case named.Shape():
                return protocol.Shape(block.body, self.array(block.betas), self.array(block.sigma))
            case named.Pins():
                return protocol.Pins(block.names, self.array(block.points))
            case named.Orientations():
                quat = self.array(rotmat_to_quat(block.rotmat))
                return protocol.Orientations(block.names, quat, self.array(block.sigma))
            case named.ViewKeypoints2D():
                lens = block.intrinsics
                camera = placed_camera(camera_of(lens, block.extrinsics), lens.focal_source, lens.distortion)
                points, sigma = self.array(block.points), self.array(block.sigma)
                return protocol.ViewKeypoints2D(block.names, points, sigma, camera)

    def pose(self, pose: named.Pose) -> PoseSpec:
        """Write a pose."""
        quat = rotmat_to_quat(pose.local_rotmat)
        return PoseSpec(self.array(pose.transl), self.array(quat), self.array(pose.betas))

    def array(self, tensor: Tensor) -> ArrayRef:
        """Write an array.

        Raises:
            ArithmeticError: It contains numbers that are not finite, which is a fault of what computed it.
        """
        tensor = tensor.detach().cpu().contiguous()
        if not bool(tensor.isfinite().all()):
            raise ArithmeticError(f"a result of shape {tuple(tensor.shape)} contains numbers that are not finite")
        return self.frames.add_array(tensor.numpy())


def camera_of_lens(lens: named.Intrinsics) -> CameraSpec:
    """Write a lens as a camera that is not placed."""
    return CameraSpec(
        width=lens.width,
        height=lens.height,
        focal_x=lens.focal[0],
        focal_y=lens.focal[1],
        center_x=lens.center[0],
        center_y=lens.center[1],
        focal_source=_focal_source(lens.focal_source),
        distortion=lens.distortion,
    )


def placed_camera(camera: Camera, focal_source: str, distortion: Coefficients) -> CameraSpec:
    """Write a camera with its place."""
    focal, center = _numbers(camera.focal), _numbers(camera.center)
    rotation, translation = _numbers(camera.R_camera_world), _numbers(camera.t_camera_world)
    return CameraSpec(
        width=camera.width,
        height=camera.height,
        focal_x=focal[0],
        focal_y=focal[1],
        center_x=center[0],
        center_y=center[1],
        rotation=cast("tuple[float, float, float, float, float, float, float, float, float]", rotation),
        translation=cast("tuple[float, float, float]", translation),
        focal_source=_focal_source(focal_source),
        distortion=distortion,
    )


def _focal_source(source: str) -> protocol.FocalSource:
    return cast("protocol.FocalSource", source)  # encoding checks it


def _numbers(tensor: Tensor) -> tuple[float, ...]:
    return tuple(float(value) for value in tensor.detach().cpu().flatten())


def _check_size(what: str, number: float) -> None:
    if not abs(number) <= MAX_NUMBER:  # this way round it is true for NaN, which Python's max may pass over
        raise InputError(f"{what} has the number {number:g}; numbers must be finite and at most {MAX_NUMBER:g}")


def _check_focal(what: str, focal: float) -> None:
    if not MIN_FOCAL <= focal <= MAX_NUMBER:
        raise InputError(f"{what} must be between {MIN_FOCAL:g} and {MAX_NUMBER:g} pixels, got {focal:g}")


def _count(what: str, names: Sequence[str]) -> int:
    if not names:
        raise InputError(f"{what} names no points; leave the block out")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{what} has the name {twice[0]} more than once")
    return len(names)

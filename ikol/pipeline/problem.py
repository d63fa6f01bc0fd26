# SPDX-License-Identifier: Apache-2.0
"""One problem to solve: a body, named evidence, a camera, what may move and where it begins; all checked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ikol.body.model import BodyModel
from ikol.camera import Camera
from ikol.distortion import UNDISTORTED, Coefficients, undistort
from ikol.errors import InputError
from ikol.pipeline.evidence import (
    Anchor,
    Extrinsics,
    Intrinsics,
    Keypoints2D,
    Keypoints3D,
    NamedEvidence,
    Orientations,
    Pins,
    Pose,
    RelativeKeypoints3D,
    Shape,
    Twist,
    ViewKeypoints2D,
)
from ikol.solver import Skeleton, SolveConfig, SolveState

LEVEL = ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0))  # camera axes of a level camera that looks along -Z
MAX_ITERATIONS = 60  # a photograph takes about ten


@dataclass(frozen=True)
class Problem:
    """What is to be solved, checked."""

    body: BodyModel
    skeleton: Skeleton
    evidence: tuple[NamedEvidence, ...]
    camera: Camera | None
    is_placed: bool
    """Whether somebody has said where the camera is; otherwise it is level, at the origin."""
    initial: SolveState | None
    """What the evidence does not concern stays near it; what may not move stays as it is here."""
    start: SolveState | None
    """Where the iterations begin; None for `initial`, or the evidence."""
    joints: tuple[str, ...]
    """Whose rotations may change; none for all."""
    solve_shape: bool
    distortion: Coefficients = UNDISTORTED
    """Of the lens: the evidence is straightened, what is told of the picture has to be bent again."""

    @property
    def free_joints(self) -> Bool[Tensor, "joints"] | None:
        """The mask of `joints`; None for all."""
        if not self.joints:
            return None
        return torch.tensor([name in self.joints for name in self.body.tree.names])

    @property
    def config(self) -> SolveConfig:
        """The settings of a solve."""
        return SolveConfig(
            max_iterations=MAX_ITERATIONS,
            free_joints=self.free_joints,
            free_transl=not self.joints or self.body.tree.names[0] in self.joints,
            solve_shape=self.solve_shape,
            # who goes on from the last pose has let go of outliers already, and wants no other minimum
            gnc_start=1.0 if self.start is not None else SolveConfig.gnc_start,
        )


def make_problem(
    body: BodyModel,
    evidence: Sequence[NamedEvidence],
    *,
    intrinsics: Intrinsics | None = None,
    extrinsics: Extrinsics | None = None,
    initial: Pose | None = None,
    start: Pose | None = None,
    joints: Sequence[str] = (),
    solve_shape: bool = True,
) -> Problem:
    """Check what is to be solved; the arguments are those of `posing.solve_pose`.

    Raises:
        InputError: it cannot be solved.
    """
    is_placed = intrinsics is None or extrinsics is not None
    evidence = [block for block in evidence if not isinstance(block, Shape) or block.body == body.name]
    _check_evidence(body, evidence, intrinsics, is_placed=is_placed)
    if joints:
        _check_names("joints", tuple(joints), body.tree.names)
        if initial is None and start is None:
            raise InputError("to solve a part of the body the pose of the rest is needed; give `initial`")
        if not is_placed:
            raise InputError("to solve a part of the body the camera must stay where it is; send its extrinsics along")
    problem = Problem(
        body=body,
        skeleton=Skeleton.from_body(body),
        evidence=tuple(_straightened(block, intrinsics) for block in evidence),
        camera=None if intrinsics is None else camera_of(intrinsics, extrinsics),
        is_placed=is_placed,
        initial=None if initial is None else _state(initial),
        start=None if start is None else _state(start),
        joints=tuple(joints),
        solve_shape=solve_shape and not joints,
        distortion=UNDISTORTED if intrinsics is None else intrinsics.distortion,
    )
    return problem if start is None or initial is None else replace(problem, start=_joined(problem))


def _straightened(block: NamedEvidence, lens: Intrinsics | None) -> NamedEvidence:
    """Return a block with its points on a picture where a pinhole would show them; `lens` is of the problem's own."""
    match block:
        case Keypoints2D() if lens is not None:
            return replace(block, points=_straight(block.points, lens))
        case ViewKeypoints2D():
            return straightened_view(block)
        case _:
            return block


def straightened_view(block: ViewKeypoints2D) -> ViewKeypoints2D:
    """Return points of another picture where a pinhole would show them, and that pinhole.

    Raises:
        InputError: the lens cannot have shown them there.
    """
    lens = block.intrinsics
    return replace(block, points=_straight(block.points, lens), intrinsics=replace(lens, distortion=UNDISTORTED))


def _straight(pixels: Float[Tensor, "points 2"], lens: Intrinsics) -> Float[Tensor, "points 2"]:
    return undistort(pixels, lens.focal, lens.center, lens.distortion)


def _state(pose: Pose) -> SolveState:
    return SolveState(pose.transl, pose.local_rotmat, pose.betas)


def _joined(problem: Problem) -> SolveState:
    """Return the start, with what may not move as it is in `initial`: a pose that is sent to and fro loses digits."""
    start, held, config = problem.start, problem.initial, problem.config
    assert start is not None
    assert held is not None
    free = config.free_joints
    return SolveState(
        start.transl if config.free_transl else held.transl,
        start.local_rotmat if free is None else torch.where(free[:, None, None], start.local_rotmat, held.local_rotmat),
        start.betas if config.solve_shape else held.betas,
    )


def _check_evidence(
    body: BodyModel, evidence: Sequence[NamedEvidence], intrinsics: Intrinsics | None, *, is_placed: bool
) -> None:
    """Refuse evidence that cannot be solved.

    Raises:
        InputError: there is none, a name is unknown, or evidence and camera do not fit together.
    """
    if not evidence:
        raise InputError("there is nothing to solve: give at least one block of evidence")
    for block in evidence:
        if isinstance(block, Keypoints2D | RelativeKeypoints3D) and intrinsics is None:
            raise InputError("keypoints of a picture need its camera; send it along, or give 3D keypoints")
        if isinstance(block, Keypoints3D | Pins | Orientations | ViewKeypoints2D) and not is_placed:
            raise InputError(
                "keypoints, pins and orientations in the world, and keypoints on other pictures, need to know where "
                "the camera is; send its extrinsics along"
            )
        if isinstance(block, Shape):
            counts = [len(block.betas), len(block.sigma)]
            if counts != [body.num_betas] * 2:
                raise InputError(f"Shape: {body.name} has {body.num_betas} betas, got {counts} betas and sigmas")
        elif not isinstance(block, Anchor):
            is_of_joints = isinstance(block, Twist | Orientations)
            _check_names(type(block).__name__, block.names, body.tree.names if is_of_joints else body.points.names)
            _check_counts(block)
    pins = pin_names(evidence)
    if pins:
        _check_names("Pins", pins, body.points.names)


def _check_counts(
    block: Keypoints2D | Keypoints3D | RelativeKeypoints3D | Twist | Orientations | Pins | ViewKeypoints2D,
) -> None:
    match block:
        case Twist():
            parts = (block.angles, block.sigma)
        case Orientations():
            parts = (block.rotmat, block.sigma)
        case Pins():
            parts = (block.points,)
        case _:
            parts = (block.points, block.sigma)
    counts = [len(part) for part in parts]
    if {*counts} != {len(block.names)}:
        raise InputError(f"{type(block).__name__}: {len(block.names)} names need as many rows, got {counts}")


def _check_names(what: str, names: tuple[str, ...], known: tuple[str, ...]) -> None:
    if not names:
        raise InputError(f"{what} names nothing; leave it out")
    unknown = sorted({*names} - {*known})
    if unknown:
        raise InputError(f"{what}: the body has no point {', '.join(unknown[:5])}; it has {', '.join(known)}")
    if len({*names}) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InputError(f"{what}: {', '.join(twice[:5])} is there more than once; give each name once")


def pin_names(evidence: Sequence[NamedEvidence]) -> tuple[str, ...]:
    """Return the pinned points."""
    return tuple(name for block in evidence if isinstance(block, Pins) for name in block.names)


def camera_of(intrinsics: Intrinsics, extrinsics: Extrinsics | None) -> Camera:
    """Return the camera of a picture, a level one at the origin while nobody has placed it."""
    R, t = extrinsics or (torch.tensor(LEVEL, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    focal, center = (torch.tensor(value, dtype=torch.float64) for value in (intrinsics.focal, intrinsics.center))
    return Camera(focal, center, R, t, intrinsics.width, intrinsics.height)

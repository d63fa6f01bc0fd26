# SPDX-License-Identifier: Apache-2.0
"""Keypoints of any file to a motion of a body: each frame is solved from the last one's pose, in one shape.

Then fingers and jaw, where the body has them and the file tells of them.
Imports: torch, ikol.body, ikol.pipeline, ikol.exchange.{hand_evidence, jaw_evidence, motion}.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Final

import torch
from torch import Tensor

from ikol.body.model import BodyModel
from ikol.camera import Camera
from ikol.errors import InputError
from ikol.exchange.hand_evidence import bend_fingers, finger_points
from ikol.exchange.jaw_evidence import open_jaw
from ikol.exchange.motion import Keypoints, Motion
from ikol.pipeline.evidence import Extrinsics, Intrinsics, Keypoints2D, Keypoints3D, NamedEvidence, Pose
from ikol.pipeline.placement import point_positions
from ikol.pipeline.posing import solve_pose
from ikol.pipeline.prepared import PreparedProblems
from ikol.pipeline.problem import camera_of

MIN_CONFIDENCE: Final = 0.2  # below it a network's point is a guess
MIN_POINTS: Final = 4  # fewer leave the direction in which the body faces open
MARKER_SIGMA: Final = 0.02  # metres: markers on the skin stand for joints inside
PICTURE_SIGMA: Final = 0.012  # of the person's height on the picture, as the pipeline takes for a network's points
SHAPE_FRAMES: Final = 5  # spread over the motion, in which the shape is solved


@dataclass(frozen=True)
class SolvedMotion:
    """A motion, and how well it meets the keypoints."""

    motion: Motion
    used: tuple[str, ...]
    """The points of the file that the body has."""
    unused: tuple[str, ...]
    residuals: tuple[float | None, ...]
    """Median distance of each frame, metres or pixels; None where too few points were there."""
    unit: str

    @property
    def median_residual(self) -> float:
        """Over the frames that were solved."""
        return median(residual for residual in self.residuals if residual is not None)


def solve_keypoints(
    body: BodyModel,
    keypoints: Keypoints,
    *,
    intrinsics: Intrinsics | None = None,
    sigma: float | None = None,
    solve_shape: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> SolvedMotion:
    """Return the motion of a body that fits keypoints.

    Args:
        body: in float64.
        keypoints: their names are the body's points'; others are not used.
        intrinsics: the picture's lens; needed for points on a picture. The camera stands still.
        sigma: how far a point may be off, metres or pixels; None for what is usual.
        solve_shape: solve the shape in a few frames and keep it; otherwise it is the mean one.
        progress: told how many frames of how many are done.

    Raises:
        InputError: too few points are the body's, or points on a picture come without its lens.
    """
    if not keypoints.is_spatial and intrinsics is None:
        raise InputError("points on a picture need its size; say its width and height in pixels")
    fine = finger_points(body, keypoints.names)
    used = tuple(name for name in keypoints.names if name in body.points.names and name not in fine)
    solver = _Solver(body, keypoints.of(used) if used else keypoints, intrinsics, sigma)
    good = [frame for frame in range(len(keypoints.points)) if used and len(solver.names(frame)) >= MIN_POINTS]
    if not good:
        others = [name for name in keypoints.names if name not in used]
        raise InputError(
            f"no frame has {MIN_POINTS} points that the body knows; got {', '.join(others[:12]) or 'none'}, it knows "
            f"{', '.join(body.points.names)}"
        )
    if solve_shape and body.num_betas:
        solver.find_shape(good[:: max(1, len(good) // SHAPE_FRAMES)][:SHAPE_FRAMES])
    poses: list[Pose | None] = []
    residuals: list[float | None] = []
    is_good = {*good}
    for frame in range(len(keypoints.points)):
        residuals.append(solver.step(frame) if frame in is_good else None)
        poses.append(solver.pose)
        if progress is not None:
            progress(frame + 1, len(keypoints.points))
    first = next(pose for pose in poses if pose is not None)
    whole = [first if pose is None else pose for pose in poses]
    motion = Motion(
        joint_names=body.tree.names,
        local_rotmat=torch.stack([pose.local_rotmat for pose in whole]),
        transl=torch.stack([pose.transl for pose in whole]),
        betas=first.betas[None],
        fps=keypoints.fps,
    )
    motion, used = _with_details(body, motion, keypoints, used, solver)
    unused = tuple(name for name in keypoints.names if name not in used)
    return SolvedMotion(motion, used, unused, tuple(residuals), "m" if keypoints.is_spatial else "px")


def _with_details(
    body: BodyModel, motion: Motion, keypoints: Keypoints, used: tuple[str, ...], solver: "_Solver"
) -> tuple[Motion, tuple[str, ...]]:
    """Return the motion with fingers and jaw, and all points that have a say."""
    camera, sure = solver.camera, keypoints.confidence
    is_seen = sure > solver.least
    sigma = (solver.scales[:, None] / (1.0 if keypoints.is_spatial else sure)).where(is_seen, torch.inf)
    motion, of_hands = bend_fingers(body, motion, keypoints, sigma, camera)
    of_face: tuple[str, ...] = ()
    if camera is not None:
        motion, of_face = open_jaw(body, motion, keypoints, is_seen & solver.scales.isfinite()[:, None], camera)
    return motion, tuple(dict.fromkeys((*used, *of_hands, *of_face)))


class _Solver:
    """Goes from frame to frame: the last pose, the shape and the camera's place."""

    def __init__(
        self, body: BodyModel, keypoints: Keypoints, intrinsics: Intrinsics | None, sigma: float | None
    ) -> None:
        self._body, self._keypoints, self._intrinsics, self._sigma = body, keypoints, intrinsics, sigma
        self._betas = torch.zeros(body.num_betas, dtype=torch.float64)
        self._extrinsics: Extrinsics | None = None
        self._prepared = PreparedProblems()
        self.pose: Pose | None = None
        self.least = 0.0 if keypoints.is_spatial else MIN_CONFIDENCE
        self.scales = torch.full((len(keypoints.points),), torch.inf, dtype=torch.float64)
        """(F,) How far a sure point may be off, metres or pixels; infinite in frames that are not solved."""

    @property
    def camera(self) -> Camera | None:
        """The placed camera of points on a picture."""
        if self._intrinsics is None or self._extrinsics is None:
            return None
        return camera_of(self._intrinsics, self._extrinsics)

    def names(self, frame: int) -> tuple[str, ...]:
        """Return the points that are there in a frame."""
        sure = self._keypoints.confidence[frame].tolist()
        return tuple(name for name, value in zip(self._keypoints.names, sure, strict=True) if value > self.least)

    def find_shape(self, frames: list[int]) -> None:
        """Solve the shape in some frames, each on its own, and keep the middle of what is found."""
        found: list[Tensor] = []
        for frame in frames:
            block = self._evidence(frame)
            found.append(solve_pose(self._body, (block,), intrinsics=self._intrinsics).pose.betas)
        self._betas = torch.stack(found).median(0).values

    def step(self, frame: int) -> float:
        """Solve a frame from the last pose; return the median distance of its points."""
        block = self._evidence(frame)
        start = self.pose
        if start is None:  # the evidence places the body; then once more in the shape that was found
            first = solve_pose(self._body, (block,), intrinsics=self._intrinsics, solve_shape=False)
            start = replace(first.pose, betas=self._betas)
            if first.camera is not None:
                self._extrinsics = (first.camera.R_camera_world, first.camera.t_camera_world)
        solution = solve_pose(
            self._body,
            (block,),
            intrinsics=self._intrinsics,
            extrinsics=self._extrinsics,
            start=start,
            solve_shape=False,
            prepared=self._prepared,
        )
        self.pose = solution.pose
        if isinstance(block, Keypoints2D):
            return solution.reprojection_px_median
        assert isinstance(block, Keypoints3D)
        places = point_positions(self._body, solution.pose, block.names)
        return float((places - block.points).norm(dim=-1).median())

    def _evidence(self, frame: int) -> NamedEvidence:
        names = self.names(frame)
        chosen = self._keypoints.of(names)
        points, sure = chosen.points[frame], chosen.confidence[frame]
        if chosen.is_spatial:
            self.scales[frame] = self._sigma or MARKER_SIGMA
            return Keypoints3D(names, points, self.scales[frame].expand(len(names)).clone())
        height = float((points.amax(0) - points.amin(0)).max())
        self.scales[frame] = self._sigma or PICTURE_SIGMA * max(height, 1.0)
        return Keypoints2D(names, points, self.scales[frame] / sure)

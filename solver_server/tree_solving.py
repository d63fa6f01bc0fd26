# SPDX-License-Identifier: Apache-2.0
"""A solve on a skeleton that the client sends: any rig, with its own bone lengths and limits. No body, no networks.

What comes from outside is checked here and by the solver, which refuses what it cannot use in words.
Imports: protocol, ikol, torch.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor

from ikol.body.joint_tree import JointTree
from ikol.body.points import AttachedPoints
from ikol.camera import Camera
from ikol.distortion import distort, undistort
from ikol.errors import InputError
from ikol.pipeline import evidence as named
from ikol.pipeline.blocks import PICTURE_LOSS
from ikol.pipeline.problem import camera_of, straightened_view
from ikol.solver import (
    Anchor,
    Evidence,
    JointLimits,
    Limits,
    Orientation,
    Pins,
    Points2D,
    Points3D,
    Skeleton,
    SolveConfig,
    SolveResult,
    SolveState,
    SolveStatus,
    solve,
)
from ikol.solver import Progress as SolverProgress
from solver_server import protocol
from solver_server.conversion import Reader, Writer, check_joints, extrinsics, intrinsics
from solver_server.protocol import CameraSpec, Frames, FrameWriter, LimitsSpec, Solve, SolveReply, TreeSpec
from solver_server.protocol import SolveStatus as SolveStatusName

MAX_ITERATIONS = 100
PIN_TOLERANCE = 1e-3  # metres: a pin within it is met; a pose is seen, not machined
LIMIT_SIGMA = 1e-4  # radians: a rig's own limits are clamped afterwards, so that what is beyond them would be lost

Progress = Callable[[float, str], None]


def solve_tree(request: Solve, tree: TreeSpec, frames: Frames, progress: Progress) -> tuple[SolveReply, FrameWriter]:
    """Give the pose of the skeleton of a request.

    Raises:
        InputError: Says what of the request cannot be used.
        ikol.errors.Cancelled: The progress callback wants it to stop.
    """
    begin = time.perf_counter()
    problem = _TreeProblem(tree, frames, request.camera)
    blocks = problem.evidence(request)
    start = problem.state(request)
    free = problem.free_joints(request)
    config = SolveConfig(
        max_iterations=MAX_ITERATIONS, free_joints=free, free_transl=free is None or bool(free[0]), gnc_start=1.0
    )

    def report(done: SolverProgress) -> None:
        progress(min(1.0, done.iteration / done.max_iterations), "solving")

    result = solve(problem.skeleton, blocks, start, config, report)
    return problem.reply(request, result, time.perf_counter() - begin)


class _TreeProblem:
    """The skeleton of a request, and what is read by its names."""

    def __init__(self, spec: TreeSpec, frames: Frames, camera: CameraSpec | None) -> None:
        tree = JointTree(spec.names, spec.parents)
        self._reader = Reader(frames, tree.num_joints, 0)
        rest = self._reader.array("the rest joints of the tree", spec.rest_joints, tree.num_joints, 3)
        self.skeleton = Skeleton.from_rest_joints(tree, rest)
        self.points = self._all_points(spec, rest)
        self._limits = None if spec.limits is None else self._joint_limits(spec.limits)
        self._spec, self._seen = camera, list[named.Keypoints2D]()
        self._lens, self._camera = (None, None) if camera is None else _placed(camera)

    def _all_points(self, spec: TreeSpec, rest: Tensor) -> AttachedPoints:
        """Joints and points, in this order."""
        count = len(spec.point_names)
        if (spec.point_rest is None) != (count == 0) or len(spec.point_joints) != count:
            raise InputError(f"a tree with {count} points needs as many joints that carry them, and their rest places")
        carriers = [*range(len(spec.names)), *spec.point_joints]
        if max(carriers) >= len(spec.names):
            raise InputError(f"a point rides on joint {max(carriers)}, but the tree has {len(spec.names)} joints")
        places = rest
        if spec.point_rest is not None:
            places = torch.cat((rest, self._reader.array("the points of the tree", spec.point_rest, count, 3)))
        names = spec.names + spec.point_names
        return AttachedPoints(names, torch.tensor(carriers), places, rest.new_zeros(len(names), 3, 0))

    def _joint_limits(self, spec: LimitsSpec) -> JointLimits:
        count = len(spec.joints)
        if not count or max(spec.joints) >= self.skeleton.tree.num_joints or len({*spec.joints}) != count:
            raise InputError("limits need joints of the tree, each once; leave them out where there are none")
        return JointLimits(
            joint_index=torch.tensor(spec.joints),
            axes=self._reader.array("the axes of the limits", spec.axes, count, 3, 3),
            swing_range=self._reader.array("the swing of the limits", spec.swing, count, 4),
            twist_range=self._reader.array("the twist of the limits", spec.twist, count, 2),
            is_hinge=torch.ones(count, dtype=torch.bool),  # a box: rigs limit each axis for itself
        )

    def evidence(self, request: Solve) -> list[Evidence]:
        """Give the blocks of a request, and the limits."""
        if not request.evidence:
            raise InputError("there is nothing to solve: give at least one block of evidence")
        blocks = [self._block(block, number) for number, block in enumerate(request.evidence)]
        return blocks if self._limits is None else [*blocks, Limits(self._limits, sigma=LIMIT_SIGMA)]

    def _block(self, block: protocol.Evidence, number: int) -> Evidence:
        kind = str(type(block).__struct_config__.tag)
        name = f"{kind} {number}"
        match self._reader.evidence(block):
            case named.Keypoints2D(names, pixels, sigma, is_robust) as on_picture:
                if self._lens is None or self._camera is None:
                    raise InputError("keypoints_2d on a tree need the placed camera of the picture")
                self._seen.append(on_picture)
                loss = PICTURE_LOSS if is_robust else None
                seen = undistort(pixels, self._lens.focal, self._lens.center, self._lens.distortion)
                return Points2D(self._points_of(names), seen, sigma, self._camera, loss=loss, name=name)
            case named.ViewKeypoints2D() as elsewhere:
                other = straightened_view(elsewhere)
                theirs = camera_of(other.intrinsics, other.extrinsics)
                return Points2D(self._points_of(other.names), other.points, other.sigma, theirs, name=name)
            case named.Keypoints3D(names, points, sigma):
                return Points3D(self._points_of(names), points, sigma, name=name)
            case named.Pins(names, points):
                return Pins(self._points_of(names), points, tolerance=PIN_TOLERANCE, name=name)
            case named.Orientations(names, rotmat, sigma):
                index = torch.tensor([self.skeleton.tree.index(joint) for joint in names])
                return Orientation(index, rotmat, sigma, name=name)
            case named.Anchor(local_rotmat, sigma):
                return Anchor(local_rotmat, sigma, name=name)
            case _:
                raise InputError(
                    f"evidence {kind} needs a body; on a tree there are keypoints_2d and _3d, view_keypoints_2d, pins, "
                    f"orientations and anchor"
                )

    def _points_of(self, names: Sequence[str]) -> AttachedPoints:
        unknown = [name for name in names if name not in self.points.names]
        if unknown:
            raise InputError(f"the tree has no point {', '.join(unknown[:5])}; it has {', '.join(self.points.names)}")
        return self.points.select(tuple(names))

    def state(self, request: Solve) -> SolveState | None:
        """Give where the iterations begin; None leaves it to the evidence."""
        given = request.start if request.start is not None else request.initial
        if given is None:
            return None
        pose = self._reader.pose(given, "the pose to start from")
        return SolveState(pose.transl, pose.local_rotmat, pose.betas)

    def free_joints(self, request: Solve) -> Tensor | None:
        """Give which joints may turn; None for all."""
        if not request.joints:
            return None
        wanted = {self.skeleton.tree.index(name) for name in check_joints(request.joints)}
        return torch.tensor([joint in wanted for joint in range(self.skeleton.tree.num_joints)])

    def reply(self, request: Solve, result: SolveResult, seconds: float) -> tuple[SolveReply, FrameWriter]:
        """Write what was found."""
        writer, state = Writer(), result.state
        joints = self.skeleton.tree.num_joints
        everything = self.skeleton.posed_points(self.points, state)
        pixels = self._pixels(everything)
        cost = float(result.cost)
        reply = SolveReply(
            id=request.id,
            pose=writer.pose(named.Pose(state.transl, state.local_rotmat, state.betas)),
            camera=self._spec,
            joints=writer.array(everything[:joints]),
            point_names=self.points.names[joints:],
            point_positions=writer.array(everything[joints:]),
            point_pixels=writer.array(pixels[joints:]),
            status=cast("SolveStatusName", SolveStatus(int(result.status)).name.lower()),  # encoding checks it
            iterations=int(result.iterations),
            cost=cost if math.isfinite(cost) else -1.0,
            reprojection_px_median=self._reprojection(pixels),
            seconds=seconds,
            unreached=self._unreached(request, result),
        )
        return reply, writer.frames

    def _pixels(self, places: Tensor) -> Tensor:
        """Give where the picture shows places; none without a picture."""
        if self._lens is None or self._camera is None:
            return places[:0, :2]
        return distort(self._camera.project(places), self._lens.focal, self._lens.center, self._lens.distortion)

    def _reprojection(self, pixels: Tensor) -> float:
        rows = [row for one in self._seen for row in zip(one.names, one.points, strict=True)]
        if not rows:
            return -1.0
        at = torch.stack([pixels[self.points.names.index(name)] for name, _ in rows])
        return float((at - torch.stack([seen for _, seen in rows])).norm(dim=-1).median())

    def _unreached(self, request: Solve, result: SolveResult) -> dict[str, float]:
        names = [name for block in request.evidence if isinstance(block, protocol.Pins) for name in block.names]
        if result.pin_distance is None or result.is_pin_reached is None:
            return {}
        met = result.is_pin_reached.tolist()
        return {
            name: far for name, far, is_met in zip(names, result.pin_distance.tolist(), met, strict=True) if not is_met
        }


def _placed(camera: CameraSpec) -> tuple[named.Intrinsics, Camera]:
    lens, place = intrinsics(camera), extrinsics(camera)
    if place is None:
        raise InputError("a tree stands where its evidence says, so its camera must be placed: give R and t")
    return lens, camera_of(lens, place)

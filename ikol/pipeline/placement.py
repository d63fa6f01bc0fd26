# SPDX-License-Identifier: Apache-2.0
"""Where body and camera stand in the world after a picture was solved in a level camera's axes."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.model import BodyModel
from ikol.camera import Camera
from ikol.geometry.rotations import rotation_between
from ikol.pipeline.evidence import Keypoints2D, NamedEvidence, Pose, PoseSolution
from ikol.pipeline.gravity import estimate_up
from ikol.solver import Skeleton, SolveState

MAX_TILT = math.radians(25.0)  # between one person's up and that of all; beyond it the person is not upright


def point_positions(body: BodyModel, pose: Pose, names: tuple[str, ...]) -> Float[Tensor, "points 3"]:
    """Return named points of the posed body in the world, metres."""
    skeleton = Skeleton.from_body(body)
    return skeleton.posed_points(body.points.select(names), SolveState(pose.transl, pose.local_rotmat, pose.betas))


def place_upright(
    body: BodyModel, pose: Pose, camera: Camera, evidence: Sequence[NamedEvidence]
) -> tuple[Pose, Camera]:
    """Return body and camera moved together: up is up, the floor is under the feet, the pelvis over the origin."""
    names = body.tree.names
    joints = camera.to_camera(point_positions(body, pose, names))
    up = estimate_up(joints, names, torch.tensor(_shows_legs(evidence)))
    upright = rotation_between(camera.R_camera_world.mT @ up, torch.tensor([0.0, 1.0, 0.0], dtype=up.dtype))
    pelvis_rest = body.rest_joints(pose.betas)[0]
    pelvis = upright @ (pelvis_rest + pose.transl)
    rotated = replace(
        pose,
        transl=pelvis - pelvis_rest,
        local_rotmat=torch.cat((upright @ pose.local_rotmat[:1], pose.local_rotmat[1:])),
    )
    floor = point_positions(body, rotated, body.points.names)[:, 1].min()
    shift = -torch.stack((pelvis[0], floor, pelvis[2]))
    # x_camera = R x + t stays what it was: x' = Q x + s, so R' = R Qᵀ and t' = t - R' s
    R = camera.R_camera_world @ upright.mT
    return replace(rotated, transl=rotated.transl + shift), camera.with_extrinsics(R, camera.t_camera_world - R @ shift)


def place_together(body: BodyModel, solutions: Sequence[PoseSolution]) -> tuple[PoseSolution, ...]:
    """Return persons of one picture, each solved before a camera of its own, in one world before one camera.

    Up is the mean of what they say, without those who are far from upright; the floor lies under the first person, who
    stays over the origin. What each looks like from the camera does not change.
    """
    cameras = [solution.camera for solution in solutions if solution.camera is not None]
    if len(solutions) < 2 or len(cameras) < len(solutions):
        return tuple(solutions)
    up = common_up(torch.stack([camera.R_camera_world[:, 1] for camera in cameras]))
    tilt = rotation_between(cameras[0].R_camera_world.mT @ up, torch.tensor([0.0, 1.0, 0.0], dtype=up.dtype))
    pose = solutions[0].pose
    places = point_positions(body, pose, body.points.names) @ tilt.mT
    pelvis = tilt @ (body.rest_joints(pose.betas)[0] + pose.transl)
    shift = -torch.stack((pelvis[0], places[:, 1].min(), pelvis[2]))
    R = cameras[0].R_camera_world @ tilt.mT
    camera = cameras[0].with_extrinsics(R, cameras[0].t_camera_world - R @ shift)
    return tuple(_before(body, solution, own, camera) for solution, own in zip(solutions, cameras, strict=True))


def common_up(ups: Float[Tensor, "persons 3"]) -> Float[Tensor, "3"]:
    """Return the mean of unit vectors, without those that are far from the one in their middle."""
    middle = ups[int((ups @ ups.mT).sum(-1).argmax())]
    mean = ups[ups @ middle > math.cos(MAX_TILT)].mean(0)
    return mean / mean.norm()


def _before(body: BodyModel, solution: PoseSolution, own: Camera, camera: Camera) -> PoseSolution:
    """Return a solution moved so that a camera sees it as its own one did."""
    to_world = camera.R_camera_world.mT
    turn = to_world @ own.R_camera_world
    shift = to_world @ (own.t_camera_world - camera.t_camera_world)
    rest = body.rest_joints(solution.pose.betas)[0]
    pose = replace(
        solution.pose,
        transl=turn @ (rest + solution.pose.transl) + shift - rest,
        local_rotmat=torch.cat((turn @ solution.pose.local_rotmat[:1], solution.pose.local_rotmat[1:])),
    )
    return replace(
        solution,
        pose=pose,
        camera=camera,
        joints=solution.joints @ turn.mT + shift,
        point_positions=solution.point_positions @ turn.mT + shift,
    )


def _shows_legs(evidence: Sequence[NamedEvidence]) -> bool:
    names = {name for block in evidence if isinstance(block, Keypoints2D) for name in block.names}
    return {"left_ankle", "right_ankle", "left_knee", "right_knee"} <= names

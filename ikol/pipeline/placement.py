# SPDX-License-Identifier: Apache-2.0
"""Where body and camera stand in the world after a picture was solved in a level camera's axes."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.model import BodyModel
from ikol.camera import Camera
from ikol.geometry.rotations import rotation_between
from ikol.pipeline.evidence import Keypoints2D, NamedEvidence, Pose
from ikol.pipeline.gravity import estimate_up
from ikol.solver import Skeleton, SolveState


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


def _shows_legs(evidence: Sequence[NamedEvidence]) -> bool:
    names = {name for block in evidence if isinstance(block, Keypoints2D) for name in block.names}
    return {"left_ankle", "right_ankle", "left_knee", "right_knee"} <= names

# SPDX-License-Identifier: Apache-2.0
"""Photographs for the tests of posing a rig: recorded evidence, solved on the body, as the add-on keeps it."""

from functools import cache

import numpy as np
import torch
from photo_evidence import recorded
from recordings import BODY, camera_around
from rig_cases import body_pose, body_skeleton, on_the_ground

from blender_addon.core.pose_conversion import as_quaternion, as_rotation, as_vector
from blender_addon.core.record import Keypoints2D, PhotoCamera, Pose, Record, Solution
from blender_addon.core.rig_photo import Shot
from blender_addon.core.rig_skeleton import Posed
from ikol.camera import Camera
from ikol.geometry.rotations import rotmat_to_quat
from ikol.pipeline import evidence as named
from ikol.pipeline.placement import point_positions
from ikol.pipeline.posing import solve_pose
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS

PICTURES = ("p2s_front_step", "p2s_back_leg_raised")
SIGMA = 3.0
"""Pixels, of the exact keypoints."""


@cache
def shot(picture: str) -> tuple[Shot, Posed]:
    """Give a photograph and the pose of the body that was solved from it, standing in the scene's own axes."""
    lens, seen, relative = recorded(picture)
    solved = solve_pose(BODY, (seen, relative), intrinsics=lens)
    assert solved.camera is not None
    pixels = tuple((float(x), float(y)) for x, y in seen.points.numpy())
    keypoints = Keypoints2D(seen.names, pixels, tuple(seen.sigma.tolist()))
    return _shot(solved.pose, solved.camera, keypoints, solved.reprojection_px_median)


def posed_shot(local_rotmat: np.ndarray, yaw_deg: float = 20.0) -> tuple[Shot, Posed]:
    """Give a photograph of the body in that pose, standing on the floor, with exact keypoints."""
    (standing,) = on_the_ground(body_skeleton(), local_rotmat[None])
    transl = torch.from_numpy(standing.places[0] - standing.skeleton.rest[0])
    pose = named.Pose(transl, torch.from_numpy(local_rotmat), torch.zeros(BODY.num_betas, dtype=torch.float64))
    camera = camera_around(yaw_deg)
    seen = camera.project(point_positions(BODY, pose, BLAZEPOSE_LANDMARKS))
    pixels = tuple((float(x), float(y)) for x, y in seen.numpy())
    return _shot(pose, camera, Keypoints2D(BLAZEPOSE_LANDMARKS, pixels, (SIGMA,) * len(pixels)))


def _shot(pose: named.Pose, camera: Camera, keypoints: Keypoints2D, missed_px: float = 0.0) -> tuple[Shot, Posed]:
    photo = PhotoCamera(
        camera.width,
        camera.height,
        *camera.focal.tolist(),
        *camera.center.tolist(),
        rotation=as_rotation(camera.R_camera_world.numpy()),
        translation=as_vector(camera.t_camera_world.numpy()),
    )
    quats = tuple(as_quaternion(quat) for quat in rotmat_to_quat(pose.local_rotmat).numpy())
    places = point_positions(BODY, pose, BODY.points.names).numpy()
    points = {name: as_vector(place) for name, place in zip(BODY.points.names, places, strict=True)}
    betas = pose.betas.tolist()
    plain = Pose(as_vector(pose.transl.numpy()), quats, tuple(betas))
    record = Record("photo", (keypoints,), Solution(plain, photo, points, {}, "converged", 1, missed_px, 0.0))
    source = body_pose(body_skeleton(betas), pose.local_rotmat.numpy(), pose.transl.numpy())
    return Shot(record, photo, np.eye(4)), source

# SPDX-License-Identifier: Apache-2.0
"""A camera is found from points and where it sees them."""

import torch
from recordings import BODY, camera_around, walking_pose

from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.pipeline.placement import point_positions
from ikol.pipeline.resection import resected
from ikol.solver import GemanMcClure

POINTS = point_positions(BODY, walking_pose(), BODY.points.names)
TRUE = camera_around(30.0)
SIGMA = torch.full((len(POINTS),), 2.0, dtype=torch.float64)


def moved() -> torch.Tensor:
    return rotvec_to_rotmat(torch.tensor([0.05, -0.1, 0.05], dtype=torch.float64))


START = TRUE.with_extrinsics(moved() @ TRUE.R_camera_world, TRUE.t_camera_world + 0.1)


def test_exact_pixels_give_the_camera_back() -> None:
    found = resected(START, POINTS, TRUE.project(POINTS), SIGMA)
    torch.testing.assert_close(found.R_camera_world, TRUE.R_camera_world, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.t_camera_world, TRUE.t_camera_world, atol=1e-5, rtol=0)


def test_outliers_are_let_go() -> None:
    pixels = TRUE.project(POINTS)
    pixels[::7] += 150.0
    found = resected(START, POINTS, pixels, SIGMA, GemanMcClure(k=4.0))
    # what is left of a pull at 75 sigma is some thousandths of its weight
    torch.testing.assert_close(found.t_camera_world, TRUE.t_camera_world, atol=0.01, rtol=0)


def test_rotation_stays_orthonormal() -> None:
    R = resected(START, POINTS, TRUE.project(POINTS), SIGMA).R_camera_world
    torch.testing.assert_close(R @ R.mT, torch.eye(3, dtype=torch.float64), atol=1e-12, rtol=0)

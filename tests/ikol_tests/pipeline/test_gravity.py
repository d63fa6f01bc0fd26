# SPDX-License-Identifier: Apache-2.0
"""Up from a camera and a person: known tilts of a posed default body, and the cases where the person says nothing."""

import math

import pytest
import torch

from ikol.body.default_body import load_default_body
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.pipeline.evidence import Pose
from ikol.pipeline.gravity import estimate_up
from ikol.pipeline.placement import point_positions
from ikol.pipeline.prior import relaxed_rotmat

BODY = load_default_body(dtype=torch.float64)
NAMES = BODY.tree.names
SEEN, UNSEEN = torch.tensor(True), torch.tensor(False)
CAMERA_UP = torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64)
X, Z = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


def joints(**rotvecs: tuple[float, float, float]) -> torch.Tensor:
    """A person three metres before a level camera, in camera axes, joints turned by rotation vectors in degrees."""
    rotmat = relaxed_rotmat(NAMES, torch.float64)
    for name, degrees in rotvecs.items():
        turn = rotvec_to_rotmat(torch.deg2rad(torch.tensor(degrees, dtype=torch.float64)))
        rotmat[NAMES.index(name)] = rotmat[NAMES.index(name)] @ turn
    pose = Pose(torch.zeros(3).double(), rotmat, torch.zeros(10).double())
    return point_positions(BODY, pose, NAMES) * torch.tensor([1.0, -1.0, -1.0]) + torch.tensor([0.0, 0.0, 3.0])


def turned(points: torch.Tensor, axis: tuple[float, float, float], degrees: float) -> torch.Tensor:
    R = rotvec_to_rotmat(torch.tensor(axis, dtype=torch.float64) * math.radians(degrees))
    return points @ R.mT


def angle_deg(a: torch.Tensor, b: torch.Tensor) -> float:
    return math.degrees(math.atan2(float(torch.linalg.cross(a, b).norm()), float((a * b).sum())))


def error_deg(points: torch.Tensor, axis: tuple[float, float, float], degrees: float) -> float:
    """How far the estimate is off when the camera is tilted."""
    up = estimate_up(turned(points, axis, degrees), NAMES, SEEN)
    return angle_deg(up, turned(CAMERA_UP, axis, degrees))


def test_level_camera_and_upright_person_give_about_the_cameras_up() -> None:
    # the default body's mass is not exactly over the middle of its feet
    assert error_deg(joints(), X, 0.0) < 2.0


@pytest.mark.parametrize("axis", [X, Z], ids=["pitch", "roll"])
@pytest.mark.parametrize("tilt", [-26.0, -15.0, 20.0, 26.0])
def test_tilted_camera_is_recognised_by_a_standing_person(axis: tuple[float, float, float], tilt: float) -> None:
    # what is left of a 26 degree roll with a quadratic prior would be 12 degrees
    assert error_deg(joints(), axis, tilt) < 7.0


KICK = {"L_Hip": (0.0, 0.0, 60.0), "Spine1": (0.0, 0.0, -15.0)}
BOW = {"L_Hip": (-50.0, 0.0, 0.0), "R_Hip": (-50.0, 0.0, 0.0), "Pelvis": (50.0, 0.0, 0.0)}


@pytest.mark.parametrize("pose", [KICK, BOW], ids=["kick", "bow"])
def test_bent_trunk_or_raised_leg_does_not_pull_the_vertical(pose: dict[str, tuple[float, float, float]]) -> None:
    # the trunk alone would say 15 degrees in the kick and 50 in the bow; nobody pushed this body's mass over its
    # feet, so the bow leaves 8 of them
    assert error_deg(joints(**pose), X, 0.0) < 9.0


def test_lower_foot_is_the_support() -> None:
    """With the left leg raised sideways the mass is to the left of the right foot, and right of the left one."""
    left_up = estimate_up(joints(L_Hip=(0.0, 0.0, 60.0)), NAMES, SEEN)
    right_up = estimate_up(joints(R_Hip=(0.0, 0.0, -60.0)), NAMES, SEEN)
    assert float(left_up[0]) > 0.01  # the person faces the camera: its left is the picture's right
    assert float(right_up[0]) < -0.01


def test_small_roll_is_taken_for_the_person_and_not_for_the_camera() -> None:
    up = estimate_up(turned(joints(), Z, 4.0), NAMES, SEEN)
    assert angle_deg(up, CAMERA_UP) < 3.0


def test_person_who_lies_leaves_the_camera_level() -> None:
    assert angle_deg(estimate_up(turned(joints(), Z, 90.0), NAMES, SEEN), CAMERA_UP) < 1e-6


def test_unseen_legs_do_not_matter() -> None:
    tilted = turned(joints(), X, 20.0)
    kicked = turned(joints(L_Hip=(0.0, 0.0, 60.0)), X, 20.0)
    up = [estimate_up(points, NAMES, UNSEEN) for points in (tilted, kicked)]
    torch.testing.assert_close(up[0], up[1])
    assert 10.0 < angle_deg(up[0], CAMERA_UP) < 20.0


@pytest.mark.parametrize("shape", [(1,), (2, 3)])
def test_batches_equal_single_calls(shape: tuple[int, ...]) -> None:
    points = turned(joints(), (1.0, 0.2, 0.1), 12.0)
    up = estimate_up(points.expand(*shape, *points.shape), NAMES, SEEN.expand(shape))
    assert up.shape == (*shape, 3)
    torch.testing.assert_close(up, estimate_up(points, NAMES, SEEN).expand(*shape, 3))

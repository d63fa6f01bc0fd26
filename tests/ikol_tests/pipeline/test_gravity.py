# SPDX-License-Identifier: Apache-2.0
"""Up from a camera and a person: known tilts of a standing figure, and the cases where the person says nothing."""

import math

import pytest
import torch

from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.pipeline.gravity import estimate_up


def standing() -> dict[str, torch.Tensor]:
    """A person of 1.5 m (neck) three metres before a level camera: camera axes, y down."""
    at = torch.tensor([0.0, 0.0, 3.0], dtype=torch.float64)
    sides = torch.tensor([0.1, -0.1], dtype=torch.float64)

    def pair(height: float) -> torch.Tensor:
        return at + torch.stack((sides, torch.full((2,), -height, dtype=torch.float64), torch.zeros(2)), -1)

    neck = at - torch.tensor([0.0, 1.5, 0.0], dtype=torch.float64)
    return {"neck": neck, "hips": pair(0.9), "knees": pair(0.5), "ankles": pair(0.08)}


def turned(
    points: dict[str, torch.Tensor], axis: tuple[float, float, float], degrees: float
) -> dict[str, torch.Tensor]:
    R = rotvec_to_rotmat(torch.tensor(axis, dtype=torch.float64) * math.radians(degrees))
    return {name: value @ R.mT for name, value in points.items()}


def angle_deg(a: torch.Tensor, b: torch.Tensor) -> float:
    return math.degrees(math.atan2(float(torch.linalg.cross(a, b).norm()), float((a * b).sum())))


SEEN, UNSEEN = torch.tensor(True), torch.tensor(False)
CAMERA_UP = torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64)


def test_level_camera_and_upright_person_give_the_cameras_up() -> None:
    assert angle_deg(estimate_up(**standing(), legs_seen=SEEN), CAMERA_UP) < 1e-6


@pytest.mark.parametrize("tilt", [-20.0, 10.0, 25.0])
def test_pitched_camera_is_corrected_by_at_least_80_percent_for_a_standing_person(tilt: float) -> None:
    up = estimate_up(**turned(standing(), (1.0, 0.0, 0.0), tilt), legs_seen=SEEN)
    # precision weighting keeps BALANCE / (BALANCE + PITCH) in squares = 10 % of the tilt
    true_up = turned({"up": CAMERA_UP}, (1.0, 0.0, 0.0), tilt)["up"]
    assert angle_deg(up, true_up) < 0.2 * abs(tilt)


def test_rolled_camera_is_corrected_by_half_because_level_horizons_are_common() -> None:
    up = estimate_up(**turned(standing(), (0.0, 0.0, 1.0), 20.0), legs_seen=SEEN)
    true_up = turned({"up": CAMERA_UP}, (0.0, 0.0, 1.0), 20.0)["up"]
    assert 5.0 < angle_deg(up, true_up) < 11.0


def test_person_who_lies_leaves_the_camera_level() -> None:
    up = estimate_up(**turned(standing(), (0.0, 0.0, 1.0), 90.0), legs_seen=SEEN)
    assert angle_deg(up, CAMERA_UP) < 1e-6


def test_bent_person_is_believed_less_than_a_straight_one() -> None:
    straight = turned(standing(), (1.0, 0.0, 0.0), 15.0)
    bent = dict(straight)
    bent["knees"] = straight["knees"] + torch.tensor([0.0, 0.0, -0.8], dtype=torch.float64)
    lean = [angle_deg(estimate_up(**points, legs_seen=SEEN), CAMERA_UP) for points in (straight, bent)]
    assert lean[1] < lean[0] - 1.0


def test_raised_leg_does_not_pull_the_vertical() -> None:
    points = standing()
    raised = dict(points)
    raised["ankles"] = points["ankles"] + torch.tensor([[0.5, -0.6, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    # the standing foot is 10 cm to the side of the neck: 4 degrees of roll, of which a part is believed
    assert angle_deg(estimate_up(**raised, legs_seen=SEEN), CAMERA_UP) < 4.0


def test_torso_alone_counts_less_than_the_whole_body() -> None:
    points = turned(standing(), (1.0, 0.0, 0.0), 20.0)
    lean = angle_deg(estimate_up(**points, legs_seen=UNSEEN), CAMERA_UP)
    assert 14.0 < lean < 17.0  # PITCH² / (PITCH² + UNSEEN²) = 78 % of 20 degrees


@pytest.mark.parametrize("shape", [(1,), (2, 3)])
def test_batches_equal_single_calls(shape: tuple[int, ...]) -> None:
    points = turned(standing(), (1.0, 0.2, 0.1), 12.0)
    batched = {name: value.expand(*shape, *value.shape) for name, value in points.items()}
    up = estimate_up(**batched, legs_seen=SEEN.expand(shape))
    assert up.shape == (*shape, 3)
    torch.testing.assert_close(up, estimate_up(**points, legs_seen=SEEN).expand(*shape, 3))

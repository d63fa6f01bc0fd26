# SPDX-License-Identifier: Apache-2.0
"""SMPL-X's jaw from the gap between the lips."""

import math
from dataclasses import replace

import pytest
import torch
from model_files import write_model
from photo_evidence import LENS
from whole_body import JAW_DEG, whole_body_keypoints, whole_body_pose

from ikol.body import BodyModel, load_smpl_body
from ikol.exchange import Keypoints
from ikol.exchange.point_names import INNER_LIPS
from ikol.exchange.solve_keypoints import solve_keypoints

SHARES = (1.0, 0.0, 0.5)


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> BodyModel:
    return load_smpl_body(write_model(tmp_path_factory.mktemp("body") / "own.npz", "SMPL-X"))


def jaw_deg(body: BodyModel, points: Keypoints) -> list[float]:
    """Return how far the jaw is open in each frame; it turns about its own X."""
    motion = solve_keypoints(body, points, intrinsics=LENS, solve_shape=False).motion
    jaw = motion.local_rotmat[:, body.tree.index("Jaw")]
    assert torch.allclose(jaw[:, 0, 0], torch.ones(len(jaw), dtype=torch.float64))
    return torch.rad2deg(torch.atan2(jaw[:, 2, 1], jaw[:, 1, 1])).tolist()


@pytest.mark.parametrize("seed", [0, 1])
def test_the_jaw_opens_as_far_as_the_lips_are_apart(body: BodyModel, seed: int) -> None:
    found = jaw_deg(body, whole_body_keypoints(body, [whole_body_pose(body, seed, share) for share in SHARES]))
    # exact points; the head's own turn and distance, solved from eyes and ears, are off by some per cent
    off = [abs(angle - share * JAW_DEG) for angle, share in zip(found, SHARES, strict=True)]
    assert max(off) < 2.0, found


def test_another_face_s_mouth_does_not_open_the_jaw(body: BodyModel) -> None:
    points = whole_body_keypoints(body, [whole_body_pose(body, 0, share) for share in SHARES])
    moved = points.points.clone()
    lips = [points.names.index(name) for pair in INNER_LIPS for name in pair]
    moved[:, lips, 1] += 8.0  # pixels: two centimetres further down
    found = jaw_deg(body, replace(points, points=moved))
    assert max(abs(angle - share * JAW_DEG) for angle, share in zip(found, SHARES, strict=True)) < 2.0, found


def test_lips_that_are_not_seen_leave_the_jaw(body: BodyModel) -> None:
    points = whole_body_keypoints(body, [whole_body_pose(body)] * 2)
    hidden = points.confidence.clone()
    hidden[1, [points.names.index(lower) for _, lower in INNER_LIPS]] = 0.1
    found = jaw_deg(body, replace(points, confidence=hidden))
    assert abs(found[0] - JAW_DEG) < 2.0, found
    assert abs(found[1]) < math.degrees(1e-6), found


def test_lips_that_cross_are_a_closed_mouth(body: BodyModel) -> None:
    points = whole_body_keypoints(body, [whole_body_pose(body, 0, 0.0)])
    crossed = points.points.clone()
    crossed[0, points.names.index(INNER_LIPS[1][1]), 1] -= 2.0  # the lower lip above the upper one
    only = points.confidence.clone()
    only[:, [points.names.index(name) for pair in (INNER_LIPS[0], INNER_LIPS[2]) for name in pair]] = 0.0
    assert jaw_deg(body, replace(points, points=crossed, confidence=only)) == [0.0]

# SPDX-License-Identifier: Apache-2.0
"""Paths of landmarks are smoother and truer than points that were found frame by frame."""

import numpy as np
import pytest
from recordings import camera_around

from ikol.evaluation.trajectories import smooth_paths
from ikol.evaluation.triangulation import reprojection_residual, triangulate

FRAMES = 30
TIME = np.arange(FRAMES) / 60.0
NOISE_PX = 3.0
BONES = ((0, 1),)


def projections() -> np.ndarray:
    rows: list[np.ndarray] = []
    for camera in (camera_around(yaw) for yaw in (0.0, 70.0, 150.0, 260.0)):
        K = np.diag((*camera.focal.tolist(), 1.0))
        K[:2, 2] = camera.center.numpy()
        rows.append(K @ np.concatenate((camera.R_camera_world.numpy(), camera.t_camera_world.numpy()[:, None]), -1))
    return np.stack(rows)


def truth() -> np.ndarray:
    """Return an elbow that moves on, a wrist that turns about it once a second, and a point by itself."""
    elbow = np.stack((0.5 * TIME, 1.2 + 0 * TIME, 0.1 * TIME), -1)
    angle = 2 * np.pi * TIME
    wrist = elbow + 0.27 * np.stack((np.cos(angle), np.sin(angle), 0 * angle), -1)
    return np.stack((elbow, wrist, np.tile((0.2, 0.5, 0.0), (FRAMES, 1))), 1)


@pytest.fixture
def pixels() -> np.ndarray:
    exact = reprojection_residual(truth().reshape(-1, 3), np.zeros((4, 3 * FRAMES, 2)), projections())
    return (exact + np.random.default_rng(0).normal(0.0, NOISE_PX, exact.shape)).reshape(4, FRAMES, 3, 2)


def single(pixels: np.ndarray) -> np.ndarray:
    return triangulate(pixels.reshape(4, -1, 2), projections(), 12.0).points.reshape(FRAMES, 3, 3)


def paths(pixels: np.ndarray) -> np.ndarray:
    sigma = np.full(pixels.shape[:3], NOISE_PX)
    return smooth_paths(single(pixels), pixels, sigma, projections(), BONES)


def error(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points - truth(), axis=-1)


def test_noise_is_averaged_over_time(pixels: np.ndarray) -> None:
    # a wrist on this circle has 11 m/s2, well below what is expected, so some five frames say the same: half of it
    assert error(paths(pixels)).mean() < 0.6 * error(single(pixels)).mean()


def test_views_that_are_wrong_for_a_while_move_nothing(pixels: np.ndarray) -> None:
    good = paths(pixels)
    pixels[0, 5:15, 1] += 60.0
    pixels[2, 18:24, 0] -= 90.0
    moved = np.linalg.norm(paths(pixels) - good, axis=-1)
    # less by one view of four for ten frames: within the noise of 3 px, 1.5 cm, averaged
    assert moved.max() < 0.01


def test_a_frame_that_nobody_sees_lies_between_its_neighbours(pixels: np.ndarray) -> None:
    pixels[:, 12:15, 1] = np.nan
    found = paths(pixels)
    assert error(found)[12:15, 1].max() < 0.02
    assert np.isnan(single(pixels)[12:15, 1]).all()


def test_a_bone_keeps_its_length(pixels: np.ndarray) -> None:
    def spread(points: np.ndarray) -> float:
        return float(np.linalg.norm(points[:, 0] - points[:, 1], axis=-1).std())

    assert spread(paths(pixels)) < 0.3 * spread(single(pixels))


def test_a_point_that_is_never_seen_has_no_path(pixels: np.ndarray) -> None:
    pixels[:, :, 2] = np.nan
    found = paths(pixels)
    assert np.isnan(found[:, 2]).all()
    assert np.isfinite(found[:, :2]).all()


def test_one_frame_is_enough(pixels: np.ndarray) -> None:
    one = pixels[:, :1]
    start = triangulate(one.reshape(4, -1, 2), projections(), 12.0).points.reshape(1, 3, 3)
    found = smooth_paths(start, one, np.full((4, 1, 3), NOISE_PX), projections(), BONES)
    np.testing.assert_allclose(found, start, atol=0.01)

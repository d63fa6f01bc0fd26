# SPDX-License-Identifier: Apache-2.0
"""Cameras that were calibrated a little wrong come back to where they stand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recordings import camera_around

from ikol.evaluation.camera_refinement import refine_cameras
from ikol.evaluation.recording import RecordedCamera
from ikol.evaluation.triangulation import reprojection_residual, triangulate

RANDOM = np.random.default_rng(3)
POINTS = RANDOM.normal((0.0, 1.0, 0.0), (0.4, 0.6, 0.4), (400, 3))
NOISE_PX = 2.0


def true_cameras() -> tuple[RecordedCamera, ...]:
    cameras: list[RecordedCamera] = []
    for number, yaw in enumerate((0.0, 70.0, 150.0, 260.0)):
        one = camera_around(yaw)
        K = np.diag((*one.focal.tolist(), 1.0))
        K[:2, 2] = one.center.numpy()
        place = one.R_camera_world.numpy(), one.t_camera_world.numpy()
        cameras.append(RecordedCamera(f"cam{number}", Path(), K, np.zeros(4), *place))
    return tuple(cameras)


def projections(cameras: tuple[RecordedCamera, ...]) -> np.ndarray:
    return np.stack([camera.projection for camera in cameras])


def turned(camera: RecordedCamera, degrees: float, shift: tuple[float, float, float]) -> RecordedCamera:
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array(((cosine, 0.0, sine), (0.0, 1.0, 0.0), (-sine, 0.0, cosine)))
    return replace(camera, R=turn @ camera.R, t=camera.t + np.array(shift))


@pytest.fixture(scope="module")
def views() -> tuple[tuple[RecordedCamera, ...], np.ndarray, np.ndarray]:
    """Return cameras of which one is turned and one moved, what the true ones see, and how sure that is."""
    cameras = true_cameras()
    pixels = reprojection_residual(POINTS, np.zeros((4, 400, 2)), projections(cameras))
    pixels += RANDOM.normal(0.0, NOISE_PX, pixels.shape)
    pixels[1, :40] += 50.0  # a view that is wrong about a tenth of the points
    wrong = (
        cameras[0],
        turned(cameras[1], 1.5, (0.0, 0.0, 0.0)),
        cameras[2],
        turned(cameras[3], 0.0, (0.06, 0.0, 0.0)),
    )
    return wrong, pixels, np.full(pixels.shape[:2], NOISE_PX)


def test_the_views_agree_afterwards(views: tuple[tuple[RecordedCamera, ...], np.ndarray, np.ndarray]) -> None:
    wrong, pixels, sigma = views
    start = triangulate(pixels, projections(wrong), 12.0)
    refined = refine_cameras(wrong, start.points, pixels, sigma)
    after = triangulate(pixels, projections(refined), 12.0)
    # the worst of four views, each with 2 px of noise along two axes
    assert np.median(after.error_px) < 4.0 < np.median(start.error_px)
    # four views of 2 px of noise each are within 12 px, but for one point in thousands
    assert (after.num_views[40:] == 4).mean() > 0.99
    assert (after.num_views[:40] == 3).all()


def test_distances_between_the_points_are_the_true_ones(
    views: tuple[tuple[RecordedCamera, ...], np.ndarray, np.ndarray],
) -> None:
    wrong, pixels, sigma = views
    start = triangulate(pixels, projections(wrong), 12.0).points
    refined = refine_cameras(wrong, start, pixels, sigma)
    found = triangulate(pixels, projections(refined), 12.0).points[40:]
    known = POINTS[40:]
    apart, should = (np.linalg.norm(each[:180] - each[180:], axis=-1) for each in (found, known))
    # 2 px are 1 cm at these cameras, four views halve it, a distance has two ends
    assert np.sqrt(np.mean((apart - should) ** 2)) < 0.010
    # the size of the world is held by the given places alone, which are 6 cm of 3 m off for one camera of four
    assert apart.mean() == pytest.approx(should.mean(), rel=0.01)


def test_right_cameras_stay(views: tuple[tuple[RecordedCamera, ...], np.ndarray, np.ndarray]) -> None:
    cameras = true_cameras()
    exact = reprojection_residual(POINTS, np.zeros((4, 400, 2)), projections(cameras))
    refined = refine_cameras(cameras, POINTS, exact, views[2])
    for before, after in zip(cameras, refined, strict=True):
        np.testing.assert_allclose(after.R, before.R, atol=1e-9)
        np.testing.assert_allclose(after.t, before.t, atol=1e-9)


def test_points_without_a_place_and_pixels_that_nobody_sees_do_not_count(
    views: tuple[tuple[RecordedCamera, ...], np.ndarray, np.ndarray],
) -> None:
    wrong, pixels, sigma = views
    start = triangulate(pixels, projections(wrong), 12.0).points
    start[100:110], blind = np.nan, pixels.copy()
    blind[2, 110:120] = np.nan
    refined = refine_cameras(wrong, start, blind, sigma)
    assert all(np.isfinite(camera.projection).all() for camera in refined)

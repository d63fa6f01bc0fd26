# SPDX-License-Identifier: Apache-2.0
"""Points come back from their pictures, also when views are wrong."""

import numpy as np
import pytest
from recordings import camera_around

from ikol.evaluation.triangulation import triangulate

CAMERAS = [camera_around(yaw) for yaw in (0.0, 70.0, 150.0, 260.0)]
POINTS = np.random.default_rng(0).normal((0.0, 1.0, 0.0), 0.4, (9, 3))


def projections() -> np.ndarray:
    rows = []
    for camera in CAMERAS:
        K = np.diag((*camera.focal.tolist(), 1.0))
        K[:2, 2] = camera.center.numpy()
        rows.append(K @ np.concatenate((camera.R_camera_world.numpy(), camera.t_camera_world.numpy()[:, None]), -1))
    return np.stack(rows)


def seen() -> np.ndarray:
    homogeneous = np.einsum("vij,pj->vpi", projections(), np.concatenate((POINTS, np.ones((9, 1))), -1))
    return homogeneous[..., :2] / homogeneous[..., 2:]


def test_exact_pixels_give_the_points_of_all_views() -> None:
    found = triangulate(seen(), projections())
    np.testing.assert_allclose(found.points, POINTS, atol=1e-9)
    assert (found.num_views == 4).all()


@pytest.mark.parametrize("wrong", range(4))
def test_a_wrong_view_is_left_out(wrong: int) -> None:
    pixels = seen()
    pixels[wrong, 3] += 80.0
    found = triangulate(pixels, projections())
    np.testing.assert_allclose(found.points, POINTS, atol=1e-9)
    assert found.num_views.tolist() == [4, 4, 4, 3, 4, 4, 4, 4, 4]


def test_noise_stays_within_what_is_reported() -> None:
    pixels = seen() + np.random.default_rng(1).normal(0.0, 2.0, seen().shape)
    found = triangulate(pixels, projections())
    # 2 px at 3 m and 600 px of focal length are 1 cm; four views halve it
    assert np.linalg.norm(found.points - POINTS, axis=-1).max() < 0.02
    assert (found.error_px < 12.0).all()


def test_a_point_that_one_view_sees_has_no_place() -> None:
    pixels = seen()
    pixels[1:, 0] = np.nan
    found = triangulate(pixels, projections())
    assert np.isnan(found.points[0]).all()
    assert found.num_views[0] == 0

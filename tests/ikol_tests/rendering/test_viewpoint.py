# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from ikol.body import load_default_body
from ikol.rendering.viewpoint import View, body_circle, draw_view

LANDMARKS = load_default_body().points.rest[24:].numpy()


def test_window_shows_the_same_points_at_another_size() -> None:
    view = View(900.0, (320.0, 240.0), np.diag([1.0, -1.0, -1.0]), np.array([0.0, 0.0, 4.0]), 640, 480)
    part = view.window((100.0, 50.0), (900.0, 350.0), 0.5)
    points = view.to_camera(LANDMARKS)
    assert (part.width, part.height) == (270, 150)  # cut at the picture's right border
    assert np.abs(part.project(points) - (view.project(points) - (100.0, 50.0)) * 0.5).max() < 1e-9


@pytest.mark.parametrize("turn_deg", [0.0, 90.0, 180.0, -45.0])
def test_circle_is_turned_as_the_body_is(turn_deg: float) -> None:
    turn = math.radians(turn_deg)
    upright = LANDMARKS[:, :2] * (1.0, -1.0)
    matrix = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    circle = body_circle(upright @ matrix.T)
    assert math.cos(circle.rotation - turn) > 1 - 1e-9
    assert circle.radius == pytest.approx(np.linalg.norm(upright - upright[23:25].mean(0), axis=-1).max())


@pytest.mark.parametrize("seed", range(6))
def test_camera_is_outside_the_body_and_sees_some_of_it(seed: int) -> None:
    view = draw_view(np.random.default_rng(seed), LANDMARKS, 640)
    points = view.to_camera(LANDMARKS)
    x, y = view.project(points).T
    assert points[:, 2].min() > 0.3
    assert ((x > 0) & (x < view.width) & (y > 0) & (y < view.height)).mean() > 0.3
    assert np.abs(view.R_camera_world @ view.R_camera_world.T - np.eye(3)).max() < 1e-9
    assert np.linalg.det(view.R_camera_world) > 0
    assert view.R_camera_world[1, 1] < 0  # the world's up is the picture's up

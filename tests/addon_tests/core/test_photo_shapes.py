# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from blender_addon.core.photo_shapes import SOFT, Shapes

RED = (1.0, 0.0, 0.0, 0.8)


def covered(shapes):
    """Area of the triangles, each weighted by the mean of its corners' alpha."""
    positions, colors = shapes.triangles()
    a, b, c = positions[:, :2].reshape(-1, 3, 2).transpose(1, 0, 2)
    (x, y), (z, w) = (b - a).T, (c - a).T
    return float((0.5 * np.abs(x * w - y * z) * colors[:, 3].reshape(-1, 3).mean(axis=1)).sum())


def test_nothing_gives_no_triangles():
    positions, colors = Shapes().triangles()
    assert positions.shape == (0, 3)
    assert colors.shape == (0, 4)


# a polygon of 24 sides has 1.1 % less area than its circle; an edge that fades evenly changes little
@pytest.mark.parametrize("radius", [4.0, 20.0])
def test_a_disc_covers_its_area_and_no_more_than_its_edge(radius):
    shapes = Shapes()
    shapes.disc((30.0, 40.0), radius, RED)
    positions, _ = shapes.triangles()
    assert covered(shapes) == pytest.approx(0.8 * math.pi * radius**2, rel=0.03)
    assert np.linalg.norm(positions[:, :2] - (30, 40), axis=1).max() == pytest.approx(radius + SOFT)


def test_a_line_has_its_width_in_any_direction():
    shapes = Shapes()
    shapes.line((0.0, 0.0), (30.0, 40.0), 3.0, RED)
    assert covered(shapes) == pytest.approx(0.8 * 50 * 3, rel=1e-6)


def test_half_of_a_dashed_line_is_there():
    shapes = Shapes()
    shapes.dashes((0.0, 0.0), (80.0, 0.0), 4.0, 2.0, RED)
    assert covered(shapes) == pytest.approx(0.8 * 40 * 2, rel=1e-6)


def test_the_last_dash_ends_with_the_line():
    shapes = Shapes()
    shapes.dashes((0.0, 0.0), (10.0, 0.0), 4.0, 2.0, RED)
    positions, _ = shapes.triangles()
    assert positions[:, 0].max() == pytest.approx(10.0)
    assert covered(shapes) == pytest.approx(0.8 * (4 + 2) * 2, rel=1e-6)


@pytest.mark.parametrize("end", [(5.0, 5.0), (5.0001, 5.0)])
def test_a_line_without_length_draws_nothing(end):
    shapes = Shapes()
    shapes.dashes((5.0, 5.0), end, 4.0, 2.0, RED)
    assert len(shapes.triangles()[0]) == 0


def test_a_box_has_its_corners():
    shapes = Shapes()
    shapes.box((1.0, 2.0), (5.0, 4.0), RED)
    assert covered(shapes) == pytest.approx(0.8 * 8)

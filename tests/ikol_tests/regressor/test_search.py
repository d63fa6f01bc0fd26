# SPDX-License-Identifier: Apache-2.0
"""The windows of the second search: they cover the picture, fit persons of every height, and are not too many."""

import math
from itertools import pairwise

import pytest

from ikol.regressor.search import MAX_WINDOWS, PERSON_SHARE, SMALLEST_PERSON, STEP, small_windows, turned_windows

SIZES = ((1920, 1080), (1080, 1920), (3000, 2000), (8000, 6000), (640, 480), (12000, 300))


@pytest.mark.parametrize("size", SIZES)
def test_windows_are_not_more_than_their_limit(size: tuple[int, int]) -> None:
    assert sum(len(windows) for windows in small_windows(*size, 0.0)) <= MAX_WINDOWS


@pytest.mark.parametrize("size", SIZES)
def test_every_window_of_a_set_has_a_neighbour_within_the_step_and_both_ends_are_reached(size: tuple[int, int]) -> None:
    for windows in small_windows(*size, 0.0):
        side = float(windows.side[0])
        for axis in (0, 1):
            centers = sorted({round(value, 3) for value in windows.center[:, axis].tolist()})
            assert centers[0] - side / 2 <= 1e-3
            assert centers[-1] + side / 2 >= size[axis] - 1e-3
            assert all(b - a <= STEP * side + 1e-3 for a, b in pairwise(centers))


def test_the_smallest_windows_of_a_usual_picture_show_the_smallest_person_large_enough() -> None:
    windows = small_windows(1920, 1080, 0.0)
    assert SMALLEST_PERSON / float(windows[-1].side[0]) == pytest.approx(PERSON_SHARE)
    sides = [float(each.side[0]) for each in windows]
    assert all(a == pytest.approx(2 * b) for a, b in pairwise(sides))  # one octave each


def test_a_small_picture_needs_no_small_windows() -> None:
    assert small_windows(500, 400, 0.0) == []


def test_turned_windows_have_seven_more_directions_and_cover_the_picture() -> None:
    sets = turned_windows(1920, 1080, 0.25)
    turns = [math.degrees(float(windows.rotation[0]) - 0.25) % 360 for windows in sets]
    assert sorted(turns) == pytest.approx([45.0 * step for step in range(1, 8)])
    assert all(float(windows.side[0]) >= 1920 for windows in sets)

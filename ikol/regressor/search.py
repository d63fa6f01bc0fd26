# SPDX-License-Identifier: Apache-2.0
"""Where to look for persons whom the first search does not find: small windows for far ones, turned ones for others.

The detector was made for one person who fills its window: it finds nearly all who are 0.3 to 0.7 of the window high,
half of those of 0.2, and hardly one of 0.12. So each size of windows serves persons of one octave of heights.
"""

import math

from ikol.regressor.crops import Crops
from ikol.regressor.detector import part_centers, search_windows

SMALLEST_PERSON = 80.0  # pixels; of smaller ones the landmark network sees a blur
PERSON_SHARE = 0.28  # of a window's side, the least that is nearly always found (99 % of 132 composed windows)
LARGEST_SHARE = 0.5  # of the picture's longer side: above it the first search has looked
STEP = 0.55  # of a window's side from one to the next: a person of 0.45 of it is in one of them as a whole
MAX_WINDOWS = 256  # 5 s on one core; a picture of more than 8 megapixels is searched for persons of more than 80 px
TURNS_DEG = (180.0, 90.0, 270.0, 45.0, 315.0, 135.0, 225.0)
"""The order in which turned persons are looked for."""


def small_windows(width: int, height: int, rotation: float) -> list[Crops]:
    """Return sets of overlapping windows for far persons, each set half as large as the one before.

    Args:
        width: Pixels of the picture.
        height: Pixels of the picture.
        rotation: Of the windows, radians.
    """
    side = max(SMALLEST_PERSON / PERSON_SHARE, _least_side(width, height))
    sides: list[float] = []
    while side <= LARGEST_SHARE * max(width, height):
        sides.append(side)
        side *= 2.0
    return [_windows(width, height, side, rotation) for side in reversed(sides)]


def turned_windows(width: int, height: int, rotation: float) -> list[Crops]:
    """Return sets of windows for persons who are turned, each for one direction besides the given one (radians)."""
    return [search_windows(width, height, rotation + math.radians(turn)) for turn in TURNS_DEG]


def _windows(width: int, height: int, side: float, rotation: float) -> Crops:
    centers = [(x, y) for y in part_centers(height, side, STEP) for x in part_centers(width, side, STEP)]
    return Crops.upright(centers, [side] * len(centers), rotation)


def _least_side(width: int, height: int) -> float:
    """Return the side whose windows, with those twice as large and so on, are not more than `MAX_WINDOWS`."""
    # n windows of a side need n = area / (step side)^2; all octaves together 4/3 of it, and a row more at the borders
    side = math.sqrt(4.0 / 3.0 * width * height / MAX_WINDOWS) / STEP
    while _count(width, height, side) > MAX_WINDOWS:
        side *= 1.05
    return side


def _count(width: int, height: int, side: float) -> int:
    total = 0
    while side <= LARGEST_SHARE * max(width, height):
        total += len(part_centers(width, side, STEP)) * len(part_centers(height, side, STEP))
        side *= 2.0
    return total

# SPDX-License-Identifier: GPL-3.0-or-later
"""Discs, rings and dashed lines as coloured triangles with soft edges.

One list of triangles with a colour at each corner is drawn by every Blender in the same way and at once; its points are
square, and its lines differ from version to version. Coordinates are pixels of a region.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from .body import FloatArray
from .record import Vector2

Color = tuple[float, float, float, float]

SEGMENTS = 24
"""Sides of a disc: at a radius of 8 pixels it is within a fifteenth of a pixel of a circle."""

SOFT = 0.6
"""Half the width in pixels over which an edge fades: Blender does not smooth what add-ons draw over a region."""


class Shapes:
    """Triangles in the order in which they were added; later ones lie on top."""

    def __init__(self) -> None:
        self._positions: list[FloatArray] = []
        self._colors: list[FloatArray] = []

    def disc(self, center: Vector2, radius: float, color: Color) -> None:
        """Add a filled circle."""
        inner = max(radius - SOFT, 0.0)
        circle = _CIRCLE
        middle = np.broadcast_to(np.zeros(2), circle.shape)
        fan = np.stack([middle, circle * inner, np.roll(circle, -1, axis=0) * inner], axis=1)
        self._add(fan.reshape(-1, 2) + center, np.broadcast_to(color, (3 * SEGMENTS, 4)))
        self._ring(center, inner, radius + SOFT, color, _clear(color))

    def ring(self, center: Vector2, radius: float, width: float, color: Color) -> None:
        """Add a circle's line of some width."""
        inner, outer = max(radius - 0.5 * width, 0.0), radius + 0.5 * width
        self._ring(center, max(inner - SOFT, 0.0), inner + SOFT, _clear(color), color)
        self._ring(center, inner + SOFT, max(outer - SOFT, inner + SOFT), color, color)
        self._ring(center, max(outer - SOFT, inner + SOFT), outer + SOFT, color, _clear(color))

    def line(self, start: Vector2, end: Vector2, width: float, color: Color) -> None:
        """Add a straight line; nothing when it has no length."""
        length = math.dist(start, end)
        if length < 1e-3:
            return
        along = (np.array(end) - start) / length
        across = np.array([-along[1], along[0]])
        clear, half = _clear(color), 0.5 * width
        rows = [(-half - SOFT, clear), (-max(half - SOFT, 0.0), color), (max(half - SOFT, 0.0), color)]
        rows.append((half + SOFT, clear))
        for (low, low_color), (high, high_color) in pairwise(rows):
            corners = (start + across * low, end + across * low, end + across * high, start + across * high)
            self._quad(corners, (low_color, low_color, high_color, high_color))

    def dashes(self, start: Vector2, end: Vector2, dash: float, width: float, color: Color) -> None:
        """Add a dashed line; dashes and gaps are equally long."""
        length = math.dist(start, end)
        count = int(length / (2 * dash)) + 1
        for number in range(count):
            low = min(2 * number * dash / length, 1.0) if length > 0 else 0.0
            high = min((2 * number + 1) * dash / length, 1.0) if length > 0 else 0.0
            self.line(_between(start, end, low), _between(start, end, high), width, color)

    def box(self, low: Vector2, high: Vector2, color: Color) -> None:
        """Add a filled rectangle with sharp edges."""
        corners = (np.array(low), np.array((high[0], low[1])), np.array(high), np.array((low[0], high[1])))
        self._quad(corners, (color,) * 4)

    def triangles(self) -> tuple[FloatArray, FloatArray]:
        """Return the corners (N, 3), the third coordinate 0, and their colours (N, 4)."""
        if not self._positions:
            return np.zeros((0, 3)), np.zeros((0, 4))
        flat = np.concatenate(self._positions)
        return np.pad(flat, ((0, 0), (0, 1))), np.concatenate(self._colors)

    def _ring(self, center: Vector2, inner: float, outer: float, inner_color: Color, outer_color: Color) -> None:
        near, far = _CIRCLE * inner, _CIRCLE * outer
        corners = (near, far, np.roll(far, -1, axis=0), near, np.roll(far, -1, axis=0), np.roll(near, -1, axis=0))
        colors = (inner_color, outer_color, outer_color, inner_color, outer_color, inner_color)
        self._add(np.stack(corners, axis=1).reshape(-1, 2) + center, np.tile(np.array(colors), (SEGMENTS, 1)))

    def _quad(self, corners: Sequence[FloatArray], colors: Sequence[Color]) -> None:
        order = (0, 1, 2, 0, 2, 3)
        self._add(np.array([corners[i] for i in order]), np.array([colors[i] for i in order]))

    def _add(self, positions: FloatArray, colors: FloatArray) -> None:
        self._positions.append(positions)
        self._colors.append(colors)


def _clear(color: Color) -> Color:
    return (*color[:3], 0.0)


def _between(start: Vector2, end: Vector2, share: float) -> Vector2:
    return (start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1]))


_ANGLES = np.arange(SEGMENTS) * (2 * math.pi / SEGMENTS)
_CIRCLE: FloatArray = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)

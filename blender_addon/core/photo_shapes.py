# SPDX-License-Identifier: GPL-3.0-or-later
"""Discs, boxes and dashed lines as coloured triangles with soft edges.

One list of triangles with a colour at each corner is drawn by every Blender in the same way and at once; its points are
square, and its lines differ from version to version. Coordinates are pixels of a region.
"""

import math
from functools import lru_cache

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
        corners, alpha = _disc(radius)
        self._add(corners + center, alpha, color)

    def line(self, start: Vector2, end: Vector2, width: float, color: Color) -> None:
        """Add a straight line; nothing when it has no length."""
        self._strokes(start, end, np.array([[0.0, 1.0]]), width, color)

    def dashes(self, start: Vector2, end: Vector2, dash: float, width: float, color: Color) -> None:
        """Add a dashed line; dashes and gaps are equally long."""
        count = math.dist(start, end) / dash
        begins = np.arange(0.0, count, 2.0)
        shares = np.stack([begins, np.minimum(begins + 1.0, count)], axis=1) / max(count, 1e-9)
        self._strokes(start, end, shares, width, color)

    def box(self, low: Vector2, high: Vector2, color: Color) -> None:
        """Add a filled rectangle with sharp edges."""
        a, b, c, d = low, (high[0], low[1]), high, (low[0], high[1])
        self._add(np.array([a, b, c, a, c, d]), np.ones(6), color)

    def triangles(self) -> tuple[FloatArray, FloatArray]:
        """Return the corners (N, 3), the third coordinate 0, and their colours (N, 4)."""
        if not self._positions:
            return np.zeros((0, 3)), np.zeros((0, 4))
        flat = np.concatenate(self._positions)
        return np.pad(flat, ((0, 0), (0, 1))), np.concatenate(self._colors)

    def _strokes(self, start: Vector2, end: Vector2, shares: FloatArray, width: float, color: Color) -> None:
        """Add pieces of a line; each row of `shares` is where one begins and ends, from 0 to 1."""
        length = math.dist(start, end)
        if length < 1e-3:
            return
        way = np.array([end[0] - start[0], end[1] - start[1]])
        normal = np.array([-way[1], way[0]]) / length
        which, across, alpha = _stroke(width)
        along = shares[:, which]
        corners = start + along[..., None] * way + across[:, None] * normal
        self._add(corners.reshape(-1, 2), np.tile(alpha, len(shares)), color)

    def _add(self, positions: FloatArray, alpha: FloatArray, color: Color) -> None:
        colors = np.empty((len(positions), 4))
        colors[:] = color
        colors[:, 3] *= alpha
        self._positions.append(positions)
        self._colors.append(colors)


@lru_cache(maxsize=64)
def _disc(radius: float) -> tuple[FloatArray, FloatArray]:
    """Return corners (N, 2) around 0 and their alpha: a fan, and a rim that fades."""
    angles = np.arange(SEGMENTS + 1) * (2 * math.pi / SEGMENTS)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    near, far = circle * max(radius - SOFT, 0.0), circle * (radius + SOFT)
    fan = np.stack([np.zeros((SEGMENTS, 2)), near[:-1], near[1:]], axis=1)
    rim = np.stack([near[:-1], far[:-1], far[1:], near[:-1], far[1:], near[1:]], axis=1)
    corners = np.concatenate([fan.reshape(-1, 2), rim.reshape(-1, 2)])
    return corners, np.concatenate([np.ones(3 * SEGMENTS), np.tile([1.0, 0.0, 0.0, 1.0, 0.0, 1.0], SEGMENTS)])


@lru_cache(maxsize=16)
def _stroke(width: float) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.int_]], FloatArray, FloatArray]:
    """Return for each corner of a piece of a line: at its begin (0) or end (1), how far to the side, and its alpha."""
    half = 0.5 * width
    sides = (-half - SOFT, -max(half - SOFT, 0.0), max(half - SOFT, 0.0), half + SOFT)
    alphas = (0.0, 1.0, 1.0, 0.0)
    order = [corner for i in range(3) for corner in ((0, i), (1, i), (1, i + 1), (0, i), (1, i + 1), (0, i + 1))]
    which = np.array([end for end, _ in order])
    return which, np.array([sides[row] for _, row in order]), np.array([alphas[row] for _, row in order])

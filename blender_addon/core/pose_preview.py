# SPDX-License-Identifier: GPL-3.0-or-later
"""A small picture of a posed body for the pose library: the mesh from the front, shaded by its normals. numpy only.

Blender's own preview needs a window and a camera; this one is the same everywhere.
"""

import numpy as np
from numpy.typing import NDArray

from .body import FloatArray

SIZE = 128
"""Pixels; Blender's own previews are 128 wide."""

MARGIN = 0.06
"""Of the picture's side."""

_COLOR = (0.80, 0.76, 0.72)
_AMBIENT = 0.35
_LIGHT = (-0.4, -0.8, 0.45)
"""From the left above the camera; Blender's axes."""

_SAMPLES = ((1 / 3, 1 / 3, 1 / 3), (0.6, 0.2, 0.2), (0.2, 0.6, 0.2), (0.2, 0.2, 0.6))
"""Places on a triangle, barycentric: at 128 pixels a triangle of a body covers one or two."""


def draw_preview(points: FloatArray, triangles: NDArray[np.integer]) -> NDArray[np.float32]:
    """Return a picture (SIZE, SIZE, 4), the lowest row first as Blender has it; transparent beside the body.

    Args:
        points: (V, 3) metres, Blender's axes: Z up, seen along +Y.
        triangles: (T, 3).
    """
    corners = points[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    light = np.array(_LIGHT) / np.linalg.norm(_LIGHT)
    shade = _AMBIENT + (1 - _AMBIENT) * np.clip(normals @ light, 0.0, 1.0)
    places = np.concatenate([points[triangles].transpose(0, 2, 1) @ np.array(sample) for sample in _SAMPLES])
    shades = np.tile(shade, len(_SAMPLES))
    low, high = points[:, [0, 2]].min(axis=0), points[:, [0, 2]].max(axis=0)
    scale = SIZE * (1 - 2 * MARGIN) / max(float((high - low).max()), 1e-6)
    pixels = np.floor((places[:, [0, 2]] - 0.5 * (low + high)) * scale + 0.5 * SIZE).astype(int)
    columns, rows = np.clip(pixels, 0, SIZE - 1).T
    picture = np.zeros((SIZE, SIZE, 4), dtype=np.float32)
    order = np.argsort(-places[:, 1])  # what is nearer is drawn later
    picture[rows[order], columns[order], :3] = shades[order, None] * np.array(_COLOR)
    picture[rows[order], columns[order], 3] = 1.0
    return picture

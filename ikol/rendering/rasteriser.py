# SPDX-License-Identifier: Apache-2.0
"""Which triangle each pixel sees, by a z-buffer in numpy.

The default body's 27 000 triangles are a few pixels large, so all pixel candidates of all triangles are tested at once:
no loop over triangles, and nothing to compile (docs/data.md has the comparison with Embree and OpenGL). Imports: numpy.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

NEAR = 0.05  # metres; a triangle that reaches nearer is left out, cameras stay outside bodies


_Column = Float[np.ndarray, " rows"]


@dataclass(frozen=True, eq=False)
class Fragments:
    """The pixels that see the mesh, each once."""

    pixel: Int[np.ndarray, " fragments"]
    """row * width + column, ascending."""
    face: Int[np.ndarray, " fragments"]
    weights: Float[np.ndarray, "fragments 3"]
    """How much of each of the face's vertices, correct in perspective; they sum to one."""
    depth: Float[np.ndarray, " fragments"]
    """Metres along the viewing axis."""

    def interpolated(
        self, faces: Int[np.ndarray, "faces 3"], values: Float[np.ndarray, "vertices channels"]
    ) -> Float[np.ndarray, "fragments channels"]:
        """Return what the vertices carry, at the fragments."""
        return np.einsum("fk,fkc->fc", self.weights, values[faces[self.face]])


def rasterise(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    focal: tuple[float, float],
    center: tuple[float, float],
    width: int,
    height: int,
) -> Fragments:
    """Return what a pinhole camera sees at its pixels' centres; faces seen from behind are left out.

    Args:
        vertices: metres, camera axes (x right, y down, z forward).
        faces: counter-clockwise seen from outside.
        focal: pixels, along x and y.
        center: principal point, pixels from the top left corner.
        width: of the picture.
        height: of the picture.
    """
    depth = vertices[:, 2].astype(np.float32)
    inverse = 1.0 / np.maximum(depth, NEAR)
    # columns, not rows of two: numpy reduces along a short axis ten times slower
    x = (vertices[:, 0] * inverse * focal[0] + center[0]).astype(np.float32)[faces.T]
    y = (vertices[:, 1] * inverse * focal[1] + center[1]).astype(np.float32)[faces.T]
    area = _cross(x[0], y[0], x[1], y[1], x[2], y[2])
    first_x, columns = _centres_within(x, width)
    first_y, rows = _centres_within(y, height)
    # y points down, which turns outside into a negative area
    seen = np.flatnonzero((area < 0) & (depth[faces.T].min(0) > NEAR) & (columns * rows > 0))
    counts = (columns * rows)[seen]
    face = np.repeat(seen, counts)
    number = np.arange(len(face)) - np.repeat(np.cumsum(counts) - counts, counts)
    down, right = np.divmod(number, columns[face])
    column, row = first_x[face] + right, first_y[face] + down
    px, py = (column + 0.5).astype(np.float32), (row + 0.5).astype(np.float32)
    ax, bx, cx = x[:, face]
    ay, by, cy = y[:, face]
    edges = np.stack((_cross(px, py, bx, by, cx, cy), _cross(px, py, cx, cy, ax, ay), _cross(px, py, ax, ay, bx, by)))
    inside = np.flatnonzero((edges[0] <= 0) & (edges[1] <= 0) & (edges[2] <= 0))
    face, pixel = face[inside], (row * width + column)[inside]
    # 1/z is linear on the picture
    share = edges[:, inside] / area[face] * inverse[faces.T][:, face]
    nearness = share[0] + share[1] + share[2]
    order = np.lexsort((nearness, pixel))
    is_last = np.diff(pixel[order], append=-1) != 0
    kept = order[is_last]
    return Fragments(
        pixel=pixel[kept],
        face=face[kept],
        weights=(share[:, kept] / nearness[kept]).T,
        depth=1.0 / nearness[kept],
    )


def _centres_within(
    corners: Float[np.ndarray, "3 faces"], length: int
) -> tuple[Int[np.ndarray, " faces"], Int[np.ndarray, " faces"]]:
    """Return the first pixel whose centre is between the corners, and how many are, within the picture."""
    low = np.minimum(np.minimum(corners[0], corners[1]), corners[2])
    high = np.maximum(np.maximum(corners[0], corners[1]), corners[2])
    # centres are at halves: the first one inside is ceil(low - 1/2)
    first = np.ceil(np.clip(low, 0, length) - 0.5).astype(np.int64)
    last = np.floor(np.clip(high, 0, length) - 0.5).astype(np.int64)
    return first, np.clip(last - first + 1, 0, None)


def _cross(ax: _Column, ay: _Column, bx: _Column, by: _Column, cx: _Column, cy: _Column) -> Float[np.ndarray, " rows"]:
    """Return twice the signed area of the triangles a b c."""
    return (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)

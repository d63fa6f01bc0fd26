# SPDX-License-Identifier: Apache-2.0
"""Points in space from what several calibrated cameras see, without the views that are wrong.

Here: the geometry. Not here: files and networks. Imports: numpy.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int

MAX_ERROR_PX = 12.0  # half a wrist's width on the pictures of the recording
_REFINEMENTS = 3  # Gauss-Newton steps from the linear solution; the second moves it by less than 0.1 mm already


@dataclass(frozen=True)
class Triangulated:
    """Points, and what holds them."""

    points: Float[np.ndarray, "points 3"]
    """Metres, world; NaN where no two views agree."""
    error_px: Float[np.ndarray, "points"]
    """The largest distance from what one of the views that were used sees."""
    num_views: Int[np.ndarray, "points"]
    """How many views were used."""


def triangulate(
    pixels: Float[np.ndarray, "views points 2"],
    projections: Float[np.ndarray, "views 3 4"],
    max_error_px: float = MAX_ERROR_PX,
) -> Triangulated:
    """Return each point from the largest set of views that agree on it within `max_error_px`.

    All sets of two views and more are tried; among sets of one size the one with the least error is taken.

    Args:
        pixels: of an ideal pinhole; NaN where a view does not see the point.
        projections: K [R t] of each view.
        max_error_px: the most that a view may be off.

    Source: Hartley & Zisserman, Multiple View Geometry, 2004, sec. 12.2 (linear start) and 12.5 (reprojection error).
    """
    count = pixels.shape[1]
    found = Triangulated(np.full((count, 3), np.nan), np.full(count, np.nan), np.zeros(count, dtype=np.int64))
    for size in range(len(projections), 1, -1):
        best = np.full(count, max_error_px)
        is_open = found.num_views == 0
        for views in combinations(range(len(projections)), size):
            chosen = list(views)
            usable = is_open & np.isfinite(pixels[chosen]).all((0, 2))
            if not usable.any():
                continue
            points = _solve(pixels[chosen][:, usable], projections[chosen])
            residual = reprojection_residual(points, pixels[chosen][:, usable], projections[chosen])
            error = np.linalg.norm(residual, axis=-1).max(0)
            is_better = error < best[usable]
            index = np.flatnonzero(usable)[is_better]
            found.points[index], found.error_px[index], found.num_views[index] = (
                points[is_better],
                error[is_better],
                size,
            )
            best[index] = error[is_better]
    return found


def _solve(
    pixels: Float[np.ndarray, "views points 2"], projections: Float[np.ndarray, "views 3 4"]
) -> Float[np.ndarray, "points 3"]:
    """Return the points of least squared reprojection error."""
    # rows x p3 - p1 and y p3 - p2 of each view
    rows = pixels[..., None] * projections[:, None, 2:] - projections[:, None, :2]
    stacked = rows.transpose(1, 0, 2, 3).reshape(pixels.shape[1], -1, 4)
    homogeneous = np.linalg.svd(stacked)[2][:, -1]
    points = homogeneous[:, :3] / homogeneous[:, 3:]
    for _ in range(_REFINEMENTS):
        residual = reprojection_residual(points, pixels, projections)
        jacobian = reprojection_jacobian(points, projections)
        normal = np.einsum("vpai,vpaj->pij", jacobian, jacobian)
        gradient = np.einsum("vpai,vpa->pi", jacobian, residual)
        points = points - np.linalg.solve(normal, gradient[..., None])[..., 0]
    return points


def _homogeneous(
    points: Float[np.ndarray, "points 3"], projections: Float[np.ndarray, "views 3 4"]
) -> Float[np.ndarray, "views points 3"]:
    return np.einsum("vij,pj->vpi", projections[..., :3], points) + projections[:, None, :, 3]


def reprojection_residual(
    points: Float[np.ndarray, "points 3"],
    pixels: Float[np.ndarray, "views points 2"],
    projections: Float[np.ndarray, "views 3 4"],
) -> Float[np.ndarray, "views points 2"]:
    """Return where the views should see the points, less where they do, pixels."""
    seen = _homogeneous(points, projections)
    return seen[..., :2] / seen[..., 2:] - pixels


def reprojection_jacobian(
    points: Float[np.ndarray, "points 3"], projections: Float[np.ndarray, "views 3 4"]
) -> Float[np.ndarray, "views points 2 3"]:
    """Return the derivative of the residual by the points, pixels a metre."""
    seen = _homogeneous(points, projections)
    ratio = seen[..., :2, None] / seen[..., 2:, None]
    return (projections[:, None, :2, :3] - ratio * projections[:, None, 2:, :3]) / seen[..., 2:, None]

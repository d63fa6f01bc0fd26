# SPDX-License-Identifier: Apache-2.0
"""Paths of a body's landmarks through a recording, from all views and all frames at once.

Frame by frame, the set of views that agree changes, and the points jump by centimetres where it does. A body does not:
its landmarks have inertia and its bones keep their length. Imports: numpy, the triangulation.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ikol.evaluation.triangulation import reprojection_jacobian, reprojection_residual

# Metres a frame, squared: how much a landmark's step differs from the one before. At 60 frames a second 29 m/s2; hands
# that are thrown reach 60.
ACCELERATION = 0.008
BONE_SPREAD = 0.01  # metres: how far a bone's length between landmarks on the skin is from its median
BONE_OUTLIER = 3.0  # of these, beyond which a bone says less and less
VIEW_OUTLIER = 2.0  # standard deviations of a pixel, beyond which a view is let go of
_CAUTIOUS, _MOST = 10, 40  # iterations with a loss that lets go slowly, and in all
_CONVERGED = 1e-4  # metres


def smooth_paths(
    points: Float[np.ndarray, "frames points 3"],
    pixels: Float[np.ndarray, "views frames points 2"],
    sigma_px: Float[np.ndarray, "views frames points"],
    projections: Float[np.ndarray, "views 3 4"],
    bones: Sequence[tuple[int, int]],
) -> Float[np.ndarray, "frames points 3"]:
    """Return the paths that suit what all views see, and that a body can take.

    Least squares of the distances on the pictures, of the accelerations and of the bones' deviations from their median
    lengths, with Geman-McClure's loss for the views, so that a wrong one has no say. Time grows with the cube of the
    number of frames: seconds for a hundred.

    Args:
        points: where to begin, world, metres; NaN where unknown. A point that is nowhere known stays so.
        pixels: of an ideal pinhole; NaN where a view does not see the point.
        sigma_px: how sure a view is.
        projections: K [R t] of each view.
        bones: pairs of points whose distance does not change.
    """
    paths = points.copy()
    for group in _groups(points.shape[1], bones):
        chosen = [point for point in group if np.isfinite(points[:, point]).all(-1).any()]
        if not chosen:
            continue
        inner = [(chosen.index(a), chosen.index(b)) for a, b in bones if a in chosen and b in chosen]
        start = _filled(points[:, chosen])
        paths[:, chosen] = _solve(start, pixels[:, :, chosen], sigma_px[:, :, chosen], projections, inner)
    return paths


def _groups(count: int, bones: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return the points in parts that no bone connects."""
    label = list(range(count))
    for a, b in bones:
        old, new = label[a], label[b]
        label = [new if one == old else one for one in label]
    return [[point for point in range(count) if label[point] == one] for one in sorted(set(label))]


def _filled(points: Float[np.ndarray, "frames points 3"]) -> Float[np.ndarray, "frames points 3"]:
    """Return the points with straight lines where frames are missing."""
    filled, time = points.copy(), np.arange(len(points))
    for point in range(points.shape[1]):
        known = np.isfinite(points[:, point, 0])
        for axis in range(3):
            filled[:, point, axis] = np.interp(time, time[known], points[known, point, axis])
    return filled


def _solve(
    points: Float[np.ndarray, "frames points 3"],
    pixels: Float[np.ndarray, "views frames points 2"],
    sigma_px: Float[np.ndarray, "views frames points"],
    projections: Float[np.ndarray, "views 3 4"],
    bones: Sequence[tuple[int, int]],
) -> Float[np.ndarray, "frames points 3"]:
    frames, count = points.shape[:2]
    size = 3 * count
    second = np.diff(np.eye(frames), 2, axis=0) if frames > 2 else np.zeros((1, frames))
    inertia = second.T @ second / ACCELERATION**2
    each = np.arange(frames)
    for iteration in range(_MOST):
        blocks, gradient = _view_terms(points, pixels, sigma_px, projections, is_cautious=iteration < _CAUTIOUS)
        for first, last in bones:
            _add_bone(blocks, gradient, points, first, last)
        normal = np.einsum("ab,ij->aibj", inertia, np.eye(size))
        normal[each, :, each] += blocks + 1e-3 * np.eye(size)  # keeps what nothing sees where it is
        gradient += np.einsum("ab,bi->ai", inertia, points.reshape(frames, size))
        step = np.linalg.solve(normal.reshape(frames * size, -1), gradient.ravel()).reshape(points.shape)
        points = points - step
        if iteration > _CAUTIOUS and np.abs(step).max() < _CONVERGED:
            break
    return points


def _view_terms(
    points: Float[np.ndarray, "frames points 3"],
    pixels: Float[np.ndarray, "views frames points 2"],
    sigma_px: Float[np.ndarray, "views frames points"],
    projections: Float[np.ndarray, "views 3 4"],
    *,
    is_cautious: bool,
) -> tuple[Float[np.ndarray, "frames size size"], Float[np.ndarray, "frames size"]]:
    """Return what the views add to each frame's normal equations: matrix and gradient."""
    views, frames, count = pixels.shape[:3]
    flat = points.reshape(-1, 3)
    residual = reprojection_residual(flat, pixels.reshape(views, -1, 2), projections)
    jacobian = reprojection_jacobian(flat, projections)
    weight = view_weights(residual, sigma_px.reshape(views, -1), is_cautious=is_cautious)
    residual = np.nan_to_num(residual)
    own = np.einsum("vp,vpai,vpaj->pij", weight, jacobian, jacobian).reshape(frames, count, 3, 3)
    gradient = np.einsum("vp,vpai,vpa->pi", weight, jacobian, residual).reshape(frames, 3 * count)
    blocks = np.zeros((frames, count, 3, count, 3))
    each = np.arange(count)
    blocks[:, each, :, each] = own.transpose(1, 0, 2, 3)
    return blocks.reshape(frames, 3 * count, 3 * count), gradient


def view_weights(
    residual: Float[np.ndarray, "views points 2"], sigma_px: Float[np.ndarray, "views points"], *, is_cautious: bool
) -> Float[np.ndarray, "views points"]:
    """Return the weights of iteratively reweighted least squares; 0 where a view sees nothing.

    Cauchy's loss while one is cautious, which has few local minima; then Geman-McClure's, which forgets outliers.
    """
    is_seen = np.isfinite(residual).all(-1)
    sigma = np.where(is_seen, sigma_px, 1.0)
    square = np.where(is_seen, np.square(residual).sum(-1) / sigma**2, 0.0) / VIEW_OUTLIER**2
    return np.where(is_seen, (1.0 + square) ** (-1 if is_cautious else -2) / sigma**2, 0.0)


def _add_bone(
    blocks: Float[np.ndarray, "frames size size"],
    gradient: Float[np.ndarray, "frames size"],
    points: Float[np.ndarray, "frames points 3"],
    first: int,
    last: int,
) -> None:
    """Add a bone's deviation from its median length to the normal equations."""
    along = points[:, first] - points[:, last]
    length = np.linalg.norm(along, axis=-1)
    direction, excess = along / length[:, None], length - np.median(length)
    weight = 1.0 / (BONE_SPREAD**2 + np.square(excess / BONE_OUTLIER))
    outer = weight[:, None, None] * direction[:, :, None] * direction[:, None]
    pull = (weight * excess)[:, None] * direction
    one, other = slice(3 * first, 3 * first + 3), slice(3 * last, 3 * last + 3)
    blocks[:, one, one] += outer
    blocks[:, other, other] += outer
    blocks[:, one, other] -= outer
    blocks[:, other, one] -= outer
    gradient[:, one] += pull
    gradient[:, other] -= pull

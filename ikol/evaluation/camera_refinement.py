# SPDX-License-Identifier: Apache-2.0
"""Where the cameras of a recording really stand, from what they see of one person.

A calibration that is off by half a degree moves a person at four metres by 15 pixels. Over a hundred frames thousands
of landmarks say so together, whatever each one's own error. Lenses are left alone. Imports: numpy, the triangulation.
"""

import math
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from ikol.evaluation.recording import RecordedCamera
from ikol.evaluation.trajectories import view_weights
from ikol.evaluation.triangulation import reprojection_jacobian, reprojection_residual

ROTATION_SPREAD = math.radians(
    1.0
)  # how far a calibration is off, one standard deviation; holds what nothing else does
PLACE_SPREAD = 0.03  # metres
_CAUTIOUS, _MOST = 15, 60  # iterations with a loss that lets go slowly, and in all
_CONVERGED = 1e-6  # radians and metres
_NOWHERE = 1e-3  # keeps points that no view sees where they are


def refine_cameras(
    cameras: tuple[RecordedCamera, ...],
    points: Float[np.ndarray, "points 3"],
    pixels: Float[np.ndarray, "views points 2"],
    sigma_px: Float[np.ndarray, "views points"],
) -> tuple[RecordedCamera, ...]:
    """Return the cameras turned and moved so that their views agree on the points; the points as a whole stay.

    Bundle adjustment: rotations and places of the cameras and all points at once, the given calibration as a prior,
    Geman-McClure's loss for what the views see. The points are eliminated first.

    Args:
        cameras: as they were calibrated.
        points: where to begin, world, metres; those with NaN do not count.
        pixels: of an ideal pinhole; NaN where a view does not see the point.
        sigma_px: how sure a view is.

    Source: Hartley & Zisserman, Multiple View Geometry, 2004, appendix 6 (sparse Levenberg-Marquardt).
    """
    is_known = np.isfinite(points).all(-1)
    points, pixels, sigma_px = points[is_known], pixels[:, is_known], sigma_px[:, is_known]
    given, first = cameras, points
    turned = np.zeros((len(cameras), 3))
    prior = np.diag(np.repeat([ROTATION_SPREAD**-2, PLACE_SPREAD**-2], 3))
    for iteration in range(_MOST):
        projections = np.stack([camera.projection for camera in cameras])
        residual = reprojection_residual(points, pixels, projections)
        weight = view_weights(residual, sigma_px, is_cautious=iteration < _CAUTIOUS)
        residual = np.nan_to_num(residual)
        by_point = reprojection_jacobian(points, projections)
        by_camera = np.stack([_by_camera(*pair, points) for pair in zip(cameras, by_point, strict=True)])
        weighted = weight[..., None, None] * by_point
        own = np.linalg.inv(np.einsum("vpai,vpaj->pij", weighted, by_point) + _NOWHERE * np.eye(3))
        pull = np.einsum("vpai,vpa->pi", weighted, residual)
        shared = np.einsum("vpai,vpaj->vpij", by_camera, weighted)
        normal = -np.einsum("vpij,pjk,wplk->viwl", shared, own, shared, optimize=True)
        moved = np.stack([now.t - before.t for now, before in zip(cameras, given, strict=True)])
        gradient = np.einsum("vpai,vpa->vi", by_camera, weight[..., None] * residual)
        gradient += np.concatenate((turned, moved), -1) @ prior - np.einsum("vpij,pjk,pk->vi", shared, own, pull)
        for view in range(len(cameras)):
            mine = by_camera[view]
            normal[view, :, view] += np.einsum("pai,p,paj->ij", mine, weight[view], mine) + prior
        size = 6 * len(cameras)
        step = -np.linalg.solve(normal.reshape(size, size), gradient.ravel()).reshape(-1, 6)
        points = points - np.einsum("pij,pj->pi", own, pull + np.einsum("vpij,vi->pj", shared, step))
        cameras = tuple(_moved(camera, *np.split(one, 2)) for camera, one in zip(cameras, step, strict=True))
        turned += step[:, :3]
        if iteration > _CAUTIOUS and np.abs(step).max() < _CONVERGED:
            break
    return _laid_back(cameras, points, first)


def _laid_back(
    cameras: tuple[RecordedCamera, ...],
    points: Float[np.ndarray, "points 3"],
    first: Float[np.ndarray, "points 3"],
) -> tuple[RecordedCamera, ...]:
    """Return the cameras in a world in which the points lie where they lay: no view tells where the world is."""
    middle, goal = points.mean(0), first.mean(0)
    left, _, right = np.linalg.svd((first - goal).T @ (points - middle))
    turn = left @ np.diag((1.0, 1.0, np.linalg.det(left @ right))) @ right
    return tuple(replace(one, R=one.R @ turn.T, t=one.t + one.R @ (middle - turn.T @ goal)) for one in cameras)


def _by_camera(
    camera: RecordedCamera, by_point: Float[np.ndarray, "points 2 3"], points: Float[np.ndarray, "points 3"]
) -> Float[np.ndarray, "points 2 6"]:
    """Return the derivative of the residual by a turn after R, radians, and by t, metres."""
    by_place = by_point @ camera.R.T
    x, y, z = (points @ camera.R.T).T
    nothing = np.zeros_like(x)
    # a small turn w takes q to q + w x q
    cross = np.stack((nothing, z, -y, -z, nothing, x, y, -x, nothing), -1).reshape(-1, 3, 3)
    return np.concatenate((by_place @ cross, by_place), -1)


def _moved(camera: RecordedCamera, turn: Float[np.ndarray, "3"], shift: Float[np.ndarray, "3"]) -> RecordedCamera:
    """Return the camera after a turn (rotation vector) and a shift of what it sees."""
    angle = float(np.linalg.norm(turn))
    x, y, z = turn / max(angle, 1e-300)
    cross = np.array(((0.0, -z, y), (z, 0.0, -x), (-y, x, 0.0)))
    rotation = np.eye(3) + math.sin(angle) * cross + (1.0 - math.cos(angle)) * cross @ cross  # Rodrigues
    return replace(camera, R=rotation @ camera.R, t=camera.t + shift)

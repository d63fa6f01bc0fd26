# SPDX-License-Identifier: Apache-2.0
"""Where a camera stands, from points whose places are known and what it sees of them. Imports: torch, the camera.

Source: Hartley & Zisserman, Multiple View Geometry, 2004, sec. 7.3 (camera by minimising the distances on the picture).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.camera import Camera
from ikol.geometry.rotations import rotvec_to_rotmat, skew
from ikol.solver.robust import RobustLoss, robust_cost, robust_weight

MAX_STEPS = 20
DAMPING = (
    1e-3  # of the diagonal, at the beginning; a third after each step that helps, ten times after one that does not
)
LEAST_GAIN = 1e-6  # of the cost


def resected(
    camera: Camera,
    points: Float[Tensor, "points 3"],
    pixels: Float[Tensor, "points 2"],
    sigma: Float[Tensor, "points"],
    loss: RobustLoss | None = None,
) -> Camera:
    """Return the camera moved so that the points lie where it sees them; from a start near the answer.

    Args:
        camera: the start; its lens stays.
        points: metres, world.
        pixels: of a pinhole.
        sigma: pixels.
        loss: lets outliers go; None for squares.
    """
    damping = DAMPING
    cost = _cost(camera, points, pixels, sigma, loss)
    for _ in range(MAX_STEPS):
        jacobian, residual = _linearised(camera, points, pixels, sigma)
        weight = robust_weight(loss, residual.square().sum(-1))[:, None, None]
        normal = (weight * jacobian.mT @ jacobian).sum(0)
        gradient = (weight * jacobian.mT @ residual[..., None]).sum(0)[:, 0]
        step = -torch.linalg.solve(normal + damping * normal.diagonal().clamp_min(1e-12).diag(), gradient)
        moved = camera.with_extrinsics(
            rotvec_to_rotmat(step[:3]) @ camera.R_camera_world,
            rotvec_to_rotmat(step[:3]) @ camera.t_camera_world + step[3:],
        )
        lower = _cost(moved, points, pixels, sigma, loss)
        if lower >= cost:
            damping *= 10.0
            continue
        gain, camera, cost, damping = cost - lower, moved, lower, damping / 3.0
        if gain < LEAST_GAIN * cost:
            break
    return camera


def _cost(camera: Camera, points: Tensor, pixels: Tensor, sigma: Tensor, loss: RobustLoss | None) -> float:
    squared = ((camera.project(points) - pixels) / sigma[:, None]).square().sum(-1)
    return float(robust_cost(loss, squared).sum())


def _linearised(
    camera: Camera, points: Tensor, pixels: Tensor, sigma: Tensor
) -> tuple[Float[Tensor, "points 2 6"], Float[Tensor, "points 2"]]:
    """Return residuals in standard deviations, and how they change as the scene turns and moves before the camera."""
    seen = camera.to_camera(points)
    eye = torch.eye(3, dtype=points.dtype)
    lens = camera.with_extrinsics(eye, torch.zeros_like(camera.t_camera_world))
    projection = lens.project_with_jacobian(seen)
    moved = torch.cat((-skew(seen), eye.expand(len(points), 3, 3)), dim=-1)
    return projection.jacobian @ moved / sigma[:, None, None], (projection.pixels - pixels) / sigma[:, None]

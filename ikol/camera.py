# SPDX-License-Identifier: Apache-2.0
"""The pinhole camera: points of the world to pixels, with derivatives.

Axes are OpenCV's: x right, y down, z forward. Pixels have their origin at the top left corner of the picture, so the
centre of the first pixel is (0.5, 0.5). Here: projection, its derivative and its inverse. Not here: Blender's camera,
lens distortion. Imports: torch, ikol.errors.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.errors import InputError

NEAR = 0.05  # metres; nearer than this, and behind the camera, 1/z goes on as its tangent, so that pixels and
# derivatives stay finite and a solver is still pushed towards the front


@dataclass(frozen=True)
class Projection:
    """Points on the picture, and how they move with the points of the world."""

    pixels: Float[Tensor, "*batch points 2"]
    depth: Float[Tensor, "*batch points"]
    """Metres along the viewing axis; below `NEAR` the pixels are not the picture's."""
    jacobian: Float[Tensor, "*batch points 2 3"]
    """d pixels / d points_world, pixels per metre."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera, or a batch of them: x_camera = R_camera_world @ x_world + t_camera_world."""

    focal: Float[Tensor, "*batch 2"]
    """Focal length in pixels, along x and y."""
    center: Float[Tensor, "*batch 2"]
    """Principal point in pixels."""
    R_camera_world: Float[Tensor, "*batch 3 3"]
    t_camera_world: Float[Tensor, "*batch 3"]
    """Metres."""
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise InputError(f"a camera needs a picture of at least 1 x 1 pixels, got {self.width} x {self.height}")
        if not bool((self.focal > 0).all()):
            raise InputError("the focal length must be positive and finite")

    @property
    def fov_x(self) -> Float[Tensor, "*batch"]:
        """The angle between the left and the right border, in radians."""
        return 2.0 * torch.atan(self.width / (2.0 * self.focal[..., 0]))

    def with_extrinsics(
        self, R_camera_world: Float[Tensor, "*batch 3 3"], t_camera_world: Float[Tensor, "*batch 3"]
    ) -> "Camera":
        """Return the same lens at another place."""
        return replace(self, R_camera_world=R_camera_world, t_camera_world=t_camera_world)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Camera":
        """Return the camera on another device, in another floating-point type."""
        return Camera(
            focal=self.focal.to(device=device, dtype=dtype),
            center=self.center.to(device=device, dtype=dtype),
            R_camera_world=self.R_camera_world.to(device=device, dtype=dtype),
            t_camera_world=self.t_camera_world.to(device=device, dtype=dtype),
            width=self.width,
            height=self.height,
        )

    def to_camera(self, points_world: Float[Tensor, "*#batch points 3"]) -> Float[Tensor, "..."]:
        """Return points (*batch, points, 3) in camera axes, metres."""
        return points_world @ self.R_camera_world.transpose(-1, -2) + self.t_camera_world[..., None, :]

    def to_world(self, points_camera: Float[Tensor, "*#batch points 3"]) -> Float[Tensor, "..."]:
        """Return points (*batch, points, 3) in world axes, metres; the inverse of `to_camera`."""
        return (points_camera - self.t_camera_world[..., None, :]) @ self.R_camera_world

    def project(self, points_world: Float[Tensor, "*#batch points 3"]) -> Float[Tensor, "..."]:
        """Return pixels (*batch, points, 2); finite also for points behind the camera, which no picture shows."""
        points_camera = self.to_camera(points_world)
        inverse_depth, _ = _inverse_depth(points_camera[..., 2:])
        return self.focal[..., None, :] * points_camera[..., :2] * inverse_depth + self.center[..., None, :]

    def project_with_jacobian(self, points_world: Float[Tensor, "*#batch points 3"]) -> Projection:
        """Return pixels, depth and d pixels / d points_world = [f/z 0 -f x/z^2; 0 f/z -f y/z^2] R_camera_world."""
        points_camera = self.to_camera(points_world)
        depth = points_camera[..., 2:]
        inverse_depth, slope = _inverse_depth(depth)
        focal = self.focal[..., None, :]
        sideways = focal * points_camera[..., :2]
        rotation = self.R_camera_world[..., None, :, :]
        jacobian = (focal * inverse_depth)[..., None] * rotation[..., :2, :]
        jacobian = jacobian + (sideways * slope)[..., None] * rotation[..., 2:, :]
        return Projection(
            pixels=sideways * inverse_depth + self.center[..., None, :], depth=depth.squeeze(-1), jacobian=jacobian
        )

    def unproject(
        self, pixels: Float[Tensor, "*#batch points 2"], depth: Float[Tensor, "*#batch points"]
    ) -> Float[Tensor, "..."]:
        """Return the points (*batch, points, 3) of the world that are seen at `pixels`, `depth` metres ahead."""
        sideways = (pixels - self.center[..., None, :]) / self.focal[..., None, :] * depth[..., None]
        return self.to_world(torch.cat((sideways, depth[..., None].expand_as(sideways[..., :1])), dim=-1))


def camera_from_fov(
    width: int,
    height: int,
    fov_deg: float,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Camera:
    """Return a camera at the world's origin whose larger picture side spans `fov_deg` degrees.

    It looks along the world's -Z with Y up, as a body at negative Z that faces +Z is seen: R_camera_world is the half
    turn about x.

    Raises:
        InputError: the angle is not between 0 and 180 degrees.
    """
    if not 0.0 < fov_deg < 180.0:
        raise InputError(f"the field of view must lie between 0 and 180 degrees, got {fov_deg}")
    focal = max(width, height) / (2.0 * math.tan(math.radians(fov_deg) / 2.0))
    half_turn = torch.diag(torch.tensor((1.0, -1.0, -1.0), dtype=dtype, device=device))
    return Camera(
        focal=torch.tensor((focal, focal), dtype=dtype, device=device),
        center=torch.tensor((width / 2.0, height / 2.0), dtype=dtype, device=device),
        R_camera_world=half_turn,
        t_camera_world=torch.zeros(3, dtype=dtype, device=device),
        width=width,
        height=height,
    )


def _inverse_depth(depth: Float[Tensor, "*shape"]) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """Return 1/z and its derivative; below NEAR the tangent at NEAR."""
    is_near = depth < NEAR
    inverse = 1.0 / torch.where(is_near, torch.full_like(depth, NEAR), depth)
    slope = -inverse.square()
    return inverse + slope * torch.where(is_near, depth - NEAR, torch.zeros_like(depth)), slope

# SPDX-License-Identifier: Apache-2.0
"""From a crop's uvd to metres in the camera's axes, and back. Imports: torch, crops, camera.

A crop is a window of a picture; its joints' places on the picture and their depths from the pelvis make points through
the picture's lens. Axes are OpenCV's: x right, y down, z forward.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.camera import Camera
from ikol.regressor.crops import Crops
from ikol.regressor.networks.heatmaps import crop_coordinates


def uvd_to_pixels(uvd: Float[Tensor, "crops joints 3"], crops: Crops, input_size: int) -> Float[Tensor, "..."]:
    """Return where the joints are on the picture, pixels (crops, joints, 2); mirrored crops are mirrored back."""
    return crops.to_picture(crop_coordinates(uvd, input_size))


def pixels_to_uv(
    pixels: Float[Tensor, "crops joints 2"], crops: Crops, input_size: int
) -> Float[Tensor, "crops joints 2"]:
    """Return the uv of places on the picture; the inverse of `uvd_to_pixels`."""
    cosine, sine = crops.rotation.cos()[:, None], crops.rotation.sin()[:, None]
    x, y = ((pixels - crops.center[:, None]) / crops.side[:, None, None]).unbind(-1)
    right, down = cosine * x + sine * y, cosine * y - sine * x
    return torch.stack([torch.where(crops.mirrored[:, None], -right, right), down], -1) - 0.5 / input_size


def uvd_to_camera(
    uvd: Float[Tensor, "crops joints 3"],
    crops: Crops,
    input_size: int,
    depth_extent: float,
    camera: Camera,
    root_depth: Float[Tensor, "crops"],
) -> Float[Tensor, "crops joints 3"]:
    """Return the joints in the camera's axes, metres.

    Args:
        uvd: of a network.
        crops: the windows that it saw.
        input_size: its pixels along a side.
        depth_extent: metres of a depth of 1.
        camera: the picture's lens, or one lens a crop; its place does not matter.
        root_depth: metres from the camera's plane to the pelvis, see `root_depth`.
    """
    pixels = uvd_to_pixels(uvd, crops, input_size)
    depth = root_depth[:, None] + uvd[..., 2] * depth_extent
    sideways = (pixels - camera.center[..., None, :]) / camera.focal[..., None, :] * depth[..., None]
    return torch.cat([sideways, depth[..., None]], -1)


def camera_to_uvd(
    points_camera: Float[Tensor, "crops joints 3"], crops: Crops, input_size: int, depth_extent: float, camera: Camera
) -> Float[Tensor, "crops joints 3"]:
    """Return the uvd of points in the camera's axes, the pelvis first: what a network is trained to say.

    The inverse of `uvd_to_camera`, of upright and turned crops, mirrored ones too.
    """
    depth = points_camera[..., 2:]
    pixels = points_camera[..., :2] / depth * camera.focal[..., None, :] + camera.center[..., None, :]
    return torch.cat([pixels_to_uv(pixels, crops, input_size), (depth - depth[:, :1]) / depth_extent], -1)


def root_depth(scale: Float[Tensor, "crops"], crops: Crops, camera: Camera) -> Float[Tensor, "crops"]:
    """Return how far the pelvis is, metres: focal length / (scale * side of the crop), in pixels both.

    The published networks say it for a focal length of 1000 pixels of a crop of 256; the quotient is all that counts.
    """
    focal = camera.focal.mean(-1)
    # a scale of zero or less is a person at infinity or behind the camera; a tenth is 10 m and more for a full crop
    return focal / (scale.clamp_min(0.02) * crops.side)

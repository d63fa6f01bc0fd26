# SPDX-License-Identifier: Apache-2.0
"""What a lens does to straight lines: Brown and Conrady's model with two radial and two tangential coefficients.

The solver knows pinholes only: pixels are straightened before it, and what it answers is bent again for the picture.
Imports: torch, ikol.errors.

Source: Brown, "Close-Range Camera Calibration", 1971; coefficients and their order are OpenCV's k1, k2, p1, p2.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.errors import InputError

Coefficients = tuple[float, float, float, float]
UNDISTORTED: Coefficients = (0.0, 0.0, 0.0, 0.0)
MAX_COEFFICIENT = 10.0  # telephones and action cameras are below 1; beyond it something else was meant
_STEPS = 40  # of the inverse; barrels of action cameras need ten for 1e-9
_TOLERANCE = 1e-3  # in focal lengths: how far a point's image may be from where it was seen


def check_distortion(coefficients: Coefficients) -> None:
    """Refuse coefficients that are none.

    Raises:
        InputError: One is not finite or out of all proportion.
    """
    for value in coefficients:
        if not abs(value) <= MAX_COEFFICIENT:
            raise InputError(
                f"lens distortion must be k1, k2, p1, p2 as OpenCV has them, each at most {MAX_COEFFICIENT:g}, "
                f"got {coefficients}"
            )


def distort(
    pixels: Float[Tensor, "*batch 2"],
    focal: tuple[float, float],
    center: tuple[float, float],
    coefficients: Coefficients,
) -> Float[Tensor, "*batch 2"]:
    """Return where a picture shows points that a pinhole would show at `pixels`.

    Beyond the angle at which the model turns back on itself, points stay at the edge of what it can show.
    """
    if coefficients == UNDISTORTED:
        return pixels
    scale, origin = pixels.new_tensor(focal), pixels.new_tensor(center)
    straight = (pixels - origin) / scale
    radius = straight.norm(dim=-1, keepdim=True)
    within = (_last_radius(coefficients) / radius.clamp_min(1e-12)).clamp_max(1.0)
    return _bent(straight * within, coefficients) * scale + origin


def undistort(
    pixels: Float[Tensor, "*batch 2"],
    focal: tuple[float, float],
    center: tuple[float, float],
    coefficients: Coefficients,
) -> Float[Tensor, "*batch 2"]:
    """Return where a pinhole would show what a picture shows at `pixels`; the inverse of `distort`.

    Raises:
        InputError: The coefficients bend the picture so strongly that no straight picture gives these pixels.
    """
    if coefficients == UNDISTORTED:
        return pixels
    check_distortion(coefficients)
    scale, origin = pixels.new_tensor(focal), pixels.new_tensor(center)
    seen = (pixels - origin) / scale
    straight = seen
    limit = _last_radius(coefficients)
    for _ in range(_STEPS):
        jacobian = _bend_jacobian(straight, coefficients)
        step = torch.linalg.solve(jacobian, (seen - _bent(straight, coefficients))[..., None])[..., 0]
        straight = straight + step
        radius = straight.norm(dim=-1, keepdim=True)
        straight = straight * (0.999 * limit / radius.clamp_min(1e-12)).clamp_max(1.0)
    error = (_bent(straight, coefficients) - seen).norm(dim=-1)
    if bool((error > _TOLERANCE).any()):
        raise InputError(
            f"the lens distortion {coefficients} cannot have made this picture: some keypoints lie where no straight "
            "line can be bent to; check the order k1, k2, p1, p2 and the focal length"
        )
    return straight * scale + origin


def _bent(points: Float[Tensor, "*batch 2"], coefficients: Coefficients) -> Float[Tensor, "*batch 2"]:
    """Return the distorted points; units of focal lengths from the principal point."""
    k1, k2, p1, p2 = coefficients
    x, y = points.unbind(-1)
    square = x * x + y * y
    radial = 1.0 + square * (k1 + square * k2)
    return torch.stack(
        (
            x * radial + 2.0 * p1 * x * y + p2 * (square + 2.0 * x * x),
            y * radial + p1 * (square + 2.0 * y * y) + 2.0 * p2 * x * y,
        ),
        -1,
    )


def _bend_jacobian(points: Float[Tensor, "*batch 2"], coefficients: Coefficients) -> Float[Tensor, "*batch 2 2"]:
    k1, k2, p1, p2 = coefficients
    x, y = points.unbind(-1)
    square = x * x + y * y
    radial, slope = 1.0 + square * (k1 + square * k2), 2.0 * (k1 + 2.0 * k2 * square)
    across = x * y * slope + 2.0 * (p1 * x + p2 * y)
    first = torch.stack((radial + x * x * slope + 2.0 * p1 * y + 6.0 * p2 * x, across), -1)
    second = torch.stack((across, radial + y * y * slope + 6.0 * p1 * y + 2.0 * p2 * x), -1)
    return torch.stack((first, second), -2)


def _last_radius(coefficients: Coefficients) -> float:
    """Return up to which radius r (1 + k1 r^2 + k2 r^4) rises; inf when it always does."""
    k1, k2 = coefficients[:2]
    # the derivative 1 + 3 k1 s + 5 k2 s^2 of s = r^2; its least positive root
    if k2 == 0.0:
        return (-1.0 / (3.0 * k1)) ** 0.5 if k1 < 0.0 else float("inf")
    discriminant = 9.0 * k1 * k1 - 20.0 * k2
    if discriminant < 0.0:
        return float("inf")
    roots = [(-3.0 * k1 + sign * discriminant**0.5) / (10.0 * k2) for sign in (-1.0, 1.0)]
    positive = [root for root in roots if root > 0.0]
    return min(positive) ** 0.5 if positive else float("inf")

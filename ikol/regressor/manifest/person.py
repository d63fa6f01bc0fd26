# SPDX-License-Identifier: Apache-2.0
"""What a user's network says of one person, in the picture's pixels and the camera's axes. Data only."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class NetworkPerson:
    """Points are named as those of our body are; what a network does not say is None. float32 on the CPU."""

    score: float
    """0 to 1."""
    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 in pixels."""
    names2d: tuple[str, ...] = ()
    points2d: Float[Tensor, "points2d 2"] | None = None
    """Pixels."""
    sigma2d: Float[Tensor, "points2d"] | None = None
    names3d: tuple[str, ...] = ()
    points3d: Float[Tensor, "points3d 3"] | None = None
    """Metres from the middle of the hips; camera axes (x right, y down, z forward)."""
    sigma3d: Float[Tensor, "points3d 3"] | None = None
    twist_names: tuple[str, ...] = ()
    twist: Float[Tensor, "twists"] | None = None
    """Radians about the bone of each named joint."""
    twist_sigma: float = 0.35
    local_rotmat: Float[Tensor, "24 3 3"] | None = None
    """SMPL's local rotations; not finite where they are not known. Their twists have `twist_sigma`."""
    betas: Float[Tensor, "betas"] | None = None
    betas_sigma: float = 0.7
    betas_body: str = ""
    """The name of the body whose betas they are."""

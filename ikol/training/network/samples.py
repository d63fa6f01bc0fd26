# SPDX-License-Identifier: Apache-2.0
"""One person on one picture with what is known about the pose, before it is cropped.

Every part has its own mask, so that 2D-only data and data without rotations take part in one training. Imports: numpy.
"""

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, UInt8

from ikol.regressor.networks.joints import SMPL24, SMPL29, mirror_order

_MIRROR, _MIRROR_BODY = list(mirror_order(SMPL29)), list(mirror_order(SMPL24))
_FLIP = np.diag(np.array([-1.0, 1.0, 1.0], dtype=np.float32))


@dataclass(frozen=True)
class TrainingSample:
    """A picture and the truth; what is unknown is zero and masked. Arrays are float32, camera axes are OpenCV's.

    Joints are `SMPL29`: SMPL's 24 and the five ends, which a data set without them masks.
    """

    picture: UInt8[np.ndarray, "height width 3"]
    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 of the person in pixels."""
    focal: tuple[float, float]
    center: tuple[float, float]
    """Principal point in pixels."""
    pixels: Float[np.ndarray, "29 2"]
    has_pixels: Bool[np.ndarray, "29"]
    joints: Float[np.ndarray, "29 3"]
    """Camera axes, metres; the first is the root."""
    has_joints: Bool[np.ndarray, "29"]
    local_rotmat: Float[np.ndarray, "24 3 3"]
    """Of SMPL's joints, the root's from the rest pose to camera axes."""
    has_rotations: bool
    twist: Float[np.ndarray, "24"]
    """Angle about each joint's bone, radians."""
    has_twist: Bool[np.ndarray, "24"]
    betas: Float[np.ndarray, "10"]
    has_betas: bool

    def mirrored(self) -> "TrainingSample":
        """Return the mirror image: x and the sides exchanged, so that twists change their sign."""
        width = self.picture.shape[1]
        x0, y0, x1, y1 = self.box
        pixels = self.pixels[_MIRROR]
        pixels[:, 0] = width - pixels[:, 0]
        return replace(
            self,
            picture=np.ascontiguousarray(self.picture[:, ::-1]),
            box=(width - x1, y0, width - x0, y1),
            center=(width - self.center[0], self.center[1]),
            pixels=pixels,
            has_pixels=self.has_pixels[_MIRROR],
            joints=self.joints[_MIRROR] @ _FLIP,
            has_joints=self.has_joints[_MIRROR],
            local_rotmat=_FLIP @ self.local_rotmat[_MIRROR_BODY] @ _FLIP,
            twist=-self.twist[_MIRROR_BODY],
            has_twist=self.has_twist[_MIRROR_BODY],
        )


@runtime_checkable  # beartype asks instances in the tests
class SampleSource(Protocol):
    """A data set: samples by number."""

    def __len__(self) -> int:
        """Return how many samples there are."""
        ...

    def sample(self, index: int) -> TrainingSample:
        """Read one sample; the same number gives the same sample."""
        ...

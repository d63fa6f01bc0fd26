# SPDX-License-Identifier: Apache-2.0
"""Square, turned, possibly mirrored windows of a picture: how they are sampled and mapped back.

Coordinates of a picture are pixels with the origin at the top-left corner (the centre of the first pixel is 0.5, 0.5);
coordinates of a crop run from 0 to 1 over its side. Imports torch, numpy and Pillow.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional

PERSON_MARGIN = 1.25
"""Side of a person's crop over the diameter of the circle around the body: what the networks were trained with."""

REDUCE_MARGIN = 4
"""Pixels (after shrinking) kept around the crops, so that bilinear sampling at their edge sees what is there."""


@dataclass(frozen=True)
class Crops:
    """Some square windows of one picture."""

    center: Float[Tensor, "crops 2"]
    """Pixels of the picture."""
    side: Float[Tensor, " crops"]
    """Length of a side in pixels of the picture."""
    rotation: Float[Tensor, " crops"]
    """Radians; positive where the crop, and so a person who stands upright in it, is turned clockwise."""
    mirrored: Bool[Tensor, " crops"]
    """Whether left and right are swapped in the crop."""

    def __len__(self) -> int:
        """Return how many windows there are."""
        return self.side.shape[0]

    def __getitem__(self, index: slice | list[int] | Tensor) -> "Crops":
        """Return some of the windows."""
        return Crops(self.center[index], self.side[index], self.rotation[index], self.mirrored[index])

    def _axes(self) -> Float[Tensor, "crops 2 2"]:
        """Return the rotation matrices that take crop directions to picture directions."""
        cosine, sine = self.rotation.cos(), self.rotation.sin()
        return torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], -2)

    def to_picture(self, points: Float[Tensor, "crops points 2"]) -> Float[Tensor, "crops points 2"]:
        """Map crop coordinates to pixels of the picture."""
        centred = points - 0.5
        centred = torch.stack([self._sign()[:, None] * centred[..., 0], centred[..., 1]], -1)
        return (centred * self.side[:, None, None]) @ self._axes().mT + self.center[:, None]

    def directions_to_picture(self, directions: Float[Tensor, "crops points 3"]) -> Float[Tensor, "crops points 3"]:
        """Undo mirroring and rotation of 3D offsets whose x and y are along the crop's axes; lengths stay."""
        plane = torch.stack([self._sign()[:, None] * directions[..., 0], directions[..., 1]], -1) @ self._axes().mT
        return torch.cat([plane, directions[..., 2:]], -1)

    def _sign(self) -> Float[Tensor, " crops"]:
        return torch.where(self.mirrored, -1.0, 1.0).to(self.side)

    def batches(self, size: int) -> "list[Crops]":
        """Return the windows in parts of at most `size`."""
        return [self[begin : begin + size] for begin in range(0, len(self), size)]

    def turned(self, radians: float) -> "Crops":
        """Return the same windows turned on, clockwise."""
        return Crops(self.center, self.side, self.rotation + radians, self.mirrored)

    def augmented(self, table: Sequence[tuple[float, float, bool]]) -> "Crops":
        """Return every window once for each row of (scale of the side, added radians, mirrored), window by window."""
        scale = self.side.new_tensor([row[0] for row in table])
        turn = self.side.new_tensor([row[1] for row in table])
        flip = torch.tensor([row[2] for row in table], device=self.side.device)
        return Crops(
            self.center.repeat_interleave(len(table), 0),
            (self.side[:, None] * scale).flatten(),
            (self.rotation[:, None] + turn).flatten(),
            (self.mirrored[:, None] ^ flip).flatten(),
        )

    @staticmethod
    def upright(center: Sequence[Sequence[float]], side: Sequence[float], rotation: float = 0.0) -> "Crops":
        """Return windows that all share one rotation (radians)."""
        sides = torch.tensor(side, dtype=torch.float32)
        centers = torch.tensor(center, dtype=torch.float32).reshape(-1, 2)
        return Crops(centers, sides, torch.full_like(sides, rotation), torch.zeros_like(sides, dtype=torch.bool))

    @staticmethod
    def concatenate(parts: Sequence["Crops"]) -> "Crops":
        """Return the windows of all parts, in order; at least one part."""
        return Crops(
            torch.cat([p.center for p in parts]),
            torch.cat([p.side for p in parts]),
            torch.cat([p.rotation for p in parts]),
            torch.cat([p.mirrored for p in parts]),
        )

    @staticmethod
    def around_person(center: Float[Tensor, "crops 2"], rim: Float[Tensor, "crops 2"]) -> "Crops":
        """Return windows around persons, given by the middle of the hips and a point of the circle around the body.

        The circle's point lies in the direction of the head, which turns the crop upright. The two points are what
        the detector and the landmark network's auxiliary points 33 and 34 give.

        Source: MediaPipe, pose_detection_to_roi.
        """
        offset = rim - center
        side = 2.0 * PERSON_MARGIN * offset.norm(dim=-1)
        rotation = torch.atan2(offset[:, 0], -offset[:, 1])
        return Crops(center, side, rotation, torch.zeros_like(side, dtype=torch.bool))

    @staticmethod
    def around_body(points: Float[Tensor, "points 2"], hips: tuple[int, int], shoulders: tuple[int, int]) -> "Crops":
        """Return the window that `around_person` gives for a body whose points on the picture are known.

        Args:
            points: pixels.
            hips: indices of the left and the right one.
            shoulders: indices of the left and the right one.
        """
        center = points[list(hips)].mean(0)
        up = points[list(shoulders)].mean(0) - center
        radius = (points - center).norm(dim=-1).amax()
        # whose shoulders lie on their hips is seen from above or below: there is no upright
        towards = up / up.norm() if float(up.norm()) > 1e-3 * float(radius) else up.new_tensor([0.0, -1.0])
        return Crops.around_person(center[None], (center + radius.clamp_min(1.0) * towards)[None])


def sample_crops(
    rgb: UInt8[np.ndarray, "height width 3"], crops: Crops, size: int, outside: str
) -> Float[Tensor, "crops 3 size size"]:
    """Cut windows out of a picture, bilinearly, after averaging over blocks where the picture is finer than the crop.

    Without the averaging a 1900 px window is read at every seventh pixel, and a shift of one pixel changes the result.

    Args:
        rgb: The picture.
        crops: The windows; on the CPU.
        size: Pixels along a side of the result.
        outside: What lies outside the picture: ``zeros``, or ``border`` for the picture's nearest pixel.

    Returns:
        Values from 0 to 1.
    """
    blocks = (crops.side / size).floor().clamp_min(1.0).long()
    sampled = torch.empty(len(crops), 3, size, size)
    for block in blocks.unique().tolist():
        chosen = blocks == block
        sampled[chosen] = _sample(rgb, crops[chosen], size, block, outside)
    return sampled


def _sample(
    rgb: UInt8[np.ndarray, "height width 3"], crops: Crops, size: int, block: int, outside: str
) -> Float[Tensor, "crops 3 size size"]:
    """Cut windows out of a picture whose blocks of the given size are averaged first."""
    height, width = rgb.shape[:2]
    steps = (torch.arange(size, dtype=torch.float32) + 0.5) / size
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1).reshape(1, -1, 2).expand(len(crops), -1, 2)
    pixels = crops.to_picture(grid)
    margin = REDUCE_MARGIN * block
    low = pixels.amin((0, 1)).sub(margin).floor()
    high = pixels.amax((0, 1)).add(margin).ceil()
    left, right = _window(float(low[0]), float(high[0]), width)
    top, bottom = _window(float(low[1]), float(high[1]), height)
    window = rgb[top:bottom, left:right]
    if block > 1:
        window = np.asarray(Image.fromarray(window).reduce(block))
    source = torch.from_numpy(window.astype(np.float32)).permute(2, 0, 1)[None] / 255.0
    # The last block may stand over the edge; it is a full block in the coordinates all the same.
    extent = torch.tensor([source.shape[3] * block, source.shape[2] * block], dtype=torch.float32)
    normalised = 2.0 * (pixels - torch.tensor([left, top])) / extent - 1.0
    batch = source.expand(len(crops), -1, -1, -1)
    return functional.grid_sample(
        batch, normalised.reshape(-1, size, size, 2), mode="bilinear", padding_mode=outside, align_corners=False
    )


def _window(low: float, high: float, length: int) -> tuple[int, int]:
    """Clip an interval to the picture, leaving at least one pixel of it."""
    start = min(max(math.floor(low), 0), length - 1)
    return start, min(max(math.ceil(high), start + 1), length)

# SPDX-License-Identifier: Apache-2.0
"""The person detector: a window of a picture in, square crops around persons out.

Source: MediaPipe, pose_detection (SSD anchors of a 224 px input, four key points a person, weighted non-maximum
suppression).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ikol.regressor.crops import Crops, sample_crops
from ikol.regressor.graph import GraphNetwork

MIN_SCORE = 0.5  # MediaPipe's min_score_thresh; at 0.4 nothing more of use was found in the sample pictures
# Crops are of one person whose centres are nearer than this share of their side (20 cm on an adult; the hips of two are
# further apart unless one stands behind the other) and whose sides differ by less than this factor.
SAME_CENTER, SAME_SIDE = 0.08, 1.5
# Side of the parts that are searched, of the picture's longer side, and from one to the next, of their own side. Of
# parts of 0.4 to 0.7 and steps of 0.33 to 0.67 these find most persons in pictures of several.
PART, PART_STEP = 0.6, 1 / 3
MIN_OVERLAP = 0.3  # boxes that overlap more than this belong to one person (MediaPipe's min_suppression_threshold)

_STRIDES_ANCHORS = ((8, 2), (16, 2), (32, 6))  # pixels between anchors, anchors at each place
_CENTER, _RIM = 0, 1  # of the four key points: middle of the hips, point of the body's circle towards the head


@dataclass(frozen=True)
class Detections:
    """Persons found, in the order of the windows."""

    crops: Crops
    score: Float[Tensor, " persons"]

    def distinct(self) -> "Detections":
        """Return them without those that are about the same person as an earlier one."""
        kept = _distinct(self.crops)
        return Detections(self.crops[kept], self.score[kept])

    @staticmethod
    def nobody() -> "Detections":
        """Return none."""
        return Detections(Crops.upright([], []), torch.zeros(0))

    @staticmethod
    def surest_first(parts: Sequence["Detections"]) -> "Detections":
        """Return what several searches (at least one) found, each person once, in the order of the scores."""
        crops, score = Crops.concatenate([part.crops for part in parts]), torch.cat([part.score for part in parts])
        order = score.argsort(descending=True)
        return Detections(crops[order], score[order]).distinct()


def _anchors(size: int) -> Float[Tensor, "anchors 2"]:
    """Return the anchors' centres, 0 to 1 over the input."""
    layers: list[Tensor] = []
    for stride, count in _STRIDES_ANCHORS:
        steps = (torch.arange(size // stride, dtype=torch.float32) + 0.5) / (size // stride)
        grid = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1).reshape(-1, 2)
        layers.append(grid.repeat_interleave(count, 0))
    return torch.cat(layers)


def _overlap(box: Float[Tensor, "4"], boxes: Float[Tensor, "boxes 4"]) -> Float[Tensor, " boxes"]:
    """Return intersection over union; boxes are x0, y0, x1, y1."""
    low, high = torch.maximum(box[:2], boxes[:, :2]), torch.minimum(box[2:], boxes[:, 2:])
    shared = (high - low).clamp_min(0.0).prod(-1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1) + (box[2:] - box[:2]).prod()
    return shared / (areas - shared)


def _merge(
    boxes: Float[Tensor, "boxes 4"], points: Float[Tensor, "boxes 4 2"], score: Float[Tensor, " boxes"]
) -> list[tuple[float, Tensor]]:
    """Return score and key points of each person: the boxes around one person are averaged by their scores."""
    persons: list[tuple[float, Tensor]] = []
    order = score.argsort(descending=True)
    while len(order) > 0:
        same = _overlap(boxes[order[0]], boxes[order]) > MIN_OVERLAP
        same[0] = True
        members = order[same]
        weight = score[members] / score[members].sum()
        persons.append((float(score[order[0]]), (points[members] * weight[:, None, None]).sum(0)))
        order = order[~same]
    return persons


def search_windows(width: int, height: int, rotation: float) -> Crops:
    """Return the windows of a picture in which to look for persons: all of it first, then overlapping parts.

    The detector was made for one person who fills the picture, and in a group finds one or two. In a part of the
    picture others stand out.

    Args:
        width: Pixels of the picture.
        height: Pixels of the picture.
        rotation: Of the windows, radians; the whole picture is covered all the same.
    """
    cosine, sine = abs(math.cos(rotation)), abs(math.sin(rotation))
    whole = max(width * cosine + height * sine, width * sine + height * cosine)
    part = PART * max(width, height)
    centers = [(width / 2, height / 2)] + [
        (x, y) for y in part_centers(height, part) for x in part_centers(width, part)
    ]
    return Crops.upright(centers, [whole] + [part] * (len(centers) - 1), rotation)


def part_centers(length: int, part: float, step: float = PART_STEP) -> list[float]:
    """Return the middles of the parts that cover a length, at most `step` of a part from one to the next."""
    if length <= part:
        return [length / 2]
    count = math.ceil((length - part) / (part * step) - 1e-6) + 1  # less what rounding adds to a whole number
    return [part / 2 + (length - part) * i / (count - 1) for i in range(count)]


def detect_persons(
    network: GraphNetwork, rgb: UInt8[np.ndarray, "height width 3"], windows: Crops, device: torch.device
) -> Detections:
    """Find persons in the windows of a picture; one who is in several windows is taken from the first of them."""
    size = network.input_size
    pictures = sample_crops(rgb, windows, size, "zeros").to(device) * 2.0 - 1.0
    outputs = dict(zip(network.output_names, network(pictures), strict=True))
    raw, score = outputs["boxes"].cpu() / size, outputs["scores"].cpu()[..., 0].sigmoid()
    anchors = _anchors(size)
    found: list[tuple[float, Tensor]] = []
    # A window's persons are in order of their scores, and the windows keep theirs: the whole picture is cut least.
    for i in range(len(windows)):
        keep = score[i] >= MIN_SCORE
        center = raw[i, keep, :2] + anchors[keep]
        half = raw[i, keep, 2:4] / 2.0
        points = raw[i, keep, 4:].reshape(-1, 4, 2) + anchors[keep, None]
        for best, merged in _merge(torch.cat([center - half, center + half], -1), points, score[i, keep]):
            found.append((best, windows[[i]].to_picture(merged[None])[0]))
    points = torch.stack([p for _, p in found]) if found else torch.zeros(0, 4, 2)
    crops = Crops.around_person(points[:, _CENTER], points[:, _RIM])
    return Detections(crops, torch.tensor([score for score, _ in found], dtype=torch.float32)).distinct()


def _distinct(crops: Crops) -> list[int]:
    """Return the indices of the crops that are not about the same person as an earlier one."""
    kept: list[int] = []
    for i in range(len(crops)):
        near = (crops.center[kept] - crops.center[i]).norm(dim=-1) < SAME_CENTER * crops.side[kept]
        ratio = crops.side[kept] / crops.side[i]
        if not bool((near & (ratio < SAME_SIDE) & (ratio > 1.0 / SAME_SIDE)).any()):
            kept.append(i)
    return kept

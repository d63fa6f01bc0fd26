# SPDX-License-Identifier: Apache-2.0
"""The hand network: how a person's hands are turned, where their knuckles are; from crops at the picture's own size.

In the crop of a whole person a hand is 15 pixels long, which says nothing of the forearm's twist. Every hand is looked
at as a right hand and mirrored, twice: the second crop lies around what the first has found. Nothing about what the
body makes of it (`ikol.regressor.head.forearm`). Imports: torch, numpy, crops, the graph.

Source: MediaPipe Hands (Zhang et al., "MediaPipe Hands: On-device Real-time Hand Tracking", 2020).
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ikol.regressor.crops import Crops, sample_crops
from ikol.regressor.graph import GraphNetwork
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS
from ikol.regressor.weights import load_network

NUM_HAND_POINTS = 21
WRIST, MIDDLE_KNUCKLE = 0, 9
KNUCKLES = {"thumb": 2, "index": 5, "pinky": 17}
"""Which points are the landmarks of the body's network that lie on a hand."""
SIDES = ("left", "right")
SURE = 0.9
"""Presence from which on a hand is one: its knuckles are off by 10 mm in the median, those of the body's network by 28
(rendered people); from 0.5 to 0.8 by 20 to 30."""
SAME_HAND = 0.5  # of a palm's length: two crops of one hand are closer
_SIDE = 0.36  # metres of the first crop, twice a hand's length: the wrist is off by a few centimetres
_REACH = 0.10  # metres at most from the wrist to the first crop's middle
_KNUCKLES, _FOREARM = 0.09, 0.15  # where that is: the knuckles, no further than a palm, and a part of the forearm on
_MARGIN = 1.6  # side of the second crop over the extent of the points
_SECOND = (0.3, 1.6)  # in sides of the first: what is smaller or larger is no hand, and the first crop is kept


@dataclass(frozen=True)
class HandLandmarks:
    """What the hand network says of a person's left and right hand, each in two crops. float32 on the CPU.

    In the first crop a hand of the side that it is taken for is a right one, in the second a left one.
    """

    world: Float[Tensor, "2 2 21 3"]
    """Metres from the middle of the hand, along the picture's axes (x right, y down, z away), however the crop was."""
    presence: Float[Tensor, "2 2"]
    """Probability that the crop shows a hand."""
    handedness: Float[Tensor, "2 2"]
    """Near 1 where the crop shows a right hand, near 0 where it shows a left one."""
    points: Float[Tensor, "2 2 21 2"]
    """Pixels of the picture."""

    def knuckles(self) -> dict[str, Float[Tensor, "2"]]:
        """Return where `KNUCKLES` are on the picture, as `left_thumb`, of hands that the network is sure of; pixels.

        Where both sides have found one and the same hand it is that of the side that is surer.
        """
        presence, crops = self.presence.max(1)
        points = self.points[torch.arange(len(SIDES)), crops]
        sure = presence >= SURE
        length = (points[:, MIDDLE_KNUCKLE] - points[:, WRIST]).norm(dim=-1)
        if bool((points[0] - points[1]).norm(dim=-1).mean() < SAME_HAND * length.max()):
            sure[presence.argmin()] = False
        return {
            f"{side}_{name}": points[hand, index]
            for hand, side in enumerate(SIDES)
            if sure[hand]
            for name, index in KNUCKLES.items()
        }

    def exchanged(self) -> "HandLandmarks":
        """Return the same hands, the left one taken for the right one."""
        return HandLandmarks(*(getattr(self, name).flip(0, 1) for name in HAND_SHAPES))


HAND_SHAPES = {
    "world": (2, 2, NUM_HAND_POINTS, 3),
    "presence": (2, 2),
    "handedness": (2, 2),
    "points": (2, 2, NUM_HAND_POINTS, 2),
}
"""Of the fields of `HandLandmarks`, in their order."""


def load_hand_network() -> GraphNetwork:
    """Return the shipped hand network."""
    return GraphNetwork(load_network("mediapipe_hand")).eval()


def look_at_hands(
    network: GraphNetwork,
    rgb: UInt8[np.ndarray, "height width 3"],
    landmarks: Float[Tensor, "33 2"],
    pixels_per_metre: float,
) -> HandLandmarks:
    """Return what the network says of both hands of a person.

    Args:
        network: the hand network.
        rgb: the picture.
        landmarks: where the person's are, pixels.
        pixels_per_metre: at the person, more than 0.
    """
    crops = Crops.concatenate([_first_crops(landmarks, pixels_per_metre, side) for side in SIDES])
    points, *_ = _run(network, rgb, crops)
    crops = Crops.concatenate([_second_crop(crops[[number]], points[number]) for number in range(len(crops))])
    points, world, presence, handedness = _run(network, rgb, crops)
    return HandLandmarks(*(value.unflatten(0, (2, 2)) for value in (world, presence, handedness, points)))


def _first_crops(landmarks: Float[Tensor, "33 2"], metre: float, side: str) -> Crops:
    elbow, wrist, index, pinky = (
        landmarks[BLAZEPOSE_LANDMARKS.index(f"{side}_{name}")] for name in ("elbow", "wrist", "index", "pinky")
    )
    towards = _shortened((index + pinky) / 2 - wrist, _KNUCKLES * metre) + _FOREARM * (wrist - elbow)
    center = wrist + _shortened(towards, _REACH * metre)
    crop = Crops.upright([center.tolist()], [_SIDE * metre], float(torch.atan2(towards[0], -towards[1])))
    is_left = side == "left"
    return crop.augmented([(1.0, 0.0, is_left), (1.0, 0.0, not is_left)])


def _shortened(vector: Float[Tensor, "2"], longest: float) -> Float[Tensor, "2"]:
    return vector * (longest / vector.norm()).clamp_max(1.0)


def _second_crop(crop: Crops, points: Float[Tensor, "21 2"]) -> Crops:
    """Return the crop around what was found in a first one, the middle finger up."""
    low, high = points.amin(0), points.amax(0)
    side = _MARGIN * float((high - low).max())
    if not _SECOND[0] <= side / float(crop.side) <= _SECOND[1]:
        return crop
    up = points[MIDDLE_KNUCKLE] - points[WRIST]
    found = Crops.upright([((low + high) / 2).tolist()], [side], float(torch.atan2(up[0], -up[1])))
    return Crops(found.center, found.side, found.rotation, crop.mirrored)


def _run(
    network: GraphNetwork, rgb: UInt8[np.ndarray, "height width 3"], crops: Crops
) -> tuple[Float[Tensor, "crops 21 2"], Float[Tensor, "crops 21 3"], Float[Tensor, " crops"], Float[Tensor, " crops"]]:
    """Return the points on the picture, those in space, presence and handedness."""
    pictures = sample_crops(rgb, crops, network.input_size, "border").to(next(network.buffers()).device)
    outputs = dict(zip(network.output_names, (value.cpu().flatten(1) for value in network(pictures)), strict=True))
    points, world = (outputs[name].unflatten(1, (NUM_HAND_POINTS, 3)) for name in ("landmarks", "world"))
    return (
        crops.to_picture(points[..., :2] / network.input_size),
        crops.directions_to_picture(world),
        outputs["presence"][:, 0],
        outputs["handedness"][:, 0],
    )

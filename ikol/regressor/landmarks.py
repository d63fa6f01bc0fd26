# SPDX-License-Identifier: Apache-2.0
"""The landmark network: crops of a person in, 33 named landmarks of each in crop coordinates and in metres out.

Also the landmarks' names. Nothing about finding persons or about combining several crops of one person.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ikol.regressor.graph import GraphNetwork
from ikol.regressor.weights import load_network

BLAZEPOSE_LANDMARKS: tuple[str, ...] = (
    "nose",
    "left_eye_inner",
    "left_eye",
    "left_eye_outer",
    "right_eye_inner",
    "right_eye",
    "right_eye_outer",
    "left_ear",
    "right_ear",
    "mouth_left",
    "mouth_right",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_pinky",
    "right_pinky",
    "left_index",
    "right_index",
    "left_thumb",
    "right_thumb",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
    "left_heel",
    "right_heel",
    "left_foot_index",
    "right_foot_index",
)
"""The order of the landmarks; left and right are the person's own."""


def _counterpart(name: str) -> str:
    return name.replace("left", "\0").replace("right", "left").replace("\0", "right")


LEFT_RIGHT: tuple[int, ...] = tuple(BLAZEPOSE_LANDMARKS.index(_counterpart(name)) for name in BLAZEPOSE_LANDMARKS)
"""For each landmark the index of the same one on the other side; of the nose, itself."""

LIMB_LANDMARKS = tuple(
    f"{side}_{joint}" for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in ("left", "right")
)

NUM_LANDMARKS = len(BLAZEPOSE_LANDMARKS)
NUM_WITH_AUXILIARY = 39  # the network adds six; 33 and 34 are the middle of the hips and a point of the body's circle
AUXILIARY_CENTER, AUXILIARY_RIM = 33, 34

_ALL = tuple(range(NUM_LANDMARKS))
_BODY = tuple(
    BLAZEPOSE_LANDMARKS.index(name)
    for name in (
        "nose",
        *(
            f"{side}_{part}"
            for part in ("shoulder", "elbow", "wrist", "index", "hip", "knee", "ankle")
            for side in ("left", "right")
        ),
    )
)
_INNER_MAPS: dict[str, dict[int, tuple[int, ...]]] = {"heavy": {587: _ALL, 614: _BODY}}
"""By network: inner maps, and the landmarks at which they are read. 587 has 96 channels at 32 x 32, 614 has 192 at
16 x 16; both know what is around a landmark and the whole body's pose (docs/models/head.md has the comparison)."""
NUM_INNER = 96 * len(_ALL) + 192 * len(_BODY)

_REFINE_RADIUS = 3  # MediaPipe's kernel of 7 heat-map pixels
_REFINE_MIN_CONFIDENCE = 0.5  # MediaPipe's min_confidence_to_refine


@dataclass(frozen=True)
class CropLandmarks:
    """What the network says about some crops, in the crops' own frames (a mirrored crop's left is a mirrored left)."""

    presence: Float[Tensor, " crops"]
    """Probability that the crop shows a person."""
    points: Float[Tensor, "crops 39 2"]
    """Crop coordinates, 0 to 1 over the crop; 33 landmarks and 6 auxiliary ones."""
    world: Float[Tensor, "crops 33 3"]
    """Metres from the middle of the hips; x and y along the crop, z away from the camera."""
    visibility: Float[Tensor, "crops 33"]
    """The network's own guess that the landmark is seen; it says 1.0 of a face seen from behind."""
    inner: Float[Tensor, "crops inner"] | None = None
    """Inner values of the network where it sees the landmarks, float16; None from a network that does not give them."""


def load_landmark_network(model: str) -> GraphNetwork:
    """Return one of the shipped landmark networks, "heavy" or "full", with its inner maps if a head reads them."""
    return GraphNetwork(load_network(f"blazepose_{model}"), tuple(_INNER_MAPS.get(model, {}))).eval()


def _refined(
    points: Float[Tensor, "crops points 2"], heatmap: Float[Tensor, "crops points rows columns"]
) -> Float[Tensor, "crops points 2"]:
    """Replace points by the centre of mass of the heat map around them, where it is sure.

    Source: MediaPipe, RefineLandmarksFromHeatmapCalculator (which counts a heat-map pixel from its corner, so do we).
    """
    rows, columns = heatmap.shape[-2:]
    cell = (points * points.new_tensor([columns, rows])).floor().long()
    inside = ((cell >= 0) & (cell < cell.new_tensor([columns, rows]))).all(-1)
    shift = torch.arange(-_REFINE_RADIUS, _REFINE_RADIUS + 1, device=points.device)
    x = cell[..., 0, None] + shift
    y = cell[..., 1, None] + shift
    flat = y.clamp(0, rows - 1)[..., :, None] * columns + x.clamp(0, columns - 1)[..., None, :]
    in_map = ((y >= 0) & (y < rows))[..., :, None] & ((x >= 0) & (x < columns))[..., None, :]
    weight = heatmap.flatten(2).gather(2, flat.flatten(2)).reshape(flat.shape).sigmoid() * in_map
    total = weight.sum((-2, -1)).clamp_min(1e-9)
    mean_x = (weight.sum(-2) * x).sum(-1) / total / columns
    mean_y = (weight.sum(-1) * y).sum(-1) / total / rows
    sure = inside & (weight.amax((-2, -1)) >= _REFINE_MIN_CONFIDENCE)
    return torch.where(sure[..., None], torch.stack([mean_x, mean_y], -1), points)


def run_landmarks(network: GraphNetwork, pictures: Float[Tensor, "crops 3 size size"]) -> CropLandmarks:
    """Run the network on crops (values 0 to 1) and decode what it returns."""
    values = network(pictures)
    count = len(network.output_names)
    outputs = dict(zip(network.output_names, values[:count], strict=True))
    raw = outputs["landmarks"].reshape(-1, NUM_WITH_AUXILIARY, 5)
    points = _refined(raw[..., :2] / network.input_size, outputs["heatmap"])
    world = outputs["world"].reshape(-1, NUM_WITH_AUXILIARY, 3)[:, :NUM_LANDMARKS]
    visibility = raw[:, :NUM_LANDMARKS, 3].sigmoid()
    inner = _read_at(values[count:], points[:, :NUM_LANDMARKS])
    return CropLandmarks(outputs["presence"].reshape(-1), points, world, visibility, inner)


def _read_at(maps: tuple[Tensor, ...], points: Float[Tensor, "crops 33 2"]) -> Float[Tensor, "crops inner"] | None:
    """Return what the inner maps of the heavy network have at landmarks (crop coordinates), landmark by landmark."""
    if not maps:
        return None
    places = [2.0 * points[:, None, list(at)] - 1.0 for at in _INNER_MAPS["heavy"].values()]
    read = [
        functional.grid_sample(each, place, mode="bilinear", padding_mode="border", align_corners=False)
        for each, place in zip(maps, places, strict=True)
    ]
    return torch.cat([each[:, :, 0].mT.flatten(1) for each in read], -1).half()

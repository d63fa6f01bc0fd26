# SPDX-License-Identifier: Apache-2.0
"""From a picture to the landmarks of the persons in it: detector, crops, landmark network, combination."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8

from ikol.errors import InputError
from ikol.regressor.crops import Crops, sample_crops
from ikol.regressor.detector import detect_persons
from ikol.regressor.graph import GraphNetwork
from ikol.regressor.landmarks import AUXILIARY_CENTER, AUXILIARY_RIM, CropLandmarks, run_landmarks
from ikol.regressor.person import AUGMENTATIONS, PersonLandmarks, combine
from ikol.regressor.weights import load_network

BOX_MARGIN = 1.25  # the networks' training margin
MIN_PRESENCE = 0.5  # MediaPipe's min_detection_confidence for the landmark network's flag

Progress = Callable[[float, str], None]


def _ignore(fraction: float, text: str) -> None:
    del fraction, text


class LandmarkRegressor:
    """Finds persons and their landmarks in pictures. Holds two networks; no state between calls."""

    def __init__(self, model: Literal["heavy", "full"] = "heavy", device: str = "cpu") -> None:
        if model not in ("heavy", "full"):
            raise InputError(f"unknown landmark network {model!r}, expected 'heavy' or 'full'")
        self.device = torch.device(device)
        self._detector = GraphNetwork(load_network("blazepose_detector")).to(self.device).eval()
        self._landmarks = GraphNetwork(load_network(f"blazepose_{model}")).to(self.device).eval()

    def detect(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        *,
        max_persons: int = 8,
        boxes: Sequence[tuple[float, float, float, float]] | None = None,
        rotation_deg: float = 0.0,
        progress: Progress | None = None,
    ) -> list[PersonLandmarks]:
        """Return the persons in a picture, best first.

        Args:
            rgb: The upright picture.
            max_persons: At most so many are returned.
            boxes: x0, y0, x1, y1 in pixels of the persons to look at, instead of looking for them.
            rotation_deg: By how much the persons are turned clockwise from upright.
            progress: Called with a fraction (0 to 1) and what comes next; may raise ``Cancelled``.
        """
        report = progress or _ignore
        height, width = rgb.shape[:2]
        rotation = math.radians(rotation_deg)
        with torch.inference_mode():
            report(0.0, "finding persons")
            crops = self._find(rgb, rotation) if boxes is None else self._around_boxes(boxes, rotation)
            crops = crops[:max_persons]
            persons: list[PersonLandmarks] = []
            for i in range(len(crops)):
                report(0.1 + 0.9 * i / len(crops), f"landmarks of person {i + 1} of {len(crops)}")
                first = self._run(rgb, crops[[i]])
                if float(first.presence[0]) < MIN_PRESENCE:
                    continue
                crop = crops[[i]]
                if boxes is not None:
                    points = crop.to_picture(first.points)
                    crop = Crops.around_person(points[:, AUXILIARY_CENTER], points[:, AUXILIARY_RIM])
                many = crop.augmented(AUGMENTATIONS)
                person = combine(many, self._run(rgb, many), width, height)
                if person.score >= MIN_PRESENCE:
                    persons.append(person)
            report(1.0, "done")
        return sorted(persons, key=lambda person: -person.score)

    def _find(self, rgb: UInt8[np.ndarray, "height width 3"], rotation: float) -> Crops:
        height, width = rgb.shape[:2]
        cosine, sine = abs(math.cos(rotation)), abs(math.sin(rotation))
        side = max(width * cosine + height * sine, width * sine + height * cosine)
        window = Crops.upright([(width / 2, height / 2)], [side], rotation)
        return detect_persons(self._detector, rgb, window, self.device).crops

    def _around_boxes(self, boxes: Sequence[tuple[float, float, float, float]], rotation: float) -> Crops:
        centers = [((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in boxes]
        sides = [BOX_MARGIN * max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes]
        return Crops.upright(centers, sides, rotation)

    def _run(self, rgb: UInt8[np.ndarray, "height width 3"], crops: Crops) -> CropLandmarks:
        pictures = sample_crops(rgb, crops, self._landmarks.input_size, "border").to(self.device)
        found = run_landmarks(self._landmarks, pictures)
        return CropLandmarks(found.presence.cpu(), found.points.cpu(), found.world.cpu(), found.visibility.cpu())

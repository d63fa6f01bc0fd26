# SPDX-License-Identifier: Apache-2.0
"""From a picture to the landmarks of the persons in it: detector, crops, landmark network, combination."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8

from ikol.errors import InputError
from ikol.regressor.crops import PERSON_MARGIN, Crops, sample_crops
from ikol.regressor.detector import Detections, detect_persons, search_windows
from ikol.regressor.doubts import QUALITY_SURE, doubts_of, quality
from ikol.regressor.graph import GraphNetwork, asking_between_layers
from ikol.regressor.hands import load_hand_network, look_at_hands
from ikol.regressor.landmarks import (
    AUXILIARY_CENTER,
    AUXILIARY_RIM,
    BLAZEPOSE_LANDMARKS,
    CropLandmarks,
    load_landmark_network,
    run_landmarks,
)
from ikol.regressor.person import (
    AUGMENTATIONS,
    CLOSE_AUGMENTATIONS,
    NUM_FACE,
    QUICK_LOOK,
    CropSamples,
    PersonLandmarks,
    combine,
    is_same_person,
)
from ikol.regressor.search import TURNS_DEG, small_windows, turned_windows
from ikol.regressor.weights import load_network

# When a find is a person. The limits were chosen on the finds in 670 pictures, 600 of them without a person.
MIN_PRESENCE = 0.5  # MediaPipe's min_detection_confidence for the landmark network's flag
MIN_BODY_LANDMARKS = 2  # in the picture, face not counted: a head alone has no pose, and spots make good faces
# How far landmarks may move between crops, in body sizes: a weak find must be steadier than a sure one.
SPREAD_WEAK, SPREAD_SLOPE = 0.009, 0.04
# The typical landmark's confidence: a weak find needs the first as well, a sure one may have the second instead. (Arms
# and legs that some crops swap move a lot, but most of the crops agree.)
SURE_SCORE, WEAK_CONFIDENCE, SURE_CONFIDENCE = 0.7, 0.35, 0.45

_DETECTION_SHARE = 0.1  # of the progress that is reported
_BATCH = 16  # windows between two reports of the second search, 0.3 s
SECOND_LOOK = (AUGMENTATIONS, CLOSE_AUGMENTATIONS[:6], CLOSE_AUGMENTATIONS[6:])  # what is run at once
LOOKS = 3  # candidates of the second search that are looked at closely, for each person that may be returned
_QUARTERS = (math.pi, math.pi / 2, -math.pi / 2)  # by which a crop may be turned where its person is doubtful
HIPS, SHOULDERS = (
    (BLAZEPOSE_LANDMARKS.index(f"left_{part}"), BLAZEPOSE_LANDMARKS.index(f"right_{part}"))
    for part in ("hip", "shoulder")
)
CHEST = (0.5, 0.3)  # in a person's crop; in a box around half a body the hips may be missing, the chest is not

Progress = Callable[[float, str], None]
Box = tuple[float, float, float, float]
_Picture = UInt8[np.ndarray, "height width 3"]


def _ignore(fraction: float, text: str) -> None:
    del fraction, text


class _Repeatable:
    """A report of progress that can be made once more, to ask whether the work shall go on."""

    def __init__(self, report: Progress) -> None:
        self._report = report
        self._last = (0.0, "")

    def __call__(self, fraction: float, text: str) -> None:
        self._last = (fraction, text)
        self.again()

    def again(self) -> None:
        self._report(*self._last)


def _part(report: Progress, begin: float, end: float) -> Progress:
    """Return a report of a part of the work as one of the whole."""
    return lambda fraction, text: report(begin + (end - begin) * fraction, text)


def _is_plausible(person: PersonLandmarks, samples: CropSamples, detector_score: float) -> bool:
    """Say whether what the network found in several crops is a person and not an invention."""
    body = person.in_picture.clone()
    body[:NUM_FACE] = False
    if person.score < MIN_PRESENCE or int(body.sum()) < MIN_BODY_LANDMARKS:
        return False
    is_steady = samples.spread(person.in_picture) <= SPREAD_WEAK + SPREAD_SLOPE * max(detector_score - 0.5, 0.0)
    confidence = float(person.confidence[body].median())
    if detector_score < SURE_SCORE:
        return is_steady and confidence >= WEAK_CONFIDENCE
    return is_steady or confidence >= SURE_CONFIDENCE


def _box_area(person: PersonLandmarks) -> float:
    return float((person.box[2:] - person.box[:2]).prod())


def _check_picture(rgb: np.ndarray) -> None:
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise InputError(
            f"a picture must be bytes of shape (height, width, 3), got {rgb.dtype} {rgb.shape}; use decode_image"
        )


def _check_boxes(boxes: Sequence[Box]) -> None:
    for box in boxes:
        if len(box) != 4 or not all(math.isfinite(value) for value in box) or box[2] <= box[0] or box[3] <= box[1]:
            raise InputError(f"a box must be x0, y0, x1, y1 in pixels with x0 < x1 and y0 < y1, got {tuple(box)}")


class LandmarkRegressor:
    """Finds persons and their landmarks in pictures. Holds networks; no state between calls."""

    def __init__(self, model: Literal["heavy", "full"] = "heavy", device: str = "cpu") -> None:
        """Load the networks.

        Args:
            model: ``heavy``, or ``full`` which takes a fifth of the time and swaps left and right more often. With
                ``heavy`` each person is looked at twice, and their hands by a network of their own.
            device: What torch calls it.
        """
        if model not in ("heavy", "full"):
            raise InputError(f"unknown landmark network {model!r}, expected 'heavy' or 'full'")
        self.device = torch.device(device)
        self._detector = GraphNetwork(load_network("blazepose_detector")).to(self.device).eval()
        self._landmarks = load_landmark_network(model).to(self.device)
        self._looks_again = model == "heavy"
        self._hands = load_hand_network().to(self.device) if self._looks_again else None

    def detect(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        *,
        max_persons: int = 8,
        boxes: Sequence[Box] | None = None,
        rotation_deg: float = 0.0,
        thorough: bool = False,
        progress: Progress | None = None,
    ) -> list[PersonLandmarks]:
        """Return the persons in a picture, largest first; none if nobody is in it.

        Where nobody is found at once, far persons are looked for in small windows, then turned ones in turned windows.

        Args:
            rgb: The upright picture.
            max_persons: At most so many are returned, those that the detector is surest of.
            boxes: x0, y0, x1, y1 in pixels of the persons to look at, instead of looking for them; the results are in
                their order, without those in which no person is seen.
            rotation_deg: By how much the persons are turned clockwise from upright.
            thorough: Look for far persons also where others are found; takes some seconds.
            progress: Called with a fraction (0 to 1) and what comes next, between steps and layers; may raise
                ``Cancelled``.

        Raises:
            InputError: The picture or a box cannot be one.
        """
        _check_picture(rgb)
        report = _Repeatable(progress or _ignore)
        rotation = math.radians(rotation_deg)
        with torch.inference_mode(), asking_between_layers(report.again):
            report(0.0, "finding persons")
            persons: list[PersonLandmarks] = []
            if boxes is None:
                windows = search_windows(rgb.shape[1], rgb.shape[0], rotation)
                found = detect_persons(self._detector, rgb, windows, self.device)
            else:
                found = self._look_at_boxes(rgb, boxes, rotation)
            first_end = 0.4 if thorough and boxes is None else 1.0
            self._look_at_all(rgb, found, persons, max_persons, _part(report, _DETECTION_SHARE, first_end))
            if boxes is None and (thorough or not persons):
                self._search_again(rgb, rotation, persons, max_persons, _part(report, first_end, 1.0))
            if self._hands is not None:
                persons = [self._with_hands(rgb, one, self._hands) for one in persons]
            report(1.0, "landmarks found")
        persons = [replace(one, doubts=doubts_of(one, persons)) for one in persons]
        return persons if boxes is not None else sorted(persons, key=_box_area, reverse=True)

    @staticmethod
    def _with_hands(rgb: _Picture, person: PersonLandmarks, network: GraphNetwork) -> PersonLandmarks:
        return replace(person, hands=look_at_hands(network, rgb, person.image_points, person.pixels_per_metre()))

    def _search_again(
        self, rgb: _Picture, rotation: float, persons: list[PersonLandmarks], max_persons: int, report: Progress
    ) -> None:
        """Add far persons; where there is still nobody, turned ones."""
        size = (rgb.shape[1], rgb.shape[0])
        far = self._search(rgb, small_windows(*size, rotation), _part(report, 0.0, 0.4), "looking for far persons")
        self._look_at_all(rgb, far, persons, max_persons, _part(report, 0.4, 0.7))
        for number, windows in enumerate(turned_windows(*size, rotation)):
            if persons:
                return
            begin = 0.7 + 0.04 * number
            turned = self._search(rgb, [windows], _part(report, begin, begin + 0.02), "looking for turned persons")
            self._look_at_all(rgb, turned, persons, max_persons, _part(report, begin + 0.02, begin + 0.04))

    def _search(self, rgb: _Picture, sets: Sequence[Crops], report: Progress, text: str) -> Detections:
        """Return the persons in many windows, the surest first."""
        batches = [part for windows in sets for part in windows.batches(_BATCH)]
        found: list[Detections] = []
        for number, part in enumerate(batches):
            report(number / len(batches), text)
            found.append(detect_persons(self._detector, rgb, part, self.device))
        return Detections.surest_first([Detections.nobody(), *found])

    def _look_at_all(
        self, rgb: _Picture, found: Detections, persons: list[PersonLandmarks], max_persons: int, report: Progress
    ) -> None:
        """Add the persons that are seen where somebody was found."""
        count = min(len(found.crops), LOOKS * max_persons)
        for i in range(count):
            if len(persons) == max_persons:
                return
            report(i / count, f"landmarks of person {len(persons) + 1}")
            person = self._look_closely(rgb, found.crops[[i]], float(found.score[i]), persons)
            if person is not None:
                persons.append(person)

    def _look_closely(
        self, rgb: _Picture, crop: Crops, score: float, known: Sequence[PersonLandmarks]
    ) -> PersonLandmarks | None:
        """Return the person in a crop; None if the augmented crops show no person, or one who is known already."""
        person = self._look_both_times(rgb, crop, score, known)
        if person is not None and quality(person) >= QUALITY_SURE:
            return self._look_again(rgb, person)
        if person is None and score < SURE_SCORE:
            return None
        turned = max(
            (crop.turned(turn) for turn in _QUARTERS), key=lambda one: self._quick_quality(rgb, one), default=crop
        )
        other = self._look_both_times(rgb, turned, score, known)
        candidates = [one for one in (person, other) if one is not None]
        best = max(candidates, key=quality, default=None)
        return best and self._look_again(rgb, best)

    def _look_again(self, rgb: _Picture, person: PersonLandmarks) -> PersonLandmarks:
        """Return the person by three times as many crops more, drawn around the body that was found.

        The detector's circle is off by a tenth of the body and five degrees. This second look takes 3 to 4 mm from the
        solve's error on whole rendered pictures, 2 mm on the four-view recording.
        """
        if not self._looks_again or person.samples is None:
            return person
        crop = Crops.around_body(person.image_points, HIPS, SHOULDERS)
        parts = [self._sample(rgb, crop.augmented(part)) for part in SECOND_LOOK]
        more = functools.reduce(CropSamples.joined, parts)
        if float(more.presence.mean()) < MIN_PRESENCE:
            return person
        return combine(person.samples.joined(more), rgb.shape[1], rgb.shape[0])

    def _look_both_times(
        self, rgb: _Picture, crop: Crops, score: float, known: Sequence[PersonLandmarks]
    ) -> PersonLandmarks | None:
        crops = crop.augmented(AUGMENTATIONS)
        samples = self._sample(rgb, crops[:QUICK_LOOK])
        if self._new_person(rgb, samples, score, known) is None:
            return None
        return self._new_person(rgb, samples.joined(self._sample(rgb, crops[QUICK_LOOK:])), score, known)

    def _quick_quality(self, rgb: _Picture, crop: Crops) -> float:
        samples = self._sample(rgb, crop.augmented(AUGMENTATIONS[:QUICK_LOOK]))
        return quality(combine(samples, rgb.shape[1], rgb.shape[0]))

    @staticmethod
    def _new_person(
        rgb: _Picture, samples: CropSamples, score: float, known: Sequence[PersonLandmarks]
    ) -> PersonLandmarks | None:
        person = combine(samples, rgb.shape[1], rgb.shape[0])
        if not _is_plausible(person, samples, score) or any(is_same_person(person, other) for other in known):
            return None
        return person

    def _look_at_boxes(self, rgb: _Picture, boxes: Sequence[Box], rotation: float) -> Detections:
        """Turn boxes into crops around bodies; the user is sure of them, so their score is 1."""
        _check_boxes(boxes)
        crops = [self._look_at_box(rgb, box, rotation) for box in boxes]
        return Detections(Crops.concatenate([Crops.upright([], []), *crops]), torch.ones(len(boxes)))

    def _look_at_box(self, rgb: _Picture, box: Box, rotation: float) -> Crops:
        """Return the crop of whom the detector finds in the box; else of whom the landmark network sees there.

        The detector knows a bent or a lying body's direction, which the network only sees in a crop that has it.
        """
        x0, y0, x1, y1 = box
        square = Crops.upright([((x0 + x1) / 2, (y0 + y1) / 2)], [PERSON_MARGIN * max(x1 - x0, y1 - y0)], rotation)
        turned = Crops.concatenate([square.turned(math.radians(turn)) for turn in TURNS_DEG])
        for windows in (square, turned):
            found = Detections.surest_first([detect_persons(self._detector, rgb, windows, self.device)]).crops
            x, y = found.to_picture(torch.tensor(CHEST).expand(len(found), 1, 2))[:, 0].unbind(-1)
            inside = (x > x0) & (x < x1) & (y > y0) & (y < y1)
            if bool(inside.any()):
                return found[inside][:1]
        points = square.to_picture(self._run(rgb, square).points)
        return Crops.around_person(points[:, AUXILIARY_CENTER], points[:, AUXILIARY_RIM])

    def _sample(self, rgb: _Picture, crops: Crops) -> CropSamples:
        return CropSamples.from_crops(crops, self._run(rgb, crops))

    def _run(self, rgb: _Picture, crops: Crops) -> CropLandmarks:
        pictures = sample_crops(rgb, crops, self._landmarks.input_size, "border").to(self.device)
        found = run_landmarks(self._landmarks, pictures)
        inner = None if found.inner is None else found.inner.cpu()
        return CropLandmarks(found.presence.cpu(), found.points.cpu(), found.world.cpu(), found.visibility.cpu(), inner)

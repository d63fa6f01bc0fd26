# SPDX-License-Identifier: Apache-2.0
"""From one person's landmarks to evidence: which landmarks count, and how much.

The network's 2D landmarks are the main evidence, moved to where the body has what they name; knuckles are those of the
hand network where it is sure of a hand. Its world landmarks are a weak one (their depth is wrong by 9 cm where the
image plane is good to 3 cm). Where a head has read them (`ikol.regressor.head`), its places of the same landmarks stand
in for the world landmarks, so that whoever moves or mutes a landmark moves or mutes these too; and it adds twists and a
shape. What lies outside the picture is the network's invention and does not count.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.pipeline.evidence import (
    DetectedPerson,
    Intrinsics,
    Keypoints2D,
    NamedEvidence,
    RelativeKeypoints3D,
    Shape,
    Twist,
)
from ikol.regressor.hands import KNUCKLES, SIDES
from ikol.regressor.head import HeadPrediction
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS, LIMB_LANDMARKS
from ikol.regressor.networks.joints import SMPL24
from ikol.regressor.person import PersonLandmarks

DEFAULT_FOCAL_MM = 35.0
"""Of a full-frame camera whose 36 mm lie along the picture's longer side, when EXIF does not say: between a telephone's
26 mm and a portrait's 50 mm. On the four-view sample recording it costs 0.2 mm of MPJPE, a lens that is
wrong by a quarter at most 0.7 mm."""
MIN_CONFIDENCE = 0.15  # below it the augmented crops disagree by more than twice a hand's length
HEIGHT = 1.7  # metres, of a standing person
DEFINITION_SIGMA = 0.010  # of a person's height: how far apart annotators, network and body place one landmark (17 mm)
FACE_INFLATION = 1.7  # eleven landmarks on one bone count as four: their errors are one error
TWISTED = (
    *(f"L_{name}" for name in ("Hip", "Knee", "Ankle", "Collar", "Shoulder", "Elbow", "Wrist")),
    *(f"R_{name}" for name in ("Hip", "Knee", "Ankle", "Collar", "Shoulder", "Elbow", "Wrist")),
    *("Neck", "Head"),
)
"""The joints whose twist no other joint's place says."""
# A head's errors of one person are one error for the most part: the body leans as a whole. 33 rows count as eight.
HEAD_INFLATION = 2.0
# How far a person's crops disagree about the limbs' landmarks (their standard deviations, in heights). Below the first
# the picture's landmarks are better than the head's places: off by 20 mm where the head's are by 30. Beyond the second
# they are off by 50 to 120, and the head, which sees the person as a whole, by 50 to 60: it is believed `FAITH` times
# as much. That takes 3.1 mm from the error of rendered people, and costs 0.7 on the recording, where most crops agree.
AGREED, TORN, FAITH = 0.014, 0.019, 3.0
MAX_TWIST_SIGMA = 1.0  # radians; a twist that is less sure than the relaxed stance only slows the solve
HALF_SURE = 0.25  # metres: a landmark that the head places no better is half as sure; that of a plain one is 0.12
DOUBTFUL = 0.18
"""Metres, over all landmarks: beyond it are 7 % of rendered people, and most of them are wrong by more than 20 cm."""
MAX_SHAPE_SIGMA = 0.8
"""A guessed shape that is hardly surer than the prior's 1 is left out: on the four-view recording one of 0.95 cost
2.7 mm of MPJPE, on rendered people it gained 0.3 mm."""
HAND_INFLATION = 2.0  # of the landmark network's knuckles: they are 28 mm off, and all of a hand together
# Where the landmark network means another place than the body: it has ankles 35 mm too high on the shin, feet too
# short, shoulders too high. A landmark is moved along the line on the picture from the first to the second of the
# others, by a share of its length: what 16 384 rendered people have, least squares. Hips (-0.033 of the trunk) are left
# as they are: moving them gains nothing on rendered people and costs 0.4 mm on the recording.
OFFSETS = {
    "shoulder": ("hip", "shoulder", -0.030),
    "elbow": ("shoulder", "elbow", 0.045),
    "ankle": ("knee", "ankle", 0.088),
    "heel": ("knee", "ankle", 0.057),
    "foot_index": ("heel", "foot_index", 0.158),
}


def intrinsics_of(width: int, height: int, focal_px: float | None, exif_focal_px: float | None) -> Intrinsics:
    """Return the lens of a picture: the focal length that was given, else EXIF's, else `DEFAULT_FOCAL_MM`."""
    default = DEFAULT_FOCAL_MM / 36.0 * max(width, height)
    focal = focal_px or exif_focal_px or default
    source = "given" if focal_px else "exif" if exif_focal_px else "default"
    return Intrinsics(width, height, (focal, focal), (width / 2, height / 2), source)


def _inflation() -> Float[Tensor, "33"]:
    hand = {f"{side}_{part}" for side in SIDES for part in KNUCKLES}
    return torch.tensor(
        [
            FACE_INFLATION if index <= 10 else HAND_INFLATION if name in hand else 1.0
            for index, name in enumerate(BLAZEPOSE_LANDMARKS)
        ]
    )


def _on_the_body(points: Float[Tensor, "33 2"]) -> Float[Tensor, "33 2"]:
    """Return the places on the picture of what the body calls as the network calls `points` (`OFFSETS`)."""
    moved = points.clone()
    for part, (start, end, share) in OFFSETS.items():
        for side in SIDES:
            row, begin, stop = (BLAZEPOSE_LANDMARKS.index(f"{side}_{name}") for name in (part, start, end))
            moved[row] += share * (points[stop] - points[begin])
    return moved


def evidence_of(person: PersonLandmarks, prediction: HeadPrediction | None = None) -> tuple[NamedEvidence, ...]:
    """Return 2D and hip-relative 3D evidence of the landmarks that the picture shows, and what a head adds to it.

    Args:
        person: the landmarks.
        prediction: what a head says of this person; None where there is no head.
    """
    seen = person.in_picture & (person.confidence >= MIN_CONFIDENCE)
    names = tuple(name for name, is_seen in zip(BLAZEPOSE_LANDMARKS, seen.tolist(), strict=True) if is_seen)
    if not names:
        return ()
    inflation = _inflation()
    size = HEIGHT * person.pixels_per_metre()
    points = _on_the_body(person.image_points)
    pixel_sigma = (person.image_sigma.square() + (DEFINITION_SIGMA * size) ** 2).sqrt() * inflation
    if person.hands is not None:
        for name, place in person.hands.knuckles().items():
            row = BLAZEPOSE_LANDMARKS.index(name)
            points[row], pixel_sigma[row] = place, DEFINITION_SIGMA * size  # and nothing of what inflates the others'
    world, world_sigma = person.world_points, person.world_sigma
    if prediction is not None and prediction.landmarks is not None and prediction.landmarks_sigma is not None:
        doubled = HEAD_INFLATION * FAITH ** -_disagreement(person, size)
        world, world_sigma = prediction.landmarks, doubled * prediction.landmarks_sigma
    world_sigma = world_sigma * inflation[:, None]
    return (
        Keypoints2D(names, points[seen].double(), pixel_sigma[seen].double()),
        RelativeKeypoints3D(names, world[seen].double(), world_sigma[seen].double()),
        *(() if prediction is None else _body_evidence(prediction)),
    )


def _body_evidence(prediction: HeadPrediction) -> tuple[NamedEvidence, ...]:
    """Return what a head says of the body and not of landmarks: twists and shape."""
    blocks: list[NamedEvidence] = []
    if prediction.twist is not None and prediction.twist_sigma is not None:
        sure = [
            index
            for index, (name, sigma) in enumerate(zip(SMPL24, prediction.twist_sigma.tolist(), strict=True))
            if name in TWISTED and sigma <= MAX_TWIST_SIGMA
        ]
        if sure:
            names = tuple(SMPL24[index] for index in sure)
            blocks.append(Twist(names, prediction.twist[sure].double(), prediction.twist_sigma[sure].double()))
    betas, sigma = prediction.betas, prediction.betas_sigma
    if betas is not None and sigma is not None and prediction.betas_body and float(sigma.mean()) < MAX_SHAPE_SIGMA:
        blocks.append(Shape(prediction.betas_body, betas.double(), sigma.double()))
    return tuple(blocks)


def _disagreement(person: PersonLandmarks, size: float) -> float:
    """Return how much a person's crops disagree: 0 up to `AGREED`, 1 from `TORN` on; `size` is the height in pixels."""
    seen = person.in_picture.tolist()
    limbs = [index for index in map(BLAZEPOSE_LANDMARKS.index, LIMB_LANDMARKS) if seen[index]]
    if not limbs:
        return 1.0
    apart = float(person.image_sigma[limbs].mean()) / size
    return min(1.0, max(0.0, (apart - AGREED) / (TORN - AGREED)))


def detected_person(person: PersonLandmarks, prediction: HeadPrediction | None = None) -> DetectedPerson:
    """Return the person in the form that is stored and sent; the arguments are those of `evidence_of`."""
    x0, y0, x1, y1 = (float(value) for value in person.box)
    sure, doubts = person.confidence, person.doubts
    if prediction is not None and prediction.landmarks_sigma is not None:
        spread = prediction.landmarks_sigma.norm(dim=-1)
        sure = sure / (1.0 + (spread / HALF_SURE) ** 4)
        if float(spread.mean()) > DOUBTFUL and "unsteady" not in doubts:
            doubts = (*doubts, "unsteady")
    confidence = {
        name: round(float(value), 4) if math.isfinite(value) else 0.0
        for name, value in zip(BLAZEPOSE_LANDMARKS, sure.tolist(), strict=True)
    }
    evidence = evidence_of(person, prediction)
    return DetectedPerson(person.score, (x0, y0, x1, y1), evidence, confidence, person, doubts)

# SPDX-License-Identifier: Apache-2.0
"""Landmarks whose left and right the landmark network has exchanged, told by the head, which sees the body as a whole.

A turned back that is taken for a front costs 20 to 35 cm of every joint. The head has learned from such people: where
it puts the landmarks of the body plainly nearer to those of the other side, those of the picture are renamed.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.pipeline.evidence import Intrinsics
from ikol.regressor.head import HeadPrediction
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS, LEFT_RIGHT, LIMB_LANDMARKS
from ikol.regressor.person import PersonLandmarks

_LIMBS = tuple(BLAZEPOSE_LANDMARKS.index(name) for name in LIMB_LANDMARKS)
# Of 763 rendered validation people 40 have other sides: 22 of them are told by these two, and nobody else.
PLAINLY_NEARER = 0.1
"""Metres by which the limbs' landmarks must lie nearer to the head's when they are renamed, on average."""
SURE_SIGMA = 0.1
"""Metres in the picture's plane: a head that is less sure of its landmarks has no say."""


def with_sides_of(prediction: HeadPrediction, person: PersonLandmarks, intrinsics: Intrinsics) -> PersonLandmarks:
    """Return the person with the sides that a head sees, told as a doubt where they are not the landmark network's.

    The inner values stay those of the crops: they are of no use to a head any more.
    """
    landmarks, sigma = prediction.landmarks, prediction.landmarks_sigma
    if landmarks is None or sigma is None or not float(sigma[:, :2].mean()) < SURE_SIGMA:
        return person
    other = _exchanged(person)
    near, far = (_distance(one, landmarks, prediction.depth, intrinsics) for one in (other, person))
    return other if far - near > PLAINLY_NEARER else person


def _exchanged(person: PersonLandmarks) -> PersonLandmarks:
    swap = torch.tensor(LEFT_RIGHT)
    samples = person.samples
    return replace(
        person,
        image_points=person.image_points[swap],
        image_sigma=person.image_sigma[swap],
        world_points=person.world_points[swap],
        world_sigma=person.world_sigma[swap],
        visibility=person.visibility[swap],
        confidence=person.confidence[swap],
        in_picture=person.in_picture[swap],
        hands=person.hands and person.hands.exchanged(),
        samples=samples
        and replace(
            samples,
            points=samples.points[:, swap],
            world=samples.world[:, swap],
            visibility=samples.visibility[:, swap],
        ),
        doubts=person.doubts if "swapped" in person.doubts else (*person.doubts, "swapped"),
    )


def _distance(person: PersonLandmarks, landmarks: Float[Tensor, "33 3"], depth: float, intrinsics: Intrinsics) -> float:
    """Return how far the limbs lie from a head's on the picture, metres at the person, once both are laid over it."""
    points = person.image_points
    rays = (points - points.new_tensor(intrinsics.center)) / points.new_tensor(intrinsics.focal)
    apart = rays * (depth + landmarks[:, 2:]) - landmarks[:, :2]
    limbs = person.in_picture.clone()
    limbs[[index for index in range(len(limbs)) if index not in _LIMBS]] = False
    if not bool(limbs.any()):
        return 0.0
    return float((apart - apart[person.in_picture].mean(0))[limbs].norm(dim=-1).mean())

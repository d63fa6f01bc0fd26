# SPDX-License-Identifier: Apache-2.0
"""Rendered people as examples: what the landmark network saw of them, as the pipeline would read it, and the truth.

Imports: torch, the observations, the landmarks' combination, the truth.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ikol.regressor.crops import PERSON_MARGIN
from ikol.regressor.hands import HAND_SHAPES, HandLandmarks
from ikol.regressor.head import HeadInput
from ikol.regressor.person import AUGMENTATIONS, CropSamples, PersonLandmarks, combine
from ikol.training.head.examples import HeadExamples
from ikol.training.head.truth import HeadTruth, PosedBodies
from ikol.training.observations import Observations

MIN_PRESENCE = 0.5  # what the pipeline takes for a person
_IS_MIRRORED = torch.tensor([mirrored for _, _, mirrored in AUGMENTATIONS])


def rendered_examples(
    observations: Observations,
    bodies: PosedBodies,
    components: Callable[[Tensor], Tensor] | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> HeadExamples:
    """Return the people whom the landmark network takes for people.

    Args:
        observations: what it saw.
        bodies: the body that was rendered.
        components: of the network's inner values; None leaves them out.
        progress: told how far it is.
    """
    kept = (observations.presence.mean(1) >= MIN_PRESENCE).nonzero()[:, 0]
    parts: list[HeadInput] = []
    for number, index in enumerate(kept.tolist()):
        if progress is not None and number % 500 == 0:
            progress(number / len(kept), "reading rendered people")
        person = observed_person(observations, index)
        focal, (x, y) = float(observations.focal[index]), observations.center[index].tolist()
        parts.append(HeadInput.from_persons([person], (focal, focal), (x, y), components))
    fields = [name for name, value in vars(parts[0]).items() if value is not None]
    landmarks = HeadInput(**{name: torch.cat([getattr(part, name) for part in parts]) for name in fields})
    local = observations.local_rotmat[kept].clone()
    local[:, 0] = observations.R_camera_world[kept] @ local[:, 0]
    truth, points = bodies.truth(local, observations.betas[kept])
    hips = (observations.landmarks_camera[kept] - points).mean(1)
    return HeadExamples(landmarks, HeadTruth(truth.joints, truth.local_rotmat, truth.twist, truth.betas, hips))


def observed_person(observations: Observations, index: int) -> PersonLandmarks:
    """Return one of the people as the pipeline would have it of these crops."""
    samples = CropSamples(
        observations.points[index],
        observations.world[index],
        observations.visibility[index],
        observations.presence[index],
        float(observations.side[index].mean()) / PERSON_MARGIN,
        observations.inner[index] if observations.inner.shape[-1] else None,
        _IS_MIRRORED[observations.augmentation[index]],
    )
    width, height = (round(value) for value in observations.size[index].tolist())
    looks = (getattr(observations, f"hand_{name}")[index] for name in HAND_SHAPES)
    hands = [HandLandmarks(*one) for one in zip(*looks, strict=True)]
    return replace(combine(samples, width, height), hands=next(iter(hands), None))

# SPDX-License-Identifier: Apache-2.0
"""Landmarks with their truth, and random changes of both that leave them true.

Imports: torch, the head, the truth.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.regressor.head import HeadInput
from ikol.training.head.truth import HeadTruth


@dataclass(frozen=True)
class HeadExamples:
    """Landmarks of some people, each in its own camera's axes, and the truth in the same axes."""

    landmarks: HeadInput
    truth: HeadTruth

    def __len__(self) -> int:
        """How many people there are."""
        return len(self.truth.betas)

    def __getitem__(self, index: slice | Tensor) -> "HeadExamples":
        """Return some of the people."""
        return HeadExamples(self.landmarks[index], self.truth[index])

    def joined(self, other: "HeadExamples") -> "HeadExamples":
        """Return the people of both."""
        return HeadExamples(self.landmarks.joined(other.landmarks), self.truth.joined(other.truth))


@dataclass(frozen=True)
class AugmentationConfig:
    """How far examples are changed; standard deviations."""

    roll_deg: float = 8.0
    """About the optical axis."""
    any_roll: float = 0.06
    """Share of the people who are turned by any angle."""
    focal: float = 0.12
    """Of the logarithm of the focal length: a photograph's is often a guess."""
    lean_deg: float = 5.0
    """Of the world landmarks of rendered people, who are all seen by the same network."""
    scale: float = 0.05
    """Of the logarithm of the size of these."""
    told: float = 0.15
    """Of the logarithm of what the landmarks' standard deviations are multiplied by: other pictures, other crops."""
    image_error: float = 0.006
    """Metres at the person, added to where a rendered person's landmarks are seen."""
    blind: float = 0.15
    """Share of the rendered people of whom the network's inner values are not told."""


def augmented(
    examples: HeadExamples, generator: torch.Generator, config: AugmentationConfig, *, is_rendered: bool
) -> HeadExamples:
    """Return the examples, half of them mirrored, turned about the optical axis and seen with a slightly wrong lens.

    Args:
        examples: of some people.
        generator: of all that is random.
        config: how far.
        is_rendered: whether a network saw them; its errors are then spread a little more.
    """
    count = len(examples)
    half = torch.randperm(count, generator=generator)
    kept, other = examples[half[: count // 2]], examples[half[count // 2 :]]
    mixed = kept.joined(HeadExamples(other.landmarks.mirrored(), other.truth.mirrored()))
    landmarks, truth = _told(mixed.landmarks, generator, config), mixed.truth
    if is_rendered:
        landmarks = _spread(landmarks, truth, generator, config)
    angle = math.radians(config.roll_deg) * torch.randn(count, generator=generator)
    is_any = torch.rand(count, generator=generator) < config.any_roll
    angle = torch.where(is_any, 2 * math.pi * torch.rand(count, generator=generator), angle)
    rotation = rotvec_to_rotmat(angle[:, None] * torch.tensor((0.0, 0.0, 1.0)))
    zoom = (config.focal * torch.randn(count, generator=generator)).exp()
    return _seen(landmarks, truth.turned(rotation), rotation, zoom)


def _told(landmarks: HeadInput, generator: torch.Generator, config: AugmentationConfig) -> HeadInput:
    """Return the landmarks with other guesses of how sure they are: of the person, and of each landmark."""
    count, width = landmarks.visibility.shape
    person = torch.randn(count, 1, generator=generator)
    factor = (config.told * (person + torch.randn(count, width, generator=generator))).exp()
    hidden = (1.0 - landmarks.visibility) * torch.rand(count, 1, generator=generator) * 2.0
    return replace(
        landmarks,
        rays_sigma=landmarks.rays_sigma * factor,
        world_sigma=landmarks.world_sigma * factor[..., None],
        visibility=1.0 - hidden.clamp(0.0, 1.0),
    )


def _seen(
    landmarks: HeadInput, truth: HeadTruth, rotation: Float[Tensor, "people 3 3"], zoom: Float[Tensor, " people"]
) -> HeadExamples:
    """Return what a turned camera sees, whose focal length is taken for 1/zoom of what it is."""
    rays = landmarks.rays @ rotation[:, :2, :2].mT * zoom[:, None, None]
    seen = replace(
        landmarks,
        rays=rays,
        rays_sigma=landmarks.rays_sigma * zoom[:, None],
        world=landmarks.world @ rotation.mT,
    )
    depth = truth.hips[:, 2:] / zoom[:, None]
    hips = torch.cat((truth.hips[:, :2], depth), -1)
    return HeadExamples(seen, HeadTruth(truth.joints, truth.local_rotmat, truth.twist, truth.betas, hips))


def _spread(
    landmarks: HeadInput, truth: HeadTruth, generator: torch.Generator, config: AugmentationConfig
) -> HeadInput:
    count = len(truth.betas)
    turn = math.radians(config.lean_deg) * torch.randn(count, 3, generator=generator)
    scale = (config.scale * torch.randn(count, 1, 1, generator=generator)).exp()
    error = config.image_error / truth.hips[:, 2:, None] * torch.randn(landmarks.rays.shape, generator=generator)
    is_blind = torch.rand(count, generator=generator) < config.blind
    return replace(
        landmarks.without_inner(is_blind),
        rays=landmarks.rays + error,
        world=landmarks.world @ rotvec_to_rotmat(turn).mT * scale,
    )

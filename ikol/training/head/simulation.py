# SPDX-License-Identifier: Apache-2.0
"""Landmarks as a network would give them, without a picture: the body's points with errors of the same kind.

What a landmark network gets wrong is not white: a limb's landmarks are off together, the whole body leans towards or
away from the camera, depth is three times worse than the plane, and left and right change places. The sizes of these
errors are those of the heavy network on the four-view recording as docs/evaluation has them (3 cm in the plane, 9 cm in
depth), spread widely about it. Imports: torch, the truth.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.pipeline.problem import LEVEL
from ikol.regressor.head import HeadInput
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS, LEFT_RIGHT, NUM_LANDMARKS
from ikol.training.head.truth import HeadTruth, PosedBodies, rest_height

_Draw = Callable[..., Tensor]
_LIMBS = tuple(
    tuple(BLAZEPOSE_LANDMARKS.index(f"{side}_{name}") for name in names)
    for side in ("left", "right")
    for names in (
        ("elbow", "wrist", "pinky", "index", "thumb"),
        ("knee", "ankle", "heel", "foot_index"),
    )
)
_FACE = tuple(range(11))
_ROOTS = tuple(
    BLAZEPOSE_LANDMARKS.index(f"{side}_{name}") for side in ("left", "right") for name in ("shoulder", "hip")
)


@dataclass(frozen=True)
class SimulationConfig:
    """How the pictures and the errors are spread."""

    nearest: float = 1.8
    """Metres from the camera."""
    farthest: float = 9.0
    pitch_deg: float = 12.0
    """Standard deviation of how far the camera looks up or down."""
    roll_deg: float = 6.0
    off_axis: float = 0.35
    """Tangent of the largest angle between the optical axis and the person."""
    image_error: float = 0.016
    """Metres at the person: the median standard deviation of a landmark on the picture."""
    world_error: tuple[float, float, float] = (0.022, 0.022, 0.05)
    """Metres: the same of a world landmark, alone; a limb's common one is as large again."""
    lean_deg: float = 9.0
    """Standard deviation of how far the world landmarks lean or turn as a whole."""
    scale: float = 0.07
    """Standard deviation of the logarithm of the world landmarks' size."""
    swapped: float = 0.02
    """Share of the people whose arms or legs are swapped."""
    cut: float = 0.25
    """Share of the people of whom a part lies outside the picture."""


def simulate(
    bodies: PosedBodies,
    local_rotmat: Float[Tensor, "people 24 3 3"],
    betas: Float[Tensor, "people 10"],
    generator: torch.Generator,
    config: SimulationConfig,
) -> tuple[HeadInput, HeadTruth]:
    """Return simulated landmarks of people and the truth in the axes of each one's camera.

    Args:
        bodies: the body.
        local_rotmat: the root's in the SMPL world.
        betas: of the shapes.
        generator: of all that is random.
        config: how it is spread.
    """
    count = len(betas)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    turn = torch.zeros(count, 3)
    turn[:, 0] = math.radians(config.pitch_deg) * normal(count)
    roll = torch.zeros(count, 3)
    roll[:, 2] = math.radians(config.roll_deg) * normal(count)
    camera = rotvec_to_rotmat(roll) @ rotvec_to_rotmat(turn) @ torch.tensor(LEVEL)
    local = local_rotmat.clone()
    local[:, 0] = camera @ local[:, 0]
    truth, points = bodies.truth(local, betas)
    away = (config.nearest * (config.farthest / config.nearest) ** uniform(0.0, 1.0, count))[:, None]
    hips = torch.cat((uniform(-config.off_axis, config.off_axis, count, 2) * away, away), -1)
    truth = HeadTruth(truth.joints, truth.local_rotmat, truth.twist, truth.betas, hips)

    quality = (0.5 * normal(count, 1)).exp()  # of the picture: all of its errors are larger or smaller
    spread = quality * (0.45 * normal(count, NUM_LANDMARKS)).exp()
    common = _common(normal, count)
    shown = points + hips[:, None]
    shown = shown[..., :2] / shown[..., 2:].clamp_min(0.2)
    white = spread[..., None] * normal(count, NUM_LANDMARKS, 2)
    error = config.image_error * (white + quality[..., None] * common[..., :2])
    shown = shown + error / away[..., None]

    lean = rotvec_to_rotmat(math.radians(config.lean_deg) * normal(count, 3))
    # a picture does not say how large a person is: the network's metres are those of a mean one
    mean = rest_height(bodies, torch.zeros(1, betas.shape[1])) / rest_height(bodies, betas)
    world = (points @ lean.mT) * mean[:, None, None] * (config.scale * normal(count, 1, 1)).exp()
    unit = torch.tensor(config.world_error)
    world = world + unit * (spread[..., None] * normal(count, NUM_LANDMARKS, 3) + quality[..., None] * common)
    world = world - world[:, list(_ROOTS[1::2])].mean(1, keepdim=True) * (uniform(0.0, 1.0, count, 1, 1) < 0.9)

    visibility = _visibility(points, uniform, count)
    # the crops' spread tells of the error, but not exactly
    told = spread * (0.4 * normal(count, NUM_LANDMARKS)).exp()
    hidden = (1.0 - visibility).square()
    image_sigma = (
        (0.020 * torch.ones_like(told)).square() + (0.011 * told).square() + (0.066 * hidden).square()
    ).sqrt()
    floor = (torch.tensor((0.07, 0.07, 0.2)) * world.norm(dim=-1, keepdim=True)).clamp_min(0.012)
    floor = floor.minimum(torch.tensor((0.04, 0.04, 0.12)))
    world_sigma = (floor.square() + (0.4 * unit * told[..., None]).square()).sqrt()
    shown, world = _swapped(shown, world, uniform, count, config.swapped)
    in_picture = _in_picture(shown, uniform, count, config.cut)
    return HeadInput(shown, image_sigma / away, world, world_sigma, visibility, in_picture), truth


def _common(normal: _Draw, count: int) -> Float[Tensor, "people 33 3"]:
    """Return unit errors that the landmarks of a limb share, growing from nothing at its root."""
    common = torch.zeros(count, NUM_LANDMARKS, 3)
    for limb in _LIMBS:
        shared = normal(count, 2, 3)
        for place, landmark in enumerate(limb):
            common[:, landmark] = 0.6 * shared[:, 0] if place == 0 else 0.6 * shared[:, 0] + 0.8 * shared[:, 1]
    common[:, list(_FACE)] = 0.8 * normal(count, 1, 3)
    return common


def _visibility(points: Float[Tensor, "people 33 3"], uniform: _Draw, count: int) -> Float[Tensor, "people 33"]:
    """Return a guess that is lower for what lies behind the trunk, and random."""
    behind = points[..., 2] - points[:, list(_ROOTS)].mean(1)[:, None, 2]
    logit = 3.0 - 6.0 * behind + uniform(-2.0, 2.0, count, NUM_LANDMARKS)
    return logit.sigmoid()


def _swapped(
    shown: Float[Tensor, "people 33 2"], world: Float[Tensor, "people 33 3"], uniform: _Draw, count: int, share: float
) -> tuple[Float[Tensor, "people 33 2"], Float[Tensor, "people 33 3"]]:
    """Exchange left and right of all, of the arms or of the legs of some people."""
    swap = torch.tensor(LEFT_RIGHT)
    kind, part = uniform(0.0, 1.0, count, 1), torch.arange(NUM_LANDMARKS)
    legs = part >= BLAZEPOSE_LANDMARKS.index("left_hip")
    chosen = (kind < share) & (legs | (kind < 0.6 * share)) & (~legs | (kind > 0.3 * share))
    chosen = chosen[..., None]
    return torch.where(chosen, shown[:, swap], shown), torch.where(chosen, world[:, swap], world)


def _in_picture(
    shown: Float[Tensor, "people 33 2"], uniform: _Draw, count: int, share: float
) -> Bool[Tensor, "people 33"]:
    """Return which landmarks a picture shows that is cut, for some people, at one side of them."""
    low, high = shown.amin(1), shown.amax(1)
    side = (uniform(0.0, 1.0, count) * 4).long()
    keep = uniform(0.25, 0.95, count)
    is_cut = uniform(0.0, 1.0, count) < share
    inside = torch.ones(count, NUM_LANDMARKS, dtype=torch.bool)
    for number in range(4):
        # right, bottom, left, top
        axis, sign = number % 2, 1.0 if number < 2 else -1.0
        length = (high - low)[:, axis]
        edge = low[:, axis] + keep * length if number < 2 else high[:, axis] - keep * length
        outside = sign * (shown[..., axis] - edge[:, None]) > 0
        inside &= ~(outside & (is_cut & (side == number))[:, None])
    return inside

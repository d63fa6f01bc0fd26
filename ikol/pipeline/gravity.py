# SPDX-License-Identifier: Apache-2.0
"""Which way is up on a photograph, from the camera and from a person who stands (docs/adr/0006).

Two observations of the vertical are merged by their precision: the camera's own up, because people hold cameras roughly
level, and the line from the supporting ankle to the neck, because people balance over their feet. The second counts the
less the more the body is bent, and nothing for somebody who lies or hangs upside down.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

CAMERA_PITCH_SIGMA = math.radians(15.0)  # photographs of people are taken from above or below, rarely by more than 30
CAMERA_ROLL_SIGMA = math.radians(6.0)  # a horizon that is off by more than 12 degrees is seen and corrected
BALANCE_SIGMA = math.radians(5.0)  # neck over ankles in quiet standing and walking
BENT_SIGMA_PER_RADIAN = 0.2  # how much a radian of hip and knee flexion adds: 5 degrees in a step, 25 in a squat
LEGS_UNSEEN_SIGMA = math.radians(8.0)  # the torso alone: on half-length pictures people sit or stand straight
MAX_LEAN = math.radians(50.0)  # beyond it the person is not standing
SUPPORT_LENGTH = 0.08  # metres of leg length difference over which the weight goes from one foot to the other


def _angle(a: Float[Tensor, "*batch 3"], b: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    return torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1))


def estimate_up(
    neck: Float[Tensor, "*batch 3"],
    hips: Float[Tensor, "*batch 2 3"],
    knees: Float[Tensor, "*batch 2 3"],
    ankles: Float[Tensor, "*batch 2 3"],
    legs_seen: Bool[Tensor, "*batch"],
) -> Float[Tensor, "*batch 3"]:
    """Return the unit vector that points up, in camera axes (y down).

    Args:
        neck: joint in camera axes, metres; the others likewise, left before right.
        legs_seen: whether the picture shows the legs; otherwise the torso alone is asked.
    """
    hip = hips.mean(-2)
    reach = (ankles - neck[..., None, :]).norm(dim=-1)
    support = torch.softmax(reach / SUPPORT_LENGTH, -1)
    foot = (support[..., None] * ankles).sum(-2)
    torso = neck - hip
    line = torch.where(legs_seen[..., None], neck - foot, torso)
    knee_bend = (support * _angle(knees - hips, ankles - knees)).sum(-1)
    bend = _angle(torso, hip - foot) + 0.5 * knee_bend
    sigma = torch.where(
        legs_seen, BALANCE_SIGMA + BENT_SIGMA_PER_RADIAN * bend, torch.full_like(bend, LEGS_UNSEEN_SIGMA)
    )
    x, y, z = line.unbind(-1)
    pitch, roll = torch.atan2(z, -y), torch.atan2(x, -y)
    lean = torch.atan2(torch.stack((x, z), -1).norm(dim=-1), -y)
    stands = lean < MAX_LEAN

    def merged(angle: Tensor, camera_sigma: float) -> Tensor:
        share = camera_sigma**2 / (camera_sigma**2 + sigma**2)
        return torch.where(stands, share * angle, torch.zeros_like(angle))

    up = torch.stack(
        (torch.tan(merged(roll, CAMERA_ROLL_SIGMA)), -torch.ones_like(y), torch.tan(merged(pitch, CAMERA_PITCH_SIGMA))),
        -1,
    )
    return up / up.norm(dim=-1, keepdim=True)

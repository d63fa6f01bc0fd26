# SPDX-License-Identifier: Apache-2.0
"""Which way is up on a photograph, from the camera and from a person who does not fall over (docs/adr/0006).

Three observations of the vertical: the camera's own up, because people hold cameras roughly level; the line from the
support under the feet to the centre of mass, because people balance, also on one leg and bent; and the trunk, because
people keep it straight. The camera's is heavy-tailed: a horizon is mostly right, and where it is not it may be
anything. Nothing is concluded from somebody who lies or hangs upside down.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

CAMERA_PITCH_SCALE = math.radians(15.0)  # photographs of people are taken from above or below, rarely by more than 30
CAMERA_ROLL_SCALE = math.radians(6.0)  # a horizon that is off by more than 12 degrees is seen and corrected
BALANCE_SIGMA = math.radians(5.0)  # centre of mass over the support in standing and walking
STANCE_SIGMA = 0.15  # radians for each unit of (distance of the feet / height of the mass): it may be over either foot
TRUNK_SIGMA = math.radians(8.0)  # of a straight trunk
TRUNK_BENT_SIGMA = 0.5  # radians for each radian between trunk and balance line: who bends the trunk, does it freely
MAX_LEAN = math.radians(50.0)  # beyond it the person is not standing
SUPPORT_HEIGHT = 0.15  # metres over which the weight goes from the higher foot to the lower one
_ITERATIONS = 20  # of the fixed point below; it contracts by a half or more each

# (from, to, how far along, share of the body's mass) of the segments with mass, one side of the limbs.
# Source: de Leva, "Adjustments to Zatsiorsky-Seluyanov's segment inertia parameters", 1996, table 4, men.
_LIMBS = (
    ("Shoulder", "Elbow", 0.5, 0.027),
    ("Elbow", "Wrist", 0.45, 0.016),
    ("Wrist", "Hand", 0.5, 0.006),
    ("Hip", "Knee", 0.41, 0.142),
    ("Knee", "Ankle", 0.44, 0.043),
    ("Ankle", "Foot", 0.5, 0.014),
)
_TRUNK_MASS, _HEAD_MASS = 0.435, 0.069


def estimate_up(
    joints: Float[Tensor, "*batch joints 3"], names: tuple[str, ...], legs_seen: Bool[Tensor, "*batch"]
) -> Float[Tensor, "*batch 3"]:
    """Return the unit vector that points up, in camera axes (y down).

    Args:
        joints: in camera axes, metres.
        names: of the joints; SMPL's must be among them.
        legs_seen: whether the picture shows the legs; otherwise the trunk alone is asked.
    """
    at = {name: joints[..., index, :] for index, name in enumerate(names)}
    hip = (at["L_Hip"] + at["R_Hip"]) / 2
    trunk = at["Neck"] - hip
    balance, spread = _balance_line(at, hip, trunk)
    bend = torch.atan2(torch.linalg.cross(trunk, balance).norm(dim=-1), (trunk * balance).sum(-1))
    unseen = torch.full_like(bend, math.inf)
    balance_sigma = torch.where(legs_seen, BALANCE_SIGMA + STANCE_SIGMA * spread, unseen)
    trunk_sigma = TRUNK_SIGMA + torch.where(legs_seen, TRUNK_BENT_SIGMA * bend, torch.zeros_like(bend))
    line = torch.where(legs_seen[..., None], balance, trunk)
    stands = torch.atan2(line[..., [0, 2]].norm(dim=-1), -line[..., 1]) < MAX_LEAN

    def merged(axis: int, camera_scale: float) -> Tensor:
        weights = torch.stack((balance_sigma, trunk_sigma), -1).pow(-2)
        angles = torch.stack([torch.atan2(side[..., axis], -side[..., 1]) for side in (balance, trunk)], -1)
        total = weights.sum(-1)
        seen = (weights * angles).sum(-1) / total
        return torch.where(stands, _heavy_tailed_mean(seen, total, camera_scale), torch.zeros_like(seen))

    roll, pitch = merged(0, CAMERA_ROLL_SCALE), merged(2, CAMERA_PITCH_SCALE)
    up = torch.stack((torch.tan(roll), -torch.ones_like(roll), torch.tan(pitch)), -1)
    return up / up.norm(dim=-1, keepdim=True)


def _heavy_tailed_mean(
    seen: Float[Tensor, "*batch"], precision: Float[Tensor, "*batch"], scale: float
) -> Float[Tensor, "*batch"]:
    """Return the angle that is most likely for a Gaussian observation and a Cauchy prior about zero."""
    angle = seen
    for _ in range(_ITERATIONS):
        angle = precision * seen / (precision + 2.0 / (scale**2 + angle.square()))
    return angle


def _balance_line(
    at: dict[str, Tensor], hip: Float[Tensor, "*batch 3"], trunk: Float[Tensor, "*batch 3"]
) -> tuple[Float[Tensor, "*batch 3"], Float[Tensor, "*batch"]]:
    """Return the line from the support to the centre of mass, and the distance of the loaded feet in its lengths."""
    mass = _TRUNK_MASS + _HEAD_MASS + 2 * sum(share for *_, share in _LIMBS)
    moment = _TRUNK_MASS * (hip + 0.5 * trunk) + _HEAD_MASS * (1.5 * at["Head"] - 0.5 * at["Neck"])
    for side in "LR":
        for near, far, along, share in _LIMBS:
            a = at[f"{side}_{near}"]
            b = at.get(f"{side}_{far}", a)  # a body with fingers has no joint for the whole hand: all at the wrist
            moment = moment + share * (a + along * (b - a))
    feet = torch.stack([(at[f"{side}_Ankle"] + at[f"{side}_Foot"]) / 2 for side in "LR"], -2)
    load = torch.softmax(feet[..., 1] / SUPPORT_HEIGHT, -1)
    line = moment / mass - (load[..., None] * feet).sum(-2)
    stance = 2 * load.amin(-1) * (feet[..., 0, :] - feet[..., 1, :]).norm(dim=-1)
    return line, stance / line.norm(dim=-1)

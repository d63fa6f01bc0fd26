# SPDX-License-Identifier: Apache-2.0
"""Poses of everyday photographs, drawn by rule: standing, sitting, hands on hips, arms raised, a phone at the ear.

The numbers are round guesses of how people stand and sit, wide enough that a network sees the whole range; no data went
into them. Arms are drawn by where the wrist is and which way the elbow points, on the default body's mean proportions.
Here: the rules. Not here: limits and what is added to every pose (poses). Imports: torch, ikol.body, ikol.geometry.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ikol.body import BodyModel
from ikol.geometry.rotations import rotvec_to_rotmat

Spread = tuple[int, int]  # mean and standard deviation, degrees


@dataclass(frozen=True)
class _Stance:
    """Legs and trunk, in degrees. Leading and trailing leg; which is the left one is drawn."""

    weight: float
    flexion: tuple[Spread, Spread]
    knee: tuple[Spread, Spread]
    outwards: Spread = (5, 6)
    """Of each leg to its side."""
    turnout: Spread = (8, 10)
    trunk: Spread = (3, 8)
    """Forward bend of the spine."""
    pitch: Spread = (0, 4)
    """Of the whole body forwards."""


_STANCES = (
    _Stance(0.24, ((3, 5), (3, 5)), ((3, 5), (3, 5))),  # both feet
    _Stance(0.12, ((14, 8), (0, 4)), ((22, 12), (0, 4)), turnout=(12, 12)),  # weight on one leg
    _Stance(0.12, ((26, 10), (-14, 8)), ((14, 10), (24, 18))),  # step
    _Stance(0.05, ((8, 8), (8, 8)), ((8, 10), (8, 10)), outwards=(24, 9), turnout=(15, 12)),  # wide
    _Stance(0.14, ((88, 12), (88, 12)), ((86, 22), (86, 22)), outwards=(9, 9), trunk=(10, 14), pitch=(-3, 9)),  # chair
    _Stance(0.05, ((98, 12), (98, 12)), ((122, 14), (122, 14)), outwards=(36, 10), turnout=(32, 12), trunk=(15, 12)),
    _Stance(0.04, ((96, 20), (96, 20)), ((112, 22), (112, 22)), outwards=(14, 10), trunk=(25, 15), pitch=(12, 10)),
    _Stance(0.04, ((18, 25), (18, 25)), ((108, 25), (108, 25)), trunk=(10, 14)),  # on both knees
    _Stance(0.05, ((70, 15), (-8, 12)), ((82, 16), (34, 28)), trunk=(8, 10), pitch=(5, 8)),  # lunge, or on one knee
    _Stance(0.06, ((68, 28), (2, 6)), ((55, 38), (4, 6)), outwards=(8, 12)),  # one leg raised
    _Stance(0.05, ((30, 20), (25, 20)), ((12, 12), (12, 12)), trunk=(40, 22), pitch=(25, 20)),  # bent forwards
    _Stance(0.02, ((15, 18), (10, 15)), ((25, 28), (18, 22)), pitch=(-90, 12)),  # on the back
    _Stance(0.02, ((5, 12), (5, 12)), ((20, 28), (15, 22)), pitch=(90, 12)),  # on the belly
)


@dataclass(frozen=True)
class _Reach:
    """Where the left wrist is, in metres from a joint in the frame of the trunk, and where the elbow points."""

    weight: float
    origin: str
    offset: tuple[float, float, float]
    spread: tuple[float, float, float]
    elbow: tuple[float, float, float] = (0.6, -1.0, -0.4)
    """Sideways, up, forwards."""


_REACHES = (
    _Reach(0.26, "L_Shoulder", (0.10, -0.46, 0.05), (0.06, 0.03, 0.07), (0.5, 0.0, -1.0)),  # hanging
    _Reach(0.09, "L_Hip", (0.07, 0.14, 0.02), (0.03, 0.04, 0.04), (1.0, 0.0, -0.5)),  # on the hip
    _Reach(0.08, "Spine1", (0.04, 0.02, 0.22), (0.08, 0.08, 0.06)),  # before the belly
    _Reach(0.07, "Spine3", (-0.08, 0.0, 0.20), (0.06, 0.06, 0.04), (0.8, -1.0, 0.2)),  # folded
    _Reach(0.08, "Head", (0.06, -0.02, 0.15), (0.06, 0.08, 0.05), (0.8, -1.0, 0.4)),  # at the face, a phone
    _Reach(0.04, "Head", (0.06, 0.06, -0.12), (0.05, 0.06, 0.04), (1.0, 0.3, 0.2)),  # behind the head
    _Reach(0.04, "Pelvis", (0.03, 0.12, -0.17), (0.06, 0.08, 0.04), (1.0, -0.3, -1.0)),  # behind the back
    _Reach(0.08, "L_Shoulder", (0.10, 0.44, 0.05), (0.12, 0.08, 0.12), (1.0, 0.2, 0.2)),  # raised
    _Reach(0.07, "L_Shoulder", (0.44, 0.03, 0.06), (0.06, 0.13, 0.13)),  # sideways
    _Reach(0.08, "L_Shoulder", (0.02, -0.05, 0.40), (0.14, 0.16, 0.08)),  # forwards
    _Reach(0.06, "L_Hip", (0.02, 0.05, 0.32), (0.08, 0.08, 0.10)),  # on the thigh
    _Reach(0.05, "Head", (0.28, 0.0, 0.12), (0.10, 0.16, 0.10)),  # waving
)
_ELBOW_SPREAD = 0.35  # of the direction that the elbow points to


def everyday_poses(
    count: int, body: BodyModel, generator: torch.Generator
) -> tuple[Float[Tensor, "poses 24 3 3"], Int[Tensor, "poses"]]:
    """Return local rotations, the root's without a heading, and the number of each pose's stance.

    Collars, neck, wrists, hands and feet stay at rest, and nothing keeps to limits: `poses` sees to both.
    """
    weights = torch.tensor([stance.weight for stance in _STANCES])
    chosen = torch.multinomial(weights, count, replacement=True, generator=generator)
    rotvec = torch.zeros(count, 24, 3)

    def angle(spreads: list[Spread]) -> Tensor:
        mean, deviation = torch.tensor(spreads, dtype=torch.float32)[chosen].unbind(-1)
        return torch.deg2rad(mean + deviation * torch.randn(count, generator=generator))

    leading = torch.randint(2, (count,), generator=generator)
    for side, outwards in enumerate((1.0, -1.0)):
        is_leading = leading == side
        flexion = torch.where(is_leading, *(angle([s.flexion[leg] for s in _STANCES]) for leg in range(2)))
        knee = torch.where(is_leading, *(angle([s.knee[leg] for s in _STANCES]) for leg in range(2)))
        rotvec[:, 1 + side, 0] = -flexion
        rotvec[:, 1 + side, 1] = outwards * angle([s.turnout for s in _STANCES])
        rotvec[:, 1 + side, 2] = outwards * angle([s.outwards for s in _STANCES])
        rotvec[:, 4 + side, 0] = knee.clamp_min(0.0)
        # the sole stays level as far as the ankle can
        rotvec[:, 7 + side, 0] = 0.7 * (flexion - knee)
    bend = angle([s.trunk for s in _STANCES])
    rotvec[:, 0, 0] = angle([s.pitch for s in _STANCES])
    for joint in (3, 6, 9):
        rotvec[:, joint, 0] = bend / 3
    local = rotvec_to_rotmat(rotvec)
    for side in range(2):
        local[:, 16 + side], local[:, 18 + side] = _arms(count, body, generator, is_right=side == 1)
    return local, chosen


def _arms(
    count: int, body: BodyModel, generator: torch.Generator, *, is_right: bool
) -> tuple[Float[Tensor, "poses 3 3"], Float[Tensor, "poses 3 3"]]:
    """Return the rotations of shoulder and elbow; the right arm is a mirrored left one."""
    rest = body.joints_template.float()
    names = body.tree.names
    weights = torch.tensor([reach.weight for reach in _REACHES])
    chosen = torch.multinomial(weights, count, replacement=True, generator=generator)

    def draw(mean: list[Tensor], deviation: list[Tensor]) -> Tensor:
        return torch.stack(mean)[chosen] + torch.stack(deviation)[chosen] * torch.randn(count, 3, generator=generator)

    wrist = draw(
        [rest[names.index(r.origin)] + torch.tensor(r.offset) for r in _REACHES],
        [torch.tensor(r.spread) for r in _REACHES],
    )
    elbow = draw([torch.tensor(r.elbow) for r in _REACHES], [torch.full((3,), _ELBOW_SPREAD) for _ in _REACHES])
    shoulder, joint, end = (rest[names.index(f"L_{part}")] for part in ("Shoulder", "Elbow", "Wrist"))
    upper, lower = (joint - shoulder).norm(), (end - joint).norm()
    line = wrist - shoulder
    distance = line.norm(dim=-1).clamp(float(0.35 * (upper + lower)), float(0.995 * (upper + lower)))
    line = line / line.norm(dim=-1, keepdim=True)
    across = elbow - (elbow * line).sum(-1, keepdim=True) * line
    across = across / across.norm(dim=-1, keepdim=True)
    # the triangle of shoulder, elbow and wrist
    cosine = ((upper**2 + distance**2 - lower**2) / (2 * upper * distance)).clamp(-1.0, 1.0)
    along = cosine[:, None] * line + (1 - cosine**2).clamp_min(0.0).sqrt()[:, None] * across
    inner = ((upper**2 + lower**2 - distance**2) / (2 * upper * lower)).clamp(-1.0, 1.0).arccos()
    # the elbow bends +X towards +Z: X goes along the upper arm, Z to where the forearm leaves it, away from the elbow
    forward = line - (line * along).sum(-1, keepdim=True) * along
    forward = forward / forward.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    turn = torch.stack((along, torch.linalg.cross(forward, along), forward), dim=-1)
    bend = rotvec_to_rotmat(torch.tensor([0.0, -1.0, 0.0]) * (math.pi - inner)[:, None])
    if is_right:
        mirror = torch.tensor([-1.0, 1.0, 1.0])
        turn, bend = (mirror[:, None] * rotmat * mirror for rotmat in (turn, bend))
    return turn, bend

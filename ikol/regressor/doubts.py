# SPDX-License-Identifier: Apache-2.0
"""How good a find is as a whole, and why it may be wrong: what the networks were not made for.

The landmark network is sure of every skeleton that it invents; how far its augmented crops agree is what tells.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS, LEFT_RIGHT
from ikol.regressor.person import NUM_FACE, CropSamples, PersonLandmarks

DOUBTS = ("small", "upside_down", "cut_off", "hidden", "crowded", "swapped", "unsteady")
"""Every reason that there may be, in the order in which they are told."""

QUALITY_SURE = 0.6
"""Below it the augmented crops disagree on most of the body."""
SMALL_PX = 100.0  # of a standing person's height; below it the network sees each pixel magnified
UPSIDE_DOWN = -0.5  # cosine between trunk and the picture's up; a lying person's is 0
MIN_BODY_SHARE = 0.5  # of the landmarks below the neck that are in the picture
VISIBLE, MAX_HIDDEN_SHARE = 0.5, 0.35  # the network's own guess, and the share of landmarks that it calls hidden
CROWDED_SHARE = 0.35  # of a person's landmarks that lie within another one's box
CROSSED_SHARE = 0.15  # of the crops that have left and right the other way round
CROSSED_LENGTH = 0.06  # of the body's size: shoulders and hips that are shorter on the picture are seen from the side
STANDING_SHARE = 1.0 / 1.3  # a standing body's height over the diameter of the circle that the detector finds

_LEFT_SHOULDER, _RIGHT_SHOULDER, _LEFT_HIP, _RIGHT_HIP = (
    BLAZEPOSE_LANDMARKS.index(f"{side}_{part}") for part in ("shoulder", "hip") for side in ("left", "right")
)
_PAIRS = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"), ("shoulder", "elbow", "hip", "knee", "ankle")


def quality(person: PersonLandmarks) -> float:
    """Return how good a find is, 0 to 1: the network's presence times the typical confidence below the neck."""
    body = _body(person)
    return person.score * float(person.confidence[body].median()) if bool(body.any()) else 0.0


def doubts_of(person: PersonLandmarks, everyone: Sequence[PersonLandmarks]) -> tuple[str, ...]:
    """Return why a person's pose may be wrong as a whole, of `DOUBTS`; none for one whom the networks know.

    Args:
        person: With what its crops have said.
        everyone: All persons of the picture; the person itself does not crowd itself.
    """
    body = _body(person)
    samples = person.samples
    reasons = {
        "small": samples is not None and samples.size * STANDING_SHARE < SMALL_PX,
        "upside_down": _uprightness(person) < UPSIDE_DOWN,
        "cut_off": int(body.sum()) < MIN_BODY_SHARE * (len(body) - NUM_FACE),
        "hidden": bool(body.any()) and float((person.visibility[body] < VISIBLE).float().mean()) > MAX_HIDDEN_SHARE,
        "crowded": any(_share_within(person, other) > CROWDED_SHARE for other in everyone if other is not person),
        "swapped": samples is not None
        and (crossed_share(samples, person) > CROSSED_SHARE or _is_crossed(person, samples)),
        "unsteady": quality(person) < QUALITY_SURE,
    }
    return tuple(name for name in DOUBTS if reasons[name])


def crossed_share(samples: CropSamples, person: PersonLandmarks) -> float:
    """Return the share of the crops that have arms, legs or all of the body on the other side than most have."""
    swap = torch.tensor(LEFT_RIGHT)
    straight = (samples.points - person.image_points).norm(dim=-1)
    crossed = (samples.points - person.image_points[swap]).norm(dim=-1)
    shares: list[float] = []
    for parts in _PAIRS:
        members = torch.tensor(
            [BLAZEPOSE_LANDMARKS.index(f"{side}_{part}") for part in parts for side in ("left", "right")]
        )
        shares.append(float((straight[:, members].sum(1) > crossed[:, members].sum(1)).float().mean()))
    return max(shares)


def _is_crossed(person: PersonLandmarks, samples: CropSamples) -> bool:
    """Say whether the shoulders have left and right the other way round than the hips."""
    shoulders = person.image_points[_LEFT_SHOULDER] - person.image_points[_RIGHT_SHOULDER]
    hips = person.image_points[_LEFT_HIP] - person.image_points[_RIGHT_HIP]
    seen = person.in_picture[[_LEFT_SHOULDER, _RIGHT_SHOULDER, _LEFT_HIP, _RIGHT_HIP]]
    least = CROSSED_LENGTH * samples.size
    is_long = min(float(shoulders.norm()), float(hips.norm())) > least
    return bool(seen.all()) and is_long and float(shoulders @ hips) < 0.0


def _body(person: PersonLandmarks) -> Bool[Tensor, "33"]:
    body = person.in_picture.clone()
    body[:NUM_FACE] = False
    return body


def _uprightness(person: PersonLandmarks) -> float:
    """Return the cosine between the trunk on the picture and the picture's up; 1 where the trunk is not seen."""
    points: Float[Tensor, "33 2"] = person.image_points
    trunk = points[[_LEFT_SHOULDER, _RIGHT_SHOULDER]].mean(0) - points[[_LEFT_HIP, _RIGHT_HIP]].mean(0)
    length = float(trunk.norm())
    return -float(trunk[1]) / length if length > 0.0 else 1.0


def _share_within(person: PersonLandmarks, other: PersonLandmarks) -> float:
    body = _body(person)
    if not bool(body.any()):
        return 0.0
    points = person.image_points[body]
    inside = ((points > other.box[:2]) & (points < other.box[2:])).all(-1)
    return float(inside.float().mean())

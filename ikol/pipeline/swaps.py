# SPDX-License-Identifier: Apache-2.0
"""The pose when the network has taken left for right: both arms, both legs, or the whole body.

Where a face is hidden, a body that faces the camera and one that turns its back to it look alike: the same places on
the picture under the other side's names, with front and back exchanged.
"""

from dataclasses import replace
from types import MappingProxyType
from typing import Literal

from ikol.pipeline.evidence import Keypoints2D, NamedEvidence, RelativeKeypoints3D, Twist
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS

Swap = Literal["arms", "legs", "sides"]
SWAPS: tuple[Swap, ...] = ("arms", "legs", "sides")

_PARTS = {
    "arms": ("shoulder", "elbow", "wrist", "hand", "pinky", "index", "thumb"),
    "legs": ("hip", "knee", "ankle", "foot", "heel", "foot_index"),
}
_ROOTS = ("shoulder", "hip")  # of pairs these stay: a swapped pair hangs on the right shoulders and hips
NO_DEPTH_SIGMA = 10.0  # metres: what a network says of a swapped limb's depth has no say
_SIDES = MappingProxyType({"L": "R", "R": "L", "left": "right", "right": "left"})


def swap_landmarks(swap: Swap) -> tuple[str, ...]:
    """Return the landmarks that a swap renames."""
    return tuple(name for name in BLAZEPOSE_LANDMARKS if swapped_name(name, swap) != name)


def swapped_name(name: str, swap: Swap) -> str:
    """Return what a point or joint is called after the swap: that of the other side, or its own name."""
    words = name.split("_")
    side = next((index for index, word in enumerate(words) if word in _SIDES), None)
    if side is None:
        return name
    part = "_".join(word for index, word in enumerate(words) if index != side).lower()
    if swap != "sides" and (part in _ROOTS or part not in _PARTS[swap]):
        return name
    words[side] = _SIDES[words[side]]
    return "_".join(words)


def swapped_evidence(evidence: tuple[NamedEvidence, ...], swap: Swap) -> tuple[NamedEvidence, ...]:
    """Return what networks said of a picture with left and right exchanged; what somebody placed stays.

    Of the whole body front and back change as well: only so it is a body and no mirror image of one. Of swapped limbs
    the depth has no say, and of all that is swapped the twist has none.
    """
    swapped: list[NamedEvidence] = []
    for block in evidence:
        match block:
            case Keypoints2D() if block.is_robust:
                swapped.append(replace(block, names=_names(block.names, swap)))
            case RelativeKeypoints3D():
                points, sigma = block.points.clone(), block.sigma.clone()
                if swap == "sides":
                    points[:, 2] = -points[:, 2]
                else:
                    moved = [index for index, name in enumerate(block.names) if swapped_name(name, swap) != name]
                    sigma[moved, 2] = NO_DEPTH_SIGMA
                swapped.append(RelativeKeypoints3D(_names(block.names, swap), points, sigma))
            case Twist():
                kept = [index for index, name in enumerate(block.names) if swapped_name(name, swap) == name]
                if kept and swap != "sides":
                    names = tuple(block.names[index] for index in kept)
                    swapped.append(Twist(names, block.angles[kept], block.sigma[kept]))
            case _:
                swapped.append(block)
    return tuple(swapped)


def _names(names: tuple[str, ...], swap: Swap) -> tuple[str, ...]:
    return tuple(swapped_name(name, swap) for name in names)

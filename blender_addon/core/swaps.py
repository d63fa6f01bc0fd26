# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence whose left and right were taken for each other, with the names put right.

What the user has said of a point is of the point by that name, and stays.
"""

from msgspec.structs import replace

from .record import Evidence, Keypoints2D, Keypoints3D, Record, RelativeKeypoints3D, Twist, Vector3

SWAPS = ("arms", "legs", "sides")

NO_DEPTH_SIGMA = 10.0
"""Metres: of swapped limbs the depth that the network saw has no say; the solver's alternatives do the same."""

_PARTS = {
    "arms": ("elbow", "wrist", "hand", "pinky", "index", "thumb"),
    "legs": ("knee", "ankle", "foot", "heel", "foot_index"),
}
_OTHER = {"L": "R", "R": "L", "left": "right", "right": "left"}


def swapped_name(name: str, swap: str) -> str:
    """Return what a point is called after the swap; shoulders and hips of swapped limbs keep their names."""
    words = name.split("_")
    side = next((index for index, word in enumerate(words) if word in _OTHER), None)
    if side is None:
        return name
    part = "_".join(word for index, word in enumerate(words) if index != side).lower()
    if swap != "sides" and part not in _PARTS[swap]:
        return name
    words[side] = _OTHER[words[side]]
    return "_".join(words)


def swap_sides(record: Record, swap: str) -> Record:
    """Return the record with left and right exchanged in what was detected.

    Of the whole body front and back change as well: only so it is a body and no mirror image of one.
    """
    swapped = [_swapped(block, swap) for block in record.evidence]
    confidence = {swapped_name(name, swap): value for name, value in record.confidence.items()}
    doubts = tuple(doubt for doubt in record.doubts if doubt != "swapped")
    evidence = tuple(block for block in swapped if block is not None)
    return replace(record, evidence=evidence, confidence=confidence, doubts=doubts)


def _swapped(block: Evidence, swap: str) -> Evidence | None:
    match block:
        case Keypoints2D() if block.is_robust:
            return replace(block, names=_names(block.names, swap))
        case RelativeKeypoints3D():
            rows = zip(block.names, block.points, block.sigma, strict=True)
            moved = [_turned(name, point, sigma, swap) for name, point, sigma in rows]
            points, sigmas = zip(*moved, strict=True)
            return replace(block, names=_names(block.names, swap), points=points, sigma=sigmas)
        case Keypoints3D():  # of several pictures, whose pose the swap contradicts
            kept = [row for row in zip(block.names, block.points, block.sigma, strict=True) if _is_kept(row[0], swap)]
            return Keypoints3D(*zip(*kept, strict=True)) if kept else None
        case Twist():
            kept = [row for row in zip(block.names, block.angles, block.sigma, strict=True) if _is_kept(row[0], swap)]
            if not kept:
                return None
            names, angles, sigma = zip(*kept, strict=True)
            return Twist(names, angles, sigma)
        case _:
            return block


def _turned(name: str, point: Vector3, sigma: Vector3, swap: str) -> tuple[Vector3, Vector3]:
    """Return a place relative to the hips, and how sure it is, after the swap."""
    if swap == "sides":
        return (point[0], point[1], -point[2]), sigma
    return point, sigma if _is_kept(name, swap) else (sigma[0], sigma[1], NO_DEPTH_SIGMA)


def _is_kept(name: str, swap: str) -> bool:
    return swap != "sides" and swapped_name(name, swap) == name


def _names(names: tuple[str, ...], swap: str) -> tuple[str, ...]:
    return tuple(swapped_name(name, swap) for name in names)

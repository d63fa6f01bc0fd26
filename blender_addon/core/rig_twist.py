# SPDX-License-Identifier: GPL-3.0-or-later
"""Twist along limbs that rigs split over several bones: a forearm turns little at the elbow and all at the wrist.

Pieces of a limb between two joints take their share by their order, twist bones beside it by where they stand along it.
The joints stay where they are: all turn about the limb's own line.
"""

from typing import Final

import numpy as np

from .rig_bones import Bones, FloatArray, children_of, path_down
from .rig_names import core_name
from .rig_skeleton import Posed
from .rig_turns import turn_of

_LOWER: Final = (("Elbow", "Wrist"), ("Knee", "Ankle"))
"""Twisted by the joint at their end."""

_UPPER: Final = (("Shoulder", "Elbow"), ("Hip", "Knee"))
"""Twisted against the joint above."""

WORDS: Final = ("twist", "roll")

IN_THE_MIDDLE: Final = 0.5
"""The share of a twist bone that begins where its limb does."""


def twisted_bones(bones: Bones, pose: Posed) -> dict[str, FloatArray]:
    """Return the rotations (3, 3) from rest of the bones that share a limb's twist, in the rig's space.

    Of limbs in one piece without twist bones there are none.
    """
    found: dict[str, FloatArray] = {}
    children = children_of(bones)
    for side in "LR":
        for segments, is_upper in ((_LOWER, False), (_UPPER, True)):
            for first, last in segments:
                start, end = f"{side}_{first}", f"{side}_{last}"
                shares = _shares(bones, children, pose, start, end, is_upper)
                if shares:
                    found |= _turned(pose, start, end, shares, is_upper)
    return found


def _shares(
    bones: Bones, children: dict[str, list[str]], pose: Posed, start: str, end: str, is_upper: bool
) -> dict[str, float]:
    """Return how much of the limb's twist each of its bones has."""
    skeleton = pose.skeleton
    top, bottom = (skeleton.joints[skeleton.index(joint)].bone for joint in (start, end))
    pieces = [top, *path_down(bones, top, bottom)[:-1]]
    shares: dict[str, float] = {}
    if len(pieces) > 1:
        number = len(pieces)
        shares = {name: (k + 1 if is_upper else k) / number for k, name in enumerate(pieces)}
    way = bones[bottom].head - bones[top].head
    for name in children[top]:
        if name not in pieces and name != bottom and any(word in core_name(name).core for word in WORDS):
            along = float((bones[name].head - bones[top].head) @ way / max(float(way @ way), 1e-12))
            shares[name] = along if 0.05 < along <= 1.0 else IN_THE_MIDDLE
    return shares


def _turned(pose: Posed, start: str, end: str, shares: dict[str, float], is_upper: bool) -> dict[str, FloatArray]:
    skeleton = pose.skeleton
    number, last = skeleton.index(start), skeleton.index(end)
    axis = skeleton.rest[last] - skeleton.rest[number]
    axis = axis / max(float(np.linalg.norm(axis)), 1e-12)
    whole = pose.turns[number]
    if is_upper:
        above = skeleton.joints[number].parent
        angle = twist_angle((np.eye(3) if above < 0 else pose.turns[above]).T @ whole, axis)
        return {name: whole @ turn_of((share - 1.0) * angle * axis) for name, share in shares.items()}
    angle = twist_angle(whole.T @ pose.turns[last], axis)
    return {name: whole @ turn_of(share * angle * axis) for name, share in shares.items()}


def twist_angle(turn: FloatArray, axis: FloatArray) -> float:
    """Return the angle (radians, -pi to pi) of a rotation about a unit axis, its swing taken off."""
    # q's part along the axis: sin(half) and cos(half), both times cos(swing / 2)
    twice = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    return float(2.0 * np.arctan2(twice @ axis, 1.0 + np.trace(turn)))

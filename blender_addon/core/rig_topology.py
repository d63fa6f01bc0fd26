# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bone is which joint when names say nothing: by the tree and the rest pose of a body that stands upright.

Legs end lowest, arms reach out farthest, and both come in pairs. Knees and elbows halve their limb.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from .rig_bones import Bones, FloatArray, ancestors, children_of

MIDDLE = 0.02
"""Of the body's size: bones nearer to the plane of symmetry are in the middle."""

ANKLE_HEIGHT = 0.2
"""Of the leg's height; the ankle lies below it, the knee above."""

NEARLY = 0.75
"""A thigh is at least this part of its shin, an upper arm of its forearm: what is shorter is a piece of a bone."""


def limbs_by_shape(bones: Bones, up: FloatArray) -> dict[str, str]:
    """Return the joints of arms and legs that the rest pose tells; none where it is no upright body.

    Args:
        bones: At rest.
        up: Unit vector in the armature's space.
    """
    if len(bones) < 10:  # two arms and two legs of two bones each, and what they hang on
        return {}
    lateral, middle, size = _symmetry(bones, up)
    offset = {name: float(bone.head @ lateral) - middle for name, bone in bones.items()}
    sides: list[dict[str, str]] = []
    for sign in (1.0, -1.0):
        paths = _side_paths(bones, {name: sign * value for name, value in offset.items()}, MIDDLE * size)
        if not paths:
            return {}
        leg = min(paths, key=lambda path: float(bones[path[-1]].tail @ up))
        arms = [path for path in paths if path[0] != leg[0]]
        if not arms:
            return {}
        arm = max(arms, key=lambda path: sign * float(bones[path[-1]].tail @ lateral))
        sides.append(_leg_joints(bones, leg, up) | _arm_joints(bones, arm))
    for joints, other in (sides, sides[::-1]):  # a collar bone begins in the middle, but carries one arm only
        above = bones[joints["Shoulder"]].parent if "Shoulder" in joints and "Shoulder" in other else None
        if above is not None and above not in ancestors(bones, other["Shoulder"]):
            joints["Collar"] = above
    forward = sum(_toe_direction(bones, side, up) for side in sides)
    left_is_first = float(np.cross(up, forward) @ lateral) >= 0
    named = zip(("L", "R") if left_is_first else ("R", "L"), sides, strict=True)
    return {f"{side}_{limb}": bone for side, joints in named for limb, bone in joints.items()}


def _symmetry(bones: Bones, up: FloatArray) -> tuple[FloatArray, float, float]:
    """Return the axis from side to side, where its middle is, and the body's size."""
    heads = np.array([bone.head for bone in bones.values()])
    size = float(np.ptp(heads, axis=0).max()) or 1.0
    first: FloatArray = np.eye(3)[int(np.abs(up).argmin())]
    first = first - (first @ up) * up
    first = np.asarray(first / np.linalg.norm(first), dtype=np.float64)
    best: tuple[int, FloatArray, float] = (-1, first, 0.0)
    second: FloatArray = np.asarray(np.cross(up, first), dtype=np.float64)
    for axis in (first, second):
        along = heads @ axis
        middle = float(np.median(along))
        mirrored = heads - 2 * (along - middle)[:, None] * axis
        far = np.linalg.norm(mirrored[:, None] - heads[None], axis=-1).min(axis=1)
        pairs = int(((far < MIDDLE * size) & (np.abs(along - middle) > MIDDLE * size)).sum())
        if pairs > best[0]:
            best = (pairs, axis, middle)
    return best[1], best[2], size


def _side_paths(bones: Bones, offset: dict[str, float], least: float) -> list[list[str]]:
    """Return the chains of one side, each from the first bone off the middle to a leaf."""
    leaves = [name for name, children in children_of(bones).items() if not children and offset[name] > least]
    paths: list[list[str]] = []
    for leaf in leaves:
        path = [leaf]
        for name in ancestors(bones, leaf)[1:]:
            if offset[name] <= least:
                break
            path.append(name)
        paths.append(path[::-1])
    return paths


def _leg_joints(bones: Bones, path: Sequence[str], up: FloatArray) -> dict[str, str]:
    height = [float(bones[name].head @ up) for name in path]
    lowest = min(height[-1], float(bones[path[-1]].tail @ up))
    reach = height[0] - lowest
    ankle = next((k for k, value in enumerate(height) if value - lowest < ANKLE_HEIGHT * reach), len(path) - 1)
    if ankle < 2:
        return {}
    half = 0.5 * (height[0] + height[ankle])
    knee = min(range(1, ankle), key=lambda k: abs(height[k] - half))
    joints = {"Hip": path[_upper(bones, path, knee, ankle)], "Knee": path[knee], "Ankle": path[ankle]}
    children = children_of(bones)[path[ankle]]
    if children:  # toes point away from the ankle, a heel hardly does
        joints["Foot"] = max(children, key=lambda name: _along_floor(bones[name].tail - bones[path[ankle]].head, up))
    return joints


def _along_floor(way: FloatArray, up: FloatArray) -> float:
    return float(np.linalg.norm(way - (way @ up) * up))


def _arm_joints(bones: Bones, path: Sequence[str]) -> dict[str, str]:
    children = children_of(bones)
    wrist = next((k for k, name in enumerate(path) if len(children[name]) >= 3), -1)
    places = [bones[name].head for name in path] + [bones[path[-1]].tail]
    if wrist < 2:  # no fingers: the two longest bones that follow each other are the arm
        lengths = [float(np.linalg.norm(b - a)) for a, b in pairwise(places)]
        if len(path) < 3:
            return {}
        wrist = 2 + max(range(len(path) - 2), key=lambda k: min(lengths[k], lengths[k + 1]))
    far = [[float(np.linalg.norm(a - b)) for b in places] for a in places]
    elbow = max(range(1, wrist), key=lambda k: min(far[0][k], far[k][wrist]))
    upper = _upper(bones, path, elbow, wrist)
    return {"Shoulder": path[upper], "Elbow": path[elbow], "Wrist": path[wrist]}


def _upper(bones: Bones, path: Sequence[str], middle: int, end: int) -> int:
    """Return the bone next above the middle joint that is no mere piece of the upper half of the limb."""
    places = [bones[name].head for name in path]
    least = NEARLY * float(np.linalg.norm(places[end] - places[middle]))
    long = [k for k in range(middle) if np.linalg.norm(places[middle] - places[k]) >= least]
    return max(long, default=0)


def _toe_direction(bones: Bones, joints: dict[str, str], up: FloatArray) -> FloatArray:
    if "Ankle" not in joints:
        return np.zeros(3)
    foot = bones[joints["Ankle"]]
    tip = bones[joints["Foot"]].tail if "Foot" in joints else foot.tail
    direction = tip - foot.head
    return direction - (direction @ up) * up

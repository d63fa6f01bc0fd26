# SPDX-License-Identifier: GPL-3.0-or-later
"""A rig as a skeleton that the solver can pose: its joints with their rest places, and what ties them to SMPL's.

Everything is in the *rig's space*: metres, Y up, the rig at rest faces +Z with its left at +X, origin and floor those
of the armature. A joint's rotation is relative to the rest pose, whatever that is. So a rig that rests as an A turns
its arms by other angles than one that rests as a T; `Joint.calibration` takes the one to the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np

from .errors import SceneError
from .rig_bones import Bones, FloatArray, RestBone, children_of, path_down
from .rig_names import AUTO_RIG_CONTROL, FOLLOWERS, core_name

TRUNK: Final = ("Pelvis", "Spine1", "Spine2", "Spine3", "Neck", "Head")
"""SMPL's joints from the pelvis up: a rig's bones take their turns from between them."""

PARENTS: Final = {
    "Spine1": "Pelvis", "Spine2": "Spine1", "Spine3": "Spine2", "Neck": "Spine3", "Head": "Neck",
    **{f"{side}_{joint}": parent if parent in {"Pelvis", "Spine3"} else f"{side}_{parent}"
       for side in "LR" for joint, parent in (
           ("Hip", "Pelvis"), ("Knee", "Hip"), ("Ankle", "Knee"), ("Foot", "Ankle"), ("Collar", "Spine3"),
           ("Shoulder", "Collar"), ("Elbow", "Shoulder"), ("Wrist", "Elbow"))},
}  # fmt: skip
"""SMPL's parents, for bones that do not hang together in the rig."""

UPRIGHT: Final = np.cos(np.radians(20.0))
"""A body that rests within 20 degrees of an axis of its armature is meant to stand along it."""

FLOOR_RANGE: Final = (-0.03, 0.12)
"""Of the height of the hips: where the lowest foot bone lies above the armature's origin when that is the floor."""

SOLE: Final = 0.025
"""Metres, for legs of 0.85 m: the ball of the foot lies above the sole."""

HEEL: Final = 0.25
"""Of the way from ankle to ball: by how much the heel lies behind the ankle."""

HAND: Final = 0.38
"""Of the forearm: from the wrist to the knuckles at most; the tails of imported bones lie anywhere."""


@dataclass(frozen=True, eq=False)
class Joint:
    """One joint of the skeleton."""

    name: str
    """SMPL's, or the bone's where it stands for none."""
    bone: str
    parent: int
    trunk: float
    """Between which of `TRUNK` it turns, as 1.5 between Spine1 and Spine2; -1 for limbs."""
    axes: FloatArray
    """(3, 3): the bone's axes at rest, in the rig's space."""
    calibration: FloatArray
    """(3, 3): takes the rig's rest pose to SMPL's: G = G_smpl @ calibration."""


@dataclass(frozen=True, eq=False)
class Skeleton:
    """A rig's joints at rest."""

    joints: tuple[Joint, ...]
    """Parents before children."""
    rest: FloatArray
    """(J, 3)"""
    to_rig: FloatArray
    """(3, 3): the rig's space from the armature's: a rotation times metres per unit."""
    floor: float
    """Height of the floor that it stands on at rest."""
    points: Mapping[str, tuple[int, FloatArray]]
    """Heels, balls and palms: the joint that each rides on, and where it rests."""

    def index(self, name: str) -> int:
        """Return the number of a joint; -1 where the rig has none."""
        return next((number for number, joint in enumerate(self.joints) if joint.name == name), -1)

    def place(self, name: str) -> FloatArray:
        """Return where a joint or point rests."""
        return self.points[name][1] if name in self.points else self.rest[self.index(name)]

    @property
    def leg_length(self) -> float:
        """From the hip to the sole along the bones, mean of both legs."""
        total = 0.0
        for side in "LR":
            hip, knee, ankle = (self.place(f"{side}_{part}") for part in ("Hip", "Knee", "Ankle"))
            total += float(np.linalg.norm(knee - hip) + np.linalg.norm(ankle - knee)) + float(ankle[1]) - self.floor
        return 0.5 * total

    def width(self, joint: str) -> float:
        """Return the distance from a joint on the left to that on the right."""
        return float(np.linalg.norm(self.place(f"L_{joint}") - self.place(f"R_{joint}")))


@dataclass(frozen=True, eq=False)
class Posed:
    """A skeleton in a pose: rotations (J, 3, 3) relative to rest, and places (J, 3)."""

    skeleton: Skeleton
    turns: FloatArray
    places: FloatArray

    def place(self, name: str) -> FloatArray:
        """Return where a joint or point is."""
        if name not in self.skeleton.points:
            return self.places[self.skeleton.index(name)]
        carrier, rest = self.skeleton.points[name]
        return self.places[carrier] + self.turns[carrier] @ (rest - self.skeleton.rest[carrier])

    def turn(self, name: str) -> FloatArray:
        """Return the rotation of a joint."""
        return self.turns[self.skeleton.index(name)]


def build_skeleton(
    bones: Bones, joints: Mapping[str, str], metres: float = 1.0, floor: float | None = None
) -> Skeleton:
    """Return the skeleton of a rig, not yet calibrated.

    Args:
        bones: At rest.
        joints: Bones by SMPL's joints; all that `rig_mapping.NEEDED` names.
        metres: Of one unit of the armature.
        floor: Height of the floor under the rest pose, metres; None to find it.

    Raises:
        SceneError: Hips and head lie in one place, or left and right do.
    """
    axes = _body_axes(bones, joints)
    to_rig = metres * axes
    heights = _trunk_heights(bones, joints)
    parents = _parents(bones, joints, list(heights))
    by_bone = {bone: joint for joint, bone in joints.items()}
    order = sorted(parents, key=lambda name: len(_chain(parents, name)))
    made = tuple(
        Joint(
            name=by_bone.get(name, name),
            bone=name,
            parent=-1 if parents[name] is None else order.index(parents[name] or ""),
            trunk=heights.get(name, 0.0 if parents[name] is None else -1.0),
            axes=axes @ bones[name].axes,
            calibration=np.eye(3),
        )
        for name in order
    )
    rest = np.array([to_rig @ bones[name].head for name in order])
    skeleton = Skeleton(made, rest, to_rig, 0.0, {})
    level = _floor(skeleton, bones, joints) if floor is None else floor
    skeleton = replace(skeleton, floor=level)
    return replace(skeleton, points=_points(skeleton, bones, joints))


def calibrated(skeleton: Skeleton, source: Skeleton) -> Skeleton:
    """Return the skeleton with the rotations that take its rest pose to that of another one.

    Limbs are aligned bone by bone, by the smallest turn after that of the bone above. Trunk and head are taken to be
    upright in both, feet to stand on the floor, so that only their toes are turned out alike.
    """
    found = {joint.name: np.eye(3) for joint in skeleton.joints}
    for side in "LR":
        names = (f"{side}_Hip", f"{side}_Knee", f"{side}_Ankle")
        turn: FloatArray = np.eye(3)
        for upper, lower in pairwise(names):
            turn = _aligned(turn, _between(skeleton, upper, lower), _between(source, upper, lower))
            found[upper] = turn
        toes = [one.place(f"{side}_ball") - one.place(f"{side}_heel") for one in (skeleton, source)]
        found[names[2]] = found[f"{side}_Foot"] = _aligned(np.eye(3), toes[0], toes[1])
        turn = np.eye(3)
        names = (f"{side}_Shoulder", f"{side}_Elbow", f"{side}_Wrist", f"{side}_palm")
        for upper, lower in pairwise(names):
            turn = _aligned(turn, _between(skeleton, upper, lower), _between(source, upper, lower))
            found[upper] = turn
        roll = _palm_roll(skeleton, source, side, found[names[2]])
        found[names[2]] = roll @ found[names[2]]
    joints = tuple(replace(joint, calibration=found[joint.name]) for joint in skeleton.joints)
    return replace(skeleton, joints=joints)


def _between(skeleton: Skeleton, start: str, end: str) -> FloatArray:
    return skeleton.place(end) - skeleton.place(start)


def _aligned(turn: FloatArray, mine: FloatArray, wanted: FloatArray) -> FloatArray:
    """Return the rotation after `turn` that takes one direction to another by the smallest further turn."""
    return rotation_between(turn @ mine, wanted) @ turn


def _palm_roll(skeleton: Skeleton, source: Skeleton, side: str, turn: FloatArray) -> FloatArray:
    """Return the turn about the hand's own direction that lays the knuckles as in the source."""
    direction = _between(source, f"{side}_Wrist", f"{side}_palm")
    direction = direction / np.linalg.norm(direction)
    if f"{side}_across" not in skeleton.points:
        return np.eye(3)
    if f"{side}_across" in source.points:
        wanted = _between(source, f"{side}_Wrist", f"{side}_across")
    elif abs(direction[0]) > UPRIGHT:
        wanted = np.array([0.0, 0.0, 1.0])  # the T-pose of bodies without fingers has its palms down
    else:
        return np.eye(3)
    mine = turn @ _between(skeleton, f"{side}_Wrist", f"{side}_across")
    mine, wanted = (one - (one @ direction) * direction for one in (mine, wanted))
    return rotation_between(mine, wanted)


def rotation_between(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the smallest rotation that takes one direction to another; opposite ones by any half turn."""
    a, b = (np.asarray(one, dtype=np.float64) / max(float(np.linalg.norm(one)), 1e-12) for one in (first, second))
    axis, cosine = np.cross(a, b), float(a @ b)
    if cosine < -1.0 + 1e-9:
        axis = np.cross(a, np.eye(3)[int(np.abs(a).argmin())])
        axis = axis / np.linalg.norm(axis)
        return np.asarray(2.0 * np.outer(axis, axis) - np.eye(3), dtype=np.float64)
    cross = np.array([[0.0, -axis[2], axis[1]], [axis[2], 0.0, -axis[0]], [-axis[1], axis[0], 0.0]])
    return np.eye(3) + cross + cross @ cross / (1.0 + cosine)


def _body_axes(bones: Bones, joints: Mapping[str, str]) -> FloatArray:
    """Return the rotation (3, 3) to the rig's space: its rows are left, up and forward in the armature's."""
    head = {joint: bones[bone].head for joint, bone in joints.items()}
    hips, arms = head["L_Hip"] + head["R_Hip"], head["L_Shoulder"] + head["R_Shoulder"]
    up = _snapped(arms - hips)  # and not from the feet: a rig may rest sitting
    left = head["L_Hip"] - head["R_Hip"] + head["L_Shoulder"] - head["R_Shoulder"]
    left = left - (left @ up) * up
    if not (np.linalg.norm(up) and np.linalg.norm(left) > 1e-6 * np.linalg.norm(arms - hips)):
        raise SceneError("the rig's left and right bones rest in one place; choose them anew under Bones")
    left = _snapped(left)
    return np.stack((left, up, np.cross(left, up)))


def _snapped(direction: FloatArray) -> FloatArray:
    """Return the axis that a direction is near, else the direction, as a unit vector."""
    unit = np.asarray(direction / max(float(np.linalg.norm(direction)), 1e-12), dtype=np.float64)
    nearest = int(np.abs(unit).argmax())
    if abs(unit[nearest]) < UPRIGHT:
        return unit
    axis: FloatArray = np.zeros(3)
    axis[nearest] = np.sign(unit[nearest])
    return axis


def _trunk_heights(bones: Bones, joints: Mapping[str, str]) -> dict[str, float]:
    """Return the bones of the trunk with where each stands among `TRUNK`."""
    heights = {joints[joint]: float(number) for number, joint in enumerate(TRUNK) if joint in joints}
    chest = joints.get("Spine3") or joints.get("Spine2") or joints.get("Spine1") or joints["Pelvis"]
    spine = _of_body(path_down(bones, joints["Pelvis"], chest))
    for number, bone in enumerate(spine, start=1):
        heights[bone] = 3.0 * number / len(spine)
    if "Head" in joints:
        neck = _of_body(path_down(bones, chest, joints["Head"]))
        for number, bone in enumerate(neck, start=1):
            heights[bone] = 3.0 + 2.0 * number / len(neck)
    return heights


def _of_body(path: Sequence[str]) -> list[str]:
    """Leave out what Rigify puts between its controls: it follows them by constraints."""
    return [name for name in path if not name.startswith("MCH-")]


def _parents(bones: Bones, joints: Mapping[str, str], trunk: Sequence[str]) -> dict[str, str | None]:
    """Return the joints' bones with the next joint's bone above; one root, which may stand for no joint."""
    included = {*joints.values(), *trunk}
    ways = {name: list(walk_up(bones, name)) for name in included}
    parents: dict[str, str | None] = {
        name: next((above for above in way if above in included), None) for name, way in ways.items()
    }
    roots = [name for name, parent in parents.items() if parent is None]
    if len(roots) > 1:
        shared = set.intersection(*(set(ways[name]) for name in roots))
        top = next((name for name in ways[roots[0]] if name in shared), None)
        by_bone = {bone: joint for joint, bone in joints.items()}
        for name in roots:
            parents[name] = top
            if top is None and name != joints["Pelvis"]:  # the rig's parts hang on nothing in common
                parents[name] = _smpl_parent(by_bone.get(name, "Spine1"), joints)
        if top is not None:
            parents[top] = None
    return parents


def _smpl_parent(joint: str, joints: Mapping[str, str]) -> str:
    parent = PARENTS.get(joint, "Pelvis")
    while parent not in joints:
        parent = PARENTS.get(parent, "Pelvis")
    return joints[parent]


def walk_up(bones: Bones, name: str) -> Iterator[str]:
    """Give the bones above one; where a bone of a generated Rigify rig follows a control, that and those above it."""
    seen = {name}
    parent = bones[name].parent
    while parent is not None and parent in bones and parent not in seen:
        control = None if parent.startswith(("DEF-", "MCH-")) else control_of(bones, parent)
        parent = control if control is not None and control not in seen else parent
        seen.add(parent)
        yield parent
        parent = bones[parent].parent


def control_of(bones: Bones, name: str) -> str | None:
    """Return the control that moves a bone of a generated Rigify rig or of Auto-Rig Pro's; None for other bones."""
    if f"{AUTO_RIG_CONTROL}{name}" in bones:
        return f"{AUTO_RIG_CONTROL}{name}"
    prefix, dash, plain = name.partition("-")
    if f"{prefix}{dash}" not in FOLLOWERS:
        return None
    base, dot, rest = plain.partition(".")
    return next((known for known in (f"{base}_fk{dot}{rest}", plain) if known in bones), None)


def _chain(parents: Mapping[str, str | None], name: str) -> list[str]:
    chain = [name]
    while (parent := parents[chain[-1]]) is not None and len(chain) <= len(parents):
        chain.append(parent)
    return chain


def _floor(skeleton: Skeleton, bones: Bones, joints: Mapping[str, str]) -> float:
    """Return the height of the floor: the armature's origin where the feet are near it, else below the lowest foot."""
    lowest = np.inf
    for side in "LR":
        for joint in ("Ankle", "Foot"):
            bone = bones.get(joints.get(f"{side}_{joint}", ""))
            if bone is not None:
                lowest = min(lowest, *(float((skeleton.to_rig @ end)[1]) for end in (bone.head, bone.tail)))
    hips = 0.5 * float(skeleton.place("L_Hip")[1] + skeleton.place("R_Hip")[1])
    if FLOOR_RANGE[0] * hips <= lowest <= FLOOR_RANGE[1] * hips:
        return 0.0
    return lowest - SOLE / 0.85 * (hips - lowest)


def _points(skeleton: Skeleton, bones: Bones, joints: Mapping[str, str]) -> dict[str, tuple[int, FloatArray]]:
    """Return heels and balls on the floor, the middles of the palms, and what tells how the palms are rolled."""
    points: dict[str, tuple[int, FloatArray]] = {}
    children = children_of(bones)
    for side in "LR":
        ankle, wrist = skeleton.index(f"{side}_Ankle"), skeleton.index(f"{side}_Wrist")
        toe = skeleton.index(f"{side}_Foot")
        tip = skeleton.rest[toe] if toe >= 0 else skeleton.to_rig @ bones[joints[f"{side}_Ankle"]].tail
        foot = (tip - skeleton.rest[ankle]) * (1.0, 0.0, 1.0)
        if np.linalg.norm(foot) < 0.02 * skeleton.leg_length:  # its tail tells nothing: imported bones point anywhere
            foot = np.array([0.0, 0.0, 0.15 * skeleton.leg_length])
        base = skeleton.rest[ankle] * (1.0, 0.0, 1.0) + np.array([0.0, skeleton.floor, 0.0])
        points[f"{side}_ball"], points[f"{side}_heel"] = (ankle, base + foot), (ankle, base - HEEL * foot)
        hand = _hand(
            skeleton, bones[joints[f"{side}_Wrist"]], [bones[name] for name in children[joints[f"{side}_Wrist"]]]
        )
        forearm = float(np.linalg.norm(skeleton.rest[wrist] - skeleton.place(f"{side}_Elbow")))
        length = float(np.linalg.norm(hand))
        if not length:
            hand, length = skeleton.rest[wrist] - skeleton.place(f"{side}_Elbow"), forearm
        points[f"{side}_palm"] = (wrist, skeleton.rest[wrist] + 0.5 * hand / length * min(length, HAND * forearm))
        across = _across(skeleton, bones, children, joints[f"{side}_Wrist"])
        if across is not None:
            points[f"{side}_across"] = (wrist, skeleton.rest[wrist] + across)
    return points


def _hand(skeleton: Skeleton, wrist: RestBone, children: Sequence[RestBone]) -> FloatArray:
    """Return the way from the wrist to the knuckles."""
    knuckles = [bone.head for bone in children if "thumb" not in core_name(bone.name).core]
    reach = float(np.linalg.norm(wrist.tail - wrist.head))
    knuckles = [head for head in knuckles if np.linalg.norm(head - wrist.head) > 0.1 * reach]
    end = np.mean(knuckles, axis=0) if knuckles else wrist.tail
    return skeleton.to_rig @ (end - wrist.head)


def _across(skeleton: Skeleton, bones: Bones, children: Mapping[str, list[str]], wrist: str) -> FloatArray | None:
    """Return the way from the little finger's knuckle to the index finger's; None where they have no such names."""
    found: dict[str, FloatArray] = {}
    queue = list(children[wrist])
    while queue:
        name = queue.pop(0)
        core = core_name(name).core
        for finger, words in (("index", ("index", "findex", "pointer")), ("pinky", ("pinky", "little", "ring"))):
            if finger not in found and any(word in core for word in words):
                found[finger] = bones[name].head
        if len(found) == 2:
            return skeleton.to_rig @ (found["index"] - found["pinky"])
        queue.extend(children[name])
    return None

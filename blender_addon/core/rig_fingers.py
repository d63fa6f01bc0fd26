# SPDX-License-Identifier: GPL-3.0-or-later
"""Fingers of a rig: found by their names, and turned against the hand as the source's fingers are.

They are no part of the solve: nothing but the source's own fingers says where they go. A hand whose fingers all rest on
the source says nothing of them, and the rig's stay as they are.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from .rig_bones import Bones, FloatArray, ancestors, children_of
from .rig_names import FOLLOWERS, best_bone, core_name
from .rig_placement import Placement
from .rig_skeleton import Posed, Skeleton, control_of, rotation_between
from .rig_turns import rotvec_of

FINGERS: Final = ("Thumb", "Index", "Middle", "Ring", "Pinky")
FINGER_JOINTS: Final = tuple(
    f"{side}_{finger}{part}" for side in "LR" for finger in FINGERS for part in (1, 2, 3)
)  # fmt: skip
"""SMPL-H's, from the knuckle to the tip, in the order in which the panel shows them."""

AT_REST: Final = 0.01
"""Radians: fingers that are all turned by less were posed by nobody."""

JOINED: Final = 0.1
"""Of a bone's length: where its tail is that near to the next bone's head, tails tell which way bones go."""

Turned = dict[str, FloatArray]
"""Rotations (3, 3) by bones."""

_WORDS: Final = {
    "thumb": "Thumb", "index": "Index", "findex": "Index", "pointer": "Index", "middle": "Middle", "mid": "Middle",
    "ring": "Ring", "pinky": "Pinky", "pinkie": "Pinky", "little": "Pinky",
}  # fmt: skip
_PARTS: Final = {"proximal": 1, "intermediate": 2, "distal": 3}
_NAMED = re.compile(
    r"(thumb|f?index|pointer|middle|mid|ring|pinky|pinkie|little)(metacarpal|proximal|intermediate|distal|0*[1-3])"
    r"(?:l|r|left|right)?$"
)
"""Of a name without separators: Mixamo, Unreal, VRM, Unity, Rigify, Auto-Rig Pro, Daz, SMPL-H and SMPL-X."""

_MAKEHUMAN = re.compile(r"finger([1-5])-([1-3])", re.IGNORECASE)
_BIPED = re.compile(r"finger([0-4])([12]?)$", re.IGNORECASE)


def find_fingers(bones: Bones, joints: Mapping[str, str]) -> dict[str, str]:
    """Return the bones by SMPL-H's finger joints that names tell, below the hands of a mapping."""
    found: dict[str, list[str]] = {}
    for name in bones:
        side = core_name(name).side
        finger = _finger(name)
        if finger is not None and side and _hangs_on(bones, name, joints.get(f"{side}_Wrist", "")):
            found.setdefault(f"{side}_{finger}", []).append(name)
    best = {joint: best_bone(bones, _controls(names)) for joint, names in found.items()}
    for side in "LR":  # VRM 1 counts from the metacarpal, and its distal bone is the third all the same
        if f"{side}_Thumb0" in best and f"{side}_Thumb2" not in best:
            shifted = (("Thumb2", "Thumb1"), ("Thumb1", "Thumb0"))
            best |= {f"{side}_{new}": best[f"{side}_{old}"] for new, old in shifted if f"{side}_{old}" in best}
    return {joint: best[joint] for joint in FINGER_JOINTS if joint in best}


def _hangs_on(bones: Bones, name: str, hand: str) -> bool:
    """Return whether a bone moves with the hand: below it, or below what follows it."""
    return any(hand in (above, control_of(bones, above)) for above in ancestors(bones, name))


def _controls(names: Sequence[str]) -> list[str]:
    """Return what a generated Rigify rig is posed by; of others all."""
    return [name for name in names if not name.startswith(FOLLOWERS)] or list(names)


def _finger(name: str) -> str | None:
    """Return finger and number that a bone's name tells; a thumb's metacarpal has the number 0."""
    found = _MAKEHUMAN.search(name)
    if found is not None:
        return f"{FINGERS[int(found[1]) - 1]}{found[2]}"
    found = _BIPED.search(name)
    if found is not None:
        return f"{FINGERS[int(found[1])]}{int(found[2] or 0) + 1}"
    found = _NAMED.search(re.sub(r"[^a-z0-9]", "", name.lower()))
    if found is None:
        return None
    finger, part = _WORDS[found[1]], found[2]
    if part == "metacarpal":
        return "Thumb0" if finger == "Thumb" else None
    return f"{finger}{_PARTS[part] if part in _PARTS else int(part)}"


@dataclass(frozen=True, eq=False)
class Fingers:
    """The finger bones of an armature."""

    skeleton: Skeleton
    """Without them."""
    bones: Bones
    names: Mapping[str, str]
    """Bones by joints, those of `FINGER_JOINTS` that there are."""

    @property
    def axes(self) -> FloatArray:
        """(3, 3) from the armature's space to the rig's, without scale."""
        return self.skeleton.to_rig / np.cbrt(np.linalg.det(self.skeleton.to_rig))

    def turns(self, posed: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Return how the fingers are turned against the hand, from rest.

        Args:
            posed: (3, 3) rotations of bones in the armature's space; those of hands and fingers are used.
        """
        found: dict[str, FloatArray] = {}
        for joint, name in self.names.items():
            wrist = self.skeleton.joints[self.skeleton.index(f"{joint[:2]}Wrist")].bone
            hand, finger = (posed[one] @ self.bones[one].axes.T for one in (wrist, name))
            found[joint] = self.axes @ hand.T @ finger @ self.axes.T
        return found

    def way(self, joint: str) -> FloatArray | None:
        """Return the direction in which a finger's bone goes at rest, the rig's space; None where nothing tells.

        A bone at the tip of which nothing tells goes on as the one before it.
        """
        finger, part = joint[:-1], int(joint[-1])
        bone, after = self.bones[self.names[joint]], self.names.get(f"{finger}{part + 1}")
        children = children_of(self.bones)[bone.name]
        if after is None and len(children) == 1:
            after = children[0]
        if after is not None:
            return self.axes @ (self.bones[after].head - bone.head)
        if f"{finger}{part - 1}" not in self.names:
            return None
        before, along = self.bones[self.names[f"{finger}{part - 1}"]], bone.tail - bone.head
        if np.linalg.norm(before.tail - bone.head) < JOINED * np.linalg.norm(along):
            return self.axes @ along
        return self.way(f"{finger}{part - 1}")  # the tails of imported bones lie anywhere

    def calibration(self, source: "Fingers", joint: str) -> FloatArray:
        """Return the rotation (3, 3) that takes a finger's rest pose to the source's; see `Joint.calibration`."""
        turn = self._hand(joint)
        for part in range(1, int(joint[-1]) + 1):
            name = f"{joint[:-1]}{part}"
            if name in self.names and name in source.names:
                mine, wanted = self.way(name), source.way(name)
                if mine is not None and wanted is not None:
                    turn = rotation_between(turn @ mine, wanted) @ turn
        return turn

    def _hand(self, joint: str) -> FloatArray:
        return self.skeleton.joints[self.skeleton.index(f"{joint[:2]}Wrist")].calibration

    def turned(self, source: "Fingers", turns: Mapping[str, FloatArray], pose: Posed, placement: Placement) -> Turned:
        """Return the rotations (3, 3) from rest of the finger bones, in the rig's space; of hands that are posed.

        Args:
            source: What the rig is posed like.
            turns: Of the source's fingers.
            pose: The rig's, solved.
            placement: Of the rig in the scene.
        """
        mirror = np.diag([-1.0 if placement.is_mirrored else 1.0, 1.0, 1.0])
        found: Turned = {}
        for joint, name in self.names.items():
            turn = turns.get(placement.other_side(joint))
            if turn is not None and joint in source.names:
                local = self._hand(joint).T @ mirror @ turn @ mirror @ self.calibration(source, joint)
                found[name] = pose.turn(f"{joint[:2]}Wrist") @ local
        return found


def posed_hands(frames: Sequence[Mapping[str, FloatArray]]) -> tuple[dict[str, FloatArray], ...]:
    """Return the turns of the fingers in each frame without the hands that rest in all of them."""
    moved = {joint[0] for turns in frames for joint, turn in turns.items() if np.linalg.norm(rotvec_of(turn)) > AT_REST}
    return tuple({joint: turn for joint, turn in turns.items() if joint[0] in moved} for turns in frames)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Skeletons as other programs want them: names of the bones, which way they point, whether there is a root."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from .body import FloatArray
from .rig import ALL_JOINT_NAMES, ROOT_BONE, Tree

MIN_LENGTH = 0.01
"""Metres; Blender drops a bone whose ends coincide."""

END_SHARE = 0.5
"""Of its parent's length: the length of a bone at the end of a limb."""

HEAD_LENGTH = 0.15
"""Metres upwards from the head's joint."""


@dataclass(frozen=True)
class Preset:
    """How a skeleton is written."""

    label: str
    description: str
    names: Mapping[str, str]
    """By our names of the joints."""
    root: str = ""
    """Name of a bone on the floor above the pelvis; empty for none."""
    is_along: bool = True
    """Whether bones point along the limbs; otherwise straight up, as ours."""
    spine: tuple[str, ...] = ()
    """From the bottom, for rigs with any number of bones in it."""
    neck: tuple[str, ...] = ()


_FINGERS = ("Thumb", "Index", "Middle", "Ring", "Pinky")
_SIDES = {"L": ("l", "Left"), "R": ("r", "Right")}

_UNREAL_LIMBS = {
    "Hip": "thigh", "Knee": "calf", "Ankle": "foot", "Foot": "ball", "Collar": "clavicle", "Shoulder": "upperarm",
    "Elbow": "lowerarm", "Wrist": "hand", "Hand": "middle_01", "Eye": "eye",
    **{f"{finger}{part}": f"{finger.lower()}_0{part}" for finger in _FINGERS for part in (1, 2, 3)},
}  # fmt: skip
_UNREAL = {
    "Pelvis": "pelvis", "Spine1": "spine_01", "Spine2": "spine_02", "Spine3": "spine_03", "Neck": "neck_01",
    "Head": "head", "Jaw": "jaw",
}  # fmt: skip

_MIXAMO_LIMBS = {
    "Hip": "UpLeg", "Knee": "Leg", "Ankle": "Foot", "Foot": "ToeBase", "Collar": "Shoulder", "Shoulder": "Arm",
    "Elbow": "ForeArm", "Wrist": "Hand", "Hand": "HandMiddle1", "Eye": "Eye",
    **{f"{finger}{part}": f"Hand{finger}{part}" for finger in _FINGERS for part in (1, 2, 3)},
}  # fmt: skip
_MIXAMO = {
    "Pelvis": "Hips", "Spine1": "Spine", "Spine2": "Spine1", "Spine3": "Spine2", "Neck": "Neck", "Head": "Head",
    "Jaw": "Jaw",
}  # fmt: skip

_UNITY_PARTS = {1: "Proximal", 2: "Intermediate", 3: "Distal"}
_UNITY_LIMBS = {
    "Hip": "UpperLeg", "Knee": "LowerLeg", "Ankle": "Foot", "Foot": "Toes", "Collar": "Shoulder",
    "Shoulder": "UpperArm", "Elbow": "LowerArm", "Wrist": "Hand", "Hand": "MiddleProximal", "Eye": "Eye",
    **{
        f"{finger}{part}": f"{'Little' if finger == 'Pinky' else finger}{word}"
        for finger in _FINGERS
        for part, word in _UNITY_PARTS.items()
    },
}  # fmt: skip
_UNITY = {
    "Pelvis": "Hips", "Spine1": "Spine", "Spine2": "Chest", "Spine3": "UpperChest", "Neck": "Neck", "Head": "Head",
    "Jaw": "Jaw",
}  # fmt: skip


def _named(trunk: Mapping[str, str], limbs: Mapping[str, str], pattern: str) -> Mapping[str, str]:
    """Return a name for every joint; `pattern` puts the side (`short` or `long`) and the part together."""
    names = {joint: pattern.format(short="", long="", part=name).strip("_") for joint, name in trunk.items()}
    for joint in ALL_JOINT_NAMES:
        side, _, part = joint.rpartition("_")
        if side:
            short, long = _SIDES[side]
            names[joint] = pattern.format(short=short, long=long, part=limbs[part])
    return MappingProxyType(names)


_OURS = MappingProxyType({name: name for name in ALL_JOINT_NAMES})

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "UNREAL": Preset(
            "Unreal",
            "Names of Unreal's mannequin, with a root bone",
            _named(_UNREAL, _UNREAL_LIMBS, "{part}_{short}"),
            root="root",
            spine=tuple(f"spine_{number:02d}" for number in range(1, 10)),
            neck=tuple(f"neck_{number:02d}" for number in range(1, 5)),
        ),
        "UNITY": Preset(
            "Unity",
            "Names of Unity's humanoid, which its avatar maps by itself",
            _named(_UNITY, _UNITY_LIMBS, "{long}{part}"),
            spine=("Spine", "Chest", "UpperChest"),
        ),
        "MIXAMO": Preset(
            "Mixamo",
            "Names of Mixamo's skeletons",
            _named(_MIXAMO, _MIXAMO_LIMBS, "mixamorig:{long}{part}"),
            spine=tuple(f"mixamorig:Spine{number or ''}" for number in range(9)),
            neck=tuple(f"mixamorig:Neck{number or ''}" for number in range(4)),
        ),
        "SMPL": Preset("SMPL", "The names and axes of the body as it is", _OURS, root=ROOT_BONE, is_along=False),
    }
)
"""By the identifiers of the operator."""

_NEXT = {"Pelvis": "Spine1", "Spine3": "Neck", "L_Wrist": "L_Middle1", "R_Wrist": "R_Middle1"}
"""Which of several children a bone points at."""


def bone_tails(tree: Tree, heads: FloatArray, up: FloatArray, length: float | None) -> FloatArray:
    """Return where bones end (J, 3).

    Args:
        tree: The joints.
        heads: (J, 3) where they rest, metres.
        up: (3,) which way is up.
        length: Of all bones, which then stand upright; None to have them point along the limbs.
    """
    if length is not None:
        return heads + length * up
    tails = heads.copy()
    for joint, name in enumerate(tree.names):
        children = [child for child, parent in enumerate(tree.parents) if parent == joint]
        chosen = [child for child in children if tree.names[child] == _NEXT.get(name)] or children
        if name == "Head":
            tails[joint] = heads[joint] + HEAD_LENGTH * up
        elif chosen:
            tails[joint] = heads[chosen[0]]
        else:
            parent = tree.parents[joint]
            tails[joint] = heads[joint] + END_SHARE * (heads[joint] - heads[parent])
        if np.linalg.norm(tails[joint] - heads[joint]) < MIN_LENGTH:
            tails[joint] = heads[joint] + MIN_LENGTH * up
    return tails


def basis_matrices(rest: FloatArray, posed: FloatArray, parents: tuple[int, ...]) -> FloatArray:
    """Return what each bone does in its own axes (F, J, 4, 4), so that it comes to where it is to be.

    Args:
        rest: (J, 4, 4) of the bones at rest.
        posed: (F, J, 4, 4) of the bones in each frame, in the same space.
        parents: Of each bone, -1 for none.
    """
    at_rest = rest.copy()
    in_frame = posed.copy()
    for joint, parent in enumerate(parents):
        if parent >= 0:
            at_rest[joint] = np.linalg.solve(rest[parent], rest[joint])
            in_frame[:, joint] = np.linalg.solve(posed[:, parent], posed[:, joint])
    found = np.linalg.solve(np.broadcast_to(at_rest, in_frame.shape), in_frame)
    return np.asarray(found, dtype=np.float64)

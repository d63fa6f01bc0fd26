# generated from ikol/exchange by scripts/vendor_protocol.py; do not edit
# SPDX-License-Identifier: Apache-2.0
"""Bone names of the field: which bone is which joint, by the ways of naming that rigs have in common, and the tree.

A name is taken apart into a side and a core without case, prefixes and separators (`mixamorig:LeftUpLeg` is the left
`upleg`, `DEF-thigh.L` the left `thigh`, `Bip01 R UpperArm` the right `upperarm`). Ways of naming contradict each other:
`Shoulder` is the collar bone with Mixamo and the upper arm with SMPL. So the way that finds most limbs decides.

The add-on has a copy of this file (scripts/vendor_protocol.py), so that `ikol solve` and *Pose My Rig* know the same
names. Imports: nothing but Python.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol, runtime_checkable

Side = Literal["L", "R", ""]


@runtime_checkable
class TreeBone(Protocol):
    """What is asked of a bone."""

    @property
    def parent(self) -> str | None:
        """The name of the bone above; None for a root."""
        ...

    @property
    def is_deform(self) -> bool:
        """Whether it moves the skin."""
        ...


TreeBones = Mapping[str, TreeBone]
"""By name, parents before their children."""


def ancestors(bones: TreeBones, name: str) -> list[str]:
    """Return a bone and all bones above it, upwards."""
    path: list[str] = []
    current: str | None = name
    while current is not None and current in bones:
        path.append(current)
        current = bones[current].parent
    return path


def common_ancestor(bones: TreeBones, names: Iterable[str]) -> str | None:
    """Return the lowest bone that is each of these, or above it; None where they hang on different roots."""
    paths = [ancestors(bones, name) for name in names]
    if not paths:
        return None
    shared = set(paths[0]).intersection(*paths[1:])
    return next((name for name in paths[0] if name in shared), None)


def path_down(bones: TreeBones, top: str, bottom: str) -> list[str]:
    """Return the bones from below `top` to `bottom`, both ends as named: top excluded, bottom included."""
    path = ancestors(bones, bottom)
    return path[: path.index(top)][::-1] if top in path else []


NEEDED_LIMBS: Final = ("Hip", "Knee", "Ankle", "Shoulder", "Elbow", "Wrist")

_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SIDES: Final[Mapping[str, Side]] = {"l": "L", "left": "L", "lft": "L", "r": "R", "right": "R", "rgt": "R"}
_PREFIXES: Final = frozenset(
    ("mixamorig", "def", "org", "j", "bip", "biped", "valve", "cc", "base", "b", "bn", "bone", "jnt", "joint", "sk",
     "m", "f", "avg", "character", "skeleton")
)  # fmt: skip
_MIDDLE: Final = frozenset(("c", "x", "m", "center", "centre", "mid"))
"""How VRM, Auto-Rig Pro and others mark bones that have no side."""


@dataclass(frozen=True)
class CoreName:
    """What is left of a bone's name."""

    side: Side
    core: str


def core_name(name: str) -> CoreName:
    """Return side and core of a bone's name."""
    words = [word.lower() for word in _PARTS.findall(name.rpartition(":")[2])]
    words = [str(int(word)) if word.isdigit() else word for word in words]
    side: Side = ""
    for place in dict.fromkeys((0, len(words) - 1, *range(len(words)))):
        if 0 <= place < len(words) and words[place] in _SIDES and len(words) > 1:
            side = _SIDES[words.pop(place)]
            break
    while len(words) > 1 and (words[0] in _PREFIXES or (words[0].isdigit() and len(words[0]) < 4)):
        words.pop(0)
        if words[0] in _SIDES and not side and len(words) > 1:
            side = _SIDES[words.pop(0)]
    words = [word for word in words if word not in _MIDDLE] or words
    return CoreName(side, "".join(words))


_BY_BONE: Final = {  # a bone is called by what it is: Unreal, VRM, Unity, Biped, Rigify, Daz, MakeHuman, Auto-Rig Pro
    "Hip": ("thigh", "upperleg", "thighbend", "thighstretch", "upperleg1", "upleg"),
    "Knee": ("calf", "lowerleg", "shin", "legstretch", "lowerleg1", "shinbend", "leg"),
    "Ankle": ("foot", "ankle"),
    "Foot": ("ball", "toe", "toes", "toebase", "toe0", "toes1", "toe11"),
    "Collar": ("clavicle", "collar", "shoulder"),
    "Shoulder": ("upperarm", "shldr", "shldrbend", "armstretch", "upperarm1", "uparm"),
    "Elbow": ("forearm", "lowerarm", "forearmbend", "forearmstretch", "lowerarm1", "loarm"),
    "Wrist": ("hand", "wrist"),
}
_MIXAMO: Final = {  # also Motion Builder, CMU, Rokoko: the shoulder is the collar bone, the arm the upper arm
    "Hip": ("upleg",),
    "Knee": ("leg",),
    "Ankle": ("foot",),
    "Foot": ("toebase", "toe", "toes"),
    "Collar": ("shoulder",),
    "Shoulder": ("arm",),
    "Elbow": ("forearm",),
    "Wrist": ("hand",),
}
_BY_JOINT: Final = {  # a bone is called by where it begins: SMPL, SMPL-X, Biovision
    "Hip": ("hip",),
    "Knee": ("knee",),
    "Ankle": ("ankle",),
    "Foot": ("foot", "toe"),
    "Collar": ("collar",),
    "Shoulder": ("shoulder",),
    "Elbow": ("elbow",),
    "Wrist": ("wrist",),
}
_RIGIFY: Final = {  # the controls of a generated rig; its other bones follow them
    "Hip": ("thighfk",),
    "Knee": ("shinfk",),
    "Ankle": ("footfk",),
    "Foot": ("toefk", "toe"),
    "Collar": ("shoulder",),
    "Shoulder": ("upperarmfk",),
    "Elbow": ("forearmfk",),
    "Wrist": ("handfk",),
}
_AUTO_RIG: Final = {  # the FK controls of Auto-Rig Pro; of an exported rig the bones that move the skin are there
    "Hip": ("thighfk",),
    "Knee": ("legfk",),
    "Ankle": ("footfk",),
    "Foot": ("toesfk",),
    "Collar": ("shoulder",),
    "Shoulder": ("armfk",),
    "Elbow": ("forearmfk",),
    "Wrist": ("handfk",),
}
_WAYS: Final = {
    "names of Rigify": _RIGIFY, "names of Auto-Rig Pro": _AUTO_RIG,
    "names of bones": _BY_BONE, "names of Mixamo": _MIXAMO, "names of joints": _BY_JOINT,
}  # fmt: skip

FOLLOWERS: Final = ("DEF-", "ORG-", "MCH-")
"""How Rigify begins the names of the bones that follow its controls."""

_HEAD: Final = ("head", "headx")
_NECK: Final = ("neck", "neck1", "necklower", "neckbase")
_RIGIFY_TRUNK: Final = {
    "Pelvis": "spine_fk", "Spine1": "spine_fk.001", "Spine2": "spine_fk.002", "Spine3": "spine_fk.003",
}  # fmt: skip
_AUTO_RIG_TRUNK: Final = {"Pelvis": "c_root_master.x", "Neck": "c_neck.x", "Head": "c_head.x"}
AUTO_RIG_CONTROL: Final = "c_"
"""How Auto-Rig Pro begins the names of its controls; `c_NAME` moves `NAME`."""
_METARIG_TRUNK: Final = {"Neck": "spine.004", "Head": "spine.006"}


@dataclass(frozen=True)
class NamedLimbs:
    """What names tell."""

    way: str
    joints: dict[str, str]
    """Bones by SMPL's joints; spine and pelvis only where their names alone tell."""

    @property
    def is_complete(self) -> bool:
        """Whether all limbs were found."""
        return all(f"{side}_{limb}" in self.joints for side in "LR" for limb in NEEDED_LIMBS)


def name_limbs(bones: TreeBones) -> NamedLimbs:
    """Return the joints that the names of the bones tell, by the way of naming that finds most of them."""
    by_core: dict[CoreName, list[str]] = {}
    for name in bones:
        by_core.setdefault(core_name(name), []).append(name)
    controls = {key: [name for name in names if not name.startswith(FOLLOWERS)] for key, names in by_core.items()}
    auto = {key: [name for name in names if name.startswith(AUTO_RIG_CONTROL)] for key, names in by_core.items()}
    among = {"names of Rigify": controls, "names of Auto-Rig Pro": auto}
    found = {way: _limbs(bones, among.get(way, by_core), table) for way, table in _WAYS.items()}
    way = max(found, key=lambda way: sum(joint[2:] in NEEDED_LIMBS for joint in found[way]))
    joints = found[way]
    if way == "names of Rigify":
        joints |= {joint: bone for joint, bone in _RIGIFY_TRUNK.items() if bone in bones}
    for joint, cores in (("Head", _HEAD), ("Neck", _NECK)):
        known = [bone for core in cores for bone in among.get(way, by_core).get(CoreName("", core), [])]
        if known:
            joints[joint] = best_bone(bones, known)
    if way == "names of Auto-Rig Pro":
        joints |= {joint: bone for joint, bone in _AUTO_RIG_TRUNK.items() if bone in bones}
    for prefix in ("", "DEF-"):
        trunk = {joint: f"{prefix}{bone}" for joint, bone in _METARIG_TRUNK.items()}
        if "Head" not in joints and all(bone in bones for bone in trunk.values()):
            joints |= trunk
    return NamedLimbs(way, joints)


def _limbs(
    bones: TreeBones, by_core: Mapping[CoreName, list[str]], table: Mapping[str, tuple[str, ...]]
) -> dict[str, str]:
    joints: dict[str, str] = {}
    for side in ("L", "R"):
        for limb, cores in table.items():
            names = [name for core in cores for name in by_core.get(CoreName(side, core), [])]
            names = [name for name in names if name not in joints.values()]
            above = joints.get(f"{side}_{_ABOVE.get(limb, '')}")
            below = [name for name in names if above is None or above in ancestors(bones, name)]
            if names:
                joints[f"{side}_{limb}"] = best_bone(bones, below or names)
    return joints


_ABOVE: Final = {"Knee": "Hip", "Ankle": "Knee", "Foot": "Ankle", "Elbow": "Shoulder", "Wrist": "Elbow"}


def best_bone(bones: TreeBones, names: list[str]) -> str:
    """Return the bone that moves the skin, of these the one nearest to the root."""
    return min(names, key=lambda name: (not bones[name].is_deform, len(ancestors(bones, name))))


def trunk_joints(
    bones: TreeBones,
    joints: Mapping[str, str],
    way_up: Callable[[str, set[str]], list[str]] = lambda _chest, _arms: [],
) -> dict[str, str]:
    """Return pelvis, spine, neck and head as the tree tells them.

    The pelvis is where both legs and the spine meet, the chest where both arms and the head do.

    Args:
        bones: The tree.
        joints: Bones by SMPL's joints, as names tell.
        way_up: Gives the bones from above the chest to the head where nothing has its name, by the chest and the arms.
    """
    legs = [joints[name] for name in ("L_Hip", "R_Hip") if name in joints]
    arms = [joints.get(f"{side}_Collar", joints.get(f"{side}_Shoulder", "")) for side in "LR"]
    if len(legs) < 2 or not all(arms):
        return {}
    head = joints.get("Head")
    pelvis = joints.get("Pelvis") or common_ancestor(bones, [*legs, *arms])
    chest = joints.get("Spine3") or common_ancestor(bones, [*arms, head] if head else arms)
    if pelvis is None or chest is None:
        return {} if pelvis is None else {"Pelvis": pelvis}
    found = {"Pelvis": pelvis}
    spine = path_down(bones, pelvis, chest)
    if spine:
        found["Spine3"] = spine[-1]
    if len(spine) > 1:
        found["Spine1"] = spine[0]
    if len(spine) > 2:
        found["Spine2"] = spine[(len(spine) - 1) // 2]
    above = path_down(bones, chest, head) if head else way_up(chest, set(arms))
    if above:
        found["Head"] = above[-1]
    if len(above) > 1:
        found["Neck"] = above[0]
    return found

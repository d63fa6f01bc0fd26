# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bone of a rig is which of SMPL's joints: found by names, else by the rest pose; corrected by the user; kept.

The trunk follows from the tree: the pelvis is where both legs and the spine meet, the chest where both arms and the
head do. Bones between them that have no joint of their own are known to the skeleton (rig_skeleton).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from .errors import FileError, SceneError
from .rig_bones import Bones, FloatArray, children_of
from .rig_fingers import FINGER_JOINTS, find_fingers
from .rig_names import NEEDED_LIMBS, name_limbs, trunk_joints
from .rig_topology import limbs_by_shape

RIG_JOINTS: Final = (
    "Pelvis", "Spine1", "Spine2", "Spine3", "Neck", "Head",
    *(f"{side}_{limb}" for limb in ("Collar", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Foot")
      for side in "LR"),
)  # fmt: skip
"""The joints that a rig may have bones for, in the order in which the panel shows them."""

NEEDED: Final = ("Pelvis", *(f"{side}_{limb}" for limb in NEEDED_LIMBS for side in "LR"))
"""Without these a rig cannot be posed."""

PRESET_VERSION: Final = 1
MAX_PRESET_BYTES: Final = 1 << 16
"""A preset takes a kilobyte."""


@dataclass(frozen=True)
class RigMap:
    """Bones by joints, and where they are from."""

    bones: dict[str, str]
    way: str = "hand"
    """How they were found: by a way of naming, the rest pose, a preset, or by hand."""
    guessed: frozenset[str] = frozenset()
    """Joints that names did not tell."""
    fingers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Bones by finger joints."""

    @property
    def missing(self) -> tuple[str, ...]:
        """Joints without which the rig cannot be posed."""
        return tuple(joint for joint in NEEDED if joint not in self.bones)


def map_rig(bones: Bones, up: FloatArray | None = None) -> RigMap:
    """Return which bone is which joint, as far as names and rest pose tell.

    Args:
        bones: At rest.
        up: Unit vector in the armature's space; None for +Z.
    """
    named = name_limbs(bones)
    joints, guessed, way = dict(named.joints), frozenset[str](), named.way
    if not named.is_complete:
        up = np.array([0.0, 0.0, 1.0]) if up is None else up
        shaped = limbs_by_shape(bones, up)
        # one way for all limbs: half of each would name a bone twice
        if all(f"{side}_{limb}" in shaped for side in "LR" for limb in NEEDED_LIMBS):
            joints, guessed, way = shaped, frozenset(shaped), "rest pose"
    trunk = trunk_joints(bones, joints, lambda chest, arms: _way_up(bones, chest, arms))
    # between limbs that are known the tree is no guess, what lies above the arms is
    untold = frozenset(trunk) - frozenset(joints)
    guessed |= untold if guessed else untold & {"Neck", "Head"}
    if joints.get("Neck") in trunk.values():  # arms that hang on what names call the neck
        joints.pop("Neck")
    joints = {**trunk, **joints}
    found = {joint: joints[joint] for joint in RIG_JOINTS if joint in joints}
    return RigMap(found, way, guessed, find_fingers(bones, found))


def _way_up(bones: Bones, chest: str, arms: set[str]) -> list[str]:
    """Return the bones from above the chest to the head, where nothing has its name: two at most."""
    children, path = children_of(bones), [chest]
    while True:
        further = [name for name in children[path[-1]] if name not in arms]
        if not further or (len(path) > 1 and len(further) > 1):
            break
        reach = {name: np.linalg.norm(bones[name].tail - bones[name].head) for name in further}
        path.append(max(further, key=lambda name: reach[name]))
    return path[1:3]


def check_map(bones: Bones, joints: Mapping[str, str]) -> None:
    """Check that a rig can be posed with these bones.

    Raises:
        SceneError: One is missing, is not there, or stands for two joints.
    """
    missing = [joint for joint in NEEDED if not joints.get(joint)]
    if missing:
        raise SceneError(
            f"no bone is known as {', '.join(missing[:4])}; choose it in the panel under Bones, or find them again"
        )
    gone = [bone for bone in joints.values() if bone not in bones]
    if gone:
        raise SceneError(f"the rig has no bone {gone[0]} any more; choose another one under Bones, or find them again")
    twice = [bone for bone in joints.values() if list(joints.values()).count(bone) > 1]
    if twice:
        double = [joint for joint, bone in joints.items() if bone == twice[0]]
        raise SceneError(f"{twice[0]} stands for {' and '.join(double)}; a bone can be one joint only")


def write_preset(joints: Mapping[str, str]) -> str:
    """Return a mapping as the text of a preset file."""
    return json.dumps({"version": PRESET_VERSION, "bones": dict(joints)}, indent=1) + "\n"


def read_preset(text: str, name: str) -> dict[str, str]:
    """Return the mapping of a preset file.

    Raises:
        FileError: The file is none.
    """
    try:
        if len(text) > MAX_PRESET_BYTES:
            raise ValueError("it is too large")
        content = json.loads(text)
        if not isinstance(content, dict) or content.get("version") != PRESET_VERSION:
            raise ValueError(f"it is not of version {PRESET_VERSION}")
        found = content.get("bones")
        if not isinstance(found, dict) or not all(isinstance(bone, str) for bone in found.values()):
            raise ValueError("it has no bones")
    except (ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise FileError(f"the preset {name} cannot be read ({reason}); save it again") from error
    return {joint: str(found[joint]) for joint in (*RIG_JOINTS, *FINGER_JOINTS) if joint in found}


def map_of_preset(bones: Bones, preset: Mapping[str, str], name: str) -> RigMap:
    """Return the mapping of a preset, as far as the rig has its bones; fingers that it lacks are found by names."""
    known = {joint: bone for joint, bone in preset.items() if bone in bones}
    joints = {joint: bone for joint, bone in known.items() if joint in RIG_JOINTS}
    fingers = {joint: bone for joint, bone in known.items() if joint in FINGER_JOINTS}
    return RigMap(joints, f"preset {name}", fingers=fingers or find_fingers(bones, joints))


def fitting_preset(bones: Bones, presets: Mapping[str, Mapping[str, str]]) -> str | None:
    """Return the name of the preset whose bones the rig has, all of them; the one with most of them."""
    fitting = [name for name, joints in presets.items() if joints and all(bone in bones for bone in joints.values())]
    return max(fitting, key=lambda name: len(presets[name]), default=None)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of the body: which joints a solve may turn when only a part is to move."""

from collections.abc import Iterable
from types import MappingProxyType

from .rig import ALL_JOINT_NAMES, Tree

_SPINE = ("Spine1", "Spine2", "Spine3")
_HEAD = ("Neck", "Head", "Jaw", "L_Eye", "R_Eye")
_FINGERS = ("Index", "Middle", "Pinky", "Ring", "Thumb")
_FINGER_JOINTS = tuple(f"{finger}{part}" for finger in _FINGERS for part in (1, 2, 3))
_LIMBS = {
    f"{side}_{limb}": tuple(f"{side[0].upper()}_{joint}" for joint in joints)
    for side in ("left", "right")
    for limb, joints in (
        ("arm", ("Collar", "Shoulder", "Elbow", "Wrist", "Hand", *_FINGER_JOINTS)),
        ("leg", ("Hip", "Knee", "Ankle", "Foot")),
    )
}

PARTS = MappingProxyType(
    {
        **_LIMBS,
        "upper_body": (*_SPINE, *_HEAD, *_LIMBS["left_arm"], *_LIMBS["right_arm"]),
        "lower_body": (*_LIMBS["left_leg"], *_LIMBS["right_leg"]),
        "arms": (*_LIMBS["left_arm"], *_LIMBS["right_arm"]),
        "legs": (*_LIMBS["left_leg"], *_LIMBS["right_leg"]),
        "sides": tuple(name for name in ALL_JOINT_NAMES if name != "Pelvis"),
        "head": _HEAD,
        "torso": _SPINE,
    }
)
"""Joints of each part by its name, also those that only bodies with a face and fingers have. None has the pelvis: it
would carry the rest of the body along."""


def joints_of_part(part: str, tree: Tree) -> tuple[str, ...]:
    """Return the joints of a part that a body has, in the part's order."""
    return tuple(name for name in PARTS[part] if name in tree.names)


def joints_of_bones(bones: Iterable[str]) -> tuple[str, ...]:
    """Return the joints that these bones turn, in the skeleton's order; the root bone and strangers turn none."""
    chosen = set(bones)
    return tuple(name for name in ALL_JOINT_NAMES if name in chosen)

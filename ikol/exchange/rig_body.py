# SPDX-License-Identifier: Apache-2.0
"""A BVH hierarchy as a body that the pipeline poses: its joints by SMPL's names, its own bone lengths, the landmarks.

The priors and limits are those of a T-pose (arms to the sides, palms down, facing +Z); other rest poses are refused.
Imports: torch, ikol.body, ikol.errors, ikol.exchange.bvh.
"""

import math
from collections.abc import Mapping
from typing import Final

import torch

from ikol.body.joint_tree import JointTree
from ikol.body.model import BodyModel
from ikol.body.smpl_file import attach_landmarks, check_stance
from ikol.body.smpl_trees import SMPL_TREE
from ikol.errors import FileFormatError
from ikol.exchange.bvh import Rig

MAX_ARM_DEG: Final = 35.0  # of the upper arm from the side; an A-pose has 45
_NEEDED: Final = (
    *(f"{side}_{part}" for part in ("Hip", "Knee", "Ankle", "Shoulder", "Elbow", "Wrist") for side in "LR"),
    "Head",
)
_TRUNK: Final = {"Hips": "Pelvis", "Hip": "Pelvis", "pelvis": "Pelvis", "Neck": "Neck", "Head": "Head"}
_MIXAMO: Final = {  # also Motion Builder, CMU and Rokoko: the shoulder is the collar bone
    "UpLeg": "Hip", "Leg": "Knee", "Foot": "Ankle", "ToeBase": "Foot", "Shoulder": "Collar", "Arm": "Shoulder",
    "ForeArm": "Elbow", "Hand": "Wrist",
}  # fmt: skip
_BY_JOINT: Final = {  # CMU in Biovision's names, and Daz: a joint is called by where it is
    "Hip": "Hip", "Thigh": "Hip", "Knee": "Knee", "Shin": "Knee", "Ankle": "Ankle", "Foot": "Ankle", "Toe": "Foot",
    "Collar": "Collar", "Shoulder": "Shoulder", "Shldr": "Shoulder", "Elbow": "Elbow", "ForeArm": "Elbow",
    "Wrist": "Wrist", "Hand": "Wrist",
}  # fmt: skip
_SIDES: Final = {"L": ("Left", "left", "L", "l"), "R": ("Right", "right", "R", "r")}


def body_of_rig(rig: Rig, source: str) -> BodyModel:
    """Return a body of the rig's joints and bone lengths, with the landmarks that its joints can carry.

    Raises:
        FileFormatError: limbs are not found by their names, or the rest pose is no T-pose.
    """
    tree = JointTree(smpl_names(rig.tree, source), rig.tree.parents)
    joints = rig.rest_joints.double()
    count = tree.num_joints
    eye = torch.eye(count, dtype=torch.float64)
    bare = BodyModel.from_arrays(
        name=source,
        tree=tree,
        v_template=joints,
        faces=torch.zeros(0, 3, dtype=torch.long),
        shapedirs=torch.zeros(count, 3, 1, dtype=torch.float64),
        J_regressor=eye,
        lbs_weights=eye,
    )
    check_stance(bare)
    for side, sign in (("L", 1.0), ("R", -1.0)):
        arm = joints[tree.index(f"{side}_Elbow")] - joints[tree.index(f"{side}_Shoulder")]
        angle = math.degrees(math.acos(min(1.0, max(-1.0, sign * float(arm[0] / arm.norm())))))
        if angle > MAX_ARM_DEG:
            raise FileFormatError(
                f"{source}: the {side}_Shoulder's bone rests {angle:.0f} degrees from a T-pose, expected at most "
                f"{MAX_ARM_DEG:.0f}; export the skeleton with a T-pose as its rest pose"
            )
    return BodyModel.from_arrays(
        name=source,
        tree=tree,
        v_template=joints,
        faces=bare.faces,
        shapedirs=bare.shapedirs,
        J_regressor=eye,
        lbs_weights=eye,
        landmarks=attach_landmarks(bare),
    )


def smpl_names(tree: JointTree, source: str) -> tuple[str, ...]:
    """Return the joints' names, changed to SMPL's where they are known by one of three ways of naming.

    Raises:
        FileFormatError: limbs are missing in all of them.
    """
    ways = [dict(zip(SMPL_TREE.names, SMPL_TREE.names, strict=True)), *map(_sided, (_MIXAMO, _BY_JOINT))]
    best = max(ways, key=lambda way: len({way[name] for name in tree.names if name in way} & {*_NEEDED}))
    found: dict[str, str] = {}
    for name in tree.names:
        if name in best and best[name] not in found.values():
            found[name] = best[name]
    missing = [joint for joint in _NEEDED if joint not in found.values()]
    if missing:
        raise FileFormatError(
            f"{source}: no joint is known as {', '.join(missing[:6])}; got {', '.join(tree.names[:30])}; name the "
            "joints as SMPL, Mixamo or CMU do"
        )
    if "Pelvis" not in found.values():
        found[tree.names[0]] = "Pelvis"
    spine = [joint for joint in _way_up(tree, found) if tree.names[joint] not in found]
    for number, joint in enumerate(spine[:3], start=1):
        found.setdefault(tree.names[joint], f"Spine{number}")
    taken = {*found.values()}
    return tuple(found.get(name, name if name not in taken else f"{name}.own") for name in tree.names)


def _sided(parts: Mapping[str, str]) -> dict[str, str]:
    way = dict(_TRUNK)
    for side, words in _SIDES.items():
        for word in words:
            for part, ours in parts.items():
                for name in (f"{word}{part}", f"{word}{part.lower()}", f"{word}_{part}", f"{part}_{word}"):
                    way[name] = f"{side}_{ours}"
    return way


def _way_up(tree: JointTree, found: Mapping[str, str]) -> list[int]:
    """Return the joints between the pelvis and the left shoulder's side, from below."""
    joint = next(number for number, name in enumerate(tree.names) if found.get(name) == "L_Shoulder")
    path: list[int] = []
    while joint > 0:
        path.append(joint)
        joint = tree.parents[joint]
    return path[::-1]

# SPDX-License-Identifier: Apache-2.0
"""Which points of our body a network's joints are, for the joint sets that are common. Imports: names only.

A joint that our body has no point for (the spine of Human3.6M, finger tips, the face's outline) is None and is not
used. SMPL's shoulders, elbows, wrists, knees and ankles are the landmarks of these names, see `ikol.body.points`.
"""

from typing import Literal

from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS
from ikol.regressor.networks.joints import SMPL24

JointSet = Literal["smpl24", "smpl29", "h36m17", "coco17", "coco_wb133", "blazepose33"]

_SIDES = {"L": "left", "R": "right"}
_SAME = ("Shoulder", "Elbow", "Wrist", "Knee", "Ankle")


def _landmark(joint: str) -> str:
    side, _, part = joint.partition("_")
    return f"{_SIDES[side]}_{part.lower()}" if part in _SAME else joint


_SMPL = tuple(_landmark(name) for name in SMPL24)
_H36M = (
    "Pelvis", "R_Hip", "right_knee", "right_ankle", "L_Hip", "left_knee", "left_ankle", None, None, "nose", None,
    "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist",
)  # fmt: skip
_COCO = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
_FACE_COUNT, _HAND_COUNT = 68, 21
_KNUCKLES = {2: "thumb", 5: "index", 17: "pinky"}  # of a hand's 21: the wrist, then four of each finger from its root


def _hand(side: str) -> tuple[str | None, ...]:
    return tuple(f"{side}_{_KNUCKLES[i]}" if i in _KNUCKLES else None for i in range(_HAND_COUNT))


_WHOLE_BODY = (
    *_COCO,
    *("left_foot_index", None, "left_heel", "right_foot_index", None, "right_heel"),  # big toe, small toe, heel
    *(None,) * _FACE_COUNT,
    *_hand("left"),
    *_hand("right"),
)
JOINT_SETS: dict[JointSet, tuple[str | None, ...]] = {
    "smpl24": _SMPL,
    "smpl29": (*_SMPL, *(None,) * 5),
    "h36m17": _H36M,
    "coco17": _COCO,
    "coco_wb133": _WHOLE_BODY,
    "blazepose33": BLAZEPOSE_LANDMARKS,
}
"""The body's point of each joint, in the order in which networks of that joint set give them."""
HIPS = (("L_Hip", "left_hip"), ("R_Hip", "right_hip"))
"""Names of the hips: one of each pair is in every joint set. Their middle is the same point of our body."""


def hip_indices(points: tuple[str | None, ...]) -> tuple[int, int]:
    """Return where the left and the right hip are in a joint set."""
    left, right = (next(points.index(name) for name in names if name in points) for names in HIPS)
    return left, right

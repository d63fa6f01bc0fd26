# SPDX-License-Identifier: Apache-2.0
"""What other programs call the points of a body, in their files' order, and which of ours each is.

Names that mean no point of ours are kept as the format's own. Imports: nothing of ikol.
"""

from collections.abc import Sequence
from typing import Final

COCO: Final = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
OPENPOSE_25: Final = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "mid_hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye",
    "right_ear", "left_ear", "left_foot_index", "left_small_toe", "left_heel", "right_foot_index", "right_small_toe",
    "right_heel",
)  # fmt: skip
OPENPOSE_18: Final = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye",
    "right_ear", "left_ear",
)  # fmt: skip
BLAZEPOSE: Final = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
    "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky", "left_index", "right_index", "left_thumb",
    "right_thumb", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "left_heel",
    "right_heel", "left_foot_index", "right_foot_index",
)  # fmt: skip


FINGERS: Final = ("Thumb", "Index", "Middle", "Ring", "Pinky")  # in the files' order


def hand_names(side: str) -> tuple[str, ...]:
    """Return the 21 points of a hand, of OpenPose and COCO-WholeBody, which are joints of SMPL-H and SMPL-X, and tips.

    The knuckles that are BlazePose's landmarks are called so: bodies without fingers have them too.
    """
    letter = side[0].upper()
    names = [f"{side}_hand_root"]
    for finger in FINGERS:
        names += [f"{letter}_{finger}{part}" for part in (1, 2, 3)]
        names.append(f"{letter}_{finger}3_end")
    ours = {f"{letter}_Index1": "index", f"{letter}_Pinky1": "pinky", f"{letter}_Thumb2": "thumb"}
    return tuple(f"{side}_{ours[name]}" if name in ours else name for name in names)


FACE: Final = tuple(f"face_{index}" for index in range(68))
"""The 68 points of iBUG; OpenPose adds the pupils."""
INNER_LIPS: Final = (("face_61", "face_67"), ("face_62", "face_66"), ("face_63", "face_65"))
"""The upper lip's inner edge, and what touches it when the mouth is closed."""
WHOLEBODY: Final = (
    *COCO, "left_foot_index", "left_small_toe", "left_heel", "right_foot_index", "right_small_toe", "right_heel",
    *FACE, *hand_names("left"), *hand_names("right"),
)  # fmt: skip

_ALIASES: Final = {
    "bigtoe": "foot_index", "toe": "foot_index", "toes": "foot_index", "foot": "foot_index", "heel": "heel",
    "shoulder": "shoulder", "elbow": "elbow", "wrist": "wrist", "hip": "hip", "knee": "knee", "ankle": "ankle",
    "ear": "ear", "eye": "eye", "index": "index", "pinky": "pinky", "thumb": "thumb", "footindex": "foot_index",
}  # fmt: skip
_EYES: Final = ("L_Eye", "R_Eye")  # joints of SMPL-X, and what many call their marker on the face


def our_names(names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return marker names, changed to ours where they say the same: RKnee, Knee_L, left ankle, RBigToe.

    Args:
        names: of markers; what is before a colon is a subject's name and is dropped.
        known: our own names, which stay as they are.
    """
    found: list[str] = []
    plain = [full.rpartition(":")[2].strip() for full in names]
    # a head among other programs' points is its top, SMPL's is the joint at its base
    is_smpl = any(name in known and name[:2] in ("L_", "R_") and name not in _EYES for name in plain)
    for name in plain:
        is_ours = name in known and (is_smpl or not name[0].isupper())
        mine = name if is_ours else _our_name(name) or (name.lower() if name in known else name)
        found.append(mine if mine not in found else f"{mine}.{len(found)}")
    return tuple(found)


def _our_name(name: str) -> str | None:
    if name.lower() == "nose":
        return "nose"
    for side, rest in _sides(name):
        part = rest.replace("_", "").replace(" ", "").lower()
        if part in _ALIASES:
            return f"{side}_{_ALIASES[part]}"
    return None


def _sides(name: str) -> list[tuple[str, str]]:
    """Return ways to read a name as a side and a part."""
    ways: list[tuple[str, str]] = []
    for side, words in (
        ("left", ("left", "Left", "LEFT", "L", "l_", "l ")),
        ("right", ("right", "Right", "RIGHT", "R", "r_", "r ")),
    ):
        for word in words:
            if name.startswith(word):
                ways.append((side, name[len(word) :].lstrip("_ .-")))
            end = word.strip("_ ")
            if name.endswith((f"_{end}", f".{end}", f" {end}", f"-{end}")):
                ways.append((side, name[: -len(end) - 1]))
    return ways

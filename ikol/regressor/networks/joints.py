# SPDX-License-Identifier: Apache-2.0
"""The joints that these networks speak of, and which belong together when a picture is mirrored. No imports."""

SMPL24 = (
    "Pelvis", "L_Hip", "R_Hip", "Spine1", "L_Knee", "R_Knee", "Spine2", "L_Ankle", "R_Ankle", "Spine3", "L_Foot",
    "R_Foot", "Neck", "L_Collar", "R_Collar", "Head", "L_Shoulder", "R_Shoulder", "L_Elbow", "R_Elbow", "L_Wrist",
    "R_Wrist", "L_Hand", "R_Hand",
)  # fmt: skip
SMPL29 = (*SMPL24, "Head_end", "L_Hand_end", "R_Hand_end", "L_Foot_end", "R_Foot_end")
"""HybrIK's order: the five ends (top of the head, middle finger tips, big toes) follow the joints."""
LEAVES = ("L_Foot", "R_Foot", "Head", "L_Hand", "R_Hand")
"""Whose rotations the 24-joint networks predict as quaternions, in their order."""
NUM_TWISTS = 23  # one a joint but the root, in SMPL's order


def mirror_order(names: tuple[str, ...]) -> tuple[int, ...]:
    """Return for each name the index of the same on the other side."""
    other = {"L": "R", "R": "L"}
    return tuple(
        names.index(f"{other[name[0]]}{name[1:]}") if name[:2] in ("L_", "R_") else index
        for index, name in enumerate(names)
    )

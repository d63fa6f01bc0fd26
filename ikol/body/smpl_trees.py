# SPDX-License-Identifier: Apache-2.0
"""The joint trees of SMPL, SMPL-H and SMPL-X, in the order of their files. Imports: ikol.body.joint_tree, ikol.errors.

The first 22 joints are the same in all three. SMPL has one joint more for each hand, SMPL-H 15 for the fingers of each,
SMPL-X jaw and eyes beside these.
"""

from typing import Final

from ikol.body.joint_tree import JointTree
from ikol.errors import FileFormatError

_BODY_NAMES: Final = (
    "Pelvis", "L_Hip", "R_Hip", "Spine1", "L_Knee", "R_Knee", "Spine2", "L_Ankle", "R_Ankle", "Spine3", "L_Foot",
    "R_Foot", "Neck", "L_Collar", "R_Collar", "Head", "L_Shoulder", "R_Shoulder", "L_Elbow", "R_Elbow", "L_Wrist",
    "R_Wrist",
)  # fmt: skip
_BODY_PARENTS: Final = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
_FINGERS: Final = ("Index", "Middle", "Pinky", "Ring", "Thumb")  # in the files' order
_HEAD, _WRISTS = 15, (20, 21)


def _fingers(first: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return names and parents of both hands' finger joints, of which the first has index `first`."""
    names = tuple(f"{side}_{finger}{part}" for side in "LR" for finger in _FINGERS for part in (1, 2, 3))
    parents = tuple(_WRISTS[number // 15] if number % 3 == 0 else first + number - 1 for number in range(len(names)))
    return names, parents


def _with_fingers(names: tuple[str, ...], parents: tuple[int, ...]) -> JointTree:
    fingers, finger_parents = _fingers(len(names))
    return JointTree(names + fingers, parents + finger_parents)


SMPL_TREE: Final = JointTree((*_BODY_NAMES, "L_Hand", "R_Hand"), (*_BODY_PARENTS, *_WRISTS))
SMPLH_TREE: Final = _with_fingers(_BODY_NAMES, _BODY_PARENTS)
SMPLX_TREE: Final = _with_fingers((*_BODY_NAMES, "Jaw", "L_Eye", "R_Eye"), (*_BODY_PARENTS, _HEAD, _HEAD, _HEAD))

MODELS: Final = {"SMPL": SMPL_TREE, "SMPL-H": SMPLH_TREE, "SMPL-X": SMPLX_TREE}
"""Trees by the name of their model."""
_OTHER_MODELS: Final = {16: "MANO, a hand", 5: "FLAME, a head", 33: "SMAL, an animal"}


def model_of(num_joints: int, source: str) -> str:
    """Return the name of the model that has so many joints.

    Raises:
        FileFormatError: none of the known ones has.
    """
    for name, tree in MODELS.items():
        if tree.num_joints == num_joints:
            return name
    wanted = ", ".join(f"{tree.num_joints} ({name})" for name, tree in MODELS.items())
    looks = f", as {_OTHER_MODELS[num_joints]}, has" if num_joints in _OTHER_MODELS else ""
    raise FileFormatError(f"{source} has {num_joints} joints{looks}; expected {wanted}")

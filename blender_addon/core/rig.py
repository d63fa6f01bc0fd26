# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and tree of the armature that the add-on builds: the convention of the MPI SMPL add-on.

Here: joint names, parents, names of shape keys, handles and custom properties. Not here: positions (body),
axes (pose_conversion).
"""

from collections.abc import Iterable
from dataclasses import dataclass

ROOT_BONE = "root"
"""Bone above the pelvis that carries no rotation of the pose; the user moves the whole body with it."""

_BODY_NAMES = (
    "Pelvis", "L_Hip", "R_Hip", "Spine1", "L_Knee", "R_Knee", "Spine2", "L_Ankle", "R_Ankle", "Spine3", "L_Foot",
    "R_Foot", "Neck", "L_Collar", "R_Collar", "Head", "L_Shoulder", "R_Shoulder", "L_Elbow", "R_Elbow", "L_Wrist",
    "R_Wrist",
)  # fmt: skip
_BODY_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
_FACE_NAMES = ("Jaw", "L_Eye", "R_Eye")
_HEAD, _WRISTS = 15, (20, 21)
_FINGERS = ("Index", "Middle", "Pinky", "Ring", "Thumb")
_FINGER_NAMES = tuple(f"{side}_{finger}{part}" for side in "LR" for finger in _FINGERS for part in (1, 2, 3))


@dataclass(frozen=True)
class Tree:
    """The joints of a body in the order of its file; bones have the same names."""

    model: str
    names: tuple[str, ...]
    parents: tuple[int, ...]

    def index(self, joint: str) -> int:
        """Return the number of a joint; the hand of a body with fingers is its wrist."""
        return self.names.index(joint if joint in self.names else joint.replace("Hand", "Wrist"))


def _with_fingers(model: str, names: tuple[str, ...], parents: tuple[int, ...]) -> Tree:
    fingers = tuple(
        _WRISTS[number // 15] if number % 3 == 0 else len(names) + number - 1 for number in range(len(_FINGER_NAMES))
    )
    return Tree(model, names + _FINGER_NAMES, parents + fingers)


SMPL = Tree("SMPL", (*_BODY_NAMES, "L_Hand", "R_Hand"), (*_BODY_PARENTS, *_WRISTS))
SMPLH = _with_fingers("SMPL-H", _BODY_NAMES, _BODY_PARENTS)
SMPLX = _with_fingers("SMPL-X", (*_BODY_NAMES, *_FACE_NAMES), (*_BODY_PARENTS, _HEAD, _HEAD, _HEAD))

TREES = {len(tree.names): tree for tree in (SMPL, SMPLH, SMPLX)}
"""By how many joints they have."""

JOINT_NAMES, JOINT_PARENTS = SMPL.names, SMPL.parents
"""SMPL's 24 joints: those of the default body, and of every body but for its hands and face."""

ALL_JOINT_NAMES = (*JOINT_NAMES, *_FACE_NAMES, *_FINGER_NAMES)


def tree_of_bones(bones: Iterable[str]) -> Tree:
    """Return the tree of an armature with these bones; it may lack some of the tree's."""
    names = set(bones)
    if names & {*_FACE_NAMES}:
        return SMPLX
    return SMPLH if names & {*_FINGER_NAMES} else SMPL


_LONG_SIDES = {"L": "left", "R": "right"}


def _called(joint: str) -> tuple[str, ...]:
    """Return how SMPL's add-ons and files call the bone of a joint: the MPI's two, Meshcapade's, and FBX files."""
    side, _, part = joint.rpartition("_")
    snake = f"{_LONG_SIDES[side]}_{part.lower()}" if side else part.lower()
    return (joint, snake, f"{snake}_smplhf", f"m_avg_{joint}", f"f_avg_{joint}")


def smpl_bones(bones: Iterable[str]) -> tuple[Tree, tuple[str, ...]] | None:
    """Return the tree of an armature of any SMPL add-on and the bones of its joints; None for other armatures."""
    names = set(bones)
    for tree in (SMPLX, SMPLH, SMPL):
        found = [next((name for name in _called(joint) if name in names), "") for joint in tree.names]
        if all(found):
            return tree, tuple(found)
    return None


LANDMARK_NAMES = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
    "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky", "left_index", "right_index", "left_thumb",
    "right_thumb", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "left_heel",
    "right_heel", "left_foot_index", "right_foot_index",
)  # fmt: skip
"""BlazePose's 33 landmarks: the other points of the body that evidence may name."""

POINT_NAMES = frozenset(ALL_JOINT_NAMES) | frozenset(LANDMARK_NAMES)

BONE_LENGTH = 0.1
"""Metres from head to tail, straight up: tails carry no meaning, equal local axes do."""

CORRECTIVE_RANGE = 2.0
"""A corrective follows a number of R - I, which is between -2 and 1."""

SHAPE_KEY_RANGE = 10.0
"""Shape keys run from -10 to 10; Blender's own 0 to 1 would clamp the betas (also in FBX files)."""

HANDLE_COLLECTION = "Handles"
"""After the name of the armature: the collection of its handles."""

# Custom properties on Blender objects. They are read back from files, so that renaming one needs a migration.
SKIN_PROPERTY = "ikol_skin"
"""On the armature: pointer to its mesh where that has pose correctives."""
PEOPLE_PROPERTY = "ikol_people"
"""On the camera: the persons that were found on its photograph as JSON (core/people.py)."""

EVIDENCE_PROPERTY = "ikol_evidence"
"""On the armature: the stored record as JSON (core/record.py)."""
BODY_FILE_PROPERTY = "ikol_body_file"
"""On the armature: the name of the user's own body file that it was made with; absent for the default body."""
BONES_SHAPE_PROPERTY = "ikol_betas"
"""On the armature's data: the shape whose joints the bones are at; absent on bodies made before it was stored."""
CAMERA_PROPERTY = "ikol_camera"
"""On the armature: pointer to the camera object that looks at the person as the photograph did."""
POINT_PROPERTY = "ikol_point"
"""On a handle: the point of the body that it stands for."""
BODY_PROPERTY = "ikol_body"
"""On a handle: pointer to its armature."""
DRAG_PROPERTY = "ikol_drag"
"""On the armature while an answer in a drag of handles is waited for, the pose at its start as JSON: an undo step that
has it was made in the middle of the drag."""


def shape_key_name(index: int) -> str:
    """Return the name of the shape key of beta number `index`."""
    return f"Shape{index:03d}"


def corrective_name(index: int) -> str:
    """Return the name of the shape key of pose corrective number `index`."""
    return f"Pose{index:03d}"


def handle_object_name(label: str) -> str:
    """Return the name of the handle; Blender adds a number for the second person."""
    return f"IKOL {label}"

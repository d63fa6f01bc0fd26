# SPDX-License-Identifier: Apache-2.0
"""What goes where on the default body: joints from MakeHuman bones, skin owners, the T-pose, BlazePose's 33 landmarks.

Used by `build_default_body.py` only. Directions and shares are round numbers chosen on this body; landmarks are placed
by anatomy and by the published names of BlazePose's landmarks, not by looking at what a network answers on a recording.
Frame: SMPL's (Y up, facing +Z, left = +X), metres.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]

JOINT_NAMES = [
    "Pelvis", "L_Hip", "R_Hip", "Spine1", "L_Knee", "R_Knee", "Spine2", "L_Ankle", "R_Ankle", "Spine3", "L_Foot",
    "R_Foot", "Neck", "L_Collar", "R_Collar", "Head", "L_Shoulder", "R_Shoulder", "L_Elbow", "R_Elbow", "L_Wrist",
    "R_Wrist", "L_Hand", "R_Hand",
]  # fmt: skip
PARENTS = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21]

# The origin lies in mid-torso as in SMPL, so that code which forgets the root's rest position shows.
PELVIS_POSITION = (0.0, -0.22, 0.03)

# MakeHuman puts the legs' pivots into the outer thighs, 22 cm apart on the mean adult; hip joint centres lie 17 to 18
# cm apart (Bell et al., 1989: 0.72 of the distance of the front iliac spines, about 24 cm). Bending forward does not
# care about a shift along its axis, so the skin weights stay good.
HIP_SHARE_OF_OTHER_SIDE = 0.1

_TRUNK_OWNERS = {
    "root": "Pelvis", "pelvis": "Pelvis", "spine05": "Pelvis", "spine04": "Pelvis", "spine03": "Spine1",
    "spine02": "Spine2", "spine01": "Spine3", "neck01": "Neck", "neck02": "Neck", "neck03": "Neck",
    "head": "Head", "eye": "Head",
}  # fmt: skip
# SMPL's Hand joint carries the fingers but not the thumb; the first prefix that fits decides.
_LIMB_OWNERS = (
    ("upperleg", "Hip"), ("lowerleg", "Knee"), ("foot", "Ankle"), ("toe", "Foot"), ("clavicle", "Collar"),
    ("shoulder01", "Collar"), ("upperarm", "Shoulder"), ("lowerarm", "Elbow"), ("wrist", "Wrist"),
    ("metacarpal", "Wrist"), ("finger1", "Wrist"), ("finger", "Hand"),
)  # fmt: skip


def owner_of_bone(bone: str) -> str:
    """Name the joint that carries the skin of a MakeHuman bone."""
    stem, _, side = bone.partition(".")
    if stem in _TRUNK_OWNERS:
        return _TRUNK_OWNERS[stem]
    for prefix, joint in _LIMB_OWNERS:
        if stem.startswith(prefix):
            return f"{side}_{joint}"
    raise KeyError(f"no joint owns the bone {bone}")


def joint_recipe() -> dict[str, dict[str, float]]:
    """Give every joint as a mixture of heads of MakeHuman bones; shares sum to one."""
    recipe = {
        "Pelvis": {"root": 0.87, "neck01": 0.13},  # a hand's breadth above the hip line
        "Spine1": {"spine03": 1.0},  # the spine stays MakeHuman's: its weights fold at these heights
        "Spine2": {"spine02": 1.0},
        "Spine3": {"spine01": 1.0},
        "Neck": {"neck01": 0.5, "neck02": 0.5},
        "Head": {"head": 1.0},
    }
    for side, other in (("L", "R"), ("R", "L")):
        recipe[f"{side}_Hip"] = {
            f"upperleg01.{side}": 1 - HIP_SHARE_OF_OTHER_SIDE,
            f"upperleg01.{other}": HIP_SHARE_OF_OTHER_SIDE,
        }
        recipe[f"{side}_Knee"] = {f"lowerleg01.{side}": 1.0}
        recipe[f"{side}_Ankle"] = {f"foot.{side}": 1.0}
        recipe[f"{side}_Foot"] = {f"toe{i}-1.{side}": 0.2 for i in range(1, 6)}
        recipe[f"{side}_Collar"] = {f"clavicle.{side}": 0.35, f"shoulder01.{side}": 0.65}
        recipe[f"{side}_Shoulder"] = {f"upperarm01.{side}": 1.0}
        recipe[f"{side}_Elbow"] = {f"lowerarm01.{side}": 1.0}
        recipe[f"{side}_Wrist"] = {f"wrist.{side}": 1.0}
        recipe[f"{side}_Hand"] = {f"finger{i}-1.{side}": 1 / 3 for i in (2, 3, 4)}
    return recipe


def _turn_onto(vectors: Array, target: tuple[float, float, float]) -> Rotation:
    """Return the smallest rotations that turn each of N vectors onto the target; they are never opposite here."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    goal = np.array(target) / np.linalg.norm(target)
    axis = np.cross(unit, goal)
    sine = np.linalg.norm(axis, axis=1, keepdims=True)
    angle = np.arctan2(sine, unit @ goal[:, None])
    return Rotation.from_rotvec(axis / np.maximum(sine, 1e-12) * angle)


def _arm_to_t_pose(heads: dict[str, Array], side: str) -> dict[str, Rotation]:
    """Arm along the lateral axis, palm down, thumb forward.

    The girdle takes a third of the lift, as shoulder blades do; the forearm's twist is spread over its two bones, so
    that the wrist's skin does not wring.
    """
    sign = 1.0 if side == "L" else -1.0

    def bone(name: str) -> Array:
        return heads[f"{name}.{side}"]

    upper = _turn_onto(bone("lowerarm01") - bone("upperarm01"), (0.995 * sign, -0.03, -0.09))
    fore = _turn_onto(upper.apply(bone("wrist") - bone("lowerarm01")), (sign, 0.0, 0.0)) * upper
    across = fore.apply(
        bone("finger2-1") - bone("finger5-1")
    )  # from the little finger's knuckle to the index's: wanted on +Z
    twist = np.arctan2(across[:, 1], across[:, 2])

    def twisted(share: float) -> Rotation:
        return Rotation.from_rotvec(share * twist[:, None] * np.array([1.0, 0.0, 0.0])) * fore

    knuckles = sum(bone(f"finger{i}-1") for i in (2, 3, 4)) / 3
    hand = _turn_onto(twisted(1.0).apply(knuckles - bone("wrist")), (0.995 * sign, -0.08, 0.06)) * twisted(1.0)
    lift = np.zeros((len(twist), 3))
    lift[:, 2] = np.radians(6) * sign
    result = {
        "clavicle": Rotation.from_rotvec(lift),
        "shoulder01": Rotation.from_rotvec(lift * (16 / 6)),
        "upperarm01": upper,
        "upperarm02": upper,
        "lowerarm01": twisted(0.4),
        "lowerarm02": twisted(0.75),
    }
    result = {f"{name}.{side}": rotation for name, rotation in result.items()}
    return result | {
        n: hand for n in heads if n.endswith(f".{side}") and n.startswith(("wrist", "metacarpal", "finger"))
    }


def _leg_to_t_pose(heads: dict[str, Array], side: str) -> dict[str, Rotation]:
    """Legs slightly apart so that the thighs of a heavy body do not cross, knees straight, feet a little outwards."""
    sign = 1.0 if side == "L" else -1.0
    thigh = _turn_onto(heads[f"lowerleg01.{side}"] - heads[f"upperleg01.{side}"], (0.065 * sign, -0.996, 0.0))
    shin = _turn_onto(heads[f"foot.{side}"] - heads[f"lowerleg01.{side}"], (-0.02 * sign, -0.995, -0.09))
    yaw = np.zeros((len(heads["root"]), 3))
    yaw[:, 1] = np.radians(6) * sign
    foot = Rotation.from_rotvec(yaw)
    result = {"upperleg01": thigh, "upperleg02": thigh, "lowerleg01": shin, "lowerleg02": shin}
    result = {f"{name}.{side}": rotation for name, rotation in result.items()}
    return result | {n: foot for n in heads if n.endswith(f".{side}") and n.startswith(("foot", "toe"))}


def t_pose_rotations(heads: dict[str, Array]) -> dict[str, Rotation]:
    """Return for each bone that moves N rotations from MakeHuman's A-pose to the T-pose, in global axes.

    Args:
        heads: bone name to (N, 3) rest positions of its head.
    """
    rotations: dict[str, Rotation] = {}
    for side in ("L", "R"):
        rotations |= _arm_to_t_pose(heads, side) | _leg_to_t_pose(heads, side)
    return rotations


@dataclass(frozen=True)
class Landmark:
    """A point fixed to a joint: a mixture of joints, the mean of some skin vertices, or the head of a MakeHuman bone.

    Only left and middle ones carry a place; a right one mirrors its left partner.
    """

    name: str
    attached_to: str
    definition: str
    joints: dict[str, float] = field(default_factory=dict)
    base_vertices: tuple[int, ...] = ()  # numbers in MakeHuman's base mesh hm08, which never change
    bone: str | None = None


# BlazePose's hips lie 18 to 20 cm apart on an adult; 1.07 times the distance of the hip joint centres is 19 cm on the
# mean body.
_HIP_WIDTH = 1.07

_PUPIL = (14598, 14607, 14616, 14625, 14634, 14643, 14652, 14661)
_LEFT_AND_MIDDLE = (
    Landmark("nose", "Head", "skin at the tip of the nose", base_vertices=(5054,)),
    Landmark("left_eye_inner", "Head", "skin at the inner corner of the eye", base_vertices=(6854,)),
    Landmark("left_eye", "Head", "front of the eyeball, mean of the ring around the pupil", base_vertices=_PUPIL),
    Landmark("left_eye_outer", "Head", "skin at the outer corner of the eye", base_vertices=(6808,)),
    Landmark("left_ear", "Head", "tragus, the skin flap in front of the ear canal", base_vertices=(12077,)),
    Landmark("mouth_left", "Head", "skin at the corner of the mouth", base_vertices=(7129,)),
    Landmark("left_shoulder", "L_Shoulder", "centre of the shoulder joint", joints={"L_Shoulder": 1.0}),
    Landmark("left_elbow", "L_Elbow", "centre of the elbow joint", joints={"L_Elbow": 1.0}),
    Landmark("left_wrist", "L_Wrist", "centre of the wrist joint", joints={"L_Wrist": 1.0}),
    Landmark("left_pinky", "L_Wrist", "centre of the little finger's knuckle (MCP)", bone="finger5-1.L"),
    Landmark("left_index", "L_Wrist", "centre of the index finger's knuckle (MCP)", bone="finger2-1.L"),
    Landmark("left_thumb", "L_Wrist", "centre of the thumb's second joint from the wrist (MCP)", bone="finger1-2.L"),
    Landmark(
        "left_hip",
        "Pelvis",
        f"on the line of the hip joint centres, {_HIP_WIDTH} times their distance apart",
        joints={"L_Hip": (1 + _HIP_WIDTH) / 2, "R_Hip": (1 - _HIP_WIDTH) / 2},
    ),
    Landmark("left_knee", "L_Knee", "centre of the knee joint", joints={"L_Knee": 1.0}),
    Landmark("left_ankle", "L_Ankle", "centre of the ankle joint", joints={"L_Ankle": 1.0}),
    Landmark("left_heel", "L_Ankle", "skin at the back of the heel, 2 cm above the sole", base_vertices=(12442,)),
    Landmark(
        "left_foot_index", "L_Foot", "between the tips of the big and the second toe", base_vertices=(12756, 13133)
    ),
)
_ORDER = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
    "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky", "left_index", "right_index",
    "left_thumb", "right_thumb", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    "left_heel", "right_heel", "left_foot_index", "right_foot_index",
)  # fmt: skip


def _landmarks() -> tuple[Landmark, ...]:
    given = {mark.name: mark for mark in _LEFT_AND_MIDDLE}
    result = []
    for name in _ORDER:
        left = given[name.replace("right", "left")]
        result.append(left if name in given else Landmark(name, left.attached_to.replace("L_", "R_"), left.definition))
    return tuple(result)


LANDMARKS = _landmarks()

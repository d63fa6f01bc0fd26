# SPDX-License-Identifier: Apache-2.0
"""Humanoid rigs as plain bones, by the names of the field, in A or T pose, with legs of any length; numpy only.

The measures are those of a person of 1.75 m, rounded by hand; names and trees are those of the named programs.
"""

from collections.abc import Mapping

import numpy as np

# joint: place in metres, Z up, facing -Y, the left side at +X, T-pose; "tip" is where the last bone ends
_PLACES: Mapping[str, tuple[float, float, float]] = {
    "Pelvis": (0.0, 0.01, 0.97), "Spine1": (0.0, 0.01, 1.08), "Spine2": (0.0, 0.02, 1.2), "Spine3": (0.0, 0.03, 1.32),
    "Neck": (0.0, 0.03, 1.49), "Head": (0.0, 0.01, 1.58), "Head_tip": (0.0, 0.0, 1.75), "Hip": (0.1, 0.01, 0.93),
    "Knee": (0.1, 0.0, 0.5), "Ankle": (0.1, 0.03, 0.09), "Foot": (0.1, -0.1, 0.02), "Foot_tip": (0.1, -0.17, 0.02),
    "Collar": (0.03, 0.01, 1.44), "Shoulder": (0.18, 0.03, 1.43), "Elbow": (0.46, 0.04, 1.43),
    "Wrist": (0.71, 0.03, 1.43), "Wrist_tip": (0.8, 0.03, 1.43),
}  # fmt: skip
_SPINE = ("Spine1", "Spine2", "Spine3")
_CHAIN = {
    "Hip": "Pelvis", "Knee": "Hip", "Ankle": "Knee", "Foot": "Ankle", "Collar": "", "Shoulder": "Collar",
    "Elbow": "Shoulder", "Wrist": "Elbow",
}  # fmt: skip

Names = Mapping[str, str]
"""Bones by joint; `{}` stands for the side as the program writes it, "Spine" has the spine's bones with commas."""

STYLES: Mapping[str, tuple[Names, tuple[str, str]]] = {
    "Mixamo": (
        {"Pelvis": "mixamorig:Hips", "Spine": "mixamorig:Spine,mixamorig:Spine1,mixamorig:Spine2",
         "Neck": "mixamorig:Neck", "Head": "mixamorig:Head", "Collar": "mixamorig:{}Shoulder",
         "Shoulder": "mixamorig:{}Arm", "Elbow": "mixamorig:{}ForeArm", "Wrist": "mixamorig:{}Hand",
         "Hip": "mixamorig:{}UpLeg", "Knee": "mixamorig:{}Leg", "Ankle": "mixamorig:{}Foot",
         "Foot": "mixamorig:{}ToeBase"},
        ("Left", "Right"),
    ),
    "Unreal": (
        {"Pelvis": "pelvis", "Spine": "spine_01,spine_02,spine_03,spine_04,spine_05", "Neck": "neck_01",
         "Head": "head", "Collar": "clavicle_{}", "Shoulder": "upperarm_{}", "Elbow": "lowerarm_{}", "Wrist": "hand_{}",
         "Hip": "thigh_{}", "Knee": "calf_{}", "Ankle": "foot_{}", "Foot": "ball_{}"},
        ("l", "r"),
    ),
    "VRM J_Bip": (
        {"Pelvis": "J_Bip_C_Hips", "Spine": "J_Bip_C_Spine,J_Bip_C_Chest,J_Bip_C_UpperChest", "Neck": "J_Bip_C_Neck",
         "Head": "J_Bip_C_Head", "Collar": "J_Bip_{}_Shoulder", "Shoulder": "J_Bip_{}_UpperArm",
         "Elbow": "J_Bip_{}_LowerArm", "Wrist": "J_Bip_{}_Hand", "Hip": "J_Bip_{}_UpperLeg",
         "Knee": "J_Bip_{}_LowerLeg", "Ankle": "J_Bip_{}_Foot", "Foot": "J_Bip_{}_ToeBase"},
        ("L", "R"),
    ),
    "VRM humanoid": (
        {"Pelvis": "hips", "Spine": "spine,chest", "Neck": "neck", "Head": "head", "Collar": "{}Shoulder",
         "Shoulder": "{}UpperArm", "Elbow": "{}LowerArm", "Wrist": "{}Hand", "Hip": "{}UpperLeg", "Knee": "{}LowerLeg",
         "Ankle": "{}Foot", "Foot": "{}Toes"},
        ("left", "right"),
    ),
    "Auto-Rig Pro": (
        {"Pelvis": "root.x", "Spine": "spine_01.x,spine_02.x,spine_03.x", "Neck": "neck.x", "Head": "head.x",
         "Collar": "shoulder.{}", "Shoulder": "arm_stretch.{}", "Elbow": "forearm_stretch.{}", "Wrist": "hand.{}",
         "Hip": "thigh_stretch.{}", "Knee": "leg_stretch.{}", "Ankle": "foot.{}", "Foot": "toes_01.{}"},
        ("l", "r"),
    ),
    "CMU": (
        {"Pelvis": "Hips", "Spine": "LowerBack,Spine,Spine1", "Neck": "Neck", "Head": "Head", "Collar": "{}Shoulder",
         "Shoulder": "{}Arm", "Elbow": "{}ForeArm", "Wrist": "{}Hand", "Hip": "{}UpLeg", "Knee": "{}Leg",
         "Ankle": "{}Foot", "Foot": "{}ToeBase"},
        ("Left", "Right"),
    ),
    "Biovision": (
        {"Pelvis": "Hips", "Spine": "Chest", "Neck": "Neck", "Head": "Head", "Collar": "{}Collar",
         "Shoulder": "{}Shoulder", "Elbow": "{}Elbow", "Wrist": "{}Wrist", "Hip": "{}Hip", "Knee": "{}Knee",
         "Ankle": "{}Ankle", "Foot": "{}Toe"},
        ("Left", "Right"),
    ),
    "Daz": (
        {"Pelvis": "hip", "Spine": "abdomenLower,abdomenUpper,chestLower,chestUpper", "Neck": "neckLower",
         "Head": "head", "Collar": "{}Collar", "Shoulder": "{}ShldrBend", "Elbow": "{}ForearmBend", "Wrist": "{}Hand",
         "Hip": "{}ThighBend", "Knee": "{}Shin", "Ankle": "{}Foot", "Foot": "{}Toe"},
        ("l", "r"),
    ),
    "MakeHuman": (
        {"Pelvis": "root", "Spine": "spine05,spine04,spine03,spine02,spine01", "Neck": "neck01", "Head": "head",
         "Collar": "clavicle.{}", "Shoulder": "upperarm01.{}", "Elbow": "lowerarm01.{}", "Wrist": "wrist.{}",
         "Hip": "upperleg01.{}", "Knee": "lowerleg01.{}", "Ankle": "foot.{}", "Foot": "toe1-1.{}"},
        ("L", "R"),
    ),
    "metarig": (
        {"Pelvis": "spine", "Spine": "spine.001,spine.002,spine.003", "Neck": "spine.004", "Head": "spine.006",
         "Collar": "shoulder.{}", "Shoulder": "upper_arm.{}", "Elbow": "forearm.{}", "Wrist": "hand.{}",
         "Hip": "thigh.{}", "Knee": "shin.{}", "Ankle": "foot.{}", "Foot": "toe.{}"},
        ("L", "R"),
    ),
    "Biped": (
        {"Pelvis": "Bip01 Pelvis", "Spine": "Bip01 Spine,Bip01 Spine1,Bip01 Spine2", "Neck": "Bip01 Neck",
         "Head": "Bip01 Head", "Collar": "Bip01 {} Clavicle", "Shoulder": "Bip01 {} UpperArm",
         "Elbow": "Bip01 {} Forearm", "Wrist": "Bip01 {} Hand", "Hip": "Bip01 {} Thigh", "Knee": "Bip01 {} Calf",
         "Ankle": "Bip01 {} Foot", "Foot": "Bip01 {} Toe0"},
        ("L", "R"),
    ),
    "SMPL": (
        {"Pelvis": "Pelvis", "Spine": "Spine1,Spine2,Spine3", "Neck": "Neck", "Head": "Head", "Collar": "{}_Collar",
         "Shoulder": "{}_Shoulder", "Elbow": "{}_Elbow", "Wrist": "{}_Wrist", "Hip": "{}_Hip", "Knee": "{}_Knee",
         "Ankle": "{}_Ankle", "Foot": "{}_Foot"},
        ("L", "R"),
    ),
    "nameless": (
        {"Pelvis": "a", "Spine": "b,c,d", "Neck": "e", "Head": "f", "Collar": "g{}", "Shoulder": "h{}", "Elbow": "i{}",
         "Wrist": "j{}", "Hip": "k{}", "Knee": "n{}", "Ankle": "o{}", "Foot": "p{}"},
        ("q", "s"),
    ),
}  # fmt: skip


class PlainBone:
    """What a rig says of one bone: parent, head and tail in metres, roll about its axis in radians."""

    def __init__(self, parent: str | None, head: np.ndarray, tail: np.ndarray, roll: float) -> None:
        self.parent, self.head, self.tail, self.roll = parent, head, tail, roll


_UNITY = {1: "Proximal", 2: "Intermediate", 3: "Distal"}
_VRM_THUMB = {1: "Metacarpal", 2: "Proximal", 3: "Distal"}


def finger_name(style: str, side: str, finger: str, part: int) -> str:
    """Return what a style calls the bone of a finger's joint; `side` is "L" or "R"."""
    written = STYLES[style][1]["LR".index(side)]
    number = ("Thumb", "Index", "Middle", "Ring", "Pinky").index(finger)
    little = "Little" if finger == "Pinky" else finger
    return {
        "Mixamo": f"mixamorig:{written}Hand{finger}{part}",
        "Unreal": f"{finger.lower()}_0{part}_{written}",
        "VRM J_Bip": f"J_Bip_{written}_{little}{part}",
        "VRM humanoid": f"{written}{little}{(_VRM_THUMB if finger == 'Thumb' else _UNITY)[part]}",
        "Auto-Rig Pro": f"c_{finger.lower()}{part}.{written}",
        "Daz": f"{written}{'Mid' if finger == 'Middle' else finger}{part}",
        "MakeHuman": f"finger{number + 1}-{part}.{written}",
        "metarig": f"{'' if finger == 'Thumb' else 'f_'}{finger.lower()}.0{part}.{written}",
        "Biped": f"Bip01 {written} Finger{number}{part - 1 or ''}",
        "SMPL": f"{written}_{finger}{part}",
    }[style]


def add_fingers(bones: dict[str, PlainBone], style: str, curl_deg: float = 0.0, spread_deg: float = 5.0) -> None:
    """Give the hands of a rig fingers of three bones each, palms down.

    Args:
        bones: A rig of that style in T-pose; the fingers are added to it.
        style: One of `STYLES` that `finger_name` knows.
        curl_deg: By which each bone is bent against the one before.
        spread_deg: Between fingers.
    """
    rolls = np.random.default_rng(7)
    for side, sign in (("L", 1.0), ("R", -1.0)):
        hand = STYLES[style][0]["Wrist"].format(STYLES[style][1]["LR".index(side)])
        wrist = bones[hand].head
        for number, finger in enumerate(("Thumb", "Index", "Middle", "Ring", "Pinky")):
            at = wrist + np.array([sign * (0.03 if finger == "Thumb" else 0.09), -0.03 + 0.02 * (number - 1), 0.0])
            turned = np.radians(-45.0 if finger == "Thumb" else spread_deg * (number - 2))
            parent = hand
            for part, length in ((1, 0.04), (2, 0.03), (3, 0.02)):
                down = np.radians(curl_deg * part)
                way = np.array([sign * np.cos(turned) * np.cos(down), np.sin(turned) * np.cos(down), -np.sin(down)])
                name = finger_name(style, side, finger, part)
                bones[name] = PlainBone(parent, at, at + length * way, float(rolls.uniform(-3, 3)))
                at, parent = at + length * way, name


def humanoid(
    style: str, legs: float = 1.0, arms_down_deg: float = 0.0, seed: int = 3, feet: float = 0.0
) -> dict[str, PlainBone]:
    """Return the bones of a rig, parents first; rolls are random.

    Args:
        style: One of `STYLES`.
        legs: How much longer its legs are.
        arms_down_deg: 0 for a T-pose, 45 for an A-pose.
        seed: Of the rolls.
        feet: By how many metres the ball lies farther in front.
    """
    names, _ = STYLES[style]
    rolls = np.random.default_rng(seed)
    places = _scaled(legs, arms_down_deg)
    for name in ("Foot", "Foot_tip"):
        places[name][1] -= feet
    spine = names["Spine"].split(",")
    bottom, top = places["Spine1"], places["Neck"]
    heads = [bottom + (top - bottom) * number / len(spine) for number in range(len(spine))]
    bones: dict[str, PlainBone] = {}

    def add(name: str, parent: str | None, head: np.ndarray, tail: np.ndarray) -> None:
        bones[name] = PlainBone(parent, head, tail, float(rolls.uniform(-3, 3)))

    add(names["Pelvis"], None, places["Pelvis"], bottom)
    for number, name in enumerate(spine):
        after = heads[number + 1] if number + 1 < len(spine) else top
        add(name, spine[number - 1] if number else names["Pelvis"], heads[number], after)
    add(names["Neck"], spine[-1], top, places["Head"])
    add(names["Head"], names["Neck"], places["Head"], places["Head_tip"])
    for side, sign in zip(STYLES[style][1], (1.0, -1.0), strict=True):
        for joint, above in _CHAIN.items():
            parent = names[above].format(side) if above else spine[-1]
            after = {"Foot": "Foot_tip", "Wrist": "Wrist_tip"}.get(joint) or next(
                lower for lower, upper in _CHAIN.items() if upper == joint
            )
            mirror = np.array([sign, 1.0, 1.0])
            add(names[joint].format(side), parent, mirror * places[joint], mirror * places[after])
    return bones


def expected_joints(style: str) -> dict[str, str]:
    """Return which bone is which joint, for all joints but those of the spine."""
    names, sides = STYLES[style]
    found = {joint: names[joint] for joint in ("Pelvis", "Neck", "Head")}
    for side, written in zip("LR", sides, strict=True):
        found |= {f"{side}_{joint}": names[joint].format(written) for joint in _CHAIN}
    return found


def _scaled(legs: float, arms_down_deg: float) -> dict[str, np.ndarray]:
    places = {name: np.array(place) for name, place in _PLACES.items()}
    raised = (legs - 1.0) * places["Hip"][2]
    for name, place in places.items():
        if name in ("Knee", "Ankle", "Hip"):
            place[2] *= legs  # the sole stays on the floor, the foot as long as it is
        elif not name.startswith("Foot"):
            place[2] += raised
    angle, pivot = np.radians(arms_down_deg), places["Shoulder"].copy()
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    for name in ("Elbow", "Wrist", "Wrist_tip"):
        places[name] = pivot + turn @ (places[name] - pivot)
    return places

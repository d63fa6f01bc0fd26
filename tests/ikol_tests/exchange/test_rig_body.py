# SPDX-License-Identifier: Apache-2.0
"""A hierarchy as a body: the names of the field, any rest pose, landmarks at its own bones, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from exchange_motions import walking
from humanoid_rigs import STYLES, PlainBone, add_fingers, expected_joints, humanoid
from torch import Tensor

from ikol.body import JointTree, load_default_body
from ikol.body.kinematics import forward_kinematics
from ikol.body.smpl_trees import SMPL_TREE
from ikol.cli import main
from ikol.errors import InputError
from ikol.exchange import Keypoints, Motion, Rig, read_bvh, write_bvh, write_trc
from ikol.exchange.rig_body import body_of_rig, smpl_names
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.pipeline.evidence import Keypoints3D
from ikol.pipeline.posing import solve_pose

BODY = load_default_body(torch.float64)
SHORT = ("Pelvis", "L_Hip", "L_Knee", "L_Ankle", "R_Hip", "R_Knee", "R_Ankle", "Spine1", "L_Shoulder", "L_Elbow",
         "L_Wrist", "R_Shoulder", "R_Elbow", "R_Wrist", "Head")  # fmt: skip
PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 7, 11, 12, 7)
JOINT_WORDS = {part: part for part in ("Hip", "Knee", "Ankle", "Shoulder", "Elbow", "Wrist")}
ARM_WORDS = {"Hip": "UpLeg", "Knee": "Leg", "Ankle": "Foot", "Shoulder": "Arm", "Elbow": "ForeArm", "Wrist": "Hand"}
NAMED = tuple(style for style in STYLES if style != "nameless")

Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""From humanoid_rigs' axes (Z up, facing -Y) to SMPL's."""
POSE = {  # degrees about x, y, z: within the limits of all joints, far from rest
    "Pelvis": (10, 35, 5), "L_Hip": (-60, 10, 15), "L_Knee": (80, 0, 0), "R_Hip": (15, 0, -10), "R_Knee": (35, 0, 0),
    "Spine1": (8, 5, 4), "Spine3": (4, 6, -3), "Neck": (5, 8, 0), "L_Shoulder": (0, -30, -55),
    "R_Shoulder": (5, 40, 25), "L_Elbow": (0, -85, 0), "R_Elbow": (0, 60, 0), "Head": (5, 10, 0),
}  # fmt: skip
PLACE = torch.tensor([0.4, 0.1, -0.7], dtype=torch.float64)
SIGMA = 0.001  # metres: what is asked for is exact, and counts more than the stance
MET = 0.001  # metres: with that tolerance the stance still pulls by less than 0.1 mm


def named(words: dict[str, str], left: str = "Left", right: str = "Right") -> tuple[str, ...]:
    sides = {"L": left, "R": right}
    parts = [name.partition("_") for name in SHORT]
    return tuple(sides[side] + words[part] if part else side for side, _, part in parts)


def short_rig(names: tuple[str, ...] = SHORT, scale: float = 1.0) -> Rig:
    """Return a rig of 15 joints: one spine, no collars, no toes."""
    rest = scale * BODY.joints_template[[BODY.tree.index(name) for name in SHORT]]
    return Rig(JointTree(names, PARENTS), rest, walking())


def bone_rig(bones: dict[str, PlainBone], axes: np.ndarray = Y_UP) -> Rig:
    """Return bones as a hierarchy, a joint at the head of each; files have no spaces, and prefixes are not read."""
    names = {name: name.rpartition(":")[2].replace(" ", "_") for name in bones}
    order = list(bones)
    parents = tuple(-1 if bone.parent is None else order.index(bone.parent) for bone in bones.values())
    rest = torch.from_numpy(np.array([axes @ bone.head for bone in bones.values()]))
    tree = JointTree(tuple(names.values()), parents)
    eye = torch.eye(3, dtype=torch.float64).expand(1, len(order), 3, 3)
    still = Motion(
        tree.names, eye, torch.zeros(1, 3, dtype=torch.float64), torch.zeros(1, 0, dtype=torch.float64), 30.0
    )
    return Rig(tree, rest, still)


def wanted_places(style: str, legs: float = 1.0) -> dict[str, Tensor]:
    """Return where the joints of a rig with a T-pose are in POSE, turned as SMPL's are; the rest pose is not asked."""
    rig = bone_rig(humanoid(style, legs))
    theirs = {bone.rpartition(":")[2].replace(" ", "_"): joint for joint, bone in expected_joints(style).items()}
    spine = [name.rpartition(":")[2].replace(" ", "_") for name in STYLES[style][0]["Spine"].split(",")]
    theirs |= {spine[-1]: "Spine3", spine[0]: "Spine1"}
    rotvec = torch.zeros(rig.tree.num_joints, 3, dtype=torch.float64)
    for joint, name in enumerate(rig.tree.names):
        rotvec[joint] = torch.deg2rad(torch.tensor(POSE.get(theirs.get(name, ""), (0, 0, 0)), dtype=torch.float64))
    places = forward_kinematics(rig.tree, rig.rest_joints, rotvec_to_rotmat(rotvec), PLACE).joints
    return {theirs[name]: place for name, place in zip(rig.tree.names, places, strict=True) if name in theirs}


def solve_file(tmp_path: Path, rig: Rig, places: dict[str, Tensor]) -> Rig:
    """Run `ikol solve` on files of the rig and of the places; give what it has written."""
    write_bvh(tmp_path / "rig.bvh", rig)
    points = torch.stack([*places.values()])[None]
    write_trc(tmp_path / "a.trc", Keypoints((*places,), points, torch.ones(1, len(places), dtype=torch.float64), 30.0))
    arguments = ["--keypoints", "a.trc", "--skeleton", "rig.bvh", "--out", "out.bvh"]
    arguments = [str(tmp_path / value) if "." in value else value for value in arguments]
    assert main(["solve", *arguments, "--sigma", str(SIGMA), "--up", "y"]) == 0
    return read_bvh(tmp_path / "out.bvh")


def farthest(style: str, posed: Rig, places: dict[str, Tensor]) -> float:
    """Return how far the joints of limbs and head are from their places, the largest, metres."""
    motion = posed.motion
    found = forward_kinematics(posed.tree, posed.rest_joints, motion.local_rotmat, motion.transl).joints[0]
    bones = {joint: bone.rpartition(":")[2].replace(" ", "_") for joint, bone in expected_joints(style).items()}
    far = {joint: float((found[posed.tree.index(bones[joint])] - places[joint]).norm()) for joint in bones}
    print(f"{style}: {1e3 * max(far.values()):.2f} mm ({max(far, key=lambda joint: far[joint])})")
    return max(far.values())


@pytest.mark.parametrize(("style", "arms_down"), [("Mixamo", 0.0), *((style, 50.0) for style in NAMED)])
def test_the_names_of_the_field_are_posed_from_a_t_and_from_an_a_pose(
    tmp_path: Path, style: str, arms_down: float
) -> None:
    places = wanted_places(style, 1.1)
    posed = solve_file(tmp_path, bone_rig(humanoid(style, 1.1, arms_down)), places)
    assert farthest(style, posed, places) < MET


@pytest.mark.parametrize("arms_down", [-30.0, 30.0, 50.0, 80.0])
def test_limits_are_those_of_a_t_pose_whatever_the_rest_pose(arms_down: float) -> None:
    straight, other = (body_of_rig(bone_rig(humanoid("VRM J_Bip", 0.9, down)), "a.bvh") for down in (0.0, arms_down))
    # limits, priors and landmarks follow from names and rest joints
    assert straight.body.tree == other.body.tree
    assert float((straight.body.points.rest - other.body.points.rest).abs().max()) < 1e-9
    wrist = other.body.tree.index("L_Wrist")
    way = other.body.joints_template[wrist] - other.body.joints_template[other.body.tree.index("L_Elbow")]
    assert float(way[0] / way.norm()) > 0.99


@pytest.mark.parametrize(
    "axes",
    [
        pytest.param(np.eye(3), id="Z up, facing -Y"),
        pytest.param(np.diag([-1.0, 1.0, -1.0]) @ Y_UP, id="facing away"),
        pytest.param(np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]) @ Y_UP, id="facing +X"),
        pytest.param(0.01 * np.array([[1.0, 0.0, 0.0], [0.0, 0.9, -0.436], [0.0, 0.436, 0.9]]) @ Y_UP, id="leaning"),
    ],
)
def test_a_hierarchy_may_rest_in_any_direction(tmp_path: Path, axes: np.ndarray) -> None:
    places = wanted_places("Unreal")
    axes = axes / np.linalg.norm(axes, axis=0)
    posed = solve_file(tmp_path, bone_rig(humanoid("Unreal", 1.0, 40.0), axes), places)
    assert farthest("Unreal", posed, places) < MET


def test_bones_in_between_and_above_stay_as_they_rest(tmp_path: Path) -> None:
    bones = humanoid("MakeHuman", 1.0, 45.0)
    root = {"origin": PlainBone(None, np.zeros(3), np.array([0.0, 0.0, 0.1]), 0.0)}
    for side in "LR":  # lower pieces of limbs, as MakeHuman has them
        for upper, lower in (("upperarm01", "lowerarm01"), ("lowerarm01", "wrist"), ("upperleg01", "lowerleg01")):
            first, second = bones[f"{upper}.{side}"], bones[f"{lower}.{side}"]
            piece = PlainBone(f"{upper}.{side}", 0.5 * (first.head + second.head), second.head, 0.0)
            order = list(bones.items())
            order.insert([name for name, _ in order].index(f"{lower}.{side}"), (f"{upper[:-1]}2.{side}", piece))
            bones = dict(order)
            second.parent = f"{upper[:-1]}2.{side}"
    bones["root"].parent = "origin"
    places = wanted_places("MakeHuman")
    posed = solve_file(tmp_path, bone_rig({**root, **bones}), places)
    assert farthest("MakeHuman", posed, places) < MET
    for name in ("origin", "upperarm02.L", "lowerarm02.R", "upperleg02.L"):
        local = posed.motion.local_rotmat[0, posed.tree.index(name)]
        assert float((local - torch.eye(3, dtype=torch.float64)).abs().max()) < 1e-6


@pytest.mark.parametrize("palm", [0.0, 90.0])
def test_palms_are_laid_down_by_their_knuckles(palm: float) -> None:
    bones = humanoid("Unreal")
    add_fingers(bones, "Unreal", 0.0)
    turn = np.radians(palm)  # of the knuckles about the arm
    for name, bone in bones.items():
        if any(finger in name for finger in ("thumb", "index", "middle", "ring", "pinky")):
            wrist = bones[f"hand_{name[-1]}"].head
            x, y, z = bone.head - wrist
            bone.head = wrist + np.array([x, np.cos(turn) * y - np.sin(turn) * z, np.sin(turn) * y + np.cos(turn) * z])
    own = body_of_rig(bone_rig(bones), "a.bvh")
    for side in "LR":
        hand = own.calibration[own.body.tree.index(f"{side}_Wrist")]
        heads = [torch.from_numpy(Y_UP @ bones[f"{finger}_01_{side.lower()}"].head) for finger in ("index", "pinky")]
        across = hand @ (heads[0] - heads[1])
        assert float(across[2] / across.norm()) > 0.95, across  # the index finger in front


RIGIFY_FK = {"spine.004": "neck", "spine.006": "head", "spine": "spine_fk", "spine.001": "spine_fk.001",
             "spine.002": "spine_fk.002", "spine.003": "spine_fk.003"}  # fmt: skip
AUTO_RIG_FK = {"root": "c_root_master", "arm_stretch": "c_arm_fk", "forearm_stretch": "c_forearm_fk",
               "hand": "c_hand_fk", "thigh_stretch": "c_thigh_fk", "leg_stretch": "c_leg_fk", "foot": "c_foot_fk",
               "toes_01": "c_toes_fk"}  # fmt: skip


def rigify_fk(name: str) -> str:
    part, _, side = name.partition(".")
    limb = part not in ("spine", "shoulder") and side in ("L", "R")
    return RIGIFY_FK.get(name, f"{part}_fk.{side}" if limb else name)


def auto_rig_fk(name: str) -> str:
    part, _, side = name.rpartition(".")
    return f"{AUTO_RIG_FK.get(part, f'c_{part}')}.{side}"


@pytest.mark.parametrize(
    ("style", "rename"),
    [
        pytest.param("metarig", "DEF-{}".format, id="Rigify, deform bones"),
        pytest.param("metarig", rigify_fk, id="Rigify, controls"),
        pytest.param("Auto-Rig Pro", auto_rig_fk, id="Auto-Rig Pro, controls"),
    ],
)
def test_control_rigs_are_named(style: str, rename: Callable[[str], str]) -> None:
    rig = bone_rig(humanoid(style))
    tree = JointTree(tuple(map(rename, rig.tree.names)), rig.tree.parents)
    found = dict(zip(tree.names, smpl_names(tree, "a.bvh"), strict=True))
    for joint, bone in expected_joints(style).items():
        assert found[rename(bone)] == joint


@pytest.mark.parametrize("names", [SHORT, named(ARM_WORDS), named(JOINT_WORDS), named(JOINT_WORDS, "l", "r")])
def test_short_hierarchies_are_named(names: tuple[str, ...]) -> None:
    assert smpl_names(JointTree(names, PARENTS), "a.bvh") == SHORT


def test_smpls_own_joints_keep_their_names() -> None:
    assert smpl_names(SMPL_TREE, "a.bvh") == SMPL_TREE.names


def test_landmarks_lie_at_the_rigs_own_joints_and_those_without_a_joint_are_left_out() -> None:
    body = body_of_rig(short_rig(scale=1.2), "a.bvh").body
    place = dict(zip(body.points.names, body.points.rest, strict=True))
    assert torch.allclose(place["left_knee"], 1.2 * BODY.joints_template[BODY.tree.index("L_Knee")], atol=1e-9)
    assert "left_foot_index" not in place
    assert "left_heel" in place


def test_a_rig_with_few_joints_is_posed_with_its_own_bone_lengths() -> None:
    body = body_of_rig(short_rig(scale=1.2), "a.bvh").body
    names = tuple(name for name in SHORT if "_" in name)
    places = body.joints_template[[body.tree.index(name) for name in names]] + torch.tensor([0.0, 0.1, 0.5])
    sigma = torch.full((len(names),), 0.01, dtype=torch.float64)
    solution = solve_pose(body, (Keypoints3D(names, places, sigma),), solve_shape=False)
    # exact places of a T-pose against the stance, in which the arms hang
    off = (solution.point_positions - places).norm(dim=-1)
    assert float(off.max()) < 0.02, float(off.max())


def test_unknown_names_are_listed() -> None:
    names = tuple(f"bone{number}" for number in range(15))
    with pytest.raises(InputError, match=r"a.bvh: no joint is known as L_Hip, R_Hip, .* got bone0, bone1"):
        body_of_rig(short_rig(names), "a.bvh")


def test_limbs_that_hang_on_each_other_are_refused() -> None:
    names = ("L_Hip", *SHORT[2:4], "R_Hip", *SHORT[5:])
    parents = (-1, 0, 1, 0, 3, 4, 0, 6, 7, 8, 6, 10, 11, 6)
    rig = short_rig()
    with pytest.raises(InputError, match="no joint is known as L_Hip; got L_Hip, L_Knee"):
        body_of_rig(Rig(JointTree(names, parents), rig.rest_joints[1:], rig.motion), "a.bvh")


def test_a_rig_without_sides_is_refused() -> None:
    rig = short_rig()
    rig.rest_joints[:, 0] = 0.0
    with pytest.raises(InputError, match="left and right joints rest in one place"):
        body_of_rig(rig, "a.bvh")


def test_a_rig_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match="is the file in metres and Y up"):
        body_of_rig(short_rig(scale=30.0), "a.bvh")

# SPDX-License-Identifier: Apache-2.0
"""A hierarchy as a body: names that are known, landmarks at its own bones, and what is refused."""

import pytest
import torch
from exchange_motions import walking

from ikol.body import JointTree, load_default_body
from ikol.errors import InputError
from ikol.exchange import Rig
from ikol.exchange.rig_body import body_of_rig, smpl_names
from ikol.pipeline.evidence import Keypoints3D
from ikol.pipeline.posing import solve_pose

BODY = load_default_body(torch.float64)
SHORT = ("Pelvis", "L_Hip", "L_Knee", "L_Ankle", "R_Hip", "R_Knee", "R_Ankle", "Spine1", "L_Shoulder", "L_Elbow",
         "L_Wrist", "R_Shoulder", "R_Elbow", "R_Wrist", "Head")  # fmt: skip
PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 7, 11, 12, 7)
JOINT_WORDS = {part: part for part in ("Hip", "Knee", "Ankle", "Shoulder", "Elbow", "Wrist")}
ARM_WORDS = {"Hip": "UpLeg", "Knee": "Leg", "Ankle": "Foot", "Shoulder": "Arm", "Elbow": "ForeArm", "Wrist": "Hand"}


def named(words: dict[str, str], left: str = "Left", right: str = "Right") -> tuple[str, ...]:
    sides = {"L": left, "R": right}
    parts = [name.partition("_") for name in SHORT]
    return tuple(sides[side] + words[part] if part else side for side, _, part in parts)


def short_rig(names: tuple[str, ...] = SHORT, scale: float = 1.0) -> Rig:
    """Return a rig of 15 joints: one spine, no collars, no toes."""
    rest = scale * BODY.joints_template[[BODY.tree.index(name) for name in SHORT]]
    return Rig(JointTree(names, PARENTS), rest, walking())


@pytest.mark.parametrize("names", [SHORT, named(ARM_WORDS), named(JOINT_WORDS), named(JOINT_WORDS, "l", "r")])
def test_three_ways_of_naming_are_known(names: tuple[str, ...]) -> None:
    assert smpl_names(JointTree(names, PARENTS), "a.bvh") == SHORT


def test_landmarks_lie_at_the_rigs_own_joints_and_those_without_a_joint_are_left_out() -> None:
    body = body_of_rig(short_rig(scale=1.2), "a.bvh")
    place = dict(zip(body.points.names, body.points.rest, strict=True))
    assert torch.allclose(place["left_knee"], 1.2 * BODY.joints_template[BODY.tree.index("L_Knee")], atol=1e-9)
    assert "left_foot_index" not in place
    assert "left_heel" in place


def test_a_rig_with_few_joints_is_posed_with_its_own_bone_lengths() -> None:
    body = body_of_rig(short_rig(scale=1.2), "a.bvh")
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


def test_a_rest_pose_with_hanging_arms_is_refused() -> None:
    rig = short_rig()
    for joint in (9, 10):
        rig.rest_joints[joint] += torch.tensor([-0.12, -0.2, 0.0]) * (joint - 8)
    with pytest.raises(InputError, match=r"the L_Shoulder's bone rests \d+ degrees from a T-pose, expected at most 35"):
        body_of_rig(rig, "a.bvh")


def test_a_rig_that_lies_down_is_refused() -> None:
    rig = short_rig()
    rig.rest_joints[:] = rig.rest_joints[:, [0, 2, 1]]
    with pytest.raises(InputError, match="is the file in metres and Y up|must stand upright"):
        body_of_rig(rig, "a.bvh")

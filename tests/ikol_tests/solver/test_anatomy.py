# SPDX-License-Identifier: Apache-2.0
"""Signs are checked by moving the body: which way does a joint's allowed side take the bone below it."""

import math

import pytest
import torch
from rigs import chain_tree, random_rotmats, smpl_rest_joints, smpl_tree
from torch import Tensor

from ikol.body.default_body import load_default_body
from ikol.body.kinematics import forward_kinematics
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.solver.anatomy import default_limits
from ikol.solver.limits import limit_excess

LIMITS = default_limits(smpl_tree(), dtype=torch.float64)
ROWS = {smpl_tree().names[int(joint)]: row for row, joint in enumerate(LIMITS.joint_index)}


def rotation(joint: str, twist: float, first: float, second: float) -> Tensor:
    """A joint's rotation from degrees about its own twist and swing axes."""
    axes = LIMITS.axes[ROWS[joint]]
    swing = rotvec_to_rotmat(math.radians(first) * axes[1] + math.radians(second) * axes[2])
    return swing @ rotvec_to_rotmat(math.radians(twist) * axes[0])


def move(joint: str, rotmat: Tensor, tip: str) -> Tensor:
    """By how much the tip moves when only `joint` turns."""
    local = torch.eye(3, dtype=torch.float64).repeat(24, 1, 1)
    index = smpl_tree().index
    local[index(joint)] = rotmat
    zero = torch.zeros(3, dtype=torch.float64)
    joints = forward_kinematics(smpl_tree(), smpl_rest_joints(), local, zero).joints
    return joints[index(tip)] - smpl_rest_joints()[index(tip)]


def excess(joint: str, rotmat: Tensor) -> float:
    """Radians beyond the limits."""
    local = torch.eye(3, dtype=torch.float64).repeat(len(ROWS), 1, 1)
    local[ROWS[joint]] = rotmat
    return float(limit_excess(LIMITS, local).residual[ROWS[joint]].abs().max())


# joint, tip, (twist, first, second) in degrees, the axis and the sign of the tip's motion, whether a body can do it
MOVES = [
    *[(f"{side}_Knee", f"{side}_Ankle", (0, 90, 0), 2, -1, True) for side in "LR"],
    *[(f"{side}_Knee", f"{side}_Ankle", (0, -40, 0), 2, 1, False) for side in "LR"],
    *[(f"{side}_Elbow", f"{side}_Wrist", (0, 90, 0), 2, 1, True) for side in "LR"],
    *[(f"{side}_Elbow", f"{side}_Wrist", (0, -40, 0), 2, -1, False) for side in "LR"],
    *[(f"{side}_Hip", f"{side}_Knee", (0, -100, 0), 2, 1, True) for side in "LR"],
    *[(f"{side}_Hip", f"{side}_Knee", (0, 70, 0), 2, -1, False) for side in "LR"],
    ("L_Hip", "L_Knee", (0, 0, 60), 0, 1, True),
    ("R_Hip", "R_Knee", (0, 0, 60), 0, -1, True),
    ("L_Hip", "L_Knee", (0, 0, -70), 0, -1, False),
    ("R_Hip", "R_Knee", (0, 0, -70), 0, 1, False),
    ("L_Hip", "L_Foot", (45, 0, 0), 0, 1, True),
    ("R_Hip", "R_Foot", (45, 0, 0), 0, -1, True),
    *[(f"{side}_Ankle", f"{side}_Foot", (0, 50, 0), 1, -1, True) for side in "LR"],
    *[(f"{side}_Ankle", f"{side}_Foot", (0, -50, 0), 1, 1, False) for side in "LR"],
    *[(f"{side}_Shoulder", f"{side}_Elbow", (0, 120, 0), 2, 1, True) for side in "LR"],
    *[(f"{side}_Shoulder", f"{side}_Elbow", (0, -90, 0), 2, -1, False) for side in "LR"],
    *[(f"{side}_Shoulder", f"{side}_Elbow", (0, 0, 90), 1, -1, True) for side in "LR"],
    *[(f"{side}_Collar", f"{side}_Shoulder", (0, 0, -40), 1, 1, True) for side in "LR"],
    *[(f"{side}_Collar", f"{side}_Shoulder", (0, 0, 40), 1, -1, False) for side in "LR"],
    *[(f"{side}_Wrist", f"{side}_Hand", (0, 0, 70), 1, -1, True) for side in "LR"],
    ("Spine1", "Head", (0, 40, 0), 2, 1, True),
    ("Spine1", "Head", (0, -40, 0), 2, -1, False),
    ("Neck", "Head", (0, 40, 0), 2, 1, True),
]


@pytest.mark.parametrize(("joint", "tip", "degrees", "axis", "sign", "is_possible"), MOVES)
def test_bones_go_where_the_table_says_and_no_further(
    joint: str, tip: str, degrees: tuple[int, int, int], axis: int, sign: int, is_possible: bool
) -> None:
    rotmat = rotation(joint, *degrees)
    motion = float(move(joint, rotmat, tip)[axis])
    assert sign * motion > 0.01, f"{tip} moves by {motion:.3f} m"
    beyond = excess(joint, rotmat)
    assert (beyond < 1e-9) == is_possible, f"{beyond:.2f} rad beyond"


@pytest.mark.parametrize("joint", ["Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Foot", "Collar", "Hand"])
def test_left_and_right_are_mirror_images(joint: str) -> None:
    rotmat = random_rotmats((), 1.0, seed=len(joint))
    mirror = torch.diag(torch.tensor((-1.0, 1.0, 1.0), dtype=torch.float64))
    left, right = excess(f"L_{joint}", rotmat), excess(f"R_{joint}", mirror @ rotmat @ mirror)
    assert left == pytest.approx(right, abs=1e-12)


def test_the_rest_pose_is_inside_all_limits_of_the_default_body() -> None:
    limits = default_limits(load_default_body().tree)
    rest = torch.eye(3).expand(len(limits.joint_index), 3, 3)
    assert torch.equal(limit_excess(limits, rest).residual, torch.zeros(len(limits.joint_index), 3))


def test_every_joint_but_the_root_is_limited() -> None:
    assert sorted(LIMITS.joint_index.tolist()) == list(range(1, 24))
    assert LIMITS.axes.dtype == torch.float64


def test_joints_of_other_names_are_free() -> None:
    limits = default_limits(chain_tree(4))
    assert len(limits.joint_index) == 0
    assert limits.axes.shape == (0, 3, 3)

# SPDX-License-Identifier: Apache-2.0
"""The relaxed stance: arms hang, everything else rests."""

import math

import torch

from ikol.body.default_body import load_default_body
from ikol.pipeline.evidence import Pose
from ikol.pipeline.placement import point_positions
from ikol.pipeline.prior import relaxed_rotmat, relaxed_sigma


def test_arms_hang_beside_the_body_and_legs_rest() -> None:
    body = load_default_body(dtype=torch.float64)
    rotmat = relaxed_rotmat(body.tree.names, torch.float64)
    pose = Pose(torch.zeros(3).double(), rotmat, torch.zeros(10).double())
    shoulder, wrist = point_positions(body, pose, ("L_Shoulder", "L_Wrist"))
    arm = wrist - shoulder
    assert math.degrees(math.acos(float(-arm[1] / arm.norm()))) < 30.0
    assert float(arm[0]) > 0  # outside of the body, not through it
    for name in ("L_Hip", "R_Knee", "Spine2"):
        torch.testing.assert_close(rotmat[body.tree.names.index(name)], torch.eye(3).double())


def test_root_and_unknown_joints_are_free() -> None:
    sigma = relaxed_sigma(("Pelvis", "L_Knee", "Tail"), torch.float64)
    assert torch.isinf(sigma[[0, 2]]).all()
    assert math.degrees(float(sigma[1])) == 45.0

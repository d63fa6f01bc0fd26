# SPDX-License-Identifier: Apache-2.0
"""Photographs on SMPL-H and SMPL-X: the body as on 24 joints, fingers and face at rest unless evidence bends them."""

import pytest
import torch
from model_files import write_model
from photo_evidence import LENS, LEVEL, PLACED, known_pose, seen_as

from ikol.body import BodyModel, load_smpl_body
from ikol.body.bone_axes import bone_axes
from ikol.pipeline import Keypoints3D
from ikol.pipeline.evidence import Twist
from ikol.pipeline.placement import point_positions
from ikol.pipeline.posing import solve_pose
from ikol.regressor import BLAZEPOSE_LANDMARKS

BODY_JOINTS = 22  # the same in all models


@pytest.fixture(scope="module", params=["SMPL-H", "SMPL-X"])
def body(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> BodyModel:
    return load_smpl_body(write_model(tmp_path_factory.mktemp("body") / "own.npz", request.param))


def test_a_photograph_is_solved_with_the_hands_at_rest(body: BodyModel) -> None:
    known = known_pose(body)
    known.local_rotmat[BODY_JOINTS:] = torch.eye(3, dtype=torch.float64)
    solution = solve_pose(body, seen_as(body, known), intrinsics=LENS, solve_shape=False)
    assert solution.status == "converged"
    assert solution.reprojection_px_median < 2.0, solution.reprojection_px_median
    fingers = solution.pose.local_rotmat[BODY_JOINTS:]
    # nothing bends them: the iterations leave rounding only
    assert float((fingers - torch.eye(3, dtype=torch.float64)).abs().max()) < 1e-6
    assert solution.camera is not None
    found = solution.camera.to_camera(point_positions(body, solution.pose, BLAZEPOSE_LANDMARKS))
    wanted = point_positions(body, known, BLAZEPOSE_LANDMARKS) @ LEVEL
    off = (found - found[23:25].mean(0)) - (wanted - wanted[23:25].mean(0))
    # exact evidence against priors: the stance pulls by some centimetres in depth
    assert float(off.norm(dim=-1).median()) < 0.04, float(off.norm(dim=-1).median())


def test_a_finger_bends_where_it_is_drawn(body: BodyModel) -> None:
    known = known_pose(body)
    known.local_rotmat[BODY_JOINTS:] = torch.eye(3, dtype=torch.float64)
    start = solve_pose(body, seen_as(body, known), intrinsics=LENS, extrinsics=PLACED, solve_shape=False).pose
    tip = point_positions(body, start, ("L_Index3",)) + torch.tensor([[0.0, -0.015, 0.0]], dtype=torch.float64)
    drag = Keypoints3D(("L_Index3",), tip, torch.tensor([1e-3], dtype=torch.float64))
    hand = ("L_Index1", "L_Index2")
    solution = solve_pose(body, (drag,), initial=start, joints=hand)
    off = float((point_positions(body, solution.pose, ("L_Index3",)) - tip).norm())
    assert off < 0.004, off  # the finger's rest and the 5 cm hold of what stays have a say
    moved = (solution.pose.local_rotmat - start.local_rotmat).abs().amax((-1, -2)) > 0
    assert {name for name, is_moved in zip(body.tree.names, moved.tolist(), strict=True) if is_moved} == {*hand}


def test_twist_of_head_and_wrist_turns_about_the_bone_and_not_towards_the_face(body: BodyModel) -> None:
    axes = dict(zip(body.tree.names, bone_axes(body), strict=True))
    rest = dict(zip(body.tree.names, body.joints_template, strict=True))
    assert float(axes["Head"] @ axes["Neck"]) > 0.999
    middle = rest["L_Middle1"] - rest["L_Wrist"]
    assert torch.allclose(axes["L_Wrist"], middle / middle.norm())
    twist = Twist(("Head",), torch.tensor([0.4], dtype=torch.float64), torch.tensor([0.01], dtype=torch.float64))
    places = Keypoints3D(
        body.tree.names[:BODY_JOINTS],
        body.joints_template[:BODY_JOINTS],
        torch.full((BODY_JOINTS,), 0.005, dtype=torch.float64),
    )
    turned = solve_pose(body, (places, twist), solve_shape=False).pose.local_rotmat[body.tree.index("Head")]
    forwards = turned @ torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    angle = float(torch.atan2(forwards[0], forwards[2]))
    assert abs(angle - 0.4) < 0.05, angle  # the relaxed stance pulls back by a hundredth

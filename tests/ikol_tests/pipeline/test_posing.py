# SPDX-License-Identifier: Apache-2.0
"""Poses from evidence made from a known pose of the default body, seen through a known camera."""

import math
from dataclasses import replace

import pytest
import torch
from photo_evidence import LENS, LEVEL, known_pose, seen_as

from ikol.body.default_body import load_default_body
from ikol.body.model import BodyModel
from ikol.distortion import distort
from ikol.errors import Cancelled, InputError
from ikol.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from ikol.pipeline import (
    Anchor,
    Keypoints2D,
    Keypoints3D,
    Pose,
    Twist,
)
from ikol.pipeline.placement import point_positions
from ikol.pipeline.posing import solve_pose
from ikol.pipeline.prior import relaxed_rotmat
from ikol.regressor import BLAZEPOSE_LANDMARKS


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_default_body(dtype=torch.float64)


@pytest.mark.parametrize("seed", range(4))
def test_pose_that_made_the_evidence_is_found_within_the_weight_of_the_priors(body: BodyModel, seed: int) -> None:
    pose = known_pose(body, seed)
    solution = solve_pose(body, seen_as(body, pose), intrinsics=LENS)
    assert solution.status == "converged"
    # the relaxed-stance prior pulls a little against exact evidence of 8 px = 2 cm
    assert solution.reprojection_px_median < 3.0
    camera = solution.camera
    assert camera is not None
    truth = point_positions(body, pose, body.tree.names) @ LEVEL
    error = (camera.to_camera(solution.joints) - truth - (camera.to_camera(solution.joints) - truth)[0]).norm(dim=-1)
    assert float(error.mean()) < 0.03, f"mean joint error {1000 * float(error.mean()):.1f} mm"


def test_swapped_landmark_is_outvoted(body: BodyModel) -> None:
    pose = known_pose(body)
    picture, relative = seen_as(body, pose)
    wrong = picture.points.clone()
    wrong[BLAZEPOSE_LANDMARKS.index("left_wrist")] += 300.0
    solution = solve_pose(body, (Keypoints2D(picture.names, wrong, picture.sigma), relative), intrinsics=LENS)
    at = solution.point_names.index("left_wrist")
    error = (solution.point_pixels[at] - picture.points[BLAZEPOSE_LANDMARKS.index("left_wrist")]).norm()
    assert float(error) < 40.0, f"{float(error):.0f} px from the true wrist"  # 10 cm; the outlier was 424 px away


def test_body_stands_on_the_floor_over_the_origin(body: BodyModel) -> None:
    solution = solve_pose(body, seen_as(body, known_pose(body)), intrinsics=LENS)
    lowest = float(point_positions(body, solution.pose, body.points.names)[:, 1].min())
    assert lowest == pytest.approx(0.0, abs=1e-9)
    torch.testing.assert_close(solution.joints[0, [0, 2]], torch.zeros(2, dtype=torch.float64), atol=1e-9, rtol=0)


def test_standing_body_before_a_pitched_camera_stands_upright(body: BodyModel) -> None:
    upright = Pose(
        torch.tensor([0.0, 0.0, -4.0], dtype=torch.float64),
        relaxed_rotmat(body.tree.names, torch.float64),
        torch.zeros(body.num_betas, dtype=torch.float64),
    )
    tilt = rotvec_to_rotmat(torch.tensor([math.radians(20.0), 0.0, 0.0], dtype=torch.float64))
    pelvis = body.joints_template[0]
    seen = Pose(
        tilt @ (pelvis + upright.transl) - pelvis,
        torch.cat((tilt[None] @ upright.local_rotmat[:1], upright.local_rotmat[1:])),
        upright.betas,
    )
    solution = solve_pose(body, seen_as(body, seen), intrinsics=LENS)
    trunk = solution.joints[12] - solution.joints[[7, 8]].mean(0)
    lean = math.degrees(math.acos(float(trunk[1] / trunk.norm())))
    assert lean < 6.0, f"{lean:.1f} degrees"  # a camera taken as level would leave 20


def test_unseen_legs_stay_at_rest(body: BodyModel) -> None:
    upper = tuple(name for name in BLAZEPOSE_LANDMARKS[:25])
    solution = solve_pose(body, seen_as(body, known_pose(body, 1), upper), intrinsics=LENS)
    names = body.tree.names
    legs = [names.index(f"{side}_{part}") for side in "LR" for part in ("Knee", "Ankle", "Foot")]
    bend = rotmat_to_rotvec(solution.pose.local_rotmat[legs]).norm(dim=-1).max()
    assert math.degrees(float(bend)) < 1.0


def test_moved_keypoint_is_met_and_the_camera_stays(body: BodyModel) -> None:
    evidence = seen_as(body, known_pose(body))
    first = solve_pose(body, evidence, intrinsics=LENS)
    assert first.camera is not None
    extrinsics = (first.camera.R_camera_world, first.camera.t_camera_world)
    wrist = point_positions(body, first.pose, ("left_wrist",)) + torch.tensor([[0.1, 0.15, 0.1]]).double()
    edit = Keypoints3D(("left_wrist",), wrist, torch.tensor([0.005]).double())
    others = tuple(name for name in BLAZEPOSE_LANDMARKS if name != "left_wrist")  # the edit takes its row's place
    second = solve_pose(
        body,
        (*seen_as(body, known_pose(body), others), edit),
        intrinsics=LENS,
        extrinsics=extrinsics,
        initial=first.pose,
        solve_shape=False,
    )
    at = second.point_names.index("left_wrist")
    assert float((second.point_positions[at] - wrist[0]).norm()) < 0.02  # three hand landmarks still pull back
    assert second.camera is not None
    torch.testing.assert_close(second.camera.t_camera_world, first.camera.t_camera_world)
    torch.testing.assert_close(second.pose.betas, first.pose.betas)
    feet = [body.tree.names.index(name) for name in ("L_Foot", "R_Foot")]
    moved = float((second.joints[feet] - first.joints[feet]).norm(dim=-1).max())
    assert moved < 0.03, f"the feet moved {1000 * moved:.0f} mm though the picture still shows them"


def test_keypoints_without_a_picture_give_a_pose_in_the_world(body: BodyModel) -> None:
    pose = known_pose(body, 2)
    names = body.tree.names
    points = point_positions(body, pose, names)
    solution = solve_pose(body, [Keypoints3D(names, points, torch.full((24,), 0.005).double())])
    assert solution.camera is None
    assert solution.reprojection_px_median == -1.0
    assert solution.point_pixels.shape == (0, 2)
    error = (solution.point_positions - points).norm(dim=-1)
    assert float(error.mean()) < 0.01, f"{1000 * float(error.mean()):.1f} mm"


def test_anchor_alone_gives_the_anchor(body: BodyModel) -> None:
    pose = known_pose(body, 3)
    solution = solve_pose(body, [Anchor(pose.local_rotmat, torch.full((24,), 0.001).double())], solve_shape=False)
    angle = rotmat_to_rotvec(pose.local_rotmat.mT @ solution.pose.local_rotmat).norm(dim=-1).max()
    assert math.degrees(float(angle)) < 0.5


def test_twist_evidence_turns_the_forearm(body: BodyModel) -> None:
    evidence = seen_as(body, known_pose(body))
    twist = Twist(("L_Elbow",), torch.tensor([0.6]).double(), torch.tensor([0.02]).double())
    plain = solve_pose(body, evidence, intrinsics=LENS)
    turned = solve_pose(body, (*evidence, twist), intrinsics=LENS)
    change = rotmat_to_rotvec(plain.pose.local_rotmat[18].mT @ turned.pose.local_rotmat[18])
    assert float(change.norm()) > 0.1


def test_no_evidence_is_refused(body: BodyModel) -> None:
    with pytest.raises(InputError, match="nothing to solve"):
        solve_pose(body, [])


def test_picture_without_lens_is_refused(body: BodyModel) -> None:
    with pytest.raises(InputError, match="need its camera"):
        solve_pose(body, seen_as(body, known_pose(body)))


def test_world_keypoints_beside_a_camera_that_nobody_placed_are_refused(body: BodyModel) -> None:
    block = Keypoints3D(("left_wrist",), torch.zeros(1, 3).double(), torch.ones(1).double())
    with pytest.raises(InputError, match="extrinsics"):
        solve_pose(body, (*seen_as(body, known_pose(body)), block), intrinsics=LENS)


def test_unknown_point_is_named(body: BodyModel) -> None:
    block = Keypoints3D(("left_wing",), torch.zeros(1, 3).double(), torch.ones(1).double())
    with pytest.raises(InputError, match="left_wing"):
        solve_pose(body, [block])


def test_progress_can_cancel(body: BodyModel) -> None:
    def stop(fraction: float, text: str) -> None:
        raise Cancelled("stopped by the test")

    with pytest.raises(Cancelled):
        solve_pose(body, seen_as(body, known_pose(body)), intrinsics=LENS, progress=stop)


def test_a_bent_picture_gives_the_pose_of_the_straight_one_and_is_answered_in_bent_pixels(body: BodyModel) -> None:
    picture, relative = seen_as(body, known_pose(body))
    lens = replace(LENS, distortion=(-0.3, 0.08, 0.002, -0.001))
    bent = distort(picture.points, lens.focal, lens.center, lens.distortion)
    assert float((bent - picture.points).norm(dim=-1).max()) > 5.0  # pixels: a thousandfold of what is tolerated below
    straight = solve_pose(body, (picture, relative), intrinsics=LENS)
    solution = solve_pose(body, (replace(picture, points=bent), relative), intrinsics=lens)
    torch.testing.assert_close(solution.joints, straight.joints, atol=1e-5, rtol=0)  # metres; Newton's rounding
    shown = distort(straight.point_pixels, lens.focal, lens.center, lens.distortion)
    torch.testing.assert_close(solution.point_pixels, shown, atol=0.01, rtol=0)  # pixels

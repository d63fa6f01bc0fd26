# SPDX-License-Identifier: Apache-2.0
"""What a solve finds: recovery, weights and losses, limits."""

import math
from dataclasses import replace

import pytest
import torch
from rigs import (
    chain_tree,
    smpl_points,
    smpl_skeleton,
)
from solve_cases import (
    EYE,
    INDEX,
    POINTS,
    RIG,
    distance,
    near,
    prior,
    sigmas,
    status_of,
    true_state,
)
from strategies import BATCH_SHAPES, DTYPES

from ikol.body.default_body import load_default_body
from ikol.body.points import AttachedPoints
from ikol.camera import camera_from_fov
from ikol.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from ikol.geometry.swing_twist import twist_angle
from ikol.solver import (
    Anchor,
    GemanMcClure,
    Huber,
    Limits,
    Orientation,
    Points2D,
    Points3D,
    RelativePoints3D,
    ShapePrior,
    Skeleton,
    SolveConfig,
    SolveState,
    SolveStatus,
    Twist,
    default_limits,
    solve,
    start_from_points,
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", BATCH_SHAPES)
def test_reachable_points_are_reached(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    skeleton, points = smpl_skeleton(0, dtype), smpl_points(0, dtype)
    truth = true_state(shape, dtype=dtype)
    target = skeleton.posed_points(points, truth)
    start = start_from_points(skeleton, points, target, sigmas(35, value=1.0, dtype=dtype), truth.betas)
    result = solve(skeleton, [Points3D(points, target, sigmas(35, dtype=dtype))], start)
    assert result.state.local_rotmat.shape == (*shape, 24, 3, 3)
    assert result.state.transl.dtype == dtype
    assert result.status.shape == shape
    assert (result.status == SolveStatus.CONVERGED).all()
    # the gradient tolerance allows 1e-4 sd of 1 cm for each unknown; twists that points do not see do not matter
    assert distance(result.state, truth, skeleton, points) < 1e-4


@pytest.mark.parametrize("seed", range(5))
def test_pose_is_recovered_on_the_default_body_within_25_iterations(seed: int) -> None:
    body = load_default_body()
    skeleton, limits = Skeleton.from_body(body), default_limits(body.tree)
    truth = true_state((), seed, torch.float32)
    truth = replace(truth, betas=torch.zeros(10))
    target = skeleton.posed_points(body.points, truth)
    count = len(body.points.names)
    start = start_from_points(skeleton, body.points, target, torch.ones(count), truth.betas, limits=limits)
    evidence = [
        Points3D(body.points, target, torch.full((count,), 0.01)),
        prior(1.0, torch.float32),
        Limits(limits),
        ShapePrior(torch.zeros(10), torch.ones(10)),
    ]
    result = solve(skeleton, evidence, start, SolveConfig(solve_shape=True))
    assert status_of(result) == SolveStatus.CONVERGED
    assert int(result.iterations) <= 25
    # the prior of 1 rad pulls against points of 1 cm
    assert distance(result.state, truth, skeleton, body.points) < 0.02


def test_shape_is_recovered_with_the_pose() -> None:
    skeleton, points = smpl_skeleton(3), smpl_points(3)
    betas = torch.tensor((1.5, -1.0, 0.5), dtype=torch.float64)
    truth = replace(true_state(()), betas=betas)
    target = skeleton.posed_points(points, truth)
    start = replace(near(truth), betas=torch.zeros_like(betas))
    weak = ShapePrior(torch.zeros_like(betas), sigmas(3, value=1e3))
    result = solve(skeleton, [Points3D(points, target, sigmas(35)), weak], start, SolveConfig(solve_shape=True))
    assert torch.allclose(result.state.betas, betas, atol=1e-3)
    assert distance(result.state, truth, skeleton, points) < 1e-4


def test_shape_stays_when_it_is_not_asked_for() -> None:
    skeleton, points = smpl_skeleton(3), smpl_points(3)
    truth = replace(true_state(()), betas=torch.tensor((1.5, -1.0, 0.5), dtype=torch.float64))
    start = replace(near(truth), betas=torch.tensor((0.1, 0.2, 0.3), dtype=torch.float64))
    result = solve(skeleton, [Points3D(points, skeleton.posed_points(points, truth), sigmas(35))], start)
    assert torch.equal(result.state.betas, start.betas)


def test_pixels_and_relative_depth_give_the_pose_and_the_place() -> None:
    truth = replace(true_state((), seed=3), transl=torch.tensor((0.2, -0.3, -4.0), dtype=torch.float64))
    camera = camera_from_fov(640, 480, 55.0, dtype=torch.float64)
    world = RIG.posed_points(POINTS, truth)
    hips = POINTS.select(("L_Hip", "R_Hip"))
    relative = (world - world[1:3].mean(0)) @ camera.R_camera_world.T
    evidence = [
        Points2D(POINTS, camera.project(world), sigmas(35, value=2.0), camera),
        RelativePoints3D(POINTS, relative, sigmas(35, value=0.03), camera.R_camera_world, hips),
    ]
    result = solve(RIG, evidence, near(truth))
    assert distance(result.state, truth) < 1e-3
    assert result.residual("points_2d").distance.max() < 1e-2
    assert result.residual("relative_points_3d").distance.max() < 1e-3


def test_two_cameras_alone_give_the_pose() -> None:
    truth = replace(true_state((), seed=3), transl=torch.tensor((0.2, -0.3, -4.0), dtype=torch.float64))
    front = camera_from_fov(640, 480, 55.0, dtype=torch.float64)
    turn = rotvec_to_rotmat(torch.tensor((0.0, 0.7, 0.0), dtype=torch.float64))
    side = front.with_extrinsics(turn @ front.R_camera_world, torch.tensor((-2.5, 0.0, 1.0), dtype=torch.float64))
    world = RIG.posed_points(POINTS, truth)
    blocks = [
        Points2D(POINTS, camera.project(world), sigmas(35, value=1.0), camera, name=name)
        for name, camera in (("front", front), ("side", side))
    ]
    assert distance(solve(RIG, blocks, near(truth)).state, truth) < 1e-3


def test_orientations_and_twists_are_met() -> None:
    truth = true_state(())
    axis = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    elbow, head = torch.tensor([INDEX("L_Elbow")]), torch.tensor([INDEX("Head")])
    angle = torch.tensor([0.6], dtype=torch.float64)
    evidence = [
        Points3D(POINTS.select(("L_Shoulder", "L_Elbow", "L_Wrist")), RIG.pose(truth).joints[[16, 18, 20]], sigmas(3)),
        Orientation(head, EYE[None], sigmas(1, value=0.01)),
        Twist(elbow, axis, angle, sigmas(1, value=0.01)),
        prior(),
    ]
    result = solve(RIG, evidence, RIG.rest_state())
    pose = RIG.pose(result.state)
    assert rotmat_to_rotvec(pose.global_rotmat[head[0]]).norm() < 0.01
    assert float(twist_angle(result.state.local_rotmat[elbow], axis)) == pytest.approx(0.6, abs=0.01)


@pytest.mark.parametrize("loss", [Huber(2.0), GemanMcClure(2.0)], ids=str)
def test_robust_losses_do_not_believe_outliers(loss: Huber | GemanMcClure) -> None:
    truth = true_state((4,), seed=5)
    target = RIG.posed_points(POINTS, truth)
    generator = torch.Generator().manual_seed(0)
    target = target + 0.005 * torch.randn(target.shape, dtype=torch.float64, generator=generator)
    outliers = [INDEX("L_Wrist"), INDEX("R_Knee")]
    target[:, outliers] += 0.4
    start = near(truth)
    good = [k for k in range(35) if k not in outliers]

    def error(loss: Huber | GemanMcClure | None) -> float:
        result = solve(RIG, [Points3D(POINTS, target, sigmas(35), loss=loss), prior()], start)
        offset = RIG.posed_points(POINTS, result.state) - RIG.posed_points(POINTS, truth)
        return float(offset[:, good].norm(dim=-1).mean())

    assert error(loss) < 0.5 * error(None)
    result = solve(RIG, [Points3D(POINTS, target, sigmas(35), loss=loss), prior()], start)
    weight = result.residual("points_3d").robust_weight
    assert weight[:, outliers].max() < 0.2
    assert weight[:, good].mean() > 0.8


def test_graduated_non_convexity_finds_the_inliers_from_where_the_plain_loss_is_stuck() -> None:
    # a rigid body of 20 points: 14 say that it has moved by half a metre, 6 that it is where it starts
    generator = torch.Generator().manual_seed(2)
    points = AttachedPoints(
        names=tuple(f"p{k}" for k in range(20)),
        joint_index=torch.zeros(20, dtype=torch.long),
        rest=torch.randn(20, 3, dtype=torch.float64, generator=generator),
        shapedirs=torch.zeros(20, 3, 0, dtype=torch.float64),
    )
    skeleton = Skeleton.from_rest_joints(chain_tree(1), torch.zeros(1, 3, dtype=torch.float64))
    target = points.rest.clone()
    target[6:] += torch.tensor((0.5, 0.0, 0.0), dtype=torch.float64)
    evidence = [Points3D(points, target, sigmas(20, value=0.02), loss=GemanMcClure(2.0))]
    plain = solve(skeleton, evidence, skeleton.rest_state(), SolveConfig(gnc_start=1.0))
    assert float(plain.state.transl.norm()) < 0.01
    graduated = solve(skeleton, evidence, skeleton.rest_state(), SolveConfig(gnc_start=1024.0))
    assert float((graduated.state.transl - torch.tensor((0.5, 0.0, 0.0))).norm()) < 1e-3
    assert float(graduated.cost) < 0.5 * float(plain.cost)


@pytest.mark.parametrize("side", ["L", "R"])
def test_limits_keep_a_knee_from_bending_backwards(side: str) -> None:
    # the ankle is asked to go to where only a knee that bends forwards by 50 degrees would take it
    local = EYE.repeat(24, 1, 1)
    local[INDEX(f"{side}_Knee")] = rotvec_to_rotmat(torch.tensor((math.radians(-50), 0.0, 0.0), dtype=torch.float64))
    wrong = SolveState(torch.zeros(3, dtype=torch.float64), local, torch.zeros(0, dtype=torch.float64))
    limits = default_limits(RIG.tree, dtype=torch.float64)
    points = Points3D(POINTS, RIG.posed_points(POINTS, wrong), sigmas(35))
    knee = torch.tensor([INDEX(f"{side}_Knee")])
    bend = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)

    def angle(evidence: list[Points3D | Anchor | Limits]) -> float:
        return math.degrees(float(twist_angle(solve(RIG, evidence, wrong).state.local_rotmat[knee], bend)))

    assert angle([points, prior()]) < -40
    assert angle([points, prior(), Limits(limits)]) > -12


def test_an_anchor_keeps_an_edit_local() -> None:
    before = true_state(())
    target = RIG.pose(before).joints[INDEX("L_Wrist")] + torch.tensor((0.0, 0.1, 0.0), dtype=torch.float64)
    evidence = [
        Points3D(POINTS.select(("L_Wrist",)), target[None], sigmas(1, value=0.005), name="drag"),
        Points3D(POINTS, RIG.posed_points(POINTS, before), sigmas(35, value=0.2)),
        Anchor(before.local_rotmat, sigmas(24, value=0.2)),
    ]
    result = solve(RIG, evidence, before)
    assert result.residual("drag").distance.max() < 0.005
    moved = RIG.pose(result.state).joints - RIG.pose(before).joints
    assert moved[INDEX("R_Ankle")].norm() < 0.01
    assert moved[INDEX("L_Elbow")].norm() > 0.02


def test_missing_rows_have_no_say_whatever_they_hold() -> None:
    truth = true_state(())
    target = RIG.posed_points(POINTS, truth)
    sigma = sigmas(35)
    sigma[[7, 20]] = math.inf
    holed = target.clone()
    holed[7], holed[20] = math.nan, 1e9
    expected = solve(RIG, [Points3D(POINTS, target, sigma), prior()], near(truth))
    result = solve(RIG, [Points3D(POINTS, holed, sigma), prior()], near(truth))
    assert torch.equal(result.state.local_rotmat, expected.state.local_rotmat)
    block = result.residual("points_3d")
    assert torch.equal(block.distance[[7, 20]], torch.zeros(2, dtype=torch.float64))
    assert torch.equal(block.robust_weight[[7, 20]], torch.zeros(2, dtype=torch.float64))


def test_sigma_an_axis_weighs_each_axis() -> None:
    points = POINTS.select(("Pelvis",))
    target = torch.tensor([[1.0, 1.0, 1.0]], dtype=torch.float64)
    anchor = Points3D(points, torch.zeros(1, 3, dtype=torch.float64), sigmas(1, value=1.0), name="zero")
    sharp = Points3D(points, target, torch.tensor([[0.1, 1.0, math.inf]], dtype=torch.float64))
    result = solve(RIG, [anchor, sharp], RIG.rest_state(), SolveConfig(free_joints=torch.zeros(24, dtype=torch.bool)))
    place = RIG.pose(result.state).joints[0]
    assert place.tolist() == pytest.approx([1 / 1.01, 0.5, 0.0], abs=1e-6)

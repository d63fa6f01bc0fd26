# SPDX-License-Identifier: Apache-2.0
"""Solves that are given no start."""

import math
from dataclasses import replace

import pytest
import torch
from rigs import random_rotmats
from solve_cases import EYE, INDEX, POINTS, RIG, distance, prior, sigmas, status_of, true_state
from torch import Tensor

from ikol.camera import Camera, camera_from_fov
from ikol.errors import InputError
from ikol.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from ikol.solver import (
    Limits,
    Pins,
    Points2D,
    Points3D,
    RelativePoints3D,
    SolveConfig,
    SolveStatus,
    Twist,
    default_limits,
    solve,
    start_from_points,
)
from ikol.solver.baselines import twist_of
from ikol.solver.directions import DirectionConfig, solve_directions

JOINTS = POINTS.select(RIG.tree.names)


def make_camera(yaw: float = 0.0) -> Camera:
    """Level, six metres from the origin, upright in the picture."""
    camera = camera_from_fov(640, 480, 55.0, dtype=torch.float64)
    sine, cosine = math.sin(yaw), math.cos(yaw)
    turn = torch.tensor([[cosine, 0.0, -sine], [0.0, -1.0, 0.0], [-sine, 0.0, -cosine]], dtype=torch.float64)
    return camera.with_extrinsics(turn, torch.tensor((0.0, 1.0, 6.0), dtype=torch.float64))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_points_of_a_turned_body_are_met_without_a_start(shape: tuple[int, ...]) -> None:
    truth = true_state(shape)
    truth.local_rotmat[..., 0, :, :] = random_rotmats(shape, 2.0, seed=3)
    target = RIG.posed_points(POINTS, truth)
    result = solve(RIG, [Points3D(POINTS, target, sigmas(35)), Limits(default_limits(RIG.tree, dtype=torch.float64))])
    assert result.state.transl.shape == (*shape, 3)
    assert (result.status == SolveStatus.CONVERGED).all()
    # plausible poses lie within the limits or a degree beyond
    assert distance(result.state, truth) < 0.01


def test_a_body_that_may_not_move_starts_at_the_optimum_of_that() -> None:
    state = replace(RIG.rest_state(), local_rotmat=random_rotmats((200, 24), math.pi, seed=5))
    target = RIG.posed_points(JOINTS, replace(state, transl=torch.zeros(200, 3, dtype=torch.float64)))
    generator = torch.Generator().manual_seed(6)
    target[:, 5:9] += 0.3 * torch.randn(200, 4, 3, generator=generator, dtype=torch.float64)
    keypoints = target.clone()
    keypoints[:, 0] = RIG.rest_joints(RIG.rest_state().betas)[0]
    bones = JOINTS.rest_points(RIG.rest_state().betas)
    best = solve_directions(
        RIG.tree,
        keypoints,
        bones - bones[[0, *RIG.tree.parents[1:]]],
        torch.zeros(sum(map(bool, RIG.tree.children)), dtype=torch.float64),
        config=DirectionConfig(hold_root=True),
    )
    result = solve(RIG, [Points3D(JOINTS, target, sigmas(24, value=1.0))], config=SolveConfig(free_transl=False))
    # the root's own row is a constant; a hundredth is what the share of frames at the optimum is counted by
    constant = 0.5 * (keypoints[:, 0] - target[:, 0]).square().sum(-1)
    assert float((result.cost <= 1.01 * (best.cost + constant)).double().mean()) == 1.0


def test_several_blocks_and_pins_start_together_without_their_missing_rows() -> None:
    truth = true_state((2,))
    target = RIG.posed_points(POINTS, truth)
    arms = tuple(name for name in POINTS.names if name.startswith("L_"))
    rest = tuple(name for name in POINTS.names if not name.startswith("L_") and name != "R_Ankle")
    left, other = (target[:, [POINTS.index(name) for name in names]] for names in (arms, rest))
    other[:, 0] = math.nan
    sigma = sigmas(len(rest), 3)
    sigma[0] = math.inf
    ankle = Pins(POINTS.select(("R_Ankle",)), target[:, [POINTS.index("R_Ankle")]])
    blocks = [
        Points3D(POINTS.select(arms), left, sigmas(len(arms)), name="left"),
        Points3D(POINTS.select(rest), other, sigma, name="other"),
    ]
    result = solve(RIG, [*blocks, ankle, prior(100.0)])
    assert distance(result.state, truth) < 1e-3


def test_relative_points_and_a_picture_give_pose_and_place() -> None:
    truth = true_state((2,))
    camera, hips = make_camera(), POINTS.select(("L_Hip", "R_Hip"))
    world = RIG.posed_points(POINTS, truth)
    relative = (world - world[:, 1:3].mean(1, keepdim=True)) @ camera.R_camera_world.mT
    evidence = [
        RelativePoints3D(POINTS, relative, sigmas(35), camera.R_camera_world, hips),
        Points2D(POINTS, camera.project(world), sigmas(35, value=2.0), camera),
    ]
    result = solve(RIG, evidence)
    assert distance(result.state, truth) < 1e-3
    # the start is the pose already: a few Newton steps are left
    assert int(result.iterations.max()) < 12


def test_a_picture_alone_places_the_rest_pose() -> None:
    camera = make_camera()
    truth = RIG.rest_state()
    truth = replace(truth, transl=torch.tensor((0.5, 0.2, -1.0), dtype=torch.float64))
    pixels = camera.project(RIG.posed_points(POINTS, truth))
    start = solve(RIG, [Points2D(POINTS, pixels, sigmas(35, value=2.0), camera)], config=SolveConfig(max_iterations=0))
    assert torch.equal(start.state.local_rotmat, RIG.rest_state().local_rotmat)
    assert torch.allclose(start.state.transl, truth.transl, atol=0.05)


def test_two_cameras_without_any_3d_point_triangulate_the_pose() -> None:
    truth = true_state(())
    truth = replace(truth, transl=0.1 * truth.transl)
    truth.local_rotmat[0] = EYE
    cameras = [make_camera(yaw) for yaw in (0.0, 1.2)]
    world = RIG.posed_points(POINTS, truth)
    evidence = [
        Points2D(POINTS, camera.project(world), sigmas(35, value=1.0), camera, name=f"camera {k}")
        for k, camera in enumerate(cameras)
    ]
    config = SolveConfig(cost_tolerance=0.0, gradient_tolerance=1e-9, max_iterations=300)
    result = solve(RIG, evidence, config=config)
    # pixels are exact, so rounding is what is left: 1e-13 of metres, through levers that see a millimetre a pixel
    assert distance(result.state, truth) < 1e-6
    alone = solve(RIG, [*evidence[:1], prior()], config=config)
    assert distance(alone.state, truth) > 0.01


def test_two_cameras_find_a_body_that_turns_its_back() -> None:
    truth = true_state((2,))
    truth = replace(truth, transl=0.1 * truth.transl)
    truth.local_rotmat[:, 0] = torch.diag(torch.tensor((-1.0, 1.0, -1.0), dtype=torch.float64))
    world = RIG.posed_points(POINTS, truth)
    sigma = sigmas(35, value=1.0)
    sigma[3] = math.inf
    evidence = [
        Points2D(POINTS, camera.project(world), sigma.clone(), camera, name=f"camera {k}")
        for k, camera in enumerate([make_camera(0.0), make_camera(1.2)])
    ]
    # the second sees the points in another order
    evidence[1] = replace(evidence[1], points=POINTS.select(POINTS.names[::-1]), target=evidence[1].target.flip(-2))
    evidence[1] = replace(evidence[1], sigma=evidence[1].sigma.flip(0))
    result = solve(RIG, [*evidence, prior(100.0)])
    assert distance(result.state, truth) < 1e-2


def test_nothing_known_is_the_rest_pose() -> None:
    result = solve(RIG, [])
    assert status_of(result) == SolveStatus.CONVERGED
    assert torch.equal(result.state.local_rotmat, RIG.rest_state().local_rotmat)


def test_what_is_held_rests() -> None:
    truth = true_state(())
    free = torch.ones(24, dtype=torch.bool)
    free[[0, INDEX("L_Elbow")]] = False
    config = SolveConfig(free_joints=free, free_transl=False)
    result = solve(RIG, [Points3D(POINTS, RIG.posed_points(POINTS, truth), sigmas(35)), prior()], config=config)
    assert torch.equal(result.state.transl, torch.zeros(3, dtype=torch.float64))
    assert torch.equal(result.state.local_rotmat[~free], EYE.expand(2, 3, 3))
    assert (result.state.local_rotmat[INDEX("L_Shoulder")] - EYE).abs().max() > 0.1


def test_evidence_that_cannot_be_used_is_refused_as_with_a_start() -> None:
    with pytest.raises(InputError, match=r"points_3d: target must have shape \(\*batch, 35, 3\)"):
        solve(RIG, [Points3D(POINTS, torch.zeros(34, 3, dtype=torch.float64), sigmas(35))])


def any_pose(count: int) -> tuple[Tensor, Points3D, Twist]:
    """Joints turned anywhere, up to half a turn; all points and all twists of joints with one child."""
    generator = torch.Generator().manual_seed(5)
    axis = torch.randn(count, 24, 3, dtype=torch.float64, generator=generator)
    angle = math.pi * torch.rand(count, 24, 1, dtype=torch.float64, generator=generator)

    state = replace(
        RIG.rest_state((count,)), local_rotmat=rotvec_to_rotmat(angle * axis / axis.norm(dim=-1, keepdim=True))
    )
    single = [joint for joint, children in enumerate(RIG.tree.children) if len(children) == 1]
    bone = RIG.joints_template[[RIG.tree.children[joint][0] for joint in single]] - RIG.joints_template[single]
    twist = twist_of(RIG.tree, RIG.joints_template, state.local_rotmat)[:, single]
    known = Twist(torch.tensor(single), bone / bone.norm(dim=-1, keepdim=True), twist, torch.full_like(twist, 0.05))
    return state.local_rotmat, Points3D(JOINTS, RIG.pose(state).joints, sigmas(24)), known


def test_with_all_twists_the_start_is_the_pose_itself() -> None:
    truth, points, twist = any_pose(50)
    start = start_from_points(RIG, JOINTS, points.target, sigmas(24, value=1.0), RIG.rest_state().betas, twist=twist)
    turning = [joint for joint, children in enumerate(RIG.tree.children) if children and joint]
    error = torch.rad2deg(rotmat_to_rotvec(start.local_rotmat[:, turning].mT @ truth[:, turning]).norm(dim=-1))
    # the pull to rest bends bones by up to a degree, and the swing, not the bone, is ill-conditioned near half a turn
    assert error.median() < 3.0, float(error.median())


def test_known_twists_of_up_to_half_a_turn_start_in_the_right_basin() -> None:
    _, points, twist = any_pose(50)
    free = torch.tensor([bool(children) for children in RIG.tree.children])
    result = solve(RIG, [points, twist], config=SolveConfig(max_iterations=200, free_joints=free))
    share = (result.residual("points_3d").distance.amax(-1) < 1e-3).double().mean()
    assert share > 0.97, float(share)


def test_a_missing_twist_leaves_what_the_points_say() -> None:
    truth = true_state(())
    target = RIG.posed_points(POINTS, truth)
    shoulder = torch.tensor([INDEX("L_Shoulder")])
    axis = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    args = (RIG, POINTS, target, sigmas(35, value=1.0), truth.betas)
    plain = start_from_points(*args)
    missing = Twist(shoulder, axis, torch.full((1,), math.nan, dtype=torch.float64), sigmas(1, value=math.inf))
    assert torch.equal(start_from_points(*args, twist=missing).local_rotmat, plain.local_rotmat)

# SPDX-License-Identifier: Apache-2.0
import math
from dataclasses import replace

import pytest
import torch
from rigs import (
    chain_skeleton,
    plausible_rotmats,
    random_rotmats,
    smpl_points,
    smpl_rest_joints,
    smpl_skeleton,
    smpl_tree,
)
from strategies import BATCH_SHAPES, DTYPES
from torch import Tensor

from ikol.body.default_body import load_default_body
from ikol.body.points import AttachedPoints
from ikol.camera import Camera, camera_from_fov
from ikol.errors import Cancelled, InputError
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
    Progress,
    RelativePoints3D,
    RestTree,
    ShapePrior,
    SolveConfig,
    SolveResult,
    SolveState,
    SolveStatus,
    Twist,
    default_limits,
    rest_state,
    solve,
    start_from_points,
)

POINTS = smpl_points(0)
TREE = smpl_tree(0)
INDEX = smpl_skeleton().index
EYE = torch.eye(3, dtype=torch.float64)


def sigmas(*shape: int, value: float = 0.01, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.full(shape, value, dtype=dtype)


def true_state(shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float64) -> SolveState:
    """A pose that a body can take, turned and moved."""
    rotmats = plausible_rotmats(shape, seed)
    rotmats[..., 0, :, :] = random_rotmats(shape, 0.8, seed + 100)
    transl = torch.randn(*shape, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return SolveState(transl.to(dtype), rotmats.to(dtype), torch.zeros(*shape, 0, dtype=dtype))


def near(state: SolveState, angle_sd: float = 0.15, seed: int = 50) -> SolveState:
    """A start some degrees and centimetres away."""
    turn = random_rotmats(state.local_rotmat.shape[:-2], angle_sd, seed, state.transl.dtype)
    return SolveState(state.transl + 0.05, state.local_rotmat @ turn, state.betas)


def prior(sigma: float = 1.0, dtype: torch.dtype = torch.float64) -> Anchor:
    """The weak pull to rest that decides what points leave open."""
    return Anchor(torch.eye(3, dtype=dtype).expand(24, 3, 3), sigmas(24, value=sigma, dtype=dtype), name="prior")


def distance(state: SolveState, truth: SolveState, tree: RestTree = TREE, points: AttachedPoints = POINTS) -> float:
    """Largest distance between points, metres."""
    return float((tree.posed_points(points, state) - tree.posed_points(points, truth)).norm(dim=-1).max())


def status_of(result: SolveResult) -> SolveStatus:
    return SolveStatus(int(result.status))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", BATCH_SHAPES)
def test_reachable_points_are_reached(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    tree, points = smpl_tree(0, dtype), smpl_points(0, dtype)
    truth = true_state(shape, dtype=dtype)
    target = tree.posed_points(points, truth)
    start = start_from_points(tree, points, target, sigmas(35, value=1.0, dtype=dtype), truth.betas)
    result = solve(tree, [Points3D(points, target, sigmas(35, dtype=dtype))], start)
    assert result.state.local_rotmat.shape == (*shape, 24, 3, 3)
    assert result.state.transl.dtype == dtype
    assert result.status.shape == shape
    assert (result.status == SolveStatus.CONVERGED).all()
    # the gradient tolerance allows 1e-4 sd of 1 cm for each unknown; twists that points do not see do not matter
    assert distance(result.state, truth, tree, points) < 1e-4


@pytest.mark.parametrize("seed", range(5))
def test_pose_is_recovered_on_the_default_body_within_25_iterations(seed: int) -> None:
    body = load_default_body()
    tree, limits = RestTree.from_body(body), default_limits(body.skeleton)
    truth = true_state((), seed, torch.float32)
    truth = replace(truth, betas=torch.zeros(10))
    target = tree.posed_points(body.points, truth)
    count = len(body.points.names)
    start = start_from_points(tree, body.points, target, torch.ones(count), truth.betas, limits=limits)
    evidence = [
        Points3D(body.points, target, torch.full((count,), 0.01)),
        prior(1.0, torch.float32),
        Limits(limits),
        ShapePrior(torch.zeros(10), torch.ones(10)),
    ]
    result = solve(tree, evidence, start, SolveConfig(solve_shape=True))
    assert status_of(result) == SolveStatus.CONVERGED
    assert int(result.iterations) <= 25
    # the prior of 1 rad pulls against points of 1 cm
    assert distance(result.state, truth, tree, body.points) < 0.02


def test_shape_is_recovered_with_the_pose() -> None:
    tree, points = smpl_tree(3), smpl_points(3)
    betas = torch.tensor((1.5, -1.0, 0.5), dtype=torch.float64)
    truth = replace(true_state(()), betas=betas)
    target = tree.posed_points(points, truth)
    start = replace(near(truth), betas=torch.zeros_like(betas))
    weak = ShapePrior(torch.zeros_like(betas), sigmas(3, value=1e3))
    result = solve(tree, [Points3D(points, target, sigmas(35)), weak], start, SolveConfig(solve_shape=True))
    assert torch.allclose(result.state.betas, betas, atol=1e-3)
    assert distance(result.state, truth, tree, points) < 1e-4


def test_shape_stays_when_it_is_not_asked_for() -> None:
    tree, points = smpl_tree(3), smpl_points(3)
    truth = replace(true_state(()), betas=torch.tensor((1.5, -1.0, 0.5), dtype=torch.float64))
    start = replace(near(truth), betas=torch.tensor((0.1, 0.2, 0.3), dtype=torch.float64))
    result = solve(tree, [Points3D(points, tree.posed_points(points, truth), sigmas(35))], start)
    assert torch.equal(result.state.betas, start.betas)


def test_pixels_and_relative_depth_give_the_pose_and_the_place() -> None:
    truth = replace(true_state((), seed=3), transl=torch.tensor((0.2, -0.3, -4.0), dtype=torch.float64))
    camera = camera_from_fov(640, 480, 55.0, dtype=torch.float64)
    world = TREE.posed_points(POINTS, truth)
    hips = POINTS.select(("L_Hip", "R_Hip"))
    relative = (world - world[1:3].mean(0)) @ camera.R_camera_world.T
    evidence = [
        Points2D(POINTS, camera.project(world), sigmas(35, value=2.0), camera),
        RelativePoints3D(POINTS, relative, sigmas(35, value=0.03), camera.R_camera_world, hips),
    ]
    result = solve(TREE, evidence, near(truth))
    assert distance(result.state, truth) < 1e-3
    assert result.residual("points_2d").distance.max() < 1e-2
    assert result.residual("relative_points_3d").distance.max() < 1e-3


def test_two_cameras_alone_give_the_pose() -> None:
    truth = replace(true_state((), seed=3), transl=torch.tensor((0.2, -0.3, -4.0), dtype=torch.float64))
    front = camera_from_fov(640, 480, 55.0, dtype=torch.float64)
    turn = rotvec_to_rotmat(torch.tensor((0.0, 0.7, 0.0), dtype=torch.float64))
    side = front.with_extrinsics(turn @ front.R_camera_world, torch.tensor((-2.5, 0.0, 1.0), dtype=torch.float64))
    world = TREE.posed_points(POINTS, truth)
    blocks = [
        Points2D(POINTS, camera.project(world), sigmas(35, value=1.0), camera, name=name)
        for name, camera in (("front", front), ("side", side))
    ]
    assert distance(solve(TREE, blocks, near(truth)).state, truth) < 1e-3


def test_orientations_and_twists_are_met() -> None:
    truth = true_state(())
    axis = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    elbow, head = torch.tensor([INDEX("L_Elbow")]), torch.tensor([INDEX("Head")])
    angle = torch.tensor([0.6], dtype=torch.float64)
    evidence = [
        Points3D(POINTS.select(("L_Shoulder", "L_Elbow", "L_Wrist")), TREE.pose(truth).joints[[16, 18, 20]], sigmas(3)),
        Orientation(head, EYE[None], sigmas(1, value=0.01)),
        Twist(elbow, axis, angle, sigmas(1, value=0.01)),
        prior(),
    ]
    result = solve(TREE, evidence, rest_state(TREE))
    pose = TREE.pose(result.state)
    assert rotmat_to_rotvec(pose.global_rotmat[head[0]]).norm() < 0.01
    assert float(twist_angle(result.state.local_rotmat[elbow], axis)) == pytest.approx(0.6, abs=0.01)


@pytest.mark.parametrize("loss", [Huber(2.0), GemanMcClure(2.0)], ids=str)
def test_robust_losses_do_not_believe_outliers(loss: Huber | GemanMcClure) -> None:
    truth = true_state((4,), seed=5)
    target = TREE.posed_points(POINTS, truth)
    generator = torch.Generator().manual_seed(0)
    target = target + 0.005 * torch.randn(target.shape, dtype=torch.float64, generator=generator)
    outliers = [INDEX("L_Wrist"), INDEX("R_Knee")]
    target[:, outliers] += 0.4
    start = near(truth)
    good = [k for k in range(35) if k not in outliers]

    def error(loss: Huber | GemanMcClure | None) -> float:
        result = solve(TREE, [Points3D(POINTS, target, sigmas(35), loss=loss), prior()], start)
        offset = TREE.posed_points(POINTS, result.state) - TREE.posed_points(POINTS, truth)
        return float(offset[:, good].norm(dim=-1).mean())

    assert error(loss) < 0.5 * error(None)
    result = solve(TREE, [Points3D(POINTS, target, sigmas(35), loss=loss), prior()], start)
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
    tree = RestTree.from_rest_joints(chain_skeleton(1), torch.zeros(1, 3, dtype=torch.float64))
    target = points.rest.clone()
    target[6:] += torch.tensor((0.5, 0.0, 0.0), dtype=torch.float64)
    evidence = [Points3D(points, target, sigmas(20, value=0.02), loss=GemanMcClure(2.0))]
    plain = solve(tree, evidence, rest_state(tree), SolveConfig(gnc_start=1.0))
    assert float(plain.state.transl.norm()) < 0.01
    graduated = solve(tree, evidence, rest_state(tree), SolveConfig(gnc_start=1024.0))
    assert float((graduated.state.transl - torch.tensor((0.5, 0.0, 0.0))).norm()) < 1e-3
    assert float(graduated.cost) < 0.5 * float(plain.cost)


@pytest.mark.parametrize("side", ["L", "R"])
def test_limits_keep_a_knee_from_bending_backwards(side: str) -> None:
    # the ankle is asked to go to where only a knee that bends forwards by 50 degrees would take it
    local = EYE.repeat(24, 1, 1)
    local[INDEX(f"{side}_Knee")] = rotvec_to_rotmat(torch.tensor((math.radians(-50), 0.0, 0.0), dtype=torch.float64))
    wrong = SolveState(torch.zeros(3, dtype=torch.float64), local, torch.zeros(0, dtype=torch.float64))
    limits = default_limits(TREE.skeleton, dtype=torch.float64)
    points = Points3D(POINTS, TREE.posed_points(POINTS, wrong), sigmas(35))
    knee = torch.tensor([INDEX(f"{side}_Knee")])
    bend = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)

    def angle(evidence: list[Points3D | Anchor | Limits]) -> float:
        return math.degrees(float(twist_angle(solve(TREE, evidence, wrong).state.local_rotmat[knee], bend)))

    assert angle([points, prior()]) < -40
    assert angle([points, prior(), Limits(limits)]) > -12


def test_an_anchor_keeps_an_edit_local() -> None:
    before = true_state(())
    target = TREE.pose(before).joints[INDEX("L_Wrist")] + torch.tensor((0.0, 0.1, 0.0), dtype=torch.float64)
    evidence = [
        Points3D(POINTS.select(("L_Wrist",)), target[None], sigmas(1, value=0.005), name="drag"),
        Points3D(POINTS, TREE.posed_points(POINTS, before), sigmas(35, value=0.2)),
        Anchor(before.local_rotmat, sigmas(24, value=0.2)),
    ]
    result = solve(TREE, evidence, before)
    assert result.residual("drag").distance.max() < 0.005
    moved = TREE.pose(result.state).joints - TREE.pose(before).joints
    assert moved[INDEX("R_Ankle")].norm() < 0.01
    assert moved[INDEX("L_Elbow")].norm() > 0.02


def test_missing_rows_have_no_say_whatever_they_hold() -> None:
    truth = true_state(())
    target = TREE.posed_points(POINTS, truth)
    sigma = sigmas(35)
    sigma[[7, 20]] = math.inf
    holed = target.clone()
    holed[7], holed[20] = math.nan, 1e9
    expected = solve(TREE, [Points3D(POINTS, target, sigma), prior()], near(truth))
    result = solve(TREE, [Points3D(POINTS, holed, sigma), prior()], near(truth))
    assert torch.equal(result.state.local_rotmat, expected.state.local_rotmat)
    block = result.residual("points_3d")
    assert torch.equal(block.distance[[7, 20]], torch.zeros(2, dtype=torch.float64))
    assert torch.equal(block.robust_weight[[7, 20]], torch.zeros(2, dtype=torch.float64))


def test_sigma_an_axis_weighs_each_axis() -> None:
    points = POINTS.select(("Pelvis",))
    target = torch.tensor([[1.0, 1.0, 1.0]], dtype=torch.float64)
    anchor = Points3D(points, torch.zeros(1, 3, dtype=torch.float64), sigmas(1, value=1.0), name="zero")
    sharp = Points3D(points, target, torch.tensor([[0.1, 1.0, math.inf]], dtype=torch.float64))
    result = solve(TREE, [anchor, sharp], rest_state(TREE), SolveConfig(free_joints=torch.zeros(24, dtype=torch.bool)))
    place = TREE.pose(result.state).joints[0]
    assert place.tolist() == pytest.approx([1 / 1.01, 0.5, 0.0], abs=1e-6)


def test_only_free_joints_and_axes_move() -> None:
    truth = true_state(())
    start = near(truth)
    free = torch.zeros(24, 3, dtype=torch.bool)
    free[INDEX("L_Elbow"), 1] = True
    free[INDEX("R_Knee")] = True
    evidence = [Points3D(POINTS, TREE.posed_points(POINTS, truth), sigmas(35))]
    result = solve(TREE, evidence, start, SolveConfig(free_joints=free, free_transl=False))
    assert torch.equal(result.state.transl, start.transl)
    fixed = [k for k in range(24) if not free[k].any()]
    assert torch.equal(result.state.local_rotmat[fixed], start.local_rotmat[fixed])
    turn = rotmat_to_rotvec(start.local_rotmat.mT @ result.state.local_rotmat)
    assert turn[INDEX("R_Knee")].norm() > 0.01
    elbow = turn[INDEX("L_Elbow")]
    assert abs(float(elbow[1])) > 0.01
    assert elbow[[0, 2]].abs().max() < 1e-12


def test_nothing_free_changes_nothing() -> None:
    start = true_state(())
    config = SolveConfig(free_joints=torch.zeros(24, dtype=torch.bool), free_transl=False)
    evidence = [Points3D(POINTS, TREE.posed_points(POINTS, near(start)), sigmas(35))]
    result = solve(TREE, evidence, start, config)
    assert torch.equal(result.state.local_rotmat, start.local_rotmat)
    assert status_of(result) == SolveStatus.CONVERGED
    assert torch.equal(result.cost, result.initial_cost)


def full_evidence(truth: SolveState, seed: int = 0) -> list[Points3D | Points2D | Anchor | Limits]:
    """Noisy evidence of several kinds."""
    camera = camera_from_fov(640, 480, 55.0, dtype=torch.float64)
    camera = camera.with_extrinsics(camera.R_camera_world, torch.tensor((0.0, 0.0, 6.0), dtype=torch.float64))
    world = TREE.posed_points(POINTS, truth)
    generator = torch.Generator().manual_seed(seed)
    noisy = world + 0.02 * torch.randn(world.shape, dtype=torch.float64, generator=generator)
    return [
        Points3D(POINTS, noisy, sigmas(35, value=0.02), loss=Huber(3.0)),
        Points2D(POINTS, camera.project(noisy), sigmas(35, value=3.0), camera),
        Limits(default_limits(TREE.skeleton, dtype=torch.float64)),
        prior(),
    ]


def test_batch_equals_singles() -> None:
    truth = true_state((2, 3), seed=9)
    start = near(truth, 0.4)
    evidence = full_evidence(truth)
    together = solve(TREE, evidence, start)
    points, pixels = evidence[0], evidence[1]
    assert isinstance(points, Points3D)
    assert isinstance(pixels, Points2D)
    for item in ((0, 0), (1, 2)):
        single = SolveState(start.transl[item], start.local_rotmat[item], start.betas[item])
        alone = [
            replace(points, target=points.target[item]),
            replace(pixels, target=pixels.target[item]),
            *evidence[2:],
        ]
        result = solve(TREE, alone, single)
        assert int(result.iterations) == int(together.iterations[item])
        assert int(result.status) == int(together.status[item])
        # batched and single products round differently, and iterations carry that on along soft directions
        assert (result.state.local_rotmat - together.state.local_rotmat[item]).abs().max() < 1e-6
        assert float(result.cost) == pytest.approx(float(together.cost[item]), rel=1e-9)


def test_cost_never_rises() -> None:
    truth = true_state((8,), seed=11)
    costs: list[Tensor] = []
    result = solve(TREE, full_evidence(truth), near(truth, 0.6), on_iteration=lambda p: costs.append(p.cost))
    history = torch.stack([result.initial_cost, *costs])
    assert (history.diff(dim=0) <= 0).all()
    # the last, orthonormal state costs what the last step said
    assert torch.allclose(result.cost, history[-1], rtol=1e-9)


def test_evidence_broadcasts_over_many_starts() -> None:
    truth = true_state(())
    turns = torch.stack([near(truth, 0.1, seed).local_rotmat for seed in range(3)])
    start = SolveState(truth.transl, turns, truth.betas)
    result = solve(TREE, [Points3D(POINTS, TREE.posed_points(POINTS, truth), sigmas(35)), prior()], start)
    assert result.state.transl.shape == (3, 3)
    assert result.cost.shape == (3,)
    assert torch.allclose(result.cost, result.cost[:1].expand(3), rtol=1e-3)


def test_rotations_of_the_result_are_orthonormal_in_float32() -> None:
    tree, points = smpl_tree(0, torch.float32), smpl_points(0, torch.float32)
    truth = true_state((), dtype=torch.float32)
    evidence = [Points3D(points, tree.posed_points(points, truth), sigmas(35, dtype=torch.float32))]
    rotmat = solve(tree, evidence, rest_state(tree)).state.local_rotmat
    assert (rotmat.mT @ rotmat - torch.eye(3)).abs().max() < 1e-6


def test_steps_are_bounded() -> None:
    truth = true_state((), seed=2)
    seen: list[float] = []
    start = rest_state(TREE)
    evidence = [Points3D(POINTS, TREE.posed_points(POINTS, truth), sigmas(35))]
    for count in range(1, 6):
        state = solve(TREE, evidence, start, SolveConfig(max_iterations=1, max_step=0.3)).state
        seen.append(float(rotmat_to_rotvec(start.local_rotmat.mT @ state.local_rotmat).norm(dim=-1).max()))
        start = state
        assert count
    assert max(seen) < 0.3 + 1e-9
    assert max(seen) > 0.2


def test_progress_is_reported_and_can_cancel() -> None:
    truth = true_state(())
    evidence = [Points3D(POINTS, TREE.posed_points(POINTS, truth), sigmas(35))]
    seen: list[Progress] = []

    def stop_at_three(progress: Progress) -> None:
        seen.append(progress)
        if progress.iteration == 3:
            raise Cancelled("the user pressed Escape")

    with pytest.raises(Cancelled, match="Escape"):
        solve(TREE, evidence, rest_state(TREE), on_iteration=stop_at_three)
    assert [progress.iteration for progress in seen] == [1, 2, 3]
    assert seen[0].max_iterations == 50
    assert seen[0].num_active == 1


def test_status_of_a_solve_at_its_solution_is_converged_without_a_step() -> None:
    truth = true_state(())
    result = solve(TREE, [Points3D(POINTS, TREE.posed_points(POINTS, truth), sigmas(35))], truth)
    assert status_of(result) == SolveStatus.CONVERGED
    assert int(result.iterations) == 0


def test_status_of_a_solve_cut_short_is_max_iterations() -> None:
    truth = true_state(())
    evidence = [Points3D(POINTS, TREE.posed_points(POINTS, truth), sigmas(35))]
    result = solve(TREE, evidence, rest_state(TREE), SolveConfig(max_iterations=2))
    assert status_of(result) == SolveStatus.MAX_ITERATIONS
    assert int(result.iterations) == 2


def test_zero_iterations_only_evaluate() -> None:
    truth = true_state(())
    evidence = [Points3D(POINTS, TREE.posed_points(POINTS, truth) + 0.03, sigmas(35))]
    result = solve(TREE, evidence, truth, SolveConfig(max_iterations=0))
    assert status_of(result) == SolveStatus.MAX_ITERATIONS
    assert float(result.cost) == pytest.approx(0.5 * 35 * 3 * 9.0, rel=1e-9)
    assert float(result.gradient_norm) > 1.0
    assert torch.allclose(result.residual("points_3d").residual, torch.full((35, 3), -0.03, dtype=torch.float64))


def test_status_of_numbers_that_overflow_is_failed_and_the_others_go_on() -> None:
    tree, points = smpl_tree(0, torch.float32), smpl_points(0, torch.float32)
    truth = true_state((2,), dtype=torch.float32)
    target = tree.posed_points(points, truth)
    target[1] = 1e30  # its square is infinite in float32
    start = near(truth)
    result = solve(tree, [Points3D(points, target, sigmas(35, dtype=torch.float32))], start)
    assert result.status.tolist() == [SolveStatus.CONVERGED, SolveStatus.FAILED]
    assert torch.allclose(result.state.local_rotmat[1], start.local_rotmat[1], atol=1e-6)
    assert torch.isfinite(result.state.transl).all()


def degenerate_cases() -> dict[str, list[Points3D | Points2D | RelativePoints3D | Limits]]:
    names = ("L_Wrist", "R_Wrist", "Head", "L_Ankle")
    far = torch.full((4, 3), 30.0, dtype=torch.float64)
    line = torch.linspace(0, 3, 4, dtype=torch.float64)[:, None] * torch.tensor((0.0, 1.0, 0.0), dtype=torch.float64)
    four = POINTS.select(names)
    camera = camera_from_fov(640, 480, 55.0, dtype=torch.float64)
    behind = camera.with_extrinsics(camera.R_camera_world, torch.tensor((0.0, 0.0, -5.0), dtype=torch.float64))
    pixels = torch.tensor([[320.0, 240.0]], dtype=torch.float64)
    hips = POINTS.select(("L_Hip", "R_Hip"))
    return {
        "no evidence": [],
        "no point": [Points3D(POINTS.select(()), torch.zeros(0, 3, dtype=torch.float64), sigmas(0))],
        "all missing": [Points3D(four, far, sigmas(4, value=math.inf))],
        "one point": [Points3D(POINTS.select(("Head",)), far[:1] / 15, sigmas(1))],
        "one pixel": [Points2D(POINTS.select(("Head",)), pixels, sigmas(1, value=3.0), camera)],
        "unreachable": [Points3D(four, far * torch.arange(4, dtype=torch.float64)[:, None], sigmas(4))],
        "collinear": [Points3D(four, line, sigmas(4))],
        "all at one place": [Points3D(POINTS, torch.zeros(35, 3, dtype=torch.float64), sigmas(35))],
        "behind the camera": [Points2D(four, pixels.expand(4, 2), sigmas(4, value=3.0), behind)],
        "relative only": [RelativePoints3D(four, line, sigmas(4), EYE, hips)],
        "limits only": [Limits(default_limits(TREE.skeleton, dtype=torch.float64))],
    }


@pytest.mark.parametrize("case", degenerate_cases())
def test_degenerate_evidence_gives_finite_rotations(case: str) -> None:
    result = solve(TREE, degenerate_cases()[case], rest_state(TREE))
    assert torch.isfinite(result.state.transl).all()
    assert torch.isfinite(result.cost)
    assert torch.isfinite(result.gradient_norm)
    assert float(result.cost) <= float(result.initial_cost)
    rotmat = result.state.local_rotmat
    assert (rotmat.mT @ rotmat - EYE).abs().max() < 1e-9


@pytest.mark.parametrize("case", ["no evidence", "no point", "all missing", "limits only"])
def test_without_a_say_nothing_moves(case: str) -> None:
    start = rest_state(TREE)
    result = solve(TREE, degenerate_cases()[case], start)
    assert status_of(result) == SolveStatus.CONVERGED
    assert torch.equal(result.state.local_rotmat, start.local_rotmat)
    assert torch.equal(result.state.transl, start.transl)


@pytest.mark.parametrize("dtype", DTYPES)
def test_relative_points_alone_leave_the_body_where_it_is(dtype: torch.dtype) -> None:
    # in float32 the information about the translation cancels only to rounding
    tree, points = smpl_tree(0, dtype), smpl_points(0, dtype)
    truth = true_state((), dtype=dtype)
    world = tree.posed_points(points, truth)
    hips = points.select(("L_Hip", "R_Hip"))
    relative = RelativePoints3D(
        points, world - world[1:3].mean(0), sigmas(35, dtype=dtype), torch.eye(3, dtype=dtype), hips
    )
    result = solve(tree, [relative, prior(dtype=dtype)], near(truth))
    assert status_of(result) == SolveStatus.CONVERGED
    assert result.residual("relative_points_3d").distance.max() < 0.02
    assert (tree.pose(result.state).joints[0] - world[0]).norm() < 1.0


def test_points_behind_the_camera_come_to_the_front() -> None:
    truth = replace(true_state((), seed=3), transl=torch.tensor((0.2, -0.3, -4.0), dtype=torch.float64))
    camera = camera_from_fov(640, 480, 55.0, dtype=torch.float64)
    evidence = [
        Points2D(POINTS, camera.project(TREE.posed_points(POINTS, truth)), sigmas(35, value=3.0), camera),
        prior(),
    ]
    start = replace(rest_state(TREE), transl=torch.tensor((0.0, 0.0, 0.5), dtype=torch.float64))
    result = solve(TREE, evidence, start, SolveConfig(max_iterations=200))
    depth = camera.to_camera(TREE.posed_points(POINTS, result.state))[:, 2]
    assert depth.min() > 0.0


def points_with(target: Tensor | None = None, sigma: Tensor | None = None, name: str = "points_3d") -> Points3D:
    target = torch.zeros(35, 3, dtype=torch.float64) if target is None else target
    return Points3D(POINTS, target, sigmas(35) if sigma is None else sigma, name=name)


NAN = math.nan


@pytest.mark.parametrize(
    ("evidence", "message"),
    [
        ([points_with(torch.full((35, 3), NAN, dtype=torch.float64))], "points_3d: target holds NaN or infinite"),
        ([points_with(torch.full((35, 3), math.inf, dtype=torch.float64))], "give a missing row the sigma inf"),
        ([points_with(sigma=sigmas(35, value=NAN))], "points_3d: sigma must be positive, inf where a row is missing"),
        ([points_with(sigma=sigmas(35, value=0.0))], "sigma must be positive"),
        ([points_with(torch.zeros(34, 3, dtype=torch.float64))], r"must have shape \(\*batch, 35, 3\)"),
        ([points_with(torch.zeros(35, 3))], r"target is torch.float32 on cpu, the tree is torch.float64"),
        ([points_with(), points_with()], "must have different names, got points_3d more than once"),
        ([points_with(torch.zeros(2, 35, 3, dtype=torch.float64))] * 0 + [points_with(sigma=sigmas(3, 35))], "fits"),
        (
            [
                points_with(torch.zeros(2, 35, 3, dtype=torch.float64)),
                points_with(torch.zeros(3, 35, 3).double(), name="b"),
            ],
            r"b: its batch \(3,\) does not fit the batch \(2,\)",
        ),
        ([Points3D(smpl_points(3), torch.zeros(35, 3).double(), sigmas(35))], "have 3 shape directions, the tree 0"),
        ([Anchor(2 * EYE.expand(24, 3, 3), sigmas(24))], "anchor: reference must hold rotation matrices"),
        ([Anchor(-EYE.expand(24, 3, 3), sigmas(24))], "or are mirrored"),
        ([Anchor(NAN * EYE.expand(24, 3, 3), sigmas(24))], "anchor: reference holds NaN"),
        ([Twist(torch.tensor([99]), EYE[:1], sigmas(1), sigmas(1))], "between 0 and 23, got 99 to 99"),
        ([Twist(torch.tensor([4]), 2 * EYE[:1], sigmas(1), sigmas(1))], "axis must hold 1 unit vectors"),
        ([Limits(default_limits(TREE.skeleton, dtype=torch.float64), sigma=0.0)], "positive number of radians"),
        (
            [RelativePoints3D(POINTS, torch.zeros(35, 3).double(), sigmas(35), EYE, POINTS.select(()))],
            "at least one reference point",
        ),
        (
            [
                RelativePoints3D(
                    POINTS, torch.zeros(35, 3).double(), sigmas(35), EYE, POINTS.select(("Head",)), sigmas(1, value=0.5)
                )
            ],
            "1 numbers with sum 1",
        ),
    ],
)
def test_evidence_that_cannot_be_used_is_refused_with_a_sentence(evidence: list[Points3D], message: str) -> None:
    with pytest.raises(InputError, match=message):
        solve(TREE, evidence, rest_state(TREE))


def test_a_camera_with_nan_is_refused() -> None:
    camera = camera_from_fov(640, 480, 55.0, dtype=torch.float64)
    camera = camera.with_extrinsics(camera.R_camera_world, torch.full((3,), NAN, dtype=torch.float64))
    with pytest.raises(InputError, match="points_2d: camera t_camera_world holds NaN"):
        solve(TREE, [Points2D(POINTS, torch.zeros(35, 2).double(), sigmas(35), camera)], rest_state(TREE))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transl": torch.full((3,), NAN, dtype=torch.float64)}, "initial state: transl holds NaN"),
        ({"local_rotmat": torch.zeros(24, 3, 3, dtype=torch.float64)}, "local_rotmat must hold rotation matrices"),
        ({"local_rotmat": EYE.expand(23, 3, 3)}, r"local_rotmat must have shape \(\*batch, 24, 3, 3\)"),
        ({"betas": torch.zeros(4, dtype=torch.float64)}, r"betas must have shape \(\*batch, 0\)"),
    ],
)
def test_a_start_that_cannot_be_used_is_refused(change: dict[str, Tensor], message: str) -> None:
    with pytest.raises(InputError, match=message):
        solve(TREE, [points_with()], replace(rest_state(TREE), **change))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_iterations": -1}, "max_iterations must not be negative"),
        ({"max_step": 0.0}, "max_step must be a positive number"),
        ({"initial_damping": NAN}, "initial_damping must be a positive number"),
        ({"cost_tolerance": -1.0}, "cost_tolerance must not be negative"),
        ({"gnc_factor": 1.0}, "gnc_factor above 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SolveConfig(**settings)


def test_a_mask_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"mask of shape \(24,\) or \(24, 3\), got torch.bool \(23,\)"):
        solve(TREE, [points_with()], rest_state(TREE), SolveConfig(free_joints=torch.ones(23, dtype=torch.bool)))


def test_an_unknown_block_is_named_with_the_known_ones() -> None:
    result = solve(TREE, [points_with()], rest_state(TREE), SolveConfig(max_iterations=0))
    with pytest.raises(InputError, match="no evidence called 'pixels'; it had points_3d"):
        result.residual("pixels")


def test_a_batch_of_none_is_a_batch() -> None:
    empty = rest_state(TREE, (0,))
    result = solve(TREE, [points_with()], empty)
    assert result.state.local_rotmat.shape == (0, 24, 3, 3)
    assert result.status.shape == (0,)


def test_a_camera_a_batch_item_is_used() -> None:
    truth = replace(true_state((2,), seed=3), transl=torch.tensor((0.2, -0.3, -4.0), dtype=torch.float64).expand(2, 3))
    single = camera_from_fov(640, 480, 55.0, dtype=torch.float64)
    places = torch.tensor(((0.0, 0.0, 0.0), (0.5, 0.0, 1.0)), dtype=torch.float64)
    camera = Camera(
        single.focal.expand(2, 2), single.center.expand(2, 2), single.R_camera_world.expand(2, 3, 3), places, 640, 480
    )
    world = TREE.posed_points(POINTS, truth)
    evidence = [Points2D(POINTS, camera.project(world), sigmas(35, value=1.0), camera)]
    result = solve(TREE, evidence, truth)
    assert (result.iterations == 0).all()
    assert result.cost.max() < 1e-12


def test_rest_joints_of_the_rig_are_those_of_smpl() -> None:
    assert torch.equal(TREE.joints_template, smpl_rest_joints())

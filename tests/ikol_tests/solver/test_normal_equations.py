# SPDX-License-Identifier: Apache-2.0
"""The autodiff twin of every Jacobian: H = J^T W J and g = J^T W r with J by forward-mode differentiation."""

import math
from dataclasses import replace

import pytest
import torch
from autodiff import autodiff_jacobian
from rigs import chain_tree, random_rotmats, smpl_points, smpl_skeleton, star_tree
from torch import Tensor

from ikol.body.joint_tree import JointTree
from ikol.body.points import AttachedPoints
from ikol.camera import Camera
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.solver.anatomy import default_limits
from ikol.solver.bones import elastic_bones
from ikol.solver.evidence import (
    Anchor,
    BonePrior,
    Evidence,
    Limits,
    Orientation,
    Points2D,
    Points3D,
    RelativePoints3D,
    ShapePrior,
    Twist,
)
from ikol.solver.levenberg_marquardt import evaluate
from ikol.solver.linear import NormalEquations
from ikol.solver.normal_equations import normal_equations
from ikol.solver.problem import Problem, build_problem, flatten_state
from ikol.solver.robust import GemanMcClure, Huber, robust_weight
from ikol.solver.skeleton import Skeleton
from ikol.solver.state import SolveState

NUM_BETAS = 3
SHAPES = ((), (2,), (2, 3))


def noise(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def make_state(shape: tuple[int, ...], dtype: torch.dtype = torch.float64, num_betas: int = NUM_BETAS) -> SolveState:
    return SolveState(
        transl=noise(*shape, 3, seed=1, dtype=dtype),
        local_rotmat=random_rotmats((*shape, 24), 0.5, seed=2, dtype=dtype),
        betas=noise(*shape, num_betas, seed=3, dtype=dtype),
    )


def make_camera(dtype: torch.dtype) -> Camera:
    return Camera(
        focal=torch.tensor((900.0, 950.0), dtype=dtype),
        center=torch.tensor((310.0, 250.0), dtype=dtype),
        R_camera_world=random_rotmats((), 0.3, seed=4, dtype=dtype),
        t_camera_world=torch.tensor((0.1, -0.2, 4.0), dtype=dtype),
        width=640,
        height=480,
    )


def make_evidence(kind: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Evidence:
    points, count = smpl_points(NUM_BETAS, dtype), 35
    sigma = 0.02 + 0.05 * noise(*shape, count, seed=5, dtype=dtype).abs()
    sigma[..., 3] = math.inf
    target = noise(*shape, count, 3, seed=6, dtype=dtype)
    camera = make_camera(dtype)
    per_axis = 0.1 + noise(*shape, 24, 3, seed=7, dtype=dtype).abs()
    per_axis[..., 5, :] = math.inf
    axes = random_rotmats((3,), 1.0, seed=8, dtype=dtype)[:, 0]
    angle = noise(*shape, 3, seed=9, dtype=dtype)
    reference = points.select(("L_Hip", "R_Hip", "nose"))
    weights = torch.tensor((0.5, 0.3, 0.2), dtype=dtype)
    world = camera.to_world(target + torch.tensor((0.0, 0.0, 4.0), dtype=dtype))
    match kind:
        case "points_3d":
            return Points3D(points, target, sigma)
        case "points_3d per axis":
            return Points3D(points, target, sigma[..., None] * torch.tensor((1.0, 2.0, 0.5), dtype=dtype))
        case "points_3d Huber":
            return Points3D(points, target, sigma, loss=Huber(2.0))
        case "relative_points_3d":
            return RelativePoints3D(points, target, sigma, camera.R_camera_world, reference, weights)
        case "relative_points_3d Geman-McClure":
            loss = GemanMcClure(20.0)
            return RelativePoints3D(points, target, sigma, camera.R_camera_world, reference, weights, loss=loss)
        case "points_2d":
            return Points2D(points, camera.project(world), 100 * sigma, camera)
        case "points_2d behind the camera":
            behind = Camera(
                camera.focal, camera.center, camera.R_camera_world, -camera.t_camera_world, width=640, height=480
            )
            return Points2D(points, camera.project(world), 100 * sigma, behind)
        case "orientation":
            reference_rotmat = random_rotmats((*shape, 3), 1.0, seed=10, dtype=dtype)
            return Orientation(torch.tensor((0, 15, 20)), reference_rotmat, sigma[..., :3])
        case "anchor":
            return Anchor(random_rotmats((*shape, 24), 1.0, seed=11, dtype=dtype), per_axis)
        case "twist":
            return Twist(torch.tensor((16, 18, 4)), axes, angle, sigma[..., :3])
        case "limits":
            return Limits(default_limits(smpl_skeleton().tree, dtype=dtype), sigma=0.1)
        case "shape_prior":
            mean = noise(*shape, NUM_BETAS, seed=12, dtype=dtype)
            return ShapePrior(mean, torch.tensor((0.5, 1.0, 2.0), dtype=dtype))
        case "bone_prior":
            return BonePrior(noise(*shape, 24, seed=12, dtype=dtype), per_axis[..., 0])
        case _:
            raise AssertionError(kind)


KINDS = (
    *("points_3d", "points_3d per axis", "points_3d Huber", "relative_points_3d", "relative_points_3d Geman-McClure"),
    *("points_2d", "points_2d behind the camera", "orientation", "anchor", "twist", "limits", "shape_prior"),
)


def assemble(problem: Problem, state: SolveState) -> NormalEquations:
    here = evaluate(problem, state)
    return normal_equations(problem, here.posed, here.rows, with_shape=True).gauss_newton


def twin(problem: Problem, state: SolveState) -> tuple[Tensor, Tensor]:
    """H and g of each item by automatic differentiation; robust weights are constants, as in the solver."""
    here = evaluate(problem, state)
    roots = [
        (rows.weight * robust_weight(rows.loss, rows.squared)[..., None]).expand_as(rows.residual).sqrt()
        for rows in here.rows
    ]
    joints = problem.skeleton.tree.num_joints
    lengths = 3 + 3 * joints + problem.skeleton.num_betas

    def whitened(step: Tensor) -> Tensor:
        moved = SolveState(
            transl=state.transl + step[:3],
            local_rotmat=state.local_rotmat @ rotvec_to_rotmat(step[3 : 3 + 3 * joints].unflatten(0, (joints, 3))),
            betas=state.betas + step[3 + 3 * joints : lengths],
            bone_scale=None if state.bone_scale is None else state.bone_scale + problem.bone_groups @ step[lengths:],
        )
        parts = zip(roots, evaluate(problem, moved).rows, strict=True)
        return torch.cat([(root * rows.residual).flatten(1) for root, rows in parts], dim=-1)

    zero = torch.zeros(lengths + problem.bone_groups.shape[-1], dtype=torch.float64)
    residual, jacobian = whitened(zero), autodiff_jacobian(whitened, zero)
    return jacobian.transpose(-1, -2) @ jacobian, (jacobian.transpose(-1, -2) @ residual[..., None]).squeeze(-1)


def assert_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """Relative to the largest entry of each item: sums over points of very different size."""
    scale = expected.flatten(1).abs().amax(-1).clamp(min=1e-12)
    error = ((actual - expected).flatten(1).abs().amax(-1) / scale).max()
    assert error < tolerance, f"{float(error):.2e}"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_normal_equations_equal_their_autodiff_twin(kind: str, shape: tuple[int, ...]) -> None:
    skeleton = smpl_skeleton(NUM_BETAS)
    problem = build_problem(skeleton, [make_evidence(kind, shape)], shape)
    state = flatten_state(make_state(shape), skeleton, shape)
    equations = assemble(problem, state)
    hessian, gradient = twin(problem, state)
    assert float(gradient.abs().max()) > 0.1
    # float64 through a tree of depth 9 and sums of 35 points: a few hundred roundings
    assert_close(equations.hessian, hessian, 1e-12)
    assert_close(equations.gradient, gradient, 1e-12)


@pytest.mark.parametrize("groups", ["each bone", "both sides together"])
@pytest.mark.parametrize("kind", [*KINDS, "bone_prior"])
def test_bone_scales_equal_their_autodiff_twin(kind: str, groups: str) -> None:
    skeleton, shape = smpl_skeleton(NUM_BETAS), (2,)
    numbers = elastic_bones(skeleton.tree)
    if groups == "both sides together":
        sides = [name.removeprefix("L_").removeprefix("R_") for name in skeleton.tree.names]
        numbers = torch.tensor([-1 if side in ("Spine2", "Head") else 7 * sides.index(side) for side in sides])
    problem = build_problem(skeleton, [make_evidence(kind, shape)], shape, numbers)
    state = replace(make_state(shape), bone_scale=1.0 + 0.2 * noise(2, 24, seed=13))
    flat = flatten_state(state, skeleton, shape)
    equations = assemble(problem, flat)
    hessian, gradient = twin(problem, flat)
    assert equations.gradient.shape[-1] == 3 + 72 + NUM_BETAS + (23 if groups == "each bone" else 12)
    # float64 through a tree of depth 9 and sums of 35 points: a few hundred roundings
    assert_close(equations.hessian, hessian, 1e-12)
    assert_close(equations.gradient, gradient, 1e-12)


def test_all_blocks_together_are_the_sum_of_each() -> None:
    skeleton, shape = smpl_skeleton(NUM_BETAS), (2,)
    kinds = ("points_3d", "relative_points_3d", "points_2d", "orientation", "anchor", "twist", "limits", "shape_prior")
    blocks = [make_evidence(kind, shape) for kind in kinds]
    state = flatten_state(make_state(shape), skeleton, shape)
    together = assemble(build_problem(skeleton, blocks, shape), state)
    singles = [assemble(build_problem(skeleton, [block], shape), state) for block in blocks]
    assert_close(together.hessian, torch.stack([single.hessian for single in singles]).sum(0), 1e-12)
    assert_close(together.gradient, torch.stack([single.gradient for single in singles]).sum(0), 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_float32_equals_float64_to_single_precision(kind: str) -> None:
    results: list[NormalEquations] = []
    for dtype in (torch.float32, torch.float64):
        skeleton = smpl_skeleton(NUM_BETAS, dtype)
        problem = build_problem(skeleton, [make_evidence(kind, (2,), dtype)], (2,))
        results.append(assemble(problem, flatten_state(make_state((2,), dtype), skeleton, (2,))))
    assert results[0].hessian.dtype == torch.float64
    # 6e-8 times a few hundred roundings; the inputs themselves differ by one
    assert_close(results[0].hessian.double(), results[1].hessian, 2e-5)
    assert_close(results[0].gradient.double(), results[1].gradient, 2e-5)


def test_far_from_the_origin_the_equations_keep_their_digits() -> None:
    # a person 1 km away in float32: places are known to 6e-5 m, levers of centimetres must not come from differences
    # of km
    results: list[NormalEquations] = []
    for dtype in (torch.float32, torch.float64):
        skeleton, points = smpl_skeleton(0, dtype), smpl_points(0, dtype)
        rotmats = random_rotmats((24,), 0.5, seed=2, dtype=dtype)
        state = SolveState(torch.tensor((1000.0, 0.0, 1000.0), dtype=dtype), rotmats, torch.zeros(0, dtype=dtype))
        target = skeleton.posed_points(points, state) + noise(35, 3, seed=1, dtype=dtype)
        problem = build_problem(skeleton, [Points3D(points, target, torch.ones(35, dtype=dtype))], ())
        results.append(assemble(problem, flatten_state(state, skeleton, ())))
    assert_close(results[0].hessian.double(), results[1].hessian, 1e-3)
    assert_close(results[0].gradient.double(), results[1].gradient, 1e-3)


@pytest.mark.parametrize("tree", [chain_tree(1), chain_tree(12), star_tree(5)])
def test_any_tree_equals_the_twin(tree: JointTree) -> None:
    count = tree.num_joints
    rest = noise(count, 3, seed=1)
    skeleton = Skeleton(tree, rest, noise(count, 3, 2, seed=2))
    points = AttachedPoints(
        names=tuple(f"p{k}" for k in range(2 * count)),
        joint_index=torch.arange(count).repeat(2),
        rest=rest.repeat(2, 1) + 0.2 * noise(2 * count, 3, seed=3),
        shapedirs=noise(2 * count, 3, 2, seed=4),
    )
    evidence = Points3D(points, noise(2 * count, 3, seed=5), torch.ones(2 * count, dtype=torch.float64))
    state = SolveState(noise(3, seed=6), random_rotmats((count,), 0.5, seed=7), noise(2, seed=8))
    problem, flat = build_problem(skeleton, [evidence], ()), flatten_state(state, skeleton, ())
    equations = assemble(problem, flat)
    hessian, gradient = twin(problem, flat)
    assert_close(equations.hessian, hessian, 1e-12)
    assert_close(equations.gradient, gradient, 1e-12)

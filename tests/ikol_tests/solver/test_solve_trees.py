# SPDX-License-Identifier: Apache-2.0
"""Solves of trees of any size, with hinges and a held root, and of several cameras."""

import math
from dataclasses import replace

import pytest
import torch
from rigs import random_rotmats
from solve_cases import POINTS, RIG, distance, near, prior, sigmas, status_of, true_state
from torch import Tensor

from ikol.body.joint_tree import JointTree
from ikol.body.points import AttachedPoints
from ikol.camera import Camera, camera_from_fov
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.solver import Huber, Points2D, Points3D, Skeleton, SolveConfig, SolveState, SolveStatus, solve

SIZES = (24, 52, 104, 300)  # a body, with fingers, with a face rig, a creature


def branching(count: int) -> tuple[Skeleton, AttachedPoints]:
    """A tree whose joints hang on one of the few before them, bones of 5 to 15 cm, two points on each joint."""
    generator = torch.Generator().manual_seed(count)
    parents = [-1] + [max(0, k - 1 - int(torch.randint(0, 6, (), generator=generator))) for k in range(1, count)]
    tree = JointTree(tuple(f"j{k}" for k in range(count)), tuple(parents))
    rest = torch.zeros(count, 3, dtype=torch.float64)
    offsets = torch.randn(count, 3, dtype=torch.float64, generator=generator)
    offsets = offsets / offsets.norm(dim=-1, keepdim=True) * (0.05 + 0.1 * torch.rand(count, 1, generator=generator))
    for joint in range(1, count):
        rest[joint] = rest[parents[joint]] + offsets[joint]
    arms = 0.06 * torch.randn(2, count, 3, dtype=torch.float64, generator=generator)
    points = AttachedPoints(
        names=tuple(f"p{k}" for k in range(2 * count)),
        joint_index=torch.arange(count).repeat(2),
        rest=(rest + arms).flatten(0, 1),
        shapedirs=torch.zeros(2 * count, 3, 0, dtype=torch.float64),
    )
    return Skeleton.from_rest_joints(tree, rest), points


def turned(skeleton: Skeleton, rotmat: Tensor) -> SolveState:
    return replace(skeleton.rest_state(), local_rotmat=rotmat)


@pytest.mark.parametrize("count", SIZES)
def test_trees_of_any_size_are_solved(count: int) -> None:
    skeleton, points = branching(count)
    truth = turned(skeleton, random_rotmats((count,), 0.3, seed=1))
    target = skeleton.posed_points(points, truth)
    # from afar one of 300 joints with nearly collinear points may end mirrored; the last micrometres take their time
    config = SolveConfig(max_iterations=150)
    result = solve(skeleton, [Points3D(points, target, sigmas(2 * count))], near(truth), config)
    assert status_of(result) == SolveStatus.CONVERGED
    assert distance(result.state, truth, skeleton, points) < 1e-5


@pytest.mark.parametrize("count", [24, 104])
def test_hinges_below_a_held_root_are_solved(count: int) -> None:
    # each joint turns about one axis of its own; the root not at all
    skeleton, points = branching(count)
    free = torch.zeros(count, 3, dtype=torch.bool)
    axis = torch.arange(count) % 3
    free[torch.arange(1, count), axis[1:]] = True
    angle = 0.5 * torch.randn(count, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    rotvec = torch.zeros(count, 3, dtype=torch.float64).scatter(1, axis[:, None], angle[:, None])
    rotvec[0] = 0.0
    truth = turned(skeleton, rotvec_to_rotmat(rotvec))
    evidence = [Points3D(points, skeleton.posed_points(points, truth), sigmas(2 * count))]
    config = SolveConfig(free_joints=free, free_transl=False, max_iterations=100)
    result = solve(skeleton, evidence, config=config)
    assert status_of(result) == SolveStatus.CONVERGED
    assert torch.equal(result.state.transl, torch.zeros(3, dtype=torch.float64))
    assert torch.equal(result.state.local_rotmat[0], torch.eye(3, dtype=torch.float64))
    # the mask is exact: a hinge's axis stays where it is
    held = result.state.local_rotmat[torch.arange(count), axis, axis]
    assert (held - 1.0).abs().max() < 1e-12
    assert distance(result.state, truth, skeleton, points) < 1e-5


def cameras() -> list[Camera]:
    """Three level ones around the body, of different lenses."""
    found: list[Camera] = []
    for yaw, fov in ((0.0, 55.0), (1.3, 40.0), (-1.0, 70.0)):
        sine, cosine = math.sin(yaw), math.cos(yaw)
        turn = torch.tensor([[cosine, 0.0, -sine], [0.0, -1.0, 0.0], [-sine, 0.0, -cosine]], dtype=torch.float64)
        place = torch.tensor((0.0, 1.0, 5.0), dtype=torch.float64)
        found.append(camera_from_fov(640, 480, fov, dtype=torch.float64).with_extrinsics(turn, place))
    return found


def pictures(truth: SolveState, sigma: Tensor) -> list[Points2D]:
    world = RIG.posed_points(POINTS, truth)
    return [Points2D(POINTS, camera.project(world), sigma, camera, name=f"{k}") for k, camera in enumerate(cameras())]


def upright(shape: tuple[int, ...]) -> SolveState:
    truth = true_state(shape)
    truth.local_rotmat[..., 0, :, :] = torch.eye(3, dtype=torch.float64)
    return replace(truth, transl=0.2 * truth.transl)


def test_cameras_fill_in_for_each_other() -> None:
    # each sees two thirds of the points, so that every point is seen by two of three; another third for each item
    truth = upright((3,))
    seen_by = torch.arange(35) % 3
    blocks: list[Points2D] = []
    for k, block in enumerate(pictures(truth, sigmas(3, 35, value=1.0))):
        is_missing = (seen_by + k + torch.arange(3)[:, None]) % 3 == 0
        sigma = torch.where(is_missing, math.inf, block.sigma)
        blocks.append(replace(block, sigma=sigma, target=torch.where(is_missing[..., None], math.nan, block.target)))
    config = SolveConfig(cost_tolerance=0.0, gradient_tolerance=1e-9, max_iterations=300)
    result = solve(RIG, blocks, config=config)
    # pixels are exact: what is left is rounding, through levers that see a millimetre a pixel
    assert distance(result.state, truth) < 1e-6


def test_a_camera_that_has_moved_is_outvoted() -> None:
    truth = upright(())
    blocks = pictures(truth, sigmas(35, value=1.0))
    blocks[2] = replace(blocks[2], target=blocks[2].target + 60.0)
    plain = solve(RIG, [*blocks, prior()], config=SolveConfig(max_iterations=100))
    robust = solve(
        RIG, [*(replace(block, loss=Huber(2.0)) for block in blocks), prior()], config=SolveConfig(max_iterations=100)
    )
    assert distance(robust.state, truth) < 0.5 * distance(plain.state, truth)


def test_rows_weigh_by_their_own_sigma() -> None:
    # one point is said to be at two places: it settles at the mean, weighted by 1 / sigma^2, row by row
    hips = POINTS.select(("Pelvis", "L_Hip", "R_Hip"))
    rest = RIG.posed_points(hips, RIG.rest_state())
    sigma = torch.tensor((0.01, 0.02, 0.04), dtype=torch.float64)
    first = Points3D(hips, rest, sigma, name="first")
    second = Points3D(hips, rest + 0.1, sigma.flip(0), name="second")
    config = SolveConfig(free_joints=torch.zeros(24, dtype=torch.bool))
    result = solve(RIG, [first, second], config=config)
    weight = sigma.flip(0).square().reciprocal().sum() / (sigma.square().reciprocal().sum() * 2)
    assert result.state.transl.tolist() == pytest.approx([0.1 * float(weight)] * 3, rel=1e-6)

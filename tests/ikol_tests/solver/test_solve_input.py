# SPDX-License-Identifier: Apache-2.0
"""What a solve makes of odd input: degenerate evidence, points behind the camera, what is refused with a sentence."""

import math
from dataclasses import replace
from typing import Literal

import pytest
import torch
from rigs import (
    smpl_points,
    smpl_rest_joints,
    smpl_skeleton,
)
from solve_cases import EYE, POINTS, RIG, near, prior, sigmas, status_of, true_state
from strategies import DTYPES
from torch import Tensor

from ikol.camera import Camera, camera_from_fov
from ikol.errors import InputError
from ikol.solver import (
    Anchor,
    Limits,
    Points2D,
    Points3D,
    RelativePoints3D,
    SolveConfig,
    SolveStatus,
    Twist,
    default_limits,
    solve,
)


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
        "limits only": [Limits(default_limits(RIG.tree, dtype=torch.float64))],
    }


@pytest.mark.parametrize("case", degenerate_cases())
def test_degenerate_evidence_gives_finite_rotations(case: str) -> None:
    result = solve(RIG, degenerate_cases()[case], RIG.rest_state())
    assert torch.isfinite(result.state.transl).all()
    assert torch.isfinite(result.cost)
    assert torch.isfinite(result.gradient_norm)
    assert float(result.cost) <= float(result.initial_cost)
    rotmat = result.state.local_rotmat
    assert (rotmat.mT @ rotmat - EYE).abs().max() < 1e-9


@pytest.mark.parametrize("case", ["no evidence", "no point", "all missing", "limits only"])
def test_without_a_say_nothing_moves(case: str) -> None:
    start = RIG.rest_state()
    result = solve(RIG, degenerate_cases()[case], start)
    assert status_of(result) == SolveStatus.CONVERGED
    assert torch.equal(result.state.local_rotmat, start.local_rotmat)
    assert torch.equal(result.state.transl, start.transl)


@pytest.mark.parametrize("dtype", DTYPES)
def test_relative_points_alone_leave_the_body_where_it_is(dtype: torch.dtype) -> None:
    # in float32 the information about the translation cancels only to rounding
    skeleton, points = smpl_skeleton(0, dtype), smpl_points(0, dtype)
    truth = true_state((), dtype=dtype)
    world = skeleton.posed_points(points, truth)
    hips = points.select(("L_Hip", "R_Hip"))
    relative = RelativePoints3D(
        points, world - world[1:3].mean(0), sigmas(35, dtype=dtype), torch.eye(3, dtype=dtype), hips
    )
    result = solve(skeleton, [relative, prior(dtype=dtype)], near(truth))
    assert status_of(result) == SolveStatus.CONVERGED
    assert result.residual("relative_points_3d").distance.max() < 0.02
    assert (skeleton.pose(result.state).joints[0] - world[0]).norm() < 1.0


def test_points_behind_the_camera_come_to_the_front() -> None:
    truth = replace(true_state((), seed=3), transl=torch.tensor((0.2, -0.3, -4.0), dtype=torch.float64))
    camera = camera_from_fov(640, 480, 55.0, dtype=torch.float64)
    evidence = [
        Points2D(POINTS, camera.project(RIG.posed_points(POINTS, truth)), sigmas(35, value=3.0), camera),
        prior(),
    ]
    start = replace(RIG.rest_state(), transl=torch.tensor((0.0, 0.0, 0.5), dtype=torch.float64))
    result = solve(RIG, evidence, start, SolveConfig(max_iterations=200))
    depth = camera.to_camera(RIG.posed_points(POINTS, result.state))[:, 2]
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
        ([Limits(default_limits(RIG.tree, dtype=torch.float64), sigma=0.0)], "positive number of radians"),
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
        solve(RIG, evidence, RIG.rest_state())


def test_a_camera_with_nan_is_refused() -> None:
    camera = camera_from_fov(640, 480, 55.0, dtype=torch.float64)
    camera = camera.with_extrinsics(camera.R_camera_world, torch.full((3,), NAN, dtype=torch.float64))
    with pytest.raises(InputError, match="points_2d: camera t_camera_world holds NaN"):
        solve(RIG, [Points2D(POINTS, torch.zeros(35, 2).double(), sigmas(35), camera)], RIG.rest_state())


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
        solve(RIG, [points_with()], replace(RIG.rest_state(), **change))


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
        solve(RIG, [points_with()], RIG.rest_state(), SolveConfig(free_joints=torch.ones(23, dtype=torch.bool)))


def test_an_unknown_block_is_named_with_the_known_ones() -> None:
    result = solve(RIG, [points_with()], RIG.rest_state(), SolveConfig(max_iterations=0))
    with pytest.raises(InputError, match="no evidence called 'pixels'; it had points_3d"):
        result.residual("pixels")


def test_a_batch_of_none_is_a_batch() -> None:
    empty = RIG.rest_state((0,))
    result = solve(RIG, [points_with()], empty)
    assert result.state.local_rotmat.shape == (0, 24, 3, 3)
    assert result.status.shape == (0,)


def test_a_camera_a_batch_item_is_used() -> None:
    truth = replace(true_state((2,), seed=3), transl=torch.tensor((0.2, -0.3, -4.0), dtype=torch.float64).expand(2, 3))
    single = camera_from_fov(640, 480, 55.0, dtype=torch.float64)
    places = torch.tensor(((0.0, 0.0, 0.0), (0.5, 0.0, 1.0)), dtype=torch.float64)
    camera = Camera(
        single.focal.expand(2, 2), single.center.expand(2, 2), single.R_camera_world.expand(2, 3, 3), places, 640, 480
    )
    world = RIG.posed_points(POINTS, truth)
    evidence = [Points2D(POINTS, camera.project(world), sigmas(35, value=1.0), camera)]
    result = solve(RIG, evidence, truth)
    assert (result.iterations == 0).all()
    assert result.cost.max() < 1e-12


def test_rest_joints_of_the_rig_are_those_of_smpl() -> None:
    assert torch.equal(RIG.joints_template, smpl_rest_joints())


@pytest.mark.parametrize("backend", ["native", "torch"])
def test_evidence_may_come_one_by_one_and_under_autocast(backend: Literal["native", "torch"]) -> None:
    config = SolveConfig(backend=backend)
    wanted = solve(RIG, [points_with(), prior()], RIG.rest_state(), config)
    with torch.autocast("cpu", torch.bfloat16):
        found = solve(RIG, (block for block in (points_with(), prior())), RIG.rest_state(), config)
    assert float(wanted.cost) > 0
    assert torch.equal(found.state.local_rotmat, wanted.state.local_rotmat)


def test_an_empty_batch_has_an_empty_result() -> None:
    points = points_with()
    empty = replace(points, target=points.target.expand(0, *points.target.shape))
    assert solve(RIG, [empty, prior()]).state.local_rotmat.shape == (0, 24, 3, 3)

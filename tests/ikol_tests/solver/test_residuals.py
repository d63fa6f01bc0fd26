# SPDX-License-Identifier: Apache-2.0
"""Values of the residuals against their definitions; their derivatives are tested with the normal equations."""

import math

import pytest
import torch
from rigs import random_rotmats, smpl_points, smpl_skeleton, smpl_tree
from torch import Tensor

from ikol.camera import Camera, camera_from_fov
from ikol.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from ikol.solver.evidence import Anchor, Evidence, Orientation, Points2D, RelativePoints3D, ShapePrior, Twist
from ikol.solver.levenberg_marquardt import evaluate
from ikol.solver.problem import build_problem, flatten_state
from ikol.solver.residuals import MIN_DEPTH, Rows
from ikol.solver.state import SolveState

RIG, POINTS = smpl_skeleton(2), smpl_points(2)
INDEX = smpl_tree().index
EYE = torch.eye(3, dtype=torch.float64)


def rows_of(block: Evidence, state: SolveState) -> tuple[Rows, ...]:
    problem = build_problem(RIG, [block], ())
    return evaluate(problem, flatten_state(state, RIG, ())).rows


def make_state() -> SolveState:
    return SolveState(
        transl=torch.tensor((0.3, -0.1, 0.2), dtype=torch.float64),
        local_rotmat=random_rotmats((24,), 0.4, seed=1),
        betas=torch.tensor((0.5, -1.0), dtype=torch.float64),
    )


def ones(*shape: int) -> Tensor:
    return torch.ones(*shape, dtype=torch.float64)


def test_relative_points_are_measured_in_the_axes_from_the_weighted_reference() -> None:
    state, axes = make_state(), random_rotmats((), 1.0, seed=3)
    world = RIG.posed_points(POINTS, state)
    weights = torch.tensor((0.25, 0.75), dtype=torch.float64)
    block = RelativePoints3D(
        POINTS, torch.zeros(35, 3).double(), ones(35), axes, POINTS.select(("L_Hip", "R_Hip")), weights
    )
    (rows,) = rows_of(block, state)
    origin = 0.25 * world[1] + 0.75 * world[2]
    assert torch.allclose(rows.residual[0], (world - origin) @ axes.T, atol=1e-13)


def test_pixels_are_those_of_the_camera() -> None:
    camera = camera_from_fov(640, 480, 60.0, dtype=torch.float64)
    camera = camera.with_extrinsics(camera.R_camera_world, torch.tensor((0.0, 1.0, 5.0), dtype=torch.float64))
    state = make_state()
    target = 100.0 * ones(35, 2)
    pixels, depth = rows_of(Points2D(POINTS, target, ones(35), camera), state)
    expected = camera.project(RIG.posed_points(POINTS, state)) - target
    assert torch.allclose(pixels.residual[0], expected, atol=1e-10)
    assert pixels.is_reported
    assert not depth.is_reported
    assert torch.equal(depth.squared, torch.zeros(1, 35, dtype=torch.float64))


def test_only_seen_points_are_pushed_to_the_front_of_the_camera() -> None:
    # the camera looks along +z from z = 0: the body stands in the plane of its centre
    camera = Camera(100.0 * ones(2), 50.0 * ones(2), EYE, torch.zeros(3, dtype=torch.float64), 100, 100)
    sigma = ones(35)
    sigma[5] = math.inf
    _, depth = rows_of(Points2D(POINTS, torch.zeros(35, 2).double(), sigma, camera), RIG.rest_state())
    lack = (MIN_DEPTH - POINTS.rest[:, 2]).clamp(min=0)
    assert torch.allclose(depth.residual[0, :, 0], lack)
    assert (depth.weight[0, :5] > 0).all()
    assert depth.weight[0, 5] == 0


def test_anchor_and_orientation_are_logarithms() -> None:
    state = make_state()
    reference = random_rotmats((24,), 0.5, seed=4)
    (anchor,) = rows_of(Anchor(reference, ones(24)), state)
    assert torch.allclose(anchor.residual[0], rotmat_to_rotvec(reference.mT @ state.local_rotmat), atol=1e-13)
    joints = torch.tensor((0, 15))
    (rows,) = rows_of(Orientation(joints, reference[:2], ones(2)), state)
    pose = RIG.pose(state).global_rotmat[joints]
    assert torch.allclose(rows.residual[0], rotmat_to_rotvec(reference[:2].mT @ pose), atol=1e-13)


def test_joints_without_an_anchor_have_no_rows() -> None:
    sigma = torch.full((24,), math.inf, dtype=torch.float64)
    sigma[[3, 7]] = 0.5
    (rows,) = rows_of(Anchor(EYE.expand(24, 3, 3), sigma), make_state())
    assert rows.residual.shape == (1, 2, 3)


@pytest.mark.parametrize(
    ("angle_deg", "target_deg", "expected_deg"), [(30, 10, 20), (170, -170, -20), (-170, 170, 20), (10, 370, 0)]
)
def test_twist_goes_the_short_way_round(angle_deg: float, target_deg: float, expected_deg: float) -> None:
    state = RIG.rest_state()
    elbow = INDEX("L_Elbow")
    state.local_rotmat[elbow] = rotvec_to_rotmat(math.radians(angle_deg) * EYE[0])
    target = torch.tensor([math.radians(target_deg)], dtype=torch.float64)
    (rows,) = rows_of(Twist(torch.tensor([elbow]), EYE[:1], target, ones(1)), state)
    assert math.degrees(float(rows.residual)) == pytest.approx(expected_deg, abs=1e-9)


def test_twist_has_no_say_at_a_swing_of_half_a_turn() -> None:
    state = RIG.rest_state()
    elbow = INDEX("L_Elbow")
    state.local_rotmat[elbow] = rotvec_to_rotmat(math.radians(178) * EYE[1])
    (rows,) = rows_of(Twist(torch.tensor([elbow]), EYE[:1], ones(1), ones(1)), state)
    assert torch.equal(rows.residual, torch.zeros(1, 1, 1, dtype=torch.float64))
    assert torch.equal(rows.jacobian, torch.zeros(1, 1, 1, 3, dtype=torch.float64))


def test_shape_prior_is_the_distance_to_the_mean() -> None:
    (rows,) = rows_of(ShapePrior(0.5 * ones(2), 2.0 * ones(2)), make_state())
    assert rows.residual[0, 0].tolist() == [0.0, -1.5]
    assert float(rows.squared) == pytest.approx((1.5 / 2.0) ** 2)

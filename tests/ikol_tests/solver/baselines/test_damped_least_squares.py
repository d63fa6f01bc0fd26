# SPDX-License-Identifier: Apache-2.0
import math
from dataclasses import replace

import pytest
import torch
from ik_problems import BODIES, known_pose, mean_mm, rotation_error_deg
from strategies import BATCH_SHAPES, DTYPES

from ikol.errors import InputError
from ikol.solver.baselines import (
    DampedLeastSquaresConfig,
    ReleasedIkolConfig,
    solve_damped_least_squares,
    solve_hybrik,
    solve_released_ikol,
)

WITH_TWIST = DampedLeastSquaresConfig(twist_weight=0.05)


@pytest.mark.parametrize("body", BODIES)
def test_clean_targets_are_met(body: str) -> None:
    case = known_pose(body, (20,), angle_sd=0.3)
    # linear convergence: the slowest singular value seen, 0.03 m, contracts by 0.001 / (0.001 + 0.0009) a step
    assert mean_mm(solve_damped_least_squares(case.problem).distance) < 1e-3


def test_positions_alone_leave_the_twist_open_and_the_rows_close_it() -> None:
    case = known_pose("rig", (20,), angle_sd=0.3)
    without, with_rows = (
        rotation_error_deg(solve_damped_least_squares(case.problem, config).local_rotmat, case.local_rotmat)
        for config in (DampedLeastSquaresConfig(iterations=100), replace(WITH_TWIST, iterations=100))
    )
    assert float(without.mean()) > 5.0
    # not all the way: the rest is the slow linear convergence of constant damping
    assert float(with_rows.mean()) < 0.1


def test_under_noise_it_leaves_less_than_the_analytic_and_the_released_methods() -> None:
    case = known_pose("rig", angle_sd=0.25, noise=0.02)
    found = mean_mm(solve_damped_least_squares(case.problem, WITH_TWIST).distance)
    adaptive = mean_mm(solve_hybrik(case.problem).distance)
    released = mean_mm(solve_released_ikol(case.problem, ReleasedIkolConfig(iterations=20, damping=0.01)).distance)
    # measured elsewhere, sd 0.25 rad and 20 mm: the optimum leaves 23.0, released IKOL 30.8 with these settings,
    # HybrIK adaptive 28.4; other bone lengths, so 15 %
    assert found == pytest.approx(23.0, rel=0.15)
    assert found < min(adaptive, released)


def test_a_missing_joint_does_not_count() -> None:
    case = known_pose("rig", (5,), angle_sd=0.3)
    target, weights = case.problem.target.clone(), torch.ones(24, dtype=torch.float64)
    target[:, 20], weights[20] = math.nan, 0.0
    result = solve_damped_least_squares(replace(case.problem, target=target, weights=weights))
    assert not bool(result.residual[:, 20].any())
    # the other 22 are still met; slower, because the elbow is held by the hand only
    assert mean_mm(result.distance) < 0.1


def test_leaf_rotations_are_passed_on() -> None:
    case = known_pose("rig", (3,))
    result = solve_damped_least_squares(case.problem)
    assert torch.equal(result.local_rotmat[:, [10, 11, 15, 22, 23]], case.local_rotmat[:, [10, 11, 15, 22, 23]])


@pytest.mark.parametrize("shape", BATCH_SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_batch_shape_and_type(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    case = known_pose("rig", shape, angle_sd=0.3, dtype=dtype)
    result = solve_damped_least_squares(case.problem, WITH_TWIST)
    assert result.joints.shape == (*shape, 24, 3)
    # float32: rounding of metres through ten rotations; above it the linear convergence of float64's case
    assert mean_mm(result.distance) < 0.05


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="must not be negative and damping must be positive"):
        DampedLeastSquaresConfig(damping=-1.0)

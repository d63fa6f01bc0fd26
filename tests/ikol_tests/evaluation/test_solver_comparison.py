# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from ikol.body.default_body import load_default_body
from ikol.body.kinematics import forward_kinematics
from ikol.errors import InputError
from ikol.evaluation.solver_comparison import POSES, SETTINGS, Row, compare, make_frames
from ikol.geometry.rotations import rotmat_to_rotvec
from ikol.solver.anatomy import default_limits
from ikol.solver.limits import limit_excess

BODY = load_default_body(dtype=torch.float64)


@pytest.fixture(scope="module")
def table() -> dict[tuple[str, str], Row]:
    rows = compare(("limits",), ("clean", "noise 30 mm"), count=2, seed=3)
    return {(row.setting, row.method): row for row in rows}


MOTION = torch.eye(3, dtype=torch.float64).expand(2, 24, 3, 3)


@pytest.mark.parametrize("poses", POSES)
def test_clean_targets_are_the_true_pose(poses: str) -> None:
    frames = make_frames(BODY, poses, "clean", 3, seed=1, motion=MOTION)
    transl = frames.joints[:, 0] - frames.problem.rest_joints[:, 0]
    posed = forward_kinematics(BODY.tree, frames.problem.rest_joints, frames.local_rotmat, transl).joints
    # rounding of metres
    assert float((posed - frames.problem.target).abs().max()) < 1e-12


def test_a_seed_gives_the_same_poses_in_every_setting() -> None:
    poses = [make_frames(BODY, "any", setting, 2, seed=5).local_rotmat for setting in SETTINGS]
    assert all(torch.equal(pose, poses[0]) for pose in poses)


def test_captured_motion_gets_a_heading_and_a_little_jitter() -> None:
    frames = make_frames(BODY, "motion", "clean", 200, seed=1, motion=MOTION)
    angles = rotmat_to_rotvec(frames.local_rotmat).norm(dim=-1)
    assert 0.03 < float(angles[:, 1:].mean()) < 0.12
    # any heading: half of them turn by more than a right angle
    assert 0.35 < float((angles[:, 0] > 1.57).double().mean()) < 0.65
    with pytest.raises(InputError, match="need the motion"):
        make_frames(BODY, "motion", "clean", 2, seed=1)


def test_poses_within_limits_are() -> None:
    frames = make_frames(BODY, "limits", "clean", 50, seed=2)
    limits = default_limits(BODY.tree, dtype=torch.float64)
    excess = limit_excess(limits, frames.local_rotmat[:, limits.joint_index])
    # rounding, where an angle is drawn at the end of its range
    assert float(excess.above.max()) < 1e-6
    assert float((-excess.below).max()) < 1e-6


def test_bones_are_wrong_by_up_to_five_percent() -> None:
    frames = make_frames(BODY, "limits", "bones 5 %", 20, seed=2)
    parents = list(BODY.tree.parents[1:])

    def lengths(joints: torch.Tensor) -> torch.Tensor:
        return (joints[:, 1:] - joints[:, parents]).norm(dim=-1)

    ratio = lengths(frames.problem.target) / lengths(frames.problem.rest_joints)
    assert 0.04 < float((ratio - 1).abs().max()) < 0.05 + 1e-9


def test_missing_joints_hang_on_their_parents_for_methods_without_weights() -> None:
    frames = make_frames(BODY, "limits", "missing joints", 40, seed=2)
    assert frames.problem.weights is not None
    is_missing = frames.problem.weights == 0
    # 15 % of 40 x 23, within four standard deviations
    assert 0.10 < float(is_missing[:, 1:].double().mean()) < 0.20
    assert torch.equal(frames.filled.target[~is_missing], frames.problem.target[~is_missing])
    rest, joint, parent = frames.problem.rest_joints, 20, 18
    bone = (rest[:, joint] - rest[:, parent]).norm(dim=-1)
    hanging = (frames.filled.target[:, joint] - frames.filled.target[:, parent]).norm(dim=-1)
    # a rotated bone keeps its length up to rounding
    assert float((bone - hanging)[is_missing[:, joint]].abs().max()) < 1e-12


def test_everyone_but_the_released_layer_meets_clean_targets(table: dict[tuple[str, str], Row]) -> None:
    assert table["clean", "HybrIK naive"].residual_mm < 1e-6
    assert table["clean", "solve, start by HybrIK adaptive"].at_optimum == 1.0
    assert table["clean", "released IKOL, 5 steps"].residual_mm > 10.0


def test_under_noise_the_least_squares_optimum_is_below_the_analytic_methods(
    table: dict[tuple[str, str], Row],
) -> None:
    ours = table["noise 30 mm", "solve, start by HybrIK adaptive"]
    assert ours.at_optimum == 1.0
    for other in ("HybrIK naive", "HybrIK adaptive", "released IKOL, 5 steps"):
        assert ours.residual_mm < table["noise 30 mm", other].residual_mm
        assert table["noise 30 mm", other].at_optimum == 0.0
    assert table["noise 30 mm", "SMPLify"].at_optimum is None

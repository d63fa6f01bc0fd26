# SPDX-License-Identifier: Apache-2.0
"""What is said about a solved pose agrees with solving it again under slightly different evidence."""

from dataclasses import replace

import pytest
import torch
from photo_evidence import LENS, PLACED, known_pose, seen_as
from torch import Tensor

from ikol.body.default_body import load_default_body
from ikol.body.model import BodyModel
from ikol.errors import InputError
from ikol.pipeline import (
    Anchor,
    Inspection,
    Keypoints2D,
    NamedEvidence,
    Orientations,
    Pins,
    Pose,
    Twist,
    ViewKeypoints2D,
)
from ikol.pipeline.blocks import STAY, block_targets, solver_blocks
from ikol.pipeline.calibrated import stretch
from ikol.pipeline.inspection import PLACED_SIGMA, inspect_problem
from ikol.pipeline.placement import point_positions
from ikol.pipeline.prepared import PreparedProblems
from ikol.pipeline.prior import relaxed_rotmat
from ikol.pipeline.problem import Problem, camera_of, make_problem
from ikol.solver import covariance, solve


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_default_body(dtype=torch.float64)


def noisy(body: BodyModel) -> list[NamedEvidence]:
    """Evidence that contradicts itself a little, so that every row pulls."""
    generator = torch.Generator().manual_seed(0)
    return [
        replace(block, points=block.points + spread * torch.randn(block.points.shape, generator=generator).double())
        for block, spread in zip(seen_as(body, known_pose(body)), (8.0, 0.03), strict=True)
    ]


def placed(body: BodyModel, evidence: list[NamedEvidence], joints: tuple[str, ...] = ()) -> Problem:
    return make_problem(
        body,
        evidence,
        intrinsics=LENS,
        extrinsics=PLACED,
        initial=known_pose(body),
        solve_shape=False,
        joints=joints,
    )


def inspected(problem: Problem) -> Inspection:
    return inspect_problem(problem, PreparedProblems())


def exactly(body: BodyModel, evidence: list[NamedEvidence]) -> Tensor:
    """The joints, solved to the last digits, so that differences of solves are derivatives."""
    problem = placed(body, evidence)
    assert problem.initial is not None
    config = replace(problem.config, cost_tolerance=0.0, gradient_tolerance=1e-10, max_iterations=500)
    blocks = solver_blocks(problem, block_targets(problem))
    result = solve(problem.skeleton, blocks, problem.initial, config)
    state = result.state
    return point_positions(body, Pose(state.transl, state.local_rotmat, state.betas), body.tree.names)


def row_of(inspection: Inspection, kind: str, name: str) -> int:
    found = [index for index, row in enumerate(inspection.rows) if (row.kind, row.name) == (kind, name)]
    assert len(found) == 1
    return found[0]


def weakened(block: NamedEvidence, name: str, share: float) -> NamedEvidence:
    """The block with one point's weight lowered by a part of it."""
    assert isinstance(block, Keypoints2D | Orientations | ViewKeypoints2D)
    sigma = block.sigma.clone()
    sigma[block.names.index(name)] /= (1.0 - share) ** 0.5
    return replace(block, sigma=sigma)


@pytest.mark.parametrize("name", ["left_wrist", "right_heel", "nose"])
def test_weakening_a_pixel_moves_the_joints_against_its_pull(body: BodyModel, name: str) -> None:
    """The derivative by the weight: for small changes of a row that is not robust dropping it is just that."""
    picture, relative = noisy(body)
    evidence: list[NamedEvidence] = [replace(picture, is_robust=False), relative]
    inspection = inspected(placed(body, evidence))
    pull = inspection.pulls[row_of(inspection, "keypoints_2d", name)]
    share = 1e-3
    moved = (exactly(body, [weakened(evidence[0], name, share), relative]) - exactly(body, evidence)) / share
    size = float(pull.norm(dim=-1).max())
    error = float((moved + pull).norm(dim=-1).max())
    # second order in the change, 1e-3, and a solve that stops at its tolerance
    assert error < 0.02 * size, f"{1000 * error:.3f} mm of {1000 * size:.2f} mm"


def test_dropping_an_orientation_moves_the_joints_as_it_pulled(body: BodyModel) -> None:
    evidence = noisy(body)
    turned = known_pose(body, 1).local_rotmat[:1]
    block = Orientations(("Head",), turned, torch.tensor([0.5]).double())
    inspection = inspected(placed(body, [*evidence, block]))
    pull = inspection.pulls[row_of(inspection, "orientations", "Head")]
    share = 1e-3
    weak = weakened(block, "Head", share)
    moved = (exactly(body, [*evidence, weak]) - exactly(body, [*evidence, block])) / share
    error, size = float((moved + pull).norm(dim=-1).max()), float(pull.norm(dim=-1).max())
    assert error < 0.02 * size, f"{1000 * error:.3f} mm of {1000 * size:.2f} mm"


def from_the_side(body: BodyModel, side: float, *, off: Tensor) -> ViewKeypoints2D:
    """The left wrist on a picture from the side (1 for the left, -1 for the right), `off` pixels beside its place."""
    turn = torch.tensor([[0.0, 0.0, -side], [0.0, 1.0, 0.0], [side, 0.0, 0.0]]).double()
    middle = torch.tensor([0.2, 0.3, -4.0]).double()
    R = PLACED[0] @ turn
    extrinsics = (R, torch.tensor([0.0, 0.0, 3.0]).double() - R @ middle)
    wrist = point_positions(body, known_pose(body), ("left_wrist",))
    pixel = camera_of(LENS, extrinsics).project(wrist) + off
    return ViewKeypoints2D(("left_wrist",), pixel, torch.tensor([5.0]).double(), LENS, extrinsics)


def test_rows_of_other_pictures_have_the_pixels_of_these(body: BodyModel) -> None:
    off = torch.tensor([30.0, 0.0]).double()
    views = [from_the_side(body, 1.0, off=off), from_the_side(body, -1.0, off=3.0 * off)]
    problem = placed(body, [*noisy(body), *views])
    result = PreparedProblems().solve(problem, problem.initial)  # pyright: ignore[reportArgumentType]
    pose = Pose(result.state.transl, result.state.local_rotmat, result.state.betas)
    wrist = point_positions(body, pose, ("left_wrist",))
    missed = [(camera_of(LENS, view.extrinsics).project(wrist) - view.points).norm() for view in views]
    rows = [row for row in inspected(problem).rows if row.kind == "view_keypoints_2d"]
    assert [(row.name, row.unit) for row in rows] == [("left_wrist", "px")] * 2
    torch.testing.assert_close(torch.tensor([row.residual for row in rows]).double(), torch.stack(missed))


def test_dropping_a_point_of_another_picture_moves_the_joints_as_it_pulled(body: BodyModel) -> None:
    block = from_the_side(body, 1.0, off=torch.tensor([40.0, 20.0]).double())
    evidence = noisy(body)
    inspection = inspected(placed(body, [*evidence, block]))
    pull = inspection.pulls[row_of(inspection, "view_keypoints_2d", "left_wrist")]
    share = 1e-3
    weak = weakened(block, "left_wrist", share)
    moved = (exactly(body, [*evidence, weak]) - exactly(body, [*evidence, block])) / share
    error, size = float((moved + pull).norm(dim=-1).max()), float(pull.norm(dim=-1).max())
    assert error < 0.02 * size, f"{1000 * error:.3f} mm of {1000 * size:.2f} mm"


def test_a_point_placed_on_another_picture_may_still_be_worth_placing_on_this_one(body: BodyModel) -> None:
    elsewhere = from_the_side(body, 1.0, off=torch.zeros(2).double())
    here = Keypoints2D(elsewhere.names, noisy(body)[0].points[15:16], elsewhere.sigma, is_robust=False)
    assert "left_wrist" in inspected(placed(body, [*noisy(body), elsewhere])).next_points
    assert "left_wrist" not in inspected(placed(body, [*noisy(body), here])).next_points


def test_pulls_hold_each_other(body: BodyModel) -> None:
    """At an optimum the gradient is zero, so the pulls on each joint add up to nothing, pins included."""
    wrist = point_positions(body, known_pose(body), ("left_wrist",)) + 0.05
    evidence = [
        *noisy(body),
        Pins(("left_wrist",), wrist),
        Twist(("L_Knee",), torch.zeros(1).double(), torch.ones(1).double()),
    ]
    inspection = inspected(placed(body, evidence))
    left = float(inspection.pulls.sum(0).norm(dim=-1).max())
    strongest = float(inspection.pulls.norm(dim=-1).max())
    # a solve ends where a step lowers the cost by less than a millionth of it
    assert left < 0.02 * strongest, f"{1000 * left:.2f} mm beside {1000 * strongest:.1f} mm"
    assert {row.kind for row in inspection.rows} >= {
        "keypoints_2d",
        "relative_keypoints_3d",
        "stay",
        "stance",
        "pins",
        "twist",
    }


def test_residuals_are_those_of_the_solved_pose(body: BodyModel) -> None:
    evidence = noisy(body)
    problem = placed(body, evidence)
    inspection = inspected(problem)
    solution = PreparedProblems().solve(problem, problem.initial)  # pyright: ignore[reportArgumentType]
    pose = Pose(solution.state.transl, solution.state.local_rotmat, solution.state.betas)
    picture = evidence[0]
    assert isinstance(picture, Keypoints2D)
    assert problem.camera is not None
    pixels = problem.camera.project(point_positions(body, pose, picture.names))
    errors = (pixels - picture.points).norm(dim=-1)
    rows = [inspection.rows[row_of(inspection, "keypoints_2d", name)] for name in picture.names]
    torch.testing.assert_close(torch.tensor([row.residual for row in rows]).double(), errors)
    assert {row.unit for row in rows} == {"px"}
    assert sum(row.cost for row in inspection.rows) == pytest.approx(float(solution.cost), rel=1e-6)


def test_covariance_is_what_the_evidence_says_without_staying_near_the_initial_pose(body: BodyModel) -> None:
    evidence = noisy(body)
    first = placed(body, evidence)
    blocks = [block for block in solver_blocks(first, block_targets(first)) if block.name != STAY]
    result = solve(first.skeleton, blocks, first.initial, replace(first.config, cost_tolerance=1e-12))
    pose = Pose(result.state.transl, result.state.local_rotmat, result.state.betas)
    problem = make_problem(
        body, evidence, intrinsics=LENS, extrinsics=PLACED, initial=pose, start=pose, solve_shape=False
    )
    inspection = inspected(problem)
    S = stretch(problem)
    expected = S @ covariance(problem.skeleton, blocks, result, problem.config).position @ S
    torch.testing.assert_close(inspection.joint_covariance, expected, rtol=1e-3, atol=1e-7)
    assert float(inspection.joint_covariance[0, 2, 2].sqrt()) > 0.03  # how far away somebody is, one picture says badly


def test_depth_is_less_sure_than_the_image_plane(body: BodyModel) -> None:
    inspection = inspected(placed(body, noisy(body)))
    wrist = inspection.joint_covariance[body.tree.names.index("L_Wrist")]
    assert float(wrist[2, 2]) > 2.0 * float(wrist[0, 0])


def test_gain_of_a_point_is_what_the_variance_falls_by_when_it_is_placed(body: BodyModel) -> None:
    """Placed exactly where it is seen, so that nothing moves and only the second derivative changes.

    The root is held, so that variances in the world are those relative to it.
    """
    evidence, free = noisy(body), body.tree.names[1:]
    problem = placed(body, evidence, joints=free)
    inspection = inspected(problem)
    before = inspection.joint_covariance.diagonal(dim1=-2, dim2=-1).sum()
    best, gain = inspection.next_points[0], float(inspection.next_gains[0])
    result = PreparedProblems().solve(problem, problem.initial)  # pyright: ignore[reportArgumentType]
    pose = Pose(result.state.transl, result.state.local_rotmat, result.state.betas)
    assert problem.camera is not None
    pixel = problem.camera.project(point_positions(body, pose, (best,)))
    sigma = torch.tensor([PLACED_SIGMA * LENS.height]).double()
    after = inspected(placed(body, [*evidence, Keypoints2D((best,), pixel, sigma, is_robust=False)], joints=free))
    fallen = float(before - after.joint_covariance.diagonal(dim1=-2, dim2=-1).sum())
    assert fallen == pytest.approx(gain, rel=0.01), f"{fallen:.3g} m^2, expected {gain:.3g}"
    assert torch.equal(inspection.next_gains, inspection.next_gains.sort(descending=True).values)
    assert best not in after.next_points


def test_what_may_not_move_is_sure_and_is_not_pulled(body: BodyModel) -> None:
    inspection = inspected(placed(body, noisy(body), joints=("L_Shoulder", "L_Elbow")))
    names = body.tree.names
    held = [names.index(name) for name in ("Pelvis", "Head", "R_Wrist", "L_Shoulder")]
    # joints above the free ones: products with zeros may leave their rounding
    assert float(inspection.joint_covariance[held].abs().max()) < 1e-20
    assert float(inspection.pulls[:, held].abs().max()) < 1e-15
    assert float(inspection.joint_covariance[names.index("L_Wrist")].abs().max()) > 0.0


def test_without_a_camera_no_pixel_is_proposed(body: BodyModel) -> None:
    wrist = point_positions(body, known_pose(body), ("left_wrist",))
    problem = make_problem(body, [Pins(("left_wrist",), wrist)], initial=known_pose(body))
    inspection = inspected(problem)
    assert inspection.next_points == ()
    assert inspection.next_gains.shape == (0,)
    pin = inspection.rows[row_of(inspection, "pins", "left_wrist")]
    assert pin.residual < 1e-4  # metres, the tolerance of pins
    assert (pin.unit, pin.cost) == ("m", 0.0)


def test_a_camera_that_nobody_placed_is_refused(body: BodyModel) -> None:
    problem = make_problem(body, noisy(body), intrinsics=LENS)
    with pytest.raises(InputError, match="extrinsics"):
        inspected(problem)


def test_evidence_that_says_nothing_has_no_rows(body: BodyModel) -> None:
    rest = replace(known_pose(body), local_rotmat=relaxed_rotmat(body.tree.names, torch.float64))
    silent = Anchor(rest.local_rotmat, torch.full((24,), torch.inf).double())
    inspection = inspected(make_problem(body, [silent], initial=rest))
    assert {row.kind for row in inspection.rows} <= {"stay", "stance", "limits"}
    assert inspection.pulls.shape == (len(inspection.rows), 24, 3)


def test_a_body_beside_the_picture_has_no_next_point(body: BodyModel) -> None:
    pose = known_pose(body)
    aside = replace(pose, transl=pose.transl + torch.tensor([30.0, 0.0, 0.0]).double())
    anchor = Anchor(pose.local_rotmat, torch.full((24,), 0.1).double())
    problem = make_problem(
        body, [anchor], intrinsics=LENS, extrinsics=PLACED, initial=aside, start=aside, solve_shape=False
    )
    assert inspected(problem).next_points == ()

# SPDX-License-Identifier: Apache-2.0
"""Left taken for right: the true pose is the second alternative of evidence whose sides were exchanged."""

from dataclasses import replace

import pytest
import torch
from photo_evidence import LENS, PLACED, known_pose, seen_as

from ikol.body.default_body import load_default_body
from ikol.body.model import BodyModel
from ikol.pipeline import Alternative, Keypoints2D, NamedEvidence, Swap, Twist, ViewKeypoints2D
from ikol.pipeline.alternatives import alternative_poses
from ikol.pipeline.placement import point_positions
from ikol.pipeline.prepared import PreparedProblems
from ikol.pipeline.problem import make_problem
from ikol.pipeline.swaps import swap_landmarks, swapped_evidence, swapped_name
from ikol.regressor import BLAZEPOSE_LANDMARKS


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_default_body(dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "swap", "expected"),
    [
        ("nose", "sides", "nose"),
        ("Pelvis", "sides", "Pelvis"),
        ("mouth_left", "sides", "mouth_right"),
        ("mouth_left", "arms", "mouth_left"),
        ("left_foot_index", "legs", "right_foot_index"),
        ("left_foot_index", "arms", "left_foot_index"),
        ("left_index", "arms", "right_index"),
        ("left_index", "legs", "left_index"),
        ("left_shoulder", "arms", "left_shoulder"),
        ("L_Shoulder", "sides", "R_Shoulder"),
        ("R_Wrist", "arms", "L_Wrist"),
        ("L_Hip", "legs", "L_Hip"),
        ("L_Knee", "legs", "R_Knee"),
    ],
)
def test_a_swap_renames_what_belongs_to_it(name: str, swap: Swap, expected: str) -> None:
    assert swapped_name(name, swap) == expected


@pytest.mark.parametrize("swap", ["arms", "legs", "sides"])
def test_swapping_twice_gives_the_points_back(body: BodyModel, swap: Swap) -> None:
    evidence = seen_as(body, known_pose(body))
    back = swapped_evidence(swapped_evidence(evidence, swap), swap)
    for before, after in zip(evidence, back, strict=True):
        assert isinstance(after, type(before))
        assert after.names == before.names
        assert torch.equal(after.points, before.points)


def test_what_somebody_placed_keeps_its_name_and_twists_are_dropped() -> None:
    placed = Keypoints2D(("left_wrist",), torch.zeros(1, 2).double(), torch.ones(1).double(), is_robust=False)
    elsewhere = ViewKeypoints2D(placed.names, placed.points, placed.sigma, LENS, PLACED)
    twist = Twist(("L_Wrist", "Head"), torch.zeros(2).double(), torch.ones(2).double())
    kept, kept_elsewhere, left = swapped_evidence((placed, elsewhere, twist), "arms")
    assert kept is placed
    assert kept_elsewhere is elsewhere
    assert isinstance(left, Twist)
    assert left.names == ("Head",)
    assert swapped_evidence((placed, twist), "sides") == (placed,)


def found(body: BodyModel, evidence: tuple[NamedEvidence, ...], swap: Swap) -> tuple[Alternative, ...]:
    problem = make_problem(body, evidence, intrinsics=LENS, extrinsics=PLACED)
    return alternative_poses(problem, swap, 4, PreparedProblems())


def error(body: BodyModel, one: Alternative, names: tuple[str, ...]) -> float:
    """Return the mean distance of landmarks from the true pose's, relative to the middle of the hips, metres."""
    hips = ("left_hip", "right_hip")
    relative = [
        point_positions(body, pose, names) - point_positions(body, pose, hips).mean(0)
        for pose in (one.pose, known_pose(body))
    ]
    return float((relative[0] - relative[1]).norm(dim=-1).mean())


@pytest.mark.parametrize("swap", ["arms", "legs", "sides"])
def test_the_true_pose_is_the_second_of_swapped_evidence(body: BodyModel, swap: Swap) -> None:
    wrong = swapped_evidence(seen_as(body, known_pose(body)), swap)
    solved, other = found(body, wrong, swap)
    names = swap_landmarks(swap)
    assert error(body, solved, names) > 0.15, "the exchange was not believed, so that there is nothing to put right"
    # of swapped limbs the depth is not known: the relaxed stance decides it
    limit = 0.04 if swap == "sides" else 0.12
    assert error(body, other, names) < limit, f"{1000 * error(body, other, names):.0f} mm"
    assert other.reprojection_px < 4.0  # half the evidence's sigma
    assert torch.equal(solved.pose.betas, other.pose.betas)


def test_right_evidence_costs_less_than_its_swap(body: BodyModel) -> None:
    solved, other = found(body, seen_as(body, known_pose(body)), "sides")
    assert solved.cost < other.cost


def test_half_a_body_can_be_swapped(body: BodyModel) -> None:
    upper = tuple(name for name in BLAZEPOSE_LANDMARKS if not name.endswith(("knee", "ankle", "heel", "foot_index")))
    solved, other = found(body, seen_as(body, known_pose(body), upper), "legs")
    assert (solved.reprojection_px, other.reprojection_px) == (-1.0, -1.0)


def test_swapped_evidence_leaves_the_given_one_alone(body: BodyModel) -> None:
    picture, relative = seen_as(body, known_pose(body))
    before = replace(relative, points=relative.points.clone(), sigma=relative.sigma.clone())
    swapped_evidence((picture, relative), "sides")
    swapped_evidence((picture, relative), "arms")
    assert torch.equal(relative.points, before.points)
    assert torch.equal(relative.sigma, before.sigma)

# SPDX-License-Identifier: Apache-2.0
"""What a user may say beside the picture: pins, orientations, a part of the body, where to begin."""

import math
from dataclasses import replace

import pytest
import torch
from photo_evidence import LENS, PLACED, known_pose, seen_as

from ikol.body.default_body import load_default_body
from ikol.body.model import BodyModel
from ikol.errors import InputError
from ikol.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from ikol.pipeline import (
    Anchor,
    Keypoints2D,
    Keypoints3D,
    NamedEvidence,
    Orientations,
    Pins,
    Pose,
    PoseSolution,
    Twist,
)
from ikol.pipeline.placement import point_positions
from ikol.pipeline.posing import solve_pose
from ikol.solver import Skeleton, SolveState

ONE_MM = torch.tensor([0.001]).double()


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_default_body(dtype=torch.float64)


def edited(
    body: BodyModel, *blocks: NamedEvidence, pose: Pose | None = None, joints: tuple[str, ...] = ()
) -> PoseSolution:
    """Solve a photograph of the known pose with further evidence, from that pose."""
    pose = pose or known_pose(body)
    return solve_pose(
        body,
        [*seen_as(body, pose), *blocks],
        intrinsics=LENS,
        extrinsics=PLACED,
        initial=pose,
        solve_shape=False,
        joints=joints,
    )


def at(body: BodyModel, *names: str, pose: Pose | None = None) -> torch.Tensor:
    return point_positions(body, pose or known_pose(body), names)


def test_pins_are_met_exactly(body: BodyModel) -> None:
    names = ("left_wrist", "R_Ankle", "nose")
    target = at(body, *names) + torch.tensor([[0.05, 0.1, 0.0], [0.0, 0.02, 0.0], [0.0, -0.02, 0.03]]).double()
    solution = edited(body, Pins(names[:2], target[:2]), Pins(names[2:], target[2:]))
    assert solution.status == "converged"
    assert solution.unreached == {}
    error = float((at(body, *names, pose=solution.pose) - target).norm(dim=-1).max())
    assert error < 1e-4, error  # metres, the tolerance of pins
    assert {*names} <= {*solution.point_names}


def test_a_pin_beside_a_3d_keypoint_on_the_same_point_wins(body: BodyModel) -> None:
    target = at(body, "left_wrist") + 0.05
    soft = Keypoints3D(("left_wrist",), target - 0.1, ONE_MM)
    solution = edited(body, soft, Pins(("left_wrist",), target))
    assert solution.unreached == {}
    assert float((at(body, "left_wrist", pose=solution.pose) - target).norm()) < 1e-4


def test_an_unreachable_pin_is_reported_with_its_distance(body: BodyModel) -> None:
    """One foot is held, the hand's target is two metres above the head."""
    target = at(body, "L_Ankle", "R_Wrist") + torch.tensor([[0.0, 0.0, 0.0], [0.0, 2.0, 0.0]]).double()
    solution = edited(body, Pins(("L_Ankle", "R_Wrist"), target))
    assert [*solution.unreached] == ["R_Wrist"]
    distances = (at(body, "L_Ankle", "R_Wrist", pose=solution.pose) - target).norm(dim=-1)
    assert solution.unreached["R_Wrist"] == pytest.approx(float(distances[1]))
    assert float(distances[0]) < 1e-4


def test_contradictory_pins_end_and_say_so(body: BodyModel) -> None:
    """Two points of one forearm three metres apart."""
    target = at(body, "L_Elbow", "L_Wrist") + torch.tensor([[1.5, 0.0, 0.0], [-1.5, 0.0, 0.0]]).double()
    solution = edited(body, Pins(("L_Elbow", "L_Wrist"), target))
    assert 1 <= len(solution.unreached) <= 2
    assert sum(solution.unreached.values()) > 2.5
    assert bool(torch.isfinite(solution.joints).all())


def test_a_pinned_foot_stays_while_the_hip_is_pulled(body: BodyModel) -> None:
    foot, hip = at(body, "L_Ankle"), at(body, "Pelvis") + torch.tensor([[0.0, -0.1, 0.0]]).double()
    solution = edited(body, Pins(("L_Ankle",), foot), Keypoints3D(("Pelvis",), hip, ONE_MM))
    assert float((at(body, "L_Ankle", pose=solution.pose) - foot).norm()) < 1e-4
    assert float((at(body, "Pelvis", pose=solution.pose) - hip).norm()) < 0.01  # 33 landmarks of 2 cm pull back


def test_pins_work_without_a_camera(body: BodyModel) -> None:
    target = at(body, "L_Wrist") + 0.05
    solution = solve_pose(body, [Pins(("L_Wrist",), target)], initial=known_pose(body), solve_shape=False)
    assert solution.camera is None
    assert float((solution.joints[body.tree.names.index("L_Wrist")] - target[0]).norm()) < 1e-4


@pytest.mark.parametrize("name", ["Head", "L_Wrist", "R_Ankle", "Pelvis"])
def test_an_orientation_turns_its_joint_in_the_world(body: BodyModel, name: str) -> None:
    pose = known_pose(body)
    joint = body.tree.names.index(name)
    skeleton = Skeleton.from_body(body)
    before = skeleton.pose(SolveState(pose.transl, pose.local_rotmat, pose.betas)).global_rotmat[joint]
    target = rotvec_to_rotmat(torch.tensor([0.0, 0.2, 0.1]).double()) @ before
    solution = edited(body, Orientations((name,), target[None], torch.tensor([0.01]).double()))
    found = solution.pose
    after = skeleton.pose(SolveState(found.transl, found.local_rotmat, found.betas)).global_rotmat[joint]
    angle = math.degrees(float(rotmat_to_rotvec(target.T @ after).norm()))
    assert angle < 2.0, angle  # of 13 degrees; sigma is half a degree, landmarks and stance pull back


def test_only_the_given_joints_turn(body: BodyModel) -> None:
    target = at(body, "left_wrist") + 0.1
    free = ("L_Shoulder", "L_Elbow")
    pose = known_pose(body)
    solution = edited(body, Keypoints3D(("left_wrist",), target, ONE_MM), joints=free)
    held = [index for index, name in enumerate(body.tree.names) if name not in free]
    assert torch.equal(solution.pose.local_rotmat[held], pose.local_rotmat[held])
    assert torch.equal(solution.pose.transl, pose.transl)
    assert torch.equal(solution.pose.betas, pose.betas)
    before = float((at(body, "left_wrist") - target).norm())
    assert float((at(body, "left_wrist", pose=solution.pose) - target).norm()) < 0.5 * before


def test_the_root_moves_only_with_the_pelvis(body: BodyModel) -> None:
    target = at(body, "Pelvis") + 0.05
    solution = edited(body, Keypoints3D(("Pelvis",), target, ONE_MM), joints=("Pelvis",))
    pose = known_pose(body)
    assert torch.equal(solution.pose.local_rotmat[1:], pose.local_rotmat[1:])
    assert float((solution.pose.transl - pose.transl).norm()) > 0.04


def test_what_may_not_move_is_taken_from_the_initial_pose(body: BodyModel) -> None:
    """A start that went through a file has lost digits; the held joints have not."""
    pose = known_pose(body)
    rounded = Pose(pose.transl + 1e-7, pose.local_rotmat.float().double(), pose.betas + 1e-7)
    solution = solve_pose(
        body,
        [Pins(("L_Wrist",), at(body, "L_Wrist") + 0.03)],
        initial=pose,
        start=rounded,
        joints=("L_Shoulder", "L_Elbow"),
    )
    held = [index for index, name in enumerate(body.tree.names) if name not in ("L_Shoulder", "L_Elbow")]
    assert torch.equal(solution.pose.local_rotmat[held], pose.local_rotmat[held])
    assert torch.equal(solution.pose.transl, pose.transl)
    assert torch.equal(solution.pose.betas, pose.betas)


def test_a_solve_from_its_own_result_is_done_at_once(body: BodyModel) -> None:
    first = edited(body)
    again = solve_pose(
        body,
        seen_as(body, known_pose(body)),
        intrinsics=LENS,
        extrinsics=PLACED,
        initial=known_pose(body),
        start=first.pose,
        solve_shape=False,
    )
    assert again.iterations <= 3 < first.iterations
    torch.testing.assert_close(again.joints, first.joints, atol=1e-4, rtol=0)


def test_a_shape_of_ones_own_is_kept(body: BodyModel) -> None:
    betas = torch.linspace(-1.5, 1.5, body.num_betas, dtype=torch.float64)
    pose = replace(known_pose(body), betas=betas)
    target = at(body, "L_Wrist", pose=pose) + 0.05
    solution = edited(body, Pins(("L_Wrist",), target), pose=pose)
    assert torch.equal(solution.pose.betas, betas)
    assert float((at(body, "L_Wrist", pose=solution.pose) - target).norm()) < 1e-4


def test_another_body_with_its_own_joints_is_solved(body: BodyModel) -> None:
    """A taller person with longer arms: whatever body a user brings."""
    points = replace(body.points, rest=1.1 * body.points.rest)
    tall = replace(body, joints_template=1.1 * body.joints_template, points=points)
    solution = edited(tall, Pins(("L_Wrist",), at(tall, "L_Wrist") + 0.05))
    assert solution.unreached == {}
    assert float((at(tall, "L_Wrist", pose=solution.pose) - at(tall, "L_Wrist") - 0.05).norm()) < 1e-4


def refused(body: BodyModel, block: NamedEvidence, message: str) -> None:
    with pytest.raises(InputError, match=message):
        edited(body, block)


def test_numbers_that_are_none_are_refused(body: BodyModel) -> None:
    nan = torch.full((1, 3), math.nan).double()
    refused(body, Pins(("L_Wrist",), nan), "NaN")
    refused(body, Keypoints3D(("L_Wrist",), nan, ONE_MM), "NaN")
    refused(body, Keypoints2D(("nose",), nan[:, :2], ONE_MM, is_robust=False), "NaN")
    refused(body, Orientations(("Head",), torch.full((1, 3, 3), math.nan).double(), ONE_MM), "NaN")
    refused(body, Orientations(("Head",), 2.0 * torch.eye(3).double()[None], ONE_MM), "rotation matrices")
    refused(body, Keypoints3D(("L_Wrist",), torch.zeros(1, 3).double(), -ONE_MM), "sigma must be positive")


def test_names_that_make_no_sense_are_refused(body: BodyModel) -> None:
    zero = torch.zeros(1, 3).double()
    refused(body, Pins(("left_wing",), zero), "left_wing")
    refused(body, Orientations(("left_wrist",), torch.eye(3).double()[None], ONE_MM), "left_wrist")
    refused(body, Pins(("L_Wrist", "L_Wrist"), torch.zeros(2, 3).double()), "L_Wrist is there more than once")
    refused(body, Pins((), torch.zeros(0, 3).double()), "names nothing")
    with pytest.raises(InputError, match="L_Wrist is there more than once"):
        edited(body, Pins(("L_Wrist",), zero), Pins(("L_Wrist",), zero))
    with pytest.raises(InputError, match="L_Wing"):
        edited(body, joints=("L_Wing",))
    with pytest.raises(InputError, match="more than once"):
        edited(body, joints=("L_Elbow", "L_Elbow"))


@pytest.mark.parametrize("names", [("L_Wrist",), ("L_Wrist", "R_Wrist", "Head")])
def test_as_many_rows_as_names_are_needed(body: BodyModel, names: tuple[str, ...]) -> None:
    block = Keypoints3D.__new__(Keypoints3D)  # as without the tests' run-time check of shapes
    for field, value in (("names", names), ("points", torch.zeros(2, 3).double()), ("sigma", torch.ones(2).double())):
        object.__setattr__(block, field, value)
    refused(body, block, "names need as many rows")


def test_one_point_in_several_kinds_of_evidence_is_fine(body: BodyModel) -> None:
    wrist = at(body, "left_wrist")
    solution = edited(body, Keypoints3D(("left_wrist",), wrist, ONE_MM), Pins(("L_Wrist",), at(body, "L_Wrist")))
    assert solution.point_names.count("left_wrist") == 1


@pytest.mark.parametrize("kind", ["pins", "orientations"])
def test_a_world_that_nobody_placed_the_camera_in_is_refused(body: BodyModel, kind: str) -> None:
    block = (
        Pins(("L_Wrist",), torch.zeros(1, 3).double())
        if kind == "pins"
        else Orientations(("Head",), torch.eye(3).double()[None], ONE_MM)
    )
    with pytest.raises(InputError, match="extrinsics"):
        solve_pose(body, [*seen_as(body, known_pose(body)), block], intrinsics=LENS)


def test_a_part_of_the_body_needs_the_rest(body: BodyModel) -> None:
    with pytest.raises(InputError, match="initial"):
        solve_pose(body, seen_as(body, known_pose(body)), intrinsics=LENS, extrinsics=PLACED, joints=("L_Elbow",))
    with pytest.raises(InputError, match="extrinsics"):
        solve_pose(
            body, seen_as(body, known_pose(body)), intrinsics=LENS, initial=known_pose(body), joints=("L_Elbow",)
        )


def test_anchors_and_twists_alone_need_no_camera(body: BodyModel) -> None:
    pose = known_pose(body)
    anchor = Anchor(pose.local_rotmat, torch.full((24,), 0.01).double())
    twist = Twist(("L_Elbow",), torch.tensor([0.3]).double(), torch.tensor([0.01]).double())
    assert solve_pose(body, [anchor, twist], initial=pose).status == "converged"

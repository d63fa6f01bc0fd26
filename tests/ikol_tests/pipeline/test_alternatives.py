# SPDX-License-Identifier: Apache-2.0
"""Alternatives: the pose behind a picture whose depth was guessed wrongly is among them, and nothing absurd is."""

import math
from dataclasses import replace

import pytest
import torch
from photo_evidence import LENS, PLACED, known_pose, seen_as

from ikol.body.default_body import load_default_body
from ikol.body.model import BodyModel
from ikol.errors import InputError
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.pipeline import Alternative, Keypoints3D, Limb, NamedEvidence, Pins, Pose, RelativeKeypoints3D
from ikol.pipeline.alternatives import alternative_poses
from ikol.pipeline.blocks import body_limits
from ikol.pipeline.flips import LIMBS
from ikol.pipeline.placement import point_positions
from ikol.pipeline.posing import solve_pose
from ikol.pipeline.prepared import PreparedProblems
from ikol.pipeline.problem import make_problem
from ikol.solver.limits import limit_excess

ALL: tuple[Limb, ...] = ("left_arm", "right_arm", "left_leg", "right_leg", "head", "torso")


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_default_body(dtype=torch.float64)


def raised(body: BodyModel, towards: float) -> Pose:
    """The left arm out to the side, its upper arm towards the camera, the forearm bent towards it as well."""
    pose = known_pose(body)
    rotmat = torch.eye(3).double().repeat(24, 1, 1)
    names = body.tree.names

    rotmat[names.index("L_Shoulder")] = rotvec_to_rotmat(torch.tensor([0.0, -towards, 0.0]).double())
    rotmat[names.index("L_Elbow")] = rotvec_to_rotmat(torch.tensor([0.0, -0.4, 0.0]).double())
    rotmat[names.index("R_Shoulder")] = pose.local_rotmat[names.index("R_Shoulder")]
    return Pose(pose.transl, rotmat, pose.betas)


def wrongly_deep(block: RelativeKeypoints3D, pose: Pose, body: BodyModel) -> RelativeKeypoints3D:
    """The left arm's depth mirrored at the shoulder, as a network guesses it wrongly."""
    points = block.points.clone()
    shoulder = points[block.names.index("left_shoulder"), 2].clone()
    for name in LIMBS["left_arm"].landmarks:
        index = block.names.index(name)
        points[index, 2] = 2.0 * shoulder - points[index, 2]
    return replace(block, points=points)


def found(body: BodyModel, evidence: list[NamedEvidence], limb: Limb, count: int = 4) -> tuple[Alternative, ...]:
    solution = solve_pose(
        body, evidence, intrinsics=LENS, extrinsics=PLACED, initial=known_pose(body), solve_shape=False
    )
    problem = make_problem(
        body,
        evidence,
        intrinsics=LENS,
        extrinsics=PLACED,
        initial=solution.pose,
        start=solution.pose,
        solve_shape=False,
    )
    return alternative_poses(problem, limb, count, PreparedProblems())


def test_the_true_arm_is_among_the_alternatives_of_a_wrong_guess(body: BodyModel) -> None:
    truth = raised(body, 0.6)
    picture, relative = seen_as(body, truth)
    alternatives = found(body, [picture, wrongly_deep(relative, truth, body)], "left_arm")
    ends = ("L_Elbow", "L_Wrist")
    wanted = point_positions(body, truth, ends) - point_positions(body, truth, ("L_Shoulder",))
    errors = [
        float(
            (point_positions(body, one.pose, ends) - point_positions(body, one.pose, ("L_Shoulder",)) - wanted)
            .norm(dim=-1)
            .max()
        )
        for one in alternatives
    ]
    assert errors[0] > 0.2, "the wrong guess was not believed, so that there is nothing to put right"
    # the relaxed stance and the shoulder, which the wrong guess has moved, pull a little
    assert min(errors) < 0.12, f"nearest by {1000 * min(errors):.0f} mm"


@pytest.mark.parametrize("limb", ALL)
def test_alternatives_differ_look_alike_and_keep_to_the_limits(body: BodyModel, limb: Limb) -> None:
    evidence = list(seen_as(body, known_pose(body)))
    alternatives = found(body, evidence, limb)
    assert 1 <= len(alternatives) <= 4
    costs = [one.cost for one in alternatives]
    assert costs == sorted(costs)
    near, far = zip(*LIMBS[limb].bones, strict=True)
    bones = [
        torch.nn.functional.normalize(
            point_positions(body, one.pose, far) - point_positions(body, one.pose, near), dim=-1
        )
        for one in alternatives
    ]
    limits = body_limits(body)
    for index, one in enumerate(alternatives):
        assert one.reprojection_px < 8.0 + alternatives[0].reprojection_px  # the evidence's sigma
        assert float(limit_excess(limits, one.pose.local_rotmat[limits.joint_index]).residual.abs().max()) < 0.11
        for other in bones[:index]:
            angle = math.degrees(float(((bones[index] * other).sum(-1)).clamp(-1, 1).acos().max()))
            assert angle > 9.9, f"{angle:.1f} degrees apart"
        torch.testing.assert_close(one.joints, point_positions(body, one.pose, body.tree.names))


def test_there_are_alternatives_of_a_bent_arm(body: BodyModel) -> None:
    """The upper arm is flipped; the forearm cannot be without the shoulder's going behind the back."""
    assert len(found(body, list(seen_as(body, raised(body, 0.9))), "left_arm")) >= 3


@pytest.mark.parametrize("limb", ALL)
def test_what_is_not_of_the_limb_stays(body: BodyModel, limb: Limb) -> None:
    alternatives = found(body, list(seen_as(body, known_pose(body))), limb)
    others = [index for index, name in enumerate(body.tree.names) if name not in LIMBS[limb].joints]
    for one in alternatives:
        assert torch.equal(one.pose.local_rotmat[others], alternatives[0].pose.local_rotmat[others])
        assert torch.equal(one.pose.transl, alternatives[0].pose.transl)
        assert torch.equal(one.pose.betas, alternatives[0].pose.betas)


def test_pins_hold_in_all_alternatives(body: BodyModel) -> None:
    pose = raised(body, 0.6)
    wrist = point_positions(body, pose, ("L_Wrist",))
    for one in found(body, [*seen_as(body, pose), Pins(("L_Wrist",), wrist)], "left_arm"):
        assert float((point_positions(body, one.pose, ("L_Wrist",)) - wrist).norm()) < 1e-3  # its tolerance is 0.1 mm


def test_count_is_the_most_there_are(body: BodyModel) -> None:
    assert len(found(body, list(seen_as(body, raised(body, 0.6))), "left_arm", 2)) == 2


def test_a_limb_without_landmarks_has_no_reprojection(body: BodyModel) -> None:
    upper = seen_as(body, known_pose(body), tuple(name for name in LIMBS["torso"].landmarks))
    for one in found(body, list(upper), "left_leg"):
        assert one.reprojection_px == -1.0


def test_without_a_picture_there_are_none(body: BodyModel) -> None:
    wrist = point_positions(body, known_pose(body), ("left_wrist",))
    block = Keypoints3D(("left_wrist",), wrist, torch.tensor([0.01]).double())
    problem = make_problem(body, [block], initial=known_pose(body))
    with pytest.raises(InputError, match="picture"):
        alternative_poses(problem, "left_arm", 4, PreparedProblems())


def test_at_least_one_is_asked_for(body: BodyModel) -> None:
    problem = make_problem(body, seen_as(body, known_pose(body)), intrinsics=LENS, extrinsics=PLACED)
    with pytest.raises(InputError, match="at least 1"):
        alternative_poses(problem, "left_arm", 0, PreparedProblems())

# SPDX-License-Identifier: Apache-2.0
"""What a head says, as evidence."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from head_people import one_person, random_forearm, random_network, some_hands
from photo_evidence import LENS

from ikol.body.default_body import load_default_body
from ikol.pipeline import Keypoints2D, NamedEvidence, PosePipeline, RelativeKeypoints3D, Shape, Twist
from ikol.pipeline.alternatives import alternative_poses
from ikol.pipeline.posing import solve_pose
from ikol.pipeline.prepared import PreparedProblems
from ikol.pipeline.problem import make_problem
from ikol.pipeline.reading import OFFSETS, TWISTED, detected_person, evidence_of
from ikol.pipeline.sides import with_sides_of
from ikol.regressor.head import HeadPrediction, LandmarkHead
from ikol.regressor.head.forearm import with_forearms
from ikol.regressor.head.prediction import Calibration
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS
from ikol.regressor.networks.joints import SMPL24


def prediction() -> HeadPrediction:
    generator = torch.Generator().manual_seed(2)
    sigma = torch.full((24,), 0.3)
    sigma[SMPL24.index("L_Elbow")] = 2.0
    return HeadPrediction(
        landmarks=0.4 * torch.randn(33, 3, generator=generator),
        landmarks_sigma=torch.full((33, 3), 0.05),
        twist=0.2 * torch.randn(24, generator=generator),
        twist_sigma=sigma,
        betas=torch.full((10,), 0.5),
        betas_sigma=torch.full((10,), 0.5),
        betas_body="default body",
    )


def test_the_heads_places_stand_in_for_the_networks_under_the_same_names() -> None:
    person = one_person()
    person = replace(person, in_picture=torch.arange(33) != 15)
    picture, relative, *_ = evidence_of(person, prediction())
    assert isinstance(picture, Keypoints2D)
    assert isinstance(relative, RelativeKeypoints3D)
    assert picture.names == relative.names
    assert "left_wrist" not in relative.names
    landmarks = prediction().landmarks
    assert landmarks is not None
    assert torch.equal(relative.points[11].float(), landmarks[11])
    before = evidence_of(person)[0]
    assert isinstance(before, Keypoints2D)
    assert torch.equal(picture.points, before.points)


def test_knuckles_of_sure_hands_stand_in_for_the_networks_on_the_picture() -> None:
    hands = replace(some_hands(), presence=torch.tensor([[0.2, 0.95], [0.2, 0.2]]))
    before, after = (evidence_of(replace(one_person(), hands=found))[0] for found in (None, hands))
    assert isinstance(before, Keypoints2D)
    assert isinstance(after, Keypoints2D)
    moved = [index for index, name in enumerate(after.names) if name in hands.knuckles()]
    for index, name in enumerate(after.names):
        if index in moved:
            assert torch.equal(after.points[index].float(), hands.knuckles()[name]), name
            assert float(after.sigma[index]) < 0.5 * float(before.sigma[index]), name
        else:
            assert torch.equal(after.points[index], before.points[index]), name
            assert float(after.sigma[index]) == float(before.sigma[index]), name
    assert len(moved) == 3


def test_landmarks_are_where_the_body_has_them() -> None:
    person = one_person()
    picture = evidence_of(person)[0]
    assert isinstance(picture, Keypoints2D)
    seen = dict(zip(BLAZEPOSE_LANDMARKS, person.image_points.double(), strict=True))
    found = dict(zip(picture.names, picture.points, strict=True))
    torch.testing.assert_close(
        found["left_ankle"], seen["left_knee"] + 1.088 * (seen["left_ankle"] - seen["left_knee"])
    )
    torch.testing.assert_close(
        found["right_shoulder"], seen["right_hip"] + 0.97 * (seen["right_shoulder"] - seen["right_hip"])
    )
    still = [name for name in found if name.partition("_")[2] not in OFFSETS]
    assert len(still) == 33 - 2 * len(OFFSETS)
    assert all(torch.equal(found[name], seen[name]) for name in still)


def test_sure_twists_are_evidence_and_the_shape_names_its_body() -> None:
    twist, shape = evidence_of(one_person(), prediction())[2:]
    assert isinstance(twist, Twist)
    assert {*twist.names} == {*TWISTED} - {"L_Elbow"}
    assert isinstance(shape, Shape)
    assert shape.body == "default body"


def test_a_shape_that_is_no_surer_than_the_prior_is_left_out() -> None:
    vague = replace(prediction(), betas_sigma=torch.full((10,), 0.95))
    assert not any(isinstance(block, Shape) for block in evidence_of(one_person(), vague))


def test_without_a_head_nothing_is_added() -> None:
    assert len(evidence_of(one_person())) == 2
    assert len(evidence_of(one_person(), HeadPrediction())) == 2


@pytest.mark.parametrize(("apart", "expected"), [(0.005, 0.1), (0.0165, 0.1 / 3**0.5), (0.03, 0.1 / 3)])
def test_the_head_is_believed_more_where_the_crops_disagree(apart: float, expected: float) -> None:
    person = one_person()
    # the picture has 350 px a metre, so that somebody of 1.7 m has 595 px
    _, relative, *_ = evidence_of(replace(person, image_sigma=torch.full((33,), 595 * apart)), prediction())
    assert isinstance(relative, RelativeKeypoints3D)
    elbow = relative.sigma[relative.names.index("left_elbow")]
    torch.testing.assert_close(elbow, torch.full((3,), expected).double(), rtol=1e-2, atol=0)


def test_what_the_head_cannot_place_is_doubtful() -> None:
    person = one_person()
    plain = detected_person(person, prediction())
    lost = detected_person(person, replace(prediction(), landmarks_sigma=torch.full((33, 3), 0.2)))
    assert plain.doubts == person.doubts
    assert "unsteady" in lost.doubts
    # 0.09 m and 0.35 m, of which half is lost at 0.25 m
    assert plain.confidence["left_wrist"] > 0.95
    assert lost.confidence["left_wrist"] < 0.25


@pytest.mark.parametrize("blocks", [2, 3, 4])
def test_evidence_of_a_head_is_solved(blocks: int) -> None:
    body = load_default_body(dtype=torch.float64)
    solution = solve_pose(body, evidence_of(one_person(), prediction())[:blocks], intrinsics=LENS)
    assert bool(solution.joints.isfinite().all())


def test_a_flipped_limb_is_not_held_by_the_twists_of_the_other_way() -> None:
    body = load_default_body(dtype=torch.float64)
    evidence = evidence_of(one_person(), prediction())
    solution = solve_pose(body, evidence, intrinsics=LENS)
    camera = solution.camera
    assert camera is not None
    problem = make_problem(
        body,
        evidence,
        intrinsics=LENS,
        extrinsics=(camera.R_camera_world, camera.t_camera_world),
        initial=solution.pose,
    )
    found = alternative_poses(problem, "left_arm", 4, PreparedProblems())
    assert len(found) >= 1


def test_the_hands_have_a_say_in_the_twists_of_elbows_and_wrists() -> None:
    # so small a factor that every twist is sure enough to be evidence
    calibration, network, forearm = Calibration(twist=0.1, forearm=0.2), random_network(), random_forearm()
    person = replace(one_person(), hands=some_hands())
    (prediction,) = LandmarkHead(network, calibration, "").predict([person], LENS.focal, LENS.center)
    sided = with_sides_of(prediction, person, LENS)
    expected = with_forearms(forearm, 0.2, sided, prediction, LENS.focal, LENS.center)

    pipeline = PosePipeline(model="full", head=LandmarkHead(network, calibration, "", forearm))
    (found,) = pipeline.read([person], LENS)
    assert found.landmarks is person
    assert twists(found.evidence) == twists(evidence_of(sided, expected))
    before = twists(evidence_of(sided, prediction))
    changed = {name for name, twist in twists(found.evidence).items() if twist != before[name]}
    assert changed == {"L_Elbow", "R_Elbow", "L_Wrist", "R_Wrist"}
    (blind,) = pipeline.read([replace(person, hands=None)], LENS)
    assert twists(blind.evidence) == before


def twists(evidence: Sequence[NamedEvidence]) -> dict[str, tuple[float, float]]:
    (twist,) = (one for one in evidence if isinstance(one, Twist))
    return dict(zip(twist.names, zip(twist.angles.tolist(), twist.sigma.tolist(), strict=True), strict=True))

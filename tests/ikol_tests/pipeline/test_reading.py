# SPDX-License-Identifier: Apache-2.0
"""Which landmarks become evidence, and the lens of a picture."""

import torch

from ikol.pipeline.evidence import Keypoints2D, RelativeKeypoints3D
from ikol.pipeline.reading import MIN_CONFIDENCE, detected_person, evidence_of, intrinsics_of
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS
from ikol.regressor.person import PersonLandmarks


def person(**changes: torch.Tensor) -> PersonLandmarks:
    """A person of 600 px whose landmarks are all sure."""
    world = torch.randn(33, 3, generator=torch.Generator().manual_seed(0)) * 0.4
    fields = {
        "image_points": 500 + 350 * world[:, :2],
        "image_sigma": torch.full((33,), 3.0),
        "world_points": world,
        "world_sigma": torch.full((33, 3), 0.05),
        "visibility": torch.ones(33),
        "confidence": torch.ones(33),
        "in_picture": torch.ones(33, dtype=torch.bool),
    }
    return PersonLandmarks(score=0.9, box=torch.tensor([100.0, 200.0, 300.0, 800.0]), **{**fields, **changes})


def test_landmarks_outside_the_picture_are_not_evidence() -> None:
    in_picture = torch.ones(33, dtype=torch.bool)
    in_picture[25:] = False
    for block in evidence_of(person(in_picture=in_picture)):
        assert isinstance(block, Keypoints2D | RelativeKeypoints3D)
        assert block.names == BLAZEPOSE_LANDMARKS[:25]
        assert len(block.points) == len(block.sigma) == 25


def test_landmarks_that_the_crops_disagree_on_are_not_evidence() -> None:
    confidence = torch.ones(33)
    confidence[15] = MIN_CONFIDENCE / 2
    assert all("left_wrist" not in block.names for block in evidence_of(person(confidence=confidence)))  # type: ignore[union-attr]


def test_nothing_seen_gives_no_evidence() -> None:
    assert evidence_of(person(in_picture=torch.zeros(33, dtype=torch.bool))) == ()


def test_sigma_is_never_below_the_difference_of_the_definitions() -> None:
    picture = evidence_of(person(image_sigma=torch.full((33,), 1e-3)))[0]
    assert isinstance(picture, Keypoints2D)
    # 350 px a metre and a person of 1.7 m: 1 % is 6 px
    assert 5.0 < float(picture.sigma.min()) < 7.0


def test_fingers_weigh_less_than_wrists() -> None:
    picture = evidence_of(person())[0]
    assert isinstance(picture, Keypoints2D)
    sigma = dict(zip(picture.names, picture.sigma.tolist(), strict=True))
    assert sigma["left_index"] > 1.5 * sigma["left_wrist"]


def test_confidence_is_given_by_name_for_all_landmarks() -> None:
    found = detected_person(person())
    assert tuple(found.confidence) == BLAZEPOSE_LANDMARKS
    assert found.box == (100.0, 200.0, 300.0, 800.0)


def test_given_focal_length_beats_exif_and_exif_beats_the_default() -> None:
    assert intrinsics_of(400, 300, 500.0, 450.0).focal == (500.0, 500.0)
    assert intrinsics_of(400, 300, None, 450.0).focal_source == "exif"
    default = intrinsics_of(400, 300, None, None)
    assert default.focal_source == "default"
    assert default.focal[0] == 35 / 36 * 400
    assert default.center == (200.0, 150.0)

# SPDX-License-Identifier: Apache-2.0
"""Exchanged sides: told by the head, mended on the picture."""

from dataclasses import replace

import pytest
import torch
from head_people import one_person, some_hands
from photo_evidence import LENS

from ikol.pipeline.sides import with_sides_of
from ikol.regressor.head import HeadPrediction
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS, LEFT_RIGHT
from ikol.regressor.person import PersonLandmarks

SWAP = torch.tensor(LEFT_RIGHT)
DEPTH = 3.0


def head_of(person: PersonLandmarks, sigma: float = 0.05) -> HeadPrediction:
    """Return a head that puts the landmarks where the person's picture has them, DEPTH metres away."""
    rays = (person.image_points - torch.tensor(LENS.center)) / torch.tensor(LENS.focal)
    place = torch.cat((DEPTH * rays, torch.zeros(33, 1)), 1)
    hips = [BLAZEPOSE_LANDMARKS.index(f"{side}_hip") for side in ("left", "right")]
    return HeadPrediction(
        landmarks=place - place[hips].mean(0), landmarks_sigma=torch.full((33, 3), sigma), depth=DEPTH
    )


def exchanged(person: PersonLandmarks) -> PersonLandmarks:
    """Return the person as a network sees it that takes the back for the front."""
    return replace(
        person,
        image_points=person.image_points[SWAP],
        image_sigma=person.image_sigma[SWAP],
        world_points=person.world_points[SWAP],
        confidence=person.confidence[SWAP],
    )


def test_a_head_that_agrees_changes_nothing() -> None:
    person = one_person()
    assert with_sides_of(head_of(person), person, LENS) is person


def test_exchanged_sides_are_renamed_and_told_as_a_doubt() -> None:
    truth = one_person()
    found = with_sides_of(head_of(truth), exchanged(truth), LENS)
    assert torch.equal(found.image_points, truth.image_points)
    assert torch.equal(found.image_sigma, truth.image_sigma)
    assert torch.equal(found.world_points, truth.world_points)
    assert torch.equal(found.confidence, truth.confidence)
    assert found.doubts == (*truth.doubts, "swapped")
    again = with_sides_of(head_of(truth), replace(exchanged(truth), doubts=("swapped", "unsteady")), LENS)
    assert again.doubts == ("swapped", "unsteady")


def test_exchanged_sides_have_exchanged_hands() -> None:
    truth, seen = one_person(), some_hands()
    found = with_sides_of(head_of(truth), replace(exchanged(truth), hands=seen), LENS).hands
    assert found is not None
    for name, value in vars(seen.exchanged()).items():
        assert torch.equal(getattr(found, name), value), name
    assert not torch.equal(found.world, seen.world)
    assert with_sides_of(head_of(truth), replace(truth, hands=seen), LENS).hands is seen
    assert with_sides_of(head_of(truth), exchanged(truth), LENS).hands is None


@pytest.mark.parametrize("sigma", [0.15, float("nan")])
def test_a_head_that_is_not_sure_has_no_say(sigma: float) -> None:
    truth = one_person()
    person = exchanged(truth)
    assert with_sides_of(head_of(truth, sigma), person, LENS) is person


def test_a_body_of_whom_nothing_is_in_the_picture_stays() -> None:
    truth = one_person()
    person = replace(exchanged(truth), in_picture=torch.zeros(33, dtype=torch.bool))
    assert with_sides_of(head_of(truth), person, LENS) is person


def test_without_places_there_is_nothing_to_compare() -> None:
    person = one_person()
    assert with_sides_of(HeadPrediction(), person, LENS) is person

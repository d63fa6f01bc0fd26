# SPDX-License-Identifier: Apache-2.0
"""Doubts: a person as the networks know them raises none, and each reason is told when there is one."""

from dataclasses import replace

import pytest
import torch

from ikol.regressor.doubts import crossed_share, doubts_of, quality
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS, LEFT_RIGHT
from ikol.regressor.person import CropSamples, PersonLandmarks, combine

SIZE = 520.0  # the circle around a standing body of 400 px
PICTURE = (800, 900)
SWAP = torch.tensor(LEFT_RIGHT)
# heights and half widths of a standing person's landmarks, in pixels from the middle of the hips
_PLACES = {
    "nose": (-170, 0), "eye": (-178, 10), "ear": (-175, 20), "mouth": (-160, 6), "shoulder": (-130, 45),
    "elbow": (-60, 60), "wrist": (0, 65), "pinky": (20, 68), "index": (22, 62), "thumb": (15, 58), "hip": (0, 28),
    "knee": (100, 30), "ankle": (190, 30), "heel": (198, 28), "foot_index": (205, 45),
}  # fmt: skip


def standing() -> torch.Tensor:
    """Return the landmarks (33, 2) of somebody who faces the camera in the middle of the picture."""
    rows: list[tuple[float, float]] = []
    for name in BLAZEPOSE_LANDMARKS:
        part = next(part for part in sorted(_PLACES, key=len, reverse=True) if part in name)
        down, aside = _PLACES[part]
        sign = 1.0 if "left" in name else -1.0 if "right" in name else 0.0
        rows.append((400.0 + sign * aside, 400.0 + down))
    return torch.tensor(rows)


def seen(points: torch.Tensor, crops: int = 6, noise: float = 1.0, size: float = SIZE) -> CropSamples:
    """Return what crops say that agree within `noise` pixels."""
    generator = torch.Generator().manual_seed(0)
    return CropSamples(
        points + noise * torch.randn(crops, 33, 2, generator=generator),
        torch.zeros(crops, 33, 3) + 0.1 * torch.arange(33)[:, None],
        torch.ones(crops, 33),
        torch.ones(crops),
        size,
    )


def person(samples: CropSamples) -> PersonLandmarks:
    return combine(samples, *PICTURE)


def doubts(samples: CropSamples) -> tuple[str, ...]:
    one = person(samples)
    return doubts_of(one, [one])


def test_a_plain_person_raises_no_doubt() -> None:
    one = person(seen(standing()))
    assert doubts_of(one, [one]) == ()
    assert quality(one) > 0.9


def test_a_small_person_is_doubtful() -> None:
    points = 400.0 + (standing() - 400.0) * 0.2
    assert doubts(seen(points, noise=0.2, size=0.2 * SIZE)) == ("small",)


def test_an_upside_down_person_is_doubtful_and_a_lying_one_is_not() -> None:
    centred = standing() - 400.0
    assert doubts(seen(400.0 - centred)) == ("upside_down",)
    assert doubts(seen(400.0 + centred.flip(-1) * torch.tensor([1.0, -1.0]))) == ()


def test_a_person_of_whom_the_picture_shows_little_is_doubtful() -> None:
    assert "cut_off" in doubts(seen(standing() + torch.tensor([0.0, 560.0])))


def test_a_hidden_person_is_doubtful() -> None:
    samples = seen(standing())
    visibility = samples.visibility.clone()
    visibility[:, 23:] = 0.1
    assert doubts(replace(samples, visibility=visibility)) == ("hidden",)


def test_two_persons_in_one_place_crowd_each_other_and_neighbours_do_not() -> None:
    first = person(seen(standing()))
    behind, beside = (person(seen(standing() + torch.tensor([shift, 0.0]))) for shift in (60.0, 300.0))
    assert doubts_of(first, [first, behind]) == ("crowded",)
    assert doubts_of(first, [first, beside]) == ()


@pytest.mark.parametrize("members", ["arms", "legs", "all"])
def test_crops_that_disagree_on_sides_make_a_swap_likely(members: str) -> None:
    samples = seen(standing())
    chosen = {"arms": range(13, 23), "legs": range(25, 33), "all": range(33)}[members]
    points = samples.points.clone()
    points[5, list(chosen)] = points[5][SWAP][list(chosen)]
    swapped = replace(samples, points=points)
    assert crossed_share(swapped, person(swapped)) == pytest.approx(1 / 6)
    assert "swapped" in doubts(swapped)


def test_shoulders_that_are_turned_against_the_hips_make_a_swap_likely() -> None:
    points = standing()
    points[23:] = points[SWAP][23:]
    assert doubts(seen(points)) == ("swapped",)


def test_crops_that_disagree_on_everything_are_unsteady() -> None:
    assert "unsteady" in doubts(seen(standing(), noise=30.0))


def test_landmarks_without_crops_are_judged_by_what_there_is() -> None:
    one = replace(person(seen(standing())), samples=None)
    assert doubts_of(one, [one]) == ()

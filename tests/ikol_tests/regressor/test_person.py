# SPDX-License-Identifier: Apache-2.0
"""Several crops of one person become one result, whose uncertainty follows how much they disagree."""

import dataclasses
import math

import pytest
import torch

from ikol.regressor import person
from ikol.regressor.crops import Crops
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS, LEFT_RIGHT, NUM_WITH_AUXILIARY, CropLandmarks
from ikol.regressor.person import CropSamples, PersonLandmarks, combine, is_same_person

SIZE = 800.0  # pixels; the body's
WIDTH, HEIGHT = 1200, 1000
WRIST = BLAZEPOSE_LANDMARKS.index("left_wrist")
SHOULDERS = [BLAZEPOSE_LANDMARKS.index(name) for name in ("left_shoulder", "right_shoulder")]


def body(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return landmarks well inside the picture and their positions in metres."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(33, 2, generator=generator) * torch.tensor([500.0, 600.0]) + torch.tensor([350.0, 200.0])
    return points, torch.rand(33, 3, generator=generator) * 1.6 - 0.8


def samples(points: torch.Tensor, world: torch.Tensor, visibility: float = 1.0) -> CropSamples:
    count = points.shape[0]
    return CropSamples(points, world, torch.full((count, 33), visibility), torch.full((count,), 0.9), SIZE)


def agreeing(count: int = 6, visibility: float = 1.0) -> CropSamples:
    points, world = body()
    return samples(points.expand(count, -1, -1).clone(), world.expand(count, -1, -1).clone(), visibility)


def test_crops_that_agree_give_their_landmarks_and_full_confidence() -> None:
    points, world = body()
    result = combine(agreeing(), WIDTH, HEIGHT)
    assert torch.allclose(result.image_points, points, atol=1e-3)  # float32 at 1000 px
    assert torch.allclose(result.world_points, world, atol=1e-6)
    assert torch.allclose(result.confidence, torch.ones(33), atol=1e-3)
    assert bool(result.in_picture.all())
    assert result.score == pytest.approx(0.9)
    assert torch.allclose(result.box, torch.cat([points.amin(0), points.amax(0)]), atol=1e-3)
    # What all crops share in error remains: about one percent of the body, more in depth than in the plane.
    assert torch.allclose(result.image_sigma, torch.full((33,), 0.009 * SIZE))
    assert bool((result.world_sigma[:, 2] > 2 * result.world_sigma[:, 0]).all())


def test_a_mirrored_crop_of_a_mirrored_body_is_the_same_body() -> None:
    generator = torch.Generator().manual_seed(5)
    points = torch.rand(1, NUM_WITH_AUXILIARY, 2, generator=generator)
    world = torch.rand(1, 33, 3, generator=generator)
    visibility = torch.rand(1, 33, generator=generator)
    swap = torch.tensor(LEFT_RIGHT)
    flipped = points.clone()
    flipped[:, :33] = points[:, swap]
    flipped[..., 0] = 1.0 - flipped[..., 0]
    crops = Crops.upright([(500.0, 400.0)], [1000.0], 0.3).augmented([(1.0, 0.0, False), (1.0, 0.0, True)])
    answers = CropLandmarks(
        torch.ones(2),
        torch.cat([points, flipped]),
        torch.cat([world, world[:, swap] * torch.tensor([-1.0, 1.0, 1.0])]),
        torch.cat([visibility, visibility[:, swap]]),
    )
    mapped = CropSamples.from_crops(crops, answers)
    assert torch.allclose(mapped.points[0], mapped.points[1], atol=1e-3)
    assert torch.allclose(mapped.world[0], mapped.world[1], atol=1e-6)
    assert torch.equal(mapped.visibility[0], mapped.visibility[1])
    assert mapped.size == pytest.approx(800.0)


@pytest.mark.parametrize("num_swapped", [1, 2, 3])
def test_swapped_arms_in_some_crops_do_not_mix_two_bodies(num_swapped: int) -> None:
    every = agreeing()
    arms = slice(11, 23)
    swap = torch.tensor(LEFT_RIGHT)
    wrong = every.points[0].clone()
    wrong[arms] = every.points[0][swap][arms]
    every.points[-num_swapped:] = wrong
    result = combine(every, WIDTH, HEIGHT)
    off = (result.image_points - every.points[0]).norm(dim=-1)
    if num_swapped == 3:  # a draw: either body, but one of them
        off = torch.minimum(off.max(), (result.image_points - wrong).norm(dim=-1).max())[None]
    assert float(off.max()) < 0.01 * SIZE, off
    arm_confidence, leg_confidence = float(result.confidence[arms].mean()), float(result.confidence[23:].mean())
    assert arm_confidence < leg_confidence - 0.1, (arm_confidence, leg_confidence)


def test_one_wild_landmark_in_one_crop_hardly_moves_the_result() -> None:
    every = agreeing()
    generator = torch.Generator().manual_seed(1)
    every.points.add_(torch.randn(every.points.shape, generator=generator) * 3.0)
    calm = combine(every, WIDTH, HEIGHT)
    every.points[2, WRIST] += torch.tensor([300.0, 0.0])
    result = combine(every, WIDTH, HEIGHT)
    moved = float((result.image_points[WRIST] - calm.image_points[WRIST]).norm())
    assert moved < 10.0, moved  # the mean would have moved by 50
    assert float(result.image_sigma[WRIST]) > 3 * float(calm.image_sigma[WRIST])


@pytest.mark.parametrize("noise", [4.0, 16.0, 64.0])
def test_disagreement_widens_sigma_and_lowers_confidence(noise: float) -> None:
    every = agreeing(count=60)  # many, so that the spread is close to its expectation
    generator = torch.Generator().manual_seed(7)
    every.points[:, WRIST] += torch.randn(60, 2, generator=generator) * noise
    result = combine(every, WIDTH, HEIGHT)
    expected = math.hypot(0.009 * SIZE, 1.6 * noise)
    assert float(result.image_sigma[WRIST]) == pytest.approx(expected, rel=0.15)  # 60 samples: 9 % standard error
    others = [i for i in range(33) if i != WRIST]
    assert float(result.confidence[WRIST]) < float(result.confidence[others].min())
    assert float(result.image_sigma[others].max()) < 0.0091 * SIZE


def test_a_hidden_landmark_is_trusted_less() -> None:
    seen, hidden = combine(agreeing(), WIDTH, HEIGHT), combine(agreeing(visibility=0.05), WIDTH, HEIGHT)
    assert bool((hidden.image_sigma > 2 * seen.image_sigma).all())
    assert bool((hidden.confidence < 0.6 * seen.confidence).all())


@pytest.mark.parametrize(
    "place", [(-5.0, 500.0), (1201.0, 500.0), (600.0, -0.5), (600.0, 1000.0)], ids=["left", "right", "above", "below"]
)
def test_landmarks_outside_the_picture_are_flagged_and_worthless(place: tuple[float, float]) -> None:
    every = agreeing()
    every.points[:, WRIST] = torch.tensor(place)
    result = combine(every, WIDTH, HEIGHT)
    assert not bool(result.in_picture[WRIST])
    assert float(result.confidence[WRIST]) == 0.0
    assert bool(result.in_picture[SHOULDERS].all())
    x0, y0, x1, y1 = result.box.tolist()
    assert x0 >= 0.0
    assert y0 >= 0.0
    assert x1 <= WIDTH
    assert y1 <= HEIGHT


def test_a_landmark_at_the_edge_is_half_trusted() -> None:
    every = agreeing()
    every.points[:, WRIST] = torch.tensor([0.5, 500.0])
    result = combine(every, WIDTH, HEIGHT)
    assert bool(result.in_picture[WRIST])
    assert float(result.confidence[WRIST]) == pytest.approx(0.53, abs=0.02)  # ndtr(0.5 / 7.2)


def test_landmarks_outside_the_picture_have_no_say_in_which_crops_agree() -> None:
    every = agreeing()
    generator = torch.Generator().manual_seed(3)
    # A half-body photograph: the legs are invented differently in each crop, below the picture.
    every.points[:, 23:, 1] = HEIGHT + 300.0 + torch.randn(6, 10, generator=generator) * 200.0
    result = combine(every, WIDTH, HEIGHT)
    assert float(result.confidence[:23].min()) > 0.99
    assert float(result.confidence[23:].max()) == 0.0


def test_spread_is_the_typical_movement_in_body_sizes() -> None:
    every = agreeing(count=2)
    every.points[1] += torch.tensor([16.0, 0.0])
    everywhere = torch.ones(33, dtype=torch.bool)
    assert every.spread(everywhere) == pytest.approx(8.0 / SIZE, rel=1e-4)
    swapped = agreeing(count=2)
    swapped.points[1] = swapped.points[0][torch.tensor(LEFT_RIGHT)]
    assert swapped.spread(everywhere) == 0.0
    only_wrist = torch.zeros(33, dtype=torch.bool)
    only_wrist[WRIST] = True
    every.points[:, WRIST] = 500.0
    assert every.spread(only_wrist) == 0.0


def moved(result: PersonLandmarks, shift: float) -> PersonLandmarks:
    offset = torch.tensor([shift, 0.0])
    return dataclasses.replace(
        result, image_points=result.image_points + offset, box=result.box + torch.cat([offset, offset])
    )


def test_the_same_person_is_recognised_also_with_sides_swapped() -> None:
    first = combine(agreeing(), WIDTH, HEIGHT)
    swapped = dataclasses.replace(first, image_points=first.image_points[torch.tensor(LEFT_RIGHT)])
    assert is_same_person(first, moved(first, 10.0))
    assert is_same_person(first, swapped)
    assert not is_same_person(first, moved(first, 150.0))


def test_another_skeleton_in_the_same_place_is_the_same_person_and_one_beside_is_not() -> None:
    first = combine(agreeing(), WIDTH, HEIGHT)
    order = torch.randperm(33, generator=torch.Generator().manual_seed(1))
    elsewhere = dataclasses.replace(first, image_points=first.image_points[order])
    assert is_same_person(first, elsewhere)
    assert not is_same_person(first, moved(elsewhere, 150.0))


def test_the_quick_look_is_one_crop_and_its_mirror_image() -> None:
    (first, second) = person.AUGMENTATIONS[: person.QUICK_LOOK]
    assert first == (1.0, 0.0, False)
    assert second == (1.0, 0.0, True)


def test_inner_values_are_averaged_by_the_crops_sides() -> None:
    inner = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]).half()
    three = dataclasses.replace(agreeing(3), inner=inner, mirrored=torch.tensor([False, True, False]))
    found = combine(three, WIDTH, HEIGHT).inner
    assert found is not None
    assert found.tolist() == [[3.0, 4.0], [3.0, 4.0]]


def test_crops_of_one_side_only_have_no_inner_values() -> None:
    plain = dataclasses.replace(agreeing(2), inner=torch.ones(2, 4).half(), mirrored=torch.zeros(2, dtype=torch.bool))
    assert combine(plain, WIDTH, HEIGHT).inner is None
    mirrored = dataclasses.replace(plain, mirrored=torch.ones(2, dtype=torch.bool))
    assert combine(plain.joined(mirrored), WIDTH, HEIGHT).inner is not None
    assert combine(plain.joined(agreeing(2)), WIDTH, HEIGHT).inner is None


def test_a_metre_has_as_many_pixels_as_the_landmarks_say() -> None:
    points, world = body()
    world[:, :2] = points / 300.0
    person = combine(samples(points[None], world[None]), WIDTH, HEIGHT)
    assert person.pixels_per_metre() == pytest.approx(300.0, rel=1e-3)
    # of one landmark nothing is known, and lengths on the picture are divided by it
    alone = dataclasses.replace(person, in_picture=torch.arange(33) == WRIST)
    assert alone.pixels_per_metre() == 1.0

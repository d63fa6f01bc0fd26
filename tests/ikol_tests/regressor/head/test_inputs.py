# SPDX-License-Identifier: Apache-2.0
"""The frame in which the head sees a person."""

from dataclasses import replace

import torch
from head_people import some_people

from ikol.regressor.head.inputs import NUM_COMPONENTS, NUM_FEATURES, NUM_INNER_FEATURES, HeadInput, canonical, towards


def test_features_are_finite_and_as_many_as_the_network_takes() -> None:
    frame = canonical(some_people(5))
    assert frame.features.shape == (5, NUM_FEATURES + NUM_INNER_FEATURES)
    assert bool(frame.features.isfinite().all())


def test_what_lies_outside_the_picture_is_not_read() -> None:
    people = some_people(4)
    wild = torch.where(people.in_picture[..., None], people.rays, torch.full_like(people.rays, 1e6))
    moved = HeadInput(wild, people.rays_sigma, people.world, people.world_sigma, people.visibility, people.in_picture)
    assert torch.equal(canonical(people).features, canonical(moved).features)


def test_a_person_with_nothing_in_the_picture_has_finite_features() -> None:
    people = some_people(2)
    nobody = torch.zeros_like(people.in_picture)
    empty = HeadInput(people.rays, people.rays_sigma, people.world, people.world_sigma, people.visibility, nobody)
    assert bool(canonical(empty).features.isfinite().all())


def test_the_frame_looks_at_the_persons_middle() -> None:
    people = some_people(3)
    weight = people.in_picture[..., None].float()
    middle = (people.rays * weight).sum(1) / weight.sum(1)
    line = torch.cat((middle, torch.ones(3, 1)), -1)
    turned = (canonical(people).R_ray_camera @ line[..., None])[..., 0]
    # float32: a few roundings of numbers near 1
    assert turned[:, :2].abs().max() < 1e-6
    assert (turned[:, 2] - line.norm(dim=-1)).abs().max() < 1e-6


def test_the_turn_towards_a_line_of_sight_is_a_rotation() -> None:
    rotation = towards(torch.tensor([[0.0, 0.0], [0.7, -0.4], [-2.0, 1.0]]))
    assert (rotation @ rotation.mT - torch.eye(3)).abs().max() < 1e-6
    assert (torch.linalg.det(rotation) - 1).abs().max() < 1e-6


def test_a_longer_lens_only_changes_the_distance() -> None:
    people = some_people(3)
    longer = HeadInput(
        0.5 * people.rays,
        0.5 * people.rays_sigma,
        people.world,
        people.world_sigma,
        people.visibility,
        people.in_picture,
    )
    # a person near the axis: perspective inside the body is what is left, second order in the size of the body
    assert (canonical(people).features - canonical(longer).features)[:, :66].abs().max() < 0.05
    ratio = canonical(longer).distance / canonical(people).distance
    assert ((ratio - 2.0).abs() < 0.1).all()


def test_inner_values_that_are_not_known_are_told_as_such() -> None:
    people = some_people(3)
    told = replace(people, inner=torch.randn(3, 2, NUM_COMPONENTS))
    known = canonical(told.without_inner(torch.tensor([True, False, False]))).features[:, -1]
    assert known.tolist() == [0.0, 1.0, 1.0]
    assert canonical(people.joined(told)).features[:, -1].tolist() == [0.0] * 3 + [1.0] * 3


def test_the_mirrored_crops_of_a_mirrored_person_are_the_plain_ones() -> None:
    told = replace(some_people(2), inner=torch.randn(2, 2, NUM_COMPONENTS))
    mirrored = told.mirrored().inner
    assert mirrored is not None
    assert told.inner is not None
    assert torch.equal(mirrored[:, 0], told.inner[:, 1])
    assert torch.equal(mirrored[:, 1], told.inner[:, 0])


def test_mirrored_twice_is_as_before() -> None:
    people = replace(some_people(2), inner=torch.randn(2, 2, NUM_COMPONENTS))
    twice = people.mirrored().mirrored()
    for name, value in vars(people).items():
        assert torch.equal(getattr(twice, name), value), name

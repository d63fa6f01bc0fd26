# SPDX-License-Identifier: Apache-2.0
"""Several pictures of one person share a shape."""

from dataclasses import replace

import pytest
import torch
from recordings import BODY, LENS, camera_around, seen_by, walking_pose

from ikol.errors import InputError
from ikol.pipeline.evidence import Shape
from ikol.pipeline.multiview import View
from ikol.pipeline.same_person import shared_shape, solve_same_person

ALL = torch.ones(3, dtype=torch.bool)
EYE = torch.eye(4, dtype=torch.float64)


def test_shape_of_pictures_that_tell_nothing_is_the_prior_s() -> None:
    betas = torch.zeros(3, 4, dtype=torch.float64)
    torch.testing.assert_close(shared_shape(betas, EYE.expand(3, 4, 4), ALL[:3]), torch.zeros(4, dtype=torch.float64))


def test_prior_counts_once() -> None:
    # each picture: likelihood of precision 3 around 1, prior of precision 1 around 0
    betas = torch.full((2, 4), 0.75, dtype=torch.float64)
    expected = torch.full((4,), 6.0 / 7.0, dtype=torch.float64)
    torch.testing.assert_close(shared_shape(betas, EYE.expand(2, 4, 4) / 4.0, ALL[:2]), expected)


def test_guessed_shapes_have_no_prior_to_take_off() -> None:
    betas = torch.stack((torch.full((4,), 1.0), torch.full((4,), 2.0))).double()
    found = shared_shape(betas, EYE.expand(2, 4, 4) / 4.0, ~ALL[:2])
    torch.testing.assert_close(found, torch.full((4,), 1.5, dtype=torch.float64))


def test_surer_picture_has_more_to_say() -> None:
    betas = torch.stack((torch.full((4,), 1.0), torch.full((4,), -1.0))).double()
    covariance = torch.stack((0.01 * EYE, 0.5 * EYE))
    assert float(shared_shape(betas, covariance, ALL[:2]).min()) > 0.95


def test_all_pictures_get_one_shape_nearer_to_the_truth_than_the_mean_body() -> None:
    true = torch.zeros(BODY.num_betas, dtype=torch.float64)
    true[0] = 1.5
    pose = walking_pose(true)
    pictures = [View(seen_by(pose, camera_around(yaw), sigma_px=1.0, sigma_m=0.02), LENS) for yaw in (0.0, 75.0)]
    solutions = solve_same_person(BODY, pictures)
    assert all(torch.equal(solution.pose.betas, solutions[0].pose.betas) for solution in solutions)
    rest, mean = BODY.rest_joints(true), BODY.rest_joints(torch.zeros_like(true))
    found = BODY.rest_joints(solutions[0].pose.betas)

    def apart(joints: torch.Tensor) -> float:
        return float(((joints - joints[:1]) - (rest - rest[:1])).norm(dim=-1).mean())

    # the network's guesses of the depth, which are right here, tell the size
    assert apart(found) < 0.4 * apart(mean)
    for solution in solutions:
        assert solution.reprojection_px_median < 1.0


def test_guessed_shapes_of_another_body_change_nothing() -> None:
    pictures = [View(seen_by(walking_pose(), camera_around(yaw), sigma_m=0.02), LENS) for yaw in (0.0, 75.0)]
    other = Shape("somebody", torch.ones(BODY.num_betas).double(), torch.ones(BODY.num_betas).double())
    guessed = [replace(one, evidence=(*one.evidence, other)) for one in pictures]
    for plain, found in zip(solve_same_person(BODY, pictures), solve_same_person(BODY, guessed), strict=True):
        torch.testing.assert_close(found.pose.betas, plain.pose.betas)


def test_one_picture_is_refused() -> None:
    with pytest.raises(InputError, match="at least 2 pictures, got 1"):
        solve_same_person(BODY, [View(seen_by(walking_pose(), camera_around(0.0)), LENS)])

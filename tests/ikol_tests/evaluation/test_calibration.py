# SPDX-License-Identifier: Apache-2.0
"""Coverage counts, and the solver's covariance of relative places has the size of the errors that it stands for."""

from dataclasses import replace

import pytest
import torch
from recordings import BODY, LENS, camera_around, seen_by, walking_pose

from ikol.evaluation.calibration import coverage, relative_covariance
from ikol.pipeline import Keypoints2D
from ikol.pipeline.posing import solve_pose


def test_normal_errors_are_covered_as_a_normal_distribution_is() -> None:
    scores = torch.randn(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = coverage(scores)
    assert found is not None
    # the standard error of a share of 200 000 is 0.1 %
    assert found.within_1_sigma == pytest.approx(0.6827, abs=0.005)
    assert found.within_2_sigma == pytest.approx(0.9545, abs=0.005)


def test_what_is_not_known_is_not_counted() -> None:
    found = coverage(torch.tensor([0.5, float("nan"), 3.0]))
    assert found is not None
    assert (found.count, found.within_1_sigma) == (2, 0.5)
    assert coverage(torch.tensor([float("nan")])) is None


def test_depth_is_less_sure_than_the_image_plane_and_a_worse_picture_less_than_a_better_one() -> None:
    camera = camera_around(0.0)
    place = (camera.R_camera_world, camera.t_camera_world)
    sigmas = []
    for factor in (1.0, 2.0):
        evidence = [
            replace(block, sigma=factor * block.sigma) if isinstance(block, Keypoints2D) else block
            for block in seen_by(walking_pose(), camera)
        ]
        solution = solve_pose(BODY, evidence, intrinsics=LENS, extrinsics=place)
        names = ("L_Wrist", "R_Ankle")
        covariance = relative_covariance(BODY, evidence, LENS, solution, names, ("Pelvis",))
        sigmas.append(covariance.diagonal(dim1=-2, dim2=-1).sqrt())
    assert bool((sigmas[0][:, 2] > sigmas[0][:, :2].max(-1).values).all())
    assert bool((sigmas[1][:, :2] > sigmas[0][:, :2]).all())

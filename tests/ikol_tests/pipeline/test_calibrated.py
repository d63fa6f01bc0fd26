# SPDX-License-Identifier: Apache-2.0
"""A covariance that a network's guess has made too small is stretched along the camera's axes, and no other."""

import pytest
import torch
from photo_evidence import LENS, PLACED, known_pose, seen_as

from ikol.body.default_body import load_default_body
from ikol.pipeline.calibrated import DEPTH_STRETCH, PLANE_STRETCH, stretch
from ikol.pipeline.problem import make_problem


@pytest.mark.parametrize("is_guessed", [True, False])
def test_only_a_guessed_depth_is_stretched(is_guessed: bool) -> None:
    body = load_default_body(dtype=torch.float64)
    seen = seen_as(body, known_pose(body))
    evidence = seen if is_guessed else seen[:1]
    problem = make_problem(body, evidence, intrinsics=LENS, extrinsics=PLACED, initial=known_pose(body))
    assert problem.camera is not None
    R = problem.camera.R_camera_world
    in_camera = torch.diag(torch.tensor([1e-4, 4e-4, 9e-4]).double())
    factor = torch.tensor([PLANE_STRETCH, PLANE_STRETCH, DEPTH_STRETCH] if is_guessed else [1.0, 1.0, 1.0]).double()
    S = stretch(problem)
    told = R @ S @ R.mT @ in_camera @ R @ S @ R.mT
    torch.testing.assert_close(told.diagonal().sqrt(), factor * in_camera.diagonal().sqrt())

# SPDX-License-Identifier: Apache-2.0
"""A guessed shape as evidence."""

from dataclasses import replace

import pytest
import torch
from photo_evidence import LENS, known_pose, seen_as

from ikol.body.default_body import load_default_body
from ikol.body.model import BodyModel
from ikol.errors import InputError
from ikol.pipeline import Pose, PoseSolution, Shape
from ikol.pipeline.inspection import inspect_problem
from ikol.pipeline.posing import solve_pose
from ikol.pipeline.prepared import PreparedProblems
from ikol.pipeline.problem import make_problem

BETAS = torch.linspace(-1.0, 1.0, 10, dtype=torch.float64)


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_default_body(dtype=torch.float64)


def shape(body: BodyModel, sigma: float = 0.01, sign: float = 1.0) -> Shape:
    return Shape(body.name, sign * BETAS, torch.full((10,), sigma).double())


def solved(body: BodyModel, blocks: tuple[Shape, ...], prepared: PreparedProblems | None = None) -> PoseSolution:
    return solve_pose(body, (*seen_as(body, known_pose(body)), *blocks), intrinsics=LENS, prepared=prepared)


def test_a_sure_shape_is_met(body: BodyModel) -> None:
    # a hundred times surer than the prior, against keypoints of another shape
    assert float((solved(body, (shape(body),)).pose.betas - BETAS).abs().max()) < 0.1


def test_a_shape_takes_the_place_of_the_prior(body: BodyModel) -> None:
    unsure = solved(body, (Shape(body.name, 0 * BETAS, torch.ones(10).double()),))
    # the same numbers as the prior's, once and not twice: the same pose to the solver's tolerance
    assert float((unsure.pose.betas - solved(body, ()).pose.betas).abs().max()) < 1e-3


def test_a_shape_of_another_body_is_passed_over(body: BodyModel) -> None:
    other = replace(shape(body), body="somebody else", betas=torch.ones(16).double(), sigma=torch.ones(16).double())
    assert torch.equal(solved(body, (other,)).pose.betas, solved(body, ()).pose.betas)


def test_a_shape_of_the_wrong_length_is_refused(body: BodyModel) -> None:
    with pytest.raises(InputError, match="default body has 10 betas, got"):
        solved(body, (Shape(body.name, BETAS[:4], torch.ones(4).double()),))


def test_a_prepared_solve_takes_another_shape(body: BodyModel) -> None:
    prepared = PreparedProblems()
    for sign in (1.0, -1.0):
        again = solved(body, (shape(body, sign=sign),), prepared)
        assert float((again.pose.betas - sign * BETAS).abs().max()) < 0.1
    assert len(prepared) == 1


def test_inspection_tells_how_far_the_shape_is_off(body: BodyModel) -> None:
    pose = known_pose(body)
    problem = make_problem(
        body,
        (*seen_as(body, pose), shape(body, sigma=0.5)),
        intrinsics=LENS,
        extrinsics=(torch.eye(3).double() * torch.tensor([1.0, -1.0, -1.0]).double(), torch.zeros(3).double()),
        initial=Pose(pose.transl, pose.local_rotmat, pose.betas),
    )
    row = next(row for row in inspect_problem(problem, PreparedProblems()).rows if row.kind == "shape")
    assert (row.name, row.unit) == ("betas", "m")
    assert 0.0 < row.residual < 0.2  # metres: betas of one standard deviation move joints by centimetres

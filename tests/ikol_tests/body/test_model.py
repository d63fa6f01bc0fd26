# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from strategies import BATCH_SHAPES, DTYPES
from torch import Tensor
from toy_body import TOY_SKELETON, toy_arrays, toy_body

from ikol.body.model import BodyModel
from ikol.body.points import AttachedPoints
from ikol.errors import InputError


def landmarks(joint: int = 2, num_betas: int = 3, name: str = "nose") -> AttachedPoints:
    rest = torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64)
    return AttachedPoints((name,), torch.tensor([joint]), rest, torch.zeros(1, 3, num_betas, dtype=torch.float64))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", BATCH_SHAPES)
def test_rest_joints_are_the_regressed_rest_vertices(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    body = toy_body().to(dtype=dtype)
    generator = torch.Generator().manual_seed(3)
    betas = torch.randn(*shape, 3, dtype=dtype, generator=generator)
    joints, vertices = body.rest_joints(betas), body.rest_vertices(betas)
    assert joints.shape == (*shape, 4, 3)
    assert vertices.shape == (*shape, body.num_vertices, 3)
    assert joints.dtype == vertices.dtype == dtype
    difference = (joints - body.J_regressor @ vertices).abs().max()
    assert difference < 30 * torch.finfo(dtype).eps, difference  # a mean of 30 vertices within a metre


def test_points_are_the_joints_then_the_landmarks() -> None:
    body = toy_body(landmarks())
    assert body.points.names == ("hips", "chest", "left", "right", "nose")
    assert body.points.joint_index.tolist() == [0, 1, 2, 3, 2]
    assert torch.equal(body.points.rest[:4], body.joints_template)
    assert torch.equal(body.points.shapedirs[:4], body.joints_shapedirs)


def test_body_without_betas_and_posedirs_is_accepted() -> None:
    arrays = toy_arrays(num_betas=0) | {"posedirs": None}
    body = BodyModel.from_arrays("toy", TOY_SKELETON, **arrays)
    assert body.num_betas == 0
    assert body.posedirs is None
    assert torch.equal(body.rest_joints(torch.zeros(5, 0, dtype=torch.float64))[3], body.joints_template)


def test_to_changes_every_floating_point_tensor_and_no_integer() -> None:
    body = toy_body(landmarks()).to(dtype=torch.float32)
    tensors = {name: value for name, value in vars(body).items() if isinstance(value, Tensor)}
    assert {name for name, value in tensors.items() if value.dtype != torch.float32} == {"faces"}
    assert body.points.rest.dtype == body.points.shapedirs.dtype == torch.float32
    assert body.faces.dtype == body.points.joint_index.dtype == torch.int64


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("v_template", torch.zeros(30, 2), r"toy: v_template must have shape \(30, 3\), got \(30, 2\)"),
        ("faces", torch.zeros(20, 4, dtype=torch.long), r"toy: faces must have shape \(20, 3\), got \(20, 4\)"),
        ("faces", torch.full((1, 3), 30), "toy: faces must name vertices 0 to 29, got 30 to 30"),
        ("faces", torch.full((1, 3), -1), "toy: faces must name vertices 0 to 29, got -1 to -1"),
        ("shapedirs", torch.zeros(29, 3, 3), r"toy: shapedirs must have shape \(30, 3, 3\), got \(29, 3, 3\)"),
        ("J_regressor", torch.zeros(24, 30), r"toy: J_regressor must have shape \(4, 30\), got \(24, 30\)"),
        ("J_regressor", torch.zeros(4, 30), "toy: the rows of J_regressor must sum to one, got a row that is off by 1"),
        ("lbs_weights", torch.full((30, 4), 0.3), "toy: the rows of weights must sum to one, got a row .* off by 0.2"),
        ("posedirs", torch.zeros(30, 3, 207), r"toy: posedirs must have shape \(30, 3, 27\), got \(30, 3, 207\)"),
        ("v_template", torch.full((30, 3), torch.nan), "toy: v_template holds infinite or undefined numbers"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_refused(key: str, value: Tensor, message: str) -> None:
    arrays = toy_arrays() | {key: value}
    with pytest.raises(InputError, match=message):
        BodyModel.from_arrays("toy", TOY_SKELETON, **arrays)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (landmarks(num_betas=2), "toy: landmarks must have 3 betas like the body, got 2"),
        (landmarks(joint=4), "toy: landmarks must ride on joints 0 to 3, got 4 to 4"),
        (landmarks(name="chest"), "point names must differ, got chest more than once"),
    ],
)
def test_landmarks_of_another_body_are_refused(points: AttachedPoints, message: str) -> None:
    with pytest.raises(InputError, match=message):
        toy_body(points)


@pytest.mark.parametrize("method", ["rest_joints", "rest_vertices"])
def test_wrong_number_of_betas_is_refused(method: str) -> None:
    with pytest.raises(InputError, match=r"betas must have shape \(\.\.\., 3\), got \(10,\); pass betas\[\.\.\., :3\]"):
        getattr(toy_body(), method)(torch.zeros(10, dtype=torch.float64))

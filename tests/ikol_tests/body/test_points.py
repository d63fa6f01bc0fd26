# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from rigs import random_rotmats
from strategies import BATCH_SHAPES, DTYPES
from toy_body import TOY_SKELETON, toy_arrays, toy_body

from ikol.body.kinematics import forward_kinematics
from ikol.body.points import AttachedPoints
from ikol.errors import InputError


def two_points(num_betas: int = 3) -> AttachedPoints:
    rest = torch.tensor([[0.1, 0.2, 0.3], [-0.2, 0.0, 0.5]], dtype=torch.float64)
    shapedirs = torch.arange(2 * 3 * num_betas, dtype=torch.float64).reshape(2, 3, num_betas) / 100
    return AttachedPoints(("nose", "heel"), torch.tensor([1, 3]), rest, shapedirs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", BATCH_SHAPES)
def test_rest_points_are_linear_in_the_betas_for_any_batch_shape(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    points = two_points().to(dtype=dtype)
    betas = torch.linspace(-2, 2, 3 * torch.Size(shape).numel(), dtype=dtype).reshape(*shape, 3)
    got = points.rest_points(betas)
    assert got.shape == (*shape, 2, 3)
    assert got.dtype == dtype
    expected = points.rest + (points.shapedirs * betas[..., None, None, :]).sum(-1)
    assert (got - expected).abs().max() < 8 * torch.finfo(dtype).eps  # sums of three terms below 1


def test_posed_point_keeps_its_place_relative_to_its_joint() -> None:
    points, body = two_points(), toy_body()
    betas = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    rest_joints, rest = body.rest_joints(betas), points.rest_points(betas)
    local = random_rotmats((2, 4), 1.0, seed=1)
    transl = torch.tensor([[0.1, 0.2, 3.0], [0.0, -1.0, 0.5]], dtype=torch.float64)
    pose = forward_kinematics(TOY_SKELETON, rest_joints, local, transl)
    posed = points.posed_points(rest, rest_joints, pose)
    for p, j in enumerate((1, 3)):
        back = pose.global_rotmat[:, j].mT @ (posed[:, p] - pose.joints[:, j])[..., None]
        difference = (back[..., 0] - (rest[p] - rest_joints[j])).abs().max()
        assert difference < 1e-14, difference  # two rotations of lengths below a metre


def test_unposed_points_are_the_rest_points_moved() -> None:
    points, body = two_points(), toy_body()
    betas = torch.zeros(3, dtype=torch.float64)
    transl = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    identity = torch.eye(3, dtype=torch.float64).expand(4, 3, 3)
    pose = forward_kinematics(TOY_SKELETON, body.rest_joints(betas), identity, transl)
    posed = points.posed_points(points.rest_points(betas), body.rest_joints(betas), pose)
    assert (posed - points.rest - transl).abs().max() < 1e-14  # a few roundings of numbers below 4


def test_from_regressor_takes_the_weighted_mean_of_vertices() -> None:
    v_template = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 4.0, 0.0]])
    shapedirs = torch.tensor([[[1.0], [0.0], [0.0]], [[0.0], [1.0], [0.0]], [[0.0], [0.0], [1.0]]])
    points = AttachedPoints.from_regressor(
        ("p",), torch.tensor([0]), torch.tensor([[0.25, 0.25, 0.5]]), v_template, shapedirs
    )
    assert points.rest.tolist() == [[0.5, 2.0, 0.0]]
    assert points.shapedirs.tolist() == [[[0.25], [0.25], [0.5]]]


def test_from_vertices_takes_the_vertices() -> None:
    arrays = toy_arrays()
    v_template, shapedirs = arrays["v_template"], arrays["shapedirs"]
    assert v_template is not None
    assert shapedirs is not None
    points = AttachedPoints.from_vertices(("a", "b"), torch.tensor([0, 2]), torch.tensor([7, 3]), v_template, shapedirs)
    assert torch.equal(points.rest, v_template[[7, 3]])
    assert torch.equal(points.shapedirs, shapedirs[[7, 3]])


def test_from_vertices_refuses_vertices_of_another_mesh() -> None:
    with pytest.raises(InputError, match=r"vertex indices must lie between 0 and 1, got 0 to 332; are they meant for"):
        AttachedPoints.from_vertices(
            ("a", "b"), torch.tensor([0, 0]), torch.tensor([0, 332]), torch.zeros(2, 3), torch.zeros(2, 3, 1)
        )


def test_select_follows_the_given_order() -> None:
    selected = two_points().select(("heel", "nose"))
    assert selected.names == ("heel", "nose")
    assert selected.joint_index.tolist() == [3, 1]
    assert torch.equal(selected.rest, two_points().rest[[1, 0]])
    assert torch.equal(selected.shapedirs, two_points().shapedirs[[1, 0]])


def test_select_of_nothing_gives_no_points() -> None:
    assert two_points().select(()).rest_points(torch.zeros(2, 3, dtype=torch.float64)).shape == (2, 0, 3)


def test_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"there is no point 'knee'; the points are nose, heel"):
        two_points().select(("nose", "knee"))


def test_repeated_names_are_refused() -> None:
    with pytest.raises(InputError, match=r"point names must differ, got nose, heel|got heel, nose"):
        two_points().joined(two_points())


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(InputError, match=r"got 1 names, 2 joints, 2 places, 2 directions"):
        AttachedPoints(("a",), torch.tensor([0, 1]), torch.zeros(2, 3), torch.zeros(2, 3, 1))


@pytest.mark.parametrize(
    ("count", "advice"), [(16, r"got \(2, 16\); pass betas\[\.\.\., :3\]"), (2, r"got \(2, 2\); fill up with zeros")]
)
def test_wrong_number_of_betas_is_refused_with_advice(count: int, advice: str) -> None:
    with pytest.raises(InputError, match=rf"betas must have shape \(\.\.\., 3\), {advice}"):
        two_points().rest_points(torch.zeros(2, count, dtype=torch.float64))

# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import BATCH_SHAPES, DTYPES, SINGULAR_ANGLES, rotvecs, unit_vectors, vectors
from torch import Tensor

from ikol.geometry.rotations import (
    kabsch,
    quat_to_rotmat,
    right_jacobian,
    right_jacobian_inverse,
    rotation_between,
    rotmat_to_6d,
    rotmat_to_quat,
    rotmat_to_rotvec,
    rotvec_to_rotmat,
    sixd_to_rotmat,
    skew,
)

EYE = torch.eye(3, dtype=torch.float64)
# a handful of products of numbers near one: tens of roundings
ROUNDING = {torch.float32: 5e-6, torch.float64: 1e-14}


def geodesic(first: Tensor, second: Tensor) -> float:
    """Largest angle between rotations, radians; by the chord, which keeps its digits near zero."""
    chord = (first - second).square().sum((-1, -2)).max().sqrt() / (2 * math.sqrt(2))
    return 2.0 * math.asin(min(1.0, float(chord)))


def assert_rotation(rotmat: Tensor, tolerance: float) -> None:
    error = (rotmat.transpose(-1, -2) @ rotmat - torch.eye(3, dtype=rotmat.dtype)).abs().max()
    assert error < tolerance, f"not orthonormal by {float(error):.2e}"
    assert (torch.linalg.det(rotmat) > 0).all()


@given(vectors(), vectors())
def test_skew_is_the_cross_product(v: Tensor, u: Tensor) -> None:
    assert torch.allclose(skew(v) @ u, torch.linalg.cross(v, u), rtol=1e-12, atol=1e-12)


@given(rotvecs())
def test_exponential_equals_its_power_series(rotvec: Tensor) -> None:
    # torch.linalg.matrix_exp is no oracle: torch 2.13 is off by 2e-11 at 0.03 rad
    term, series = EYE, EYE
    for k in range(1, 40):
        term = term @ skew(rotvec) / k
        series = series + term
    error = (rotvec_to_rotmat(rotvec) - series).abs().max()
    assert error < 1e-14, f"{float(error):.2e}"  # terms are at most pi^3/6 = 5: a few dozen roundings


@given(rotvecs(limit=math.pi - 1e-3))
def test_logarithm_inverts_the_exponential(rotvec: Tensor) -> None:
    error = (rotmat_to_rotvec(rotvec_to_rotmat(rotvec)) - rotvec).abs().max()
    assert error < 1e-13, f"{float(error):.2e}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("angle", SINGULAR_ANGLES)
def test_rotation_survives_the_logarithm_at_singular_angles(angle: float, dtype: torch.dtype) -> None:
    axis = torch.tensor((0.6, -0.0, 0.8), dtype=dtype)
    rotmat = rotvec_to_rotmat(angle * axis)
    assert geodesic(rotvec_to_rotmat(rotmat_to_rotvec(rotmat)), rotmat) < ROUNDING[dtype]


def test_logarithm_of_a_tiny_rotation_keeps_its_digits() -> None:
    rotvec = torch.tensor((3e-20, -4e-20, 0.0), dtype=torch.float64)
    assert torch.allclose(rotmat_to_rotvec(rotvec_to_rotmat(rotvec)), rotvec, rtol=1e-14, atol=0.0)


@given(rotvecs())
def test_quaternion_round_trip(rotvec: Tensor) -> None:
    rotmat = rotvec_to_rotmat(rotvec)
    quat = rotmat_to_quat(rotmat)
    assert quat[0] >= 0
    assert abs(float(quat.norm()) - 1.0) < 1e-15
    assert geodesic(quat_to_rotmat(quat), rotmat) < 1e-14


@given(rotvecs(), st.sampled_from([1e-3, -1.0, 7.0]))
def test_quaternion_of_any_length_and_sign_is_the_same_rotation(rotvec: Tensor, scale: float) -> None:
    rotmat = rotvec_to_rotmat(rotvec)
    assert geodesic(quat_to_rotmat(scale * rotmat_to_quat(rotmat)), rotmat) < 1e-14


def test_zero_quaternion_is_the_identity() -> None:
    assert torch.equal(quat_to_rotmat(torch.zeros(4)), torch.eye(3))


@given(rotvecs())
def test_6d_round_trip(rotvec: Tensor) -> None:
    rotmat = rotvec_to_rotmat(rotvec)
    assert geodesic(sixd_to_rotmat(rotmat_to_6d(rotmat)), rotmat) < 1e-14


@pytest.mark.parametrize(
    "sixd",
    [(0, 0, 0, 0, 0, 0), (1, 2, 3, 0, 0, 0), (1, 2, 3, -2, -4, -6), (0, 0, 0, 1, 0, 0), (1e-30, 0, 0, 0, 1e-30, 0)],
    ids=["zero", "second zero", "parallel", "first zero", "tiny"],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_degenerate_6d_gives_a_rotation_with_finite_gradient(sixd: tuple[float, ...], dtype: torch.dtype) -> None:
    value = torch.tensor(sixd, dtype=dtype, requires_grad=True)
    rotmat = sixd_to_rotmat(value)
    assert_rotation(rotmat.detach(), ROUNDING[dtype])
    (gradient,) = torch.autograd.grad(rotmat[0, 1] + rotmat.sum(), value)
    assert torch.isfinite(gradient).all()


@given(rotvecs())
def test_right_jacobian_is_the_derivative_of_the_exponential(rotvec: Tensor) -> None:
    jacobian = torch.autograd.functional.jacobian(rotvec_to_rotmat, rotvec)
    body = torch.einsum("ji,jkn->ikn", rotvec_to_rotmat(rotvec), jacobian)
    vee = torch.stack((body[2, 1], body[0, 2], body[1, 0]))
    error = (vee - right_jacobian(rotvec)).abs().max()
    assert error < 1e-12, f"{float(error):.2e}"


@given(rotvecs(limit=5.0))
def test_right_jacobian_inverse_is_the_inverse(rotvec: Tensor) -> None:
    error = (right_jacobian(rotvec) @ right_jacobian_inverse(rotvec) - EYE).abs().max()
    assert error < 1e-12, f"{float(error):.2e}"  # at 5 rad the inverse has entries of about 10


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", BATCH_SHAPES)
def test_batches_of_any_shape_equal_single_calls(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    rotvec = torch.randn(*shape, 3, dtype=dtype, generator=torch.Generator().manual_seed(0))
    for function in (rotvec_to_rotmat, right_jacobian, right_jacobian_inverse, skew):
        batched = function(rotvec)
        assert batched.shape == (*shape, 3, 3)
        assert batched.dtype == dtype
    rotmat = rotvec_to_rotmat(rotvec)
    for function, size in ((rotmat_to_rotvec, 3), (rotmat_to_quat, 4), (rotmat_to_6d, 6)):
        batched = function(rotmat)
        assert batched.shape == (*shape, size)
        singles = torch.stack([function(single) for single in rotmat.reshape(-1, 3, 3)])
        assert torch.allclose(batched.reshape(-1, size), singles, rtol=0, atol=ROUNDING[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("angle", SINGULAR_ANGLES)
@pytest.mark.parametrize(
    "function",
    [
        rotvec_to_rotmat,
        right_jacobian,
        right_jacobian_inverse,
        lambda v: rotmat_to_quat(rotvec_to_rotmat(v)),
        lambda v: rotmat_to_rotvec(rotvec_to_rotmat(v)),
        lambda v: sixd_to_rotmat(rotmat_to_6d(rotvec_to_rotmat(v))),
        lambda v: rotation_between(v, torch.tensor((0.0, 0.0, 1.0), dtype=v.dtype)),
    ],
    ids=["exp", "right_jacobian", "right_jacobian_inverse", "quat", "log", "6d", "between"],
)
def test_gradients_are_finite_at_singular_angles(function, angle: float, dtype: torch.dtype) -> None:
    for axis in ((0.0, 0.0, 1.0), (0.0, 0.0, -1.0), (0.6, 0.0, 0.8)):
        rotvec = (angle * torch.tensor(axis, dtype=dtype)).requires_grad_()
        output = function(rotvec)
        weights = torch.arange(1.0, output.numel() + 1, dtype=dtype).reshape(output.shape)
        (gradient,) = torch.autograd.grad((weights * output).sum(), rotvec)
        assert torch.isfinite(gradient).all(), f"{axis}: {gradient}"


@given(unit_vectors(), unit_vectors(), st.sampled_from([1e-20, 1.0, 50.0]))
def test_rotation_between_points_the_source_along_the_target(a: Tensor, b: Tensor, length: float) -> None:
    rotmat = rotation_between(length * a, b)
    assert_rotation(rotmat, 1e-14)
    # near opposite vectors eps/|a + b| is lost, and sqrt(4 eps) = 3e-8 where half a turn is taken instead
    error = (rotmat @ a - b).norm()
    assert error < 1e-7, f"{float(error):.2e}"
    if float((a + b).norm()) > 1e-2:
        assert error < 1e-12


@given(unit_vectors(), unit_vectors())
def test_rotation_between_is_the_smallest(a: Tensor, b: Tensor) -> None:
    between = math.atan2(float(torch.linalg.cross(a, b).norm()), float(a @ b))
    angle = float(rotmat_to_rotvec(rotation_between(a, b)).norm())
    assert abs(angle - between) < 1e-7


@pytest.mark.parametrize("gap", [0.0, 1e-9, 1e-6, 1e-4, 3e-4, 1e-3, 1e-2])
def test_rotation_between_is_orthonormal_near_half_a_turn_in_float32(gap: float) -> None:
    a = torch.tensor((0.0, 1.0, 0.0))
    b = torch.tensor((gap, -math.sqrt(1 - gap * gap), 0.0))
    rotmat = rotation_between(a, b)
    assert_rotation(rotmat, 1e-6)
    # the worst case lies at the switch, |a + b|^2 = 4 eps: 7e-4 rad
    assert (rotmat @ a - b).norm() < 1e-3


def test_rotation_between_broadcasts_and_takes_zero_vectors_as_no_rotation() -> None:
    rotmat = rotation_between(torch.zeros(2, 3), torch.tensor((0.0, 1.0, 0.0)))
    assert torch.equal(rotmat, torch.eye(3).expand(2, 3, 3))


@given(rotvecs(), st.integers(0, 1000))
def test_kabsch_recovers_the_rotation(rotvec: Tensor, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    source = torch.randn(6, 3, dtype=torch.float64, generator=generator)
    weights = torch.rand(6, dtype=torch.float64, generator=generator) + 0.1
    rotmat = rotvec_to_rotmat(rotvec)
    # the pull of 16 eps towards the identity over the smallest stiffness of six random vectors
    assert geodesic(kabsch(source, source @ rotmat.T, weights), rotmat) < 1e-11


def test_kabsch_weights_choose_whom_to_believe() -> None:
    source = EYE
    quarter = rotvec_to_rotmat(torch.tensor((0.0, 0.0, math.pi / 2), dtype=torch.float64))
    target = torch.cat((source @ quarter.T, -source))
    weights = torch.tensor([1.0] * 3 + [0.0] * 3, dtype=torch.float64)
    assert geodesic(kabsch(torch.cat((source, source)), target, weights), quarter) < 1e-12


def test_kabsch_never_reflects() -> None:
    mirrored = EYE * torch.tensor((1.0, 1.0, -1.0), dtype=torch.float64)
    rotmat = kabsch(EYE, mirrored, torch.ones(3, dtype=torch.float64))
    assert_rotation(rotmat, 1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", ["no weight", "one vector", "parallel vectors", "zero vectors"])
def test_kabsch_fills_what_is_open_nearest_the_identity(case: str, dtype: torch.dtype) -> None:
    up = torch.tensor((0.0, 1.0, 0.0), dtype=dtype)
    tilted = torch.tensor((0.0, math.cos(0.4), math.sin(0.4)), dtype=dtype)
    source = torch.stack((up, 2 * up, -up))
    target = torch.stack((tilted, 2 * tilted, -tilted))
    weights = torch.ones(3, dtype=dtype)
    expected = rotvec_to_rotmat(torch.tensor((0.4, 0.0, 0.0), dtype=dtype))
    if case == "no weight":
        weights, expected = torch.zeros_like(weights), torch.eye(3, dtype=dtype)
    elif case == "one vector":
        source, target, weights = source[:1], target[:1], weights[:1]
    elif case == "zero vectors":
        source, target, expected = source * 0, target * 0, torch.eye(3, dtype=dtype)
    source.requires_grad_()
    rotmat = kabsch(source, target, weights)
    # the pull towards the identity is 16 eps, the rounding that it must overrule about one
    assert geodesic(rotmat.detach(), expected) < 0.1
    assert (rotmat @ up - expected @ up).abs().max() < 1e-5
    (gradient,) = torch.autograd.grad(rotmat.sum(), source)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("symmetric", [False, True], ids=["generic", "equal singular values"])
def test_kabsch_gradient_equals_finite_differences(symmetric: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    rotmat = rotvec_to_rotmat(torch.tensor((0.3, -1.0, 0.7), dtype=torch.float64))
    source = EYE.clone() if symmetric else torch.randn(5, 3, dtype=torch.float64, generator=generator)
    noise = 0.0 if symmetric else 0.1
    target = source @ rotmat.T + noise * torch.randn(source.shape, dtype=torch.float64, generator=generator)
    weights = torch.ones(len(source), dtype=torch.float64)
    inputs = (source.requires_grad_(), target.requires_grad_(), weights.requires_grad_())
    assert torch.autograd.gradcheck(kabsch, inputs, eps=1e-6, atol=1e-6)

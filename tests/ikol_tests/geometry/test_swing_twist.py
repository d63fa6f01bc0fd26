# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from autodiff import autodiff_jacobian
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import BATCH_SHAPES, DTYPES, rotvecs, unit_vectors
from torch import Tensor

from ikol.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from ikol.geometry.swing_twist import swing_twist, twist_angle, twist_gradient

Y = torch.tensor((0.0, 1.0, 0.0), dtype=torch.float64)


def make_swing(axis: Tensor, direction: Tensor, angle: float) -> Tensor:
    normal = torch.linalg.cross(axis, direction)
    assume(float(normal.norm()) > 1e-3)
    return rotvec_to_rotmat(angle * normal / normal.norm())


@given(rotvecs(), unit_vectors())
def test_swing_times_twist_is_the_rotation(rotvec: Tensor, axis: Tensor) -> None:
    rotmat = rotvec_to_rotmat(rotvec)
    split = swing_twist(rotmat, axis)
    twist = rotvec_to_rotmat(split.twist_angle * axis)
    assert (split.swing @ twist - rotmat).abs().max() < 1e-14


@given(unit_vectors(), unit_vectors(), st.floats(0.0, 3.0), st.floats(-3.1, 3.1))
def test_twist_and_swing_are_recovered(axis: Tensor, direction: Tensor, swing_angle: float, angle: float) -> None:
    swing = make_swing(axis, direction, swing_angle)
    split = swing_twist(swing @ rotvec_to_rotmat(angle * axis), axis)
    # at a swing of 3 rad, atan2's arguments are 0.005: rounding grows by 200
    assert abs(float(split.twist_angle) - angle) < 1e-12
    assert (split.swing - swing).abs().max() < 1e-12


@given(rotvecs(limit=3.0), unit_vectors())
def test_swing_has_no_part_about_the_axis(rotvec: Tensor, axis: Tensor) -> None:
    swing = swing_twist(rotvec_to_rotmat(rotvec), axis).swing
    assert abs(float(rotmat_to_rotvec(swing) @ axis)) < 1e-6  # near half a turn digits go with 1/(pi - angle)


def test_twist_of_half_a_turn_is_plus_pi() -> None:
    rotmat = rotvec_to_rotmat(math.pi * Y)
    assert abs(abs(float(twist_angle(rotmat, Y))) - math.pi) < 1e-15


@pytest.mark.parametrize("dtype", DTYPES)
def test_twist_is_zero_at_a_swing_of_half_a_turn_with_finite_gradient(dtype: torch.dtype) -> None:
    rotmat = torch.diag(torch.tensor((1.0, -1.0, -1.0), dtype=dtype)).requires_grad_()
    angle = twist_angle(rotmat, Y.to(dtype))
    (gradient,) = torch.autograd.grad(angle, rotmat)
    assert angle == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))
    assert torch.equal(twist_gradient(rotmat.detach(), Y.to(dtype)), torch.zeros(3, dtype=dtype))


@given(rotvecs(limit=2.8), unit_vectors())
def test_twist_gradient_equals_its_autodiff_twin(rotvec: Tensor, axis: Tensor) -> None:
    rotmat = rotvec_to_rotmat(rotvec)
    zero = torch.zeros(3, dtype=torch.float64)
    twin = autodiff_jacobian(lambda delta: twist_angle(rotmat @ rotvec_to_rotmat(delta), axis), zero)
    analytic = twist_gradient(rotmat, axis)
    assert (analytic - twin).norm() < 1e-10 * (1 + float(twin.norm()) ** 2), f"{analytic} {twin}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", BATCH_SHAPES)
def test_any_batch_shape_and_a_shared_axis(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    rotvec = torch.randn(*shape, 3, dtype=dtype, generator=torch.Generator().manual_seed(1))
    split = swing_twist(rotvec_to_rotmat(rotvec), Y.to(dtype))
    assert split.swing.shape == (*shape, 3, 3)
    assert split.twist_angle.shape == shape
    assert split.twist_angle.dtype == dtype
    assert twist_gradient(rotvec_to_rotmat(rotvec), Y.to(dtype)).shape == (*shape, 3)

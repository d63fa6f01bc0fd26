# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from autodiff import autodiff_jacobian
from hypothesis import given
from hypothesis import strategies as st
from rigs import random_rotmats
from strategies import BATCH_SHAPES, DTYPES, rotvecs
from torch import Tensor

from ikol.errors import InputError
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.solver.limits import JointLimits, limit_excess, twist_gate

EYE = torch.eye(3, dtype=torch.float64)


def make_limits(*, is_hinge: bool, dtype: torch.dtype = torch.float64) -> JointLimits:
    """Twist about y within -0.5 .. 0.4; bend about x within -0.1 .. 2, sideways about z within -0.3 .. 0.6."""
    return JointLimits(
        joint_index=torch.tensor([0]),
        axes=torch.tensor([[[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]], dtype=dtype),
        swing_range=torch.tensor([[-0.1, 2.0, -0.3, 0.6]], dtype=dtype),
        twist_range=torch.tensor([[-0.5, 0.4]], dtype=dtype),
        is_hinge=torch.tensor([is_hinge]),
    )


def rotation(bend: float, sideways: float, twist: float) -> Tensor:
    swing = rotvec_to_rotmat(torch.tensor((bend, 0.0, sideways), dtype=torch.float64))
    return (swing @ rotvec_to_rotmat(torch.tensor((0.0, twist, 0.0), dtype=torch.float64)))[None]


def residual(limits: JointLimits, rotmat: Tensor) -> list[float]:
    return limit_excess(limits, rotmat).residual[0].tolist()


@given(st.floats(-0.1, 2.0), st.floats(-0.3, 0.6), st.floats(-0.5, 0.4))
def test_nothing_is_exceeded_inside_a_hinges_box(bend: float, sideways: float, twist: float) -> None:
    excess = limit_excess(make_limits(is_hinge=True), rotation(bend, sideways, twist))
    assert excess.residual.abs().max() < 1e-14  # on the border a rounding may show
    assert (excess.above < 1e-14).all()
    assert (excess.below > -1e-14).all()


@pytest.mark.parametrize(
    ("angles", "expected"),
    [
        ((2.2, 0.0, 0.0), (0.2, 0.0, 0.0)),
        ((-0.4, 0.0, 0.0), (-0.3, 0.0, 0.0)),
        ((1.0, 0.7, 0.0), (0.0, 0.1, 0.0)),
        ((1.0, -0.5, 0.0), (0.0, -0.2, 0.0)),
        ((0.5, 0.1, 0.9), (0.0, 0.0, 0.5)),
        ((0.5, 0.1, -0.9), (0.0, 0.0, -0.4)),
        ((-1.1, 0.8, 1.4), (-1.0, 0.2, 1.0)),
    ],
)
def test_a_hinge_counts_radians_beyond_its_box(
    angles: tuple[float, float, float], expected: tuple[float, float, float]
) -> None:
    assert residual(make_limits(is_hinge=True), rotation(*angles)) == pytest.approx(expected, abs=1e-12)


@given(st.floats(0.0, 2 * math.pi), st.floats(0.0, 1.4))
def test_a_balls_swing_stays_in_its_ellipse(direction: float, ratio: float) -> None:
    half_axes = (2.0 if math.cos(direction) > 0 else 0.1, 0.6 if math.sin(direction) > 0 else 0.3)
    bend, sideways = ratio * half_axes[0] * math.cos(direction), ratio * half_axes[1] * math.sin(direction)
    excess = residual(make_limits(is_hinge=False), rotation(bend, sideways, 0.0))
    # the mean of the half-axes is (2 + 0.1 + 0.6 + 0.3) / 4
    assert excess[0] == pytest.approx(max(0.0, ratio - 1.0) * 0.75, abs=1e-9)
    assert excess[1] == 0.0


@pytest.mark.parametrize("shape", BATCH_SHAPES)
@pytest.mark.parametrize("is_hinge", [False, True], ids=["ball", "hinge"])
def test_jacobian_equals_its_autodiff_twin(shape: tuple[int, ...], is_hinge: bool) -> None:
    limits = make_limits(is_hinge=is_hinge)
    rotmat = random_rotmats((*shape, 1), 0.9, seed=1)
    excess = limit_excess(limits, rotmat)

    def above(step: Tensor) -> Tensor:
        return limit_excess(limits, rotmat @ rotvec_to_rotmat(step)).above

    jacobian = autodiff_jacobian(above, torch.zeros(3, dtype=torch.float64))
    # inside its range the twist's gate counts as a constant, and the ball's second row does not exist
    is_exceeded = (excess.residual != 0) & torch.isfinite(excess.above)
    is_checked = torch.isfinite(excess.above) & torch.tensor((True, True, False)) | is_exceeded
    assert is_checked.any()
    assert torch.allclose(excess.jacobian[is_checked], jacobian[is_checked], atol=1e-10)


@given(rotvecs(), st.booleans())
def test_everything_is_finite_also_at_half_turns(rotvec: Tensor, is_hinge: bool) -> None:
    excess = limit_excess(make_limits(is_hinge=is_hinge), rotvec_to_rotmat(rotvec)[None])
    assert torch.isfinite(excess.jacobian).all()
    assert torch.isfinite(excess.residual).all()


def test_dtype_and_shape_are_kept() -> None:
    for dtype in DTYPES:
        excess = limit_excess(make_limits(is_hinge=False, dtype=dtype), random_rotmats((2, 3, 1), 0.5, 0, dtype))
        assert excess.residual.shape == (2, 3, 1, 3)
        assert excess.residual.dtype == dtype


def test_gate_is_open_to_150_degrees_and_closed_from_175() -> None:
    axis = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64)
    gates = [
        float(twist_gate(rotation(math.radians(swing), 0.0, 0.3), axis)[0]) for swing in (0, 90, 149, 160, 175, 180)
    ]
    assert gates[:3] == [1.0, 1.0, 1.0]
    assert 0.0 < gates[3] < 1.0
    assert gates[4:] == pytest.approx([0.0, 0.0], abs=1e-12)


@given(rotvecs())
def test_gates_slope_equals_its_autodiff_twin(rotvec: Tensor) -> None:
    rotmat, axis = rotvec_to_rotmat(rotvec)[None], torch.tensor([[0.6, 0.8, 0.0]], dtype=torch.float64)
    twin = autodiff_jacobian(
        lambda step: twist_gate(rotmat @ rotvec_to_rotmat(step), axis)[0], torch.zeros(3, dtype=torch.float64)
    )
    assert torch.allclose(twist_gate(rotmat, axis)[1], twin, atol=1e-9)  # the step rises by 20 per unit


def test_limits_that_make_no_sense_are_refused() -> None:
    good = make_limits(is_hinge=False)
    with pytest.raises(InputError, match="unit vectors at right angles"):
        JointLimits(good.joint_index, 2 * good.axes, good.swing_range, good.twist_range, good.is_hinge)
    with pytest.raises(InputError, match="must contain 0 inside"):
        JointLimits(good.joint_index, good.axes, good.swing_range + 1.0, good.twist_range, good.is_hinge)
    with pytest.raises(InputError, match="twist range must be lowest, highest"):
        JointLimits(good.joint_index, good.axes, good.swing_range, -good.twist_range, good.is_hinge)

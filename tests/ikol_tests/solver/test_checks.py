# SPDX-License-Identifier: Apache-2.0
"""What is refused before anything is computed, and in which words."""

from inspect import unwrap

import numpy as np
import pytest
import torch
from rigs import smpl_skeleton
from solve_cases import POINTS, RIG, sigmas

from ikol.errors import InputError
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.solver import Orientation, Points3D, solve
from ikol.solver.checks import broadcasts, check_indices, check_rotations, check_tensor, check_tensors
from ikol.solver.directions import solve_directions


@pytest.mark.parametrize("value", [np.zeros(3), [0.0, 1.0], 0.5])
def test_what_is_no_tensor_is_refused_with_what_to_do(value: object) -> None:
    with pytest.raises(InputError, match=r"^target must be a torch tensor, got .*; convert it with torch.as_tensor$"):
        check_tensor("target", value)


def test_fields_that_are_no_tensors_by_nature_are_passed() -> None:
    check_tensors("points_3d", vars(Points3D(POINTS, torch.zeros(35, 3), torch.ones(35))))


@pytest.mark.parametrize("field", ["target", "sigma"])
def test_an_array_of_numpy_in_the_evidence_is_named(field: str) -> None:
    block = Points3D(POINTS, torch.zeros(35, 3).double(), sigmas(35))
    object.__setattr__(block, field, getattr(block, field).numpy())  # past the checks of types, which only tests have
    with pytest.raises(InputError, match=f"points_3d: {field} must be a torch tensor, got ndarray"):
        solve(RIG, [block])


def test_joints_given_as_numbers_with_a_point_are_refused() -> None:
    eye = torch.eye(3).double()[None]
    block = Orientation(torch.tensor([4]), eye, sigmas(1))
    object.__setattr__(block, "joint_index", torch.tensor([4.0]))
    with pytest.raises(InputError, match=r"orientation: joint indices must be whole numbers .* got torch.float32"):
        solve(RIG, [block])
    for small in (torch.int32, torch.uint8):  # an index of bytes would be taken for a mask by torch
        object.__setattr__(block, "joint_index", torch.tensor([4], dtype=small))
        assert float(solve(RIG, [block]).cost) < 1e-12


@pytest.mark.parametrize("index", [torch.tensor([True]), torch.tensor(3), torch.tensor([[1]])])
def test_other_indices_are_refused(index: torch.Tensor) -> None:
    with pytest.raises(InputError, match="whole numbers in one dimension"):
        check_indices("twist", index, 24)


def test_an_array_of_numpy_is_refused_as_keypoints() -> None:
    skeleton = smpl_skeleton(0, torch.float32)
    solve_unchecked = unwrap(solve_directions)  # without the checks of types, which only tests have
    with pytest.raises(InputError, match="keypoints must be a torch tensor, got ndarray"):
        solve_unchecked(skeleton.tree, np.zeros((24, 3)), torch.zeros(24, 3), torch.zeros(19))


def test_only_rotations_pass_for_rotations() -> None:
    rotmat = rotvec_to_rotmat(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)))
    check_rotations("start", rotmat)
    check_rotations("start", rotmat[:0])
    for wrong in (1.01 * rotmat, -rotmat, rotmat.flip(-1), 0.0 * rotmat):
        with pytest.raises(InputError, match="start must hold rotation matrices"):
            check_rotations("start", wrong)


def test_shapes_that_broadcast() -> None:
    assert broadcasts((), (3,))
    assert broadcasts((1, 3), (2, 3))
    assert not broadcasts((2,), (3,))
    assert not broadcasts((1, 3), (3,))

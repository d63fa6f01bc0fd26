# SPDX-License-Identifier: Apache-2.0
"""How evidence is read: shapes that could mean two things."""

import pytest
import torch
from solve_cases import POINTS, RIG, true_state

from ikol.errors import InputError
from ikol.solver import Points3D
from ikol.solver.problem import build_problem
from ikol.solver.residuals import PointTerm

THREE = POINTS.select(("L_Wrist", "R_Wrist", "Head"))
BY_AXIS = torch.tensor(((0.01, 0.02, 0.04), (0.1, 0.2, 0.4), (1.0, 2.0, 4.0)), dtype=torch.float64)


def weight_of(sigma: torch.Tensor, batch: tuple[int, ...]) -> torch.Tensor:
    target = RIG.posed_points(THREE, true_state(batch))
    (term,) = build_problem(RIG, [Points3D(THREE, target, sigma)], batch).terms
    assert isinstance(term, PointTerm)
    return term.weight


@pytest.mark.parametrize("batch", [(), (5,), (2, 5)])
def test_sigmas_of_three_points_by_axis_serve_a_batch(batch: tuple[int, ...]) -> None:
    assert torch.equal(weight_of(BY_AXIS, batch), BY_AXIS.pow(-2)[None])


def test_sigmas_of_three_points_serve_a_batch_by_item() -> None:
    by_item = BY_AXIS[:2]
    assert torch.equal(weight_of(by_item, (2,)), by_item.pow(-2)[..., None].expand(2, 3, 3))


def test_sigmas_whose_batch_fits_only_one_reading_are_read_so() -> None:
    by_item = BY_AXIS.expand(2, 3, 3)  # by axis its batch would be (2,), which is none of (2, 3)
    assert torch.equal(weight_of(by_item, (2, 3)), by_item.reshape(6, 3).pow(-2)[..., None].expand(6, 3, 3))


@pytest.mark.parametrize("batch", [(3,), (2, 3)])
def test_sigmas_of_three_points_in_a_batch_of_three_are_refused(batch: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"points_3d: a sigma of shape \(3, 3\) may be one for each of 3 rows"):
        weight_of(BY_AXIS, batch)
    full = BY_AXIS.expand(*batch, 3, 3)  # as the message says
    assert torch.equal(weight_of(full, batch)[0], BY_AXIS.pow(-2))

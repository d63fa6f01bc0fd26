# SPDX-License-Identifier: Apache-2.0
"""Metrics on cases whose answer is known by hand."""

import math

import pytest
import torch

from ikol.evaluation.metrics import bone_angles_deg, mpjpe, pa_mpjpe, similarity_aligned
from ikol.geometry.rotations import rotvec_to_rotmat

SHAPES = [(), (1,), (2, 3)]


def random_points(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, 12, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
def test_mpjpe_is_the_mean_distance_of_the_valid_points(shape: tuple[int, ...]) -> None:
    truth = random_points(shape)
    predicted = truth + torch.tensor([0.0, 3.0, 4.0], dtype=torch.float64)
    predicted[..., 0, :] = 1000.0
    valid = torch.ones(*shape, 12, dtype=torch.bool)
    valid[..., 0] = False
    torch.testing.assert_close(mpjpe(predicted, truth, valid), torch.full(shape, 5.0, dtype=torch.float64))


@pytest.mark.parametrize("shape", SHAPES)
def test_pa_mpjpe_is_zero_for_a_rotated_scaled_moved_copy(shape: tuple[int, ...]) -> None:
    truth = random_points(shape)
    R = rotvec_to_rotmat(torch.tensor([0.3, -2.0, 0.7], dtype=torch.float64))
    predicted = 0.4 * truth @ R.mT + torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    valid = torch.ones(*shape, 12, dtype=torch.bool)
    assert float(pa_mpjpe(predicted, truth, valid).max()) < 1e-12


def test_alignment_does_not_mirror() -> None:
    truth = random_points(())
    mirrored = truth * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    assert float(pa_mpjpe(mirrored, truth, torch.ones(12, dtype=torch.bool))) > 0.1


def test_invalid_points_do_not_take_part_in_the_alignment_even_when_they_are_nan() -> None:
    truth = random_points(())
    predicted = 2 * truth
    predicted[3] = math.nan
    valid = torch.ones(12, dtype=torch.bool)
    valid[3] = False
    aligned = similarity_aligned(predicted, truth, valid)
    torch.testing.assert_close(aligned[valid], truth[valid])


@pytest.mark.parametrize("degrees", [0.0, 1e-4, 30.0, 90.0, 179.999, 180.0])
def test_bone_angle_is_exact_from_parallel_to_opposite(degrees: float) -> None:
    truth = torch.tensor([[0.0, 0.0, 0.0], [0.0, 2.0, 0.0]], dtype=torch.float64)
    R = rotvec_to_rotmat(torch.tensor([math.radians(degrees), 0.0, 0.0], dtype=torch.float64))
    angle = bone_angles_deg(truth @ R.mT, truth, torch.tensor([[0, 1]]))
    assert float(angle[0]) == pytest.approx(degrees, abs=1e-9)

# SPDX-License-Identifier: Apache-2.0
"""Lens distortion: known numbers, its inverse, and what cannot be inverted."""

import pytest
import torch

from ikol.distortion import UNDISTORTED, distort, undistort
from ikol.errors import InputError

FOCAL, CENTER = (1500.0, 1400.0), (540.0, 960.0)
LENSES = {
    "barrel": (-0.25, 0.06, 0.0, 0.0),
    "pincushion": (0.15, 0.02, 0.0, 0.0),
    "tangential": (0.0, 0.0, 0.004, -0.003),
    "telephone": (0.08, -0.18, 0.0007, -0.0004),
}


def grid() -> torch.Tensor:
    """Return pixels all over a picture of 1080 x 1920."""
    x, y = torch.meshgrid(torch.linspace(0, 1080, 9), torch.linspace(0, 1920, 13), indexing="xy")
    return torch.stack((x, y), -1).double()


def test_radial_and_tangential_terms_are_those_of_opencv() -> None:
    # x = 0.5, y = 0.25 focal lengths off; r^2 = 0.3125: 1 - 0.25 * 0.3125 + 0.0625 * 0.09765625 = 0.9279785
    # x' = 0.4639893 + 2 * 0.01 * 0.125 + 0.02 * (0.3125 + 0.5)
    # y' = 0.2319946 + 0.01 * (0.3125 + 0.125) + 2 * 0.02 * 0.125
    pixels = torch.tensor((CENTER[0] + 750.0, CENTER[1] + 350.0), dtype=torch.float64)
    seen = distort(pixels, FOCAL, CENTER, (-0.25, 0.0625, 0.01, 0.02))
    offset = (seen - torch.tensor(CENTER)) / torch.tensor(FOCAL)
    expected = torch.tensor((0.46398926 + 0.0025 + 0.01625, 0.23199463 + 0.004375 + 0.005), dtype=torch.float64)
    torch.testing.assert_close(offset, expected, atol=1e-7, rtol=0)  # the numbers above have eight digits


@pytest.mark.parametrize("name", LENSES)
def test_undistort_is_the_inverse_of_distort_all_over_the_picture(name: str) -> None:
    back = undistort(distort(grid(), FOCAL, CENTER, LENSES[name]), FOCAL, CENTER, LENSES[name])
    torch.testing.assert_close(back, grid(), atol=1e-6, rtol=0)  # a millionth of a pixel: Newton ends at rounding


@pytest.mark.parametrize("shape", [(2,), (1, 2), (3, 2), (2, 3, 2)])
def test_any_number_of_leading_dimensions(shape: tuple[int, ...]) -> None:
    pixels = torch.full(shape, 700.0, dtype=torch.float64)
    assert undistort(pixels, FOCAL, CENTER, LENSES["barrel"]).shape == shape


def test_without_distortion_pixels_keep_their_bits() -> None:
    assert torch.equal(undistort(grid(), FOCAL, CENTER, UNDISTORTED), grid())


def test_points_beyond_the_fold_of_a_barrel_stay_at_its_edge() -> None:
    far = torch.tensor((CENTER[0] + 9000.0, CENTER[1]), dtype=torch.float64)
    edge = distort(far, FOCAL, CENTER, (-0.3, 0.0, 0.0, 0.0))[0]
    # 1 - 0.9 r^2 = 0 at r = 1.0541; there r (1 - 0.3 r^2) = 0.70273
    assert float(edge - CENTER[0]) / FOCAL[0] == pytest.approx(0.70273, abs=1e-5)


def test_pixels_that_a_lens_cannot_show_are_refused() -> None:
    corner = torch.tensor((0.0, 0.0), dtype=torch.float64)
    with pytest.raises(InputError, match="k1, k2, p1, p2"):
        undistort(corner, FOCAL, CENTER, (-1.5, 0.0, 0.0, 0.0))


def test_coefficients_out_of_all_proportion_are_refused() -> None:
    with pytest.raises(InputError, match="each at most 10"):
        undistort(grid(), FOCAL, CENTER, (float("nan"), 0.0, 0.0, 0.0))

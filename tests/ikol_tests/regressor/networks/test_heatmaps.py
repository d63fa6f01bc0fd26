# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from ikol.regressor.networks.heatmaps import crop_coordinates, mirrored_uvd, soft_argmax


def log_gaussian(center, sigma, cells=(32, 48, 64)):
    """Log of a normal distribution in (depth, rows, columns); `center` and `sigma` in cells, along u, v, d."""
    axes = [torch.arange(n, dtype=torch.float64) for n in cells]
    d, v, u = torch.meshgrid(*axes, indexing="ij")
    place = torch.stack([u, v, d], -1)
    return -0.5 * ((place - torch.tensor(center, dtype=torch.float64)) / sigma).square().sum(-1)[None, None]


def test_soft_argmax_is_the_mean_of_a_gaussian():
    points = soft_argmax(log_gaussian((20.25, 30.5, 9.75), 2.0))
    expected = torch.tensor([20.25 / 64, 30.5 / 48, 9.75 / 32], dtype=torch.float64) - 0.5
    # what a Gaussian has beyond the map, 4.9 deviations away, is below 1e-6 of it
    torch.testing.assert_close(points.uvd[0, 0], expected, rtol=0, atol=2e-6)
    torch.testing.assert_close(points.spread[0, 0], torch.tensor([2 / 64, 2 / 48, 2 / 32]).double(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_single_cell_is_its_own_place(dtype):
    maps = torch.full((1, 2, 8, 16, 16), -50.0, dtype=dtype)
    maps[0, 0, 3, 5, 7] = 50.0
    maps[0, 1, 0, 0, 0] = 50.0
    points = soft_argmax(maps)
    expected = torch.tensor([[7 / 16, 5 / 16, 3 / 8], [0, 0, 0]]) - 0.5
    assert torch.equal(points.uvd[0], expected.to(points.uvd))
    assert torch.equal(points.peak[0], torch.ones(2, dtype=points.peak.dtype))
    assert points.uvd.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_soft_argmax_has_finite_gradients_where_it_is_sure():
    maps = torch.full((1, 1, 4, 4, 4), -100.0, requires_grad=True)
    with torch.no_grad():
        maps[0, 0, 1, 1, 1] = 100.0
    points = soft_argmax(maps)
    (points.uvd.sum() + points.spread.sum() + points.peak.sum()).backward()
    assert maps.grad is not None
    assert maps.grad.isfinite().all()


def test_a_mirrored_crop_has_mirrored_coordinates():
    uvd = torch.tensor([[[0.1, -0.2, 0.3], [-0.5, 0.0, 0.0]]])
    mirrored = mirrored_uvd(uvd, 256)
    here, there = crop_coordinates(uvd, 256), crop_coordinates(mirrored, 256)
    torch.testing.assert_close(there[..., 0], 1.0 - here[..., 0])
    assert torch.equal(there[..., 1], here[..., 1])
    torch.testing.assert_close(mirrored_uvd(mirrored, 256), uvd)

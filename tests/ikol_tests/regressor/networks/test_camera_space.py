# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from ikol.camera import Camera
from ikol.regressor.crops import Crops
from ikol.regressor.networks.camera_space import camera_to_uvd, root_depth, uvd_to_camera, uvd_to_pixels
from ikol.regressor.networks.heatmaps import mirrored_uvd


def lens():
    return Camera(torch.tensor([900.0, 910.0]), torch.tensor([400.0, 310.0]), torch.eye(3), torch.zeros(3), 800, 600)


def crops(rotation=0.0, mirrored=False):
    return Crops(
        torch.tensor([[380.0, 290.0]]), torch.tensor([420.0]), torch.tensor([rotation]), torch.tensor([mirrored])
    )


def body():
    generator = torch.Generator().manual_seed(3)
    return torch.tensor([0.1, 0.0, 3.0]) + 0.5 * (torch.rand(1, 24, 3, generator=generator) - 0.5)


@pytest.mark.parametrize(("rotation", "mirrored"), [(0.0, False), (0.4, False), (-0.7, True)])
def test_camera_space_comes_back_through_uvd(rotation, mirrored):
    points, window = body(), crops(rotation, mirrored)
    uvd = camera_to_uvd(points, window, 256, 2.2, lens())
    back = uvd_to_camera(uvd, window, 256, 2.2, lens(), points[:, 0, 2])
    torch.testing.assert_close(back, points, rtol=0, atol=1e-5)  # float32, pixels to 600: 6e-8 * 600 / 900 * 3 m


@pytest.mark.parametrize(("rotation", "mirrored"), [(0.0, False), (0.4, True)])
def test_pixels_are_the_camera_s(rotation, mirrored):
    points, window = body(), crops(rotation, mirrored)
    pixels = uvd_to_pixels(camera_to_uvd(points, window, 256, 2.2, lens()), window, 256)
    torch.testing.assert_close(pixels, lens().project(points), rtol=0, atol=1e-3)


def test_every_crop_may_have_its_own_lens():
    points = torch.cat([body(), body() + 0.1])
    window = Crops.upright([(380.0, 290.0), (500.0, 200.0)], [420.0, 600.0])
    focal, center = torch.tensor([[900.0, 910.0], [1400.0, 1400.0]]), torch.tensor([[400.0, 310.0], [640.0, 360.0]])
    cameras = Camera(focal, center, torch.eye(3).expand(2, 3, 3), torch.zeros(2, 3), 1280, 720)
    uvd = camera_to_uvd(points, window, 256, 2.2, cameras)
    back = uvd_to_camera(uvd, window, 256, 2.2, cameras, points[:, 0, 2])
    torch.testing.assert_close(back, points, rtol=0, atol=1e-5)
    for item in range(2):
        one = Camera(focal[item], center[item], torch.eye(3), torch.zeros(3), 1280, 720)
        alone = camera_to_uvd(points[[item]], window[[item]], 256, 2.2, one)
        torch.testing.assert_close(alone[0], uvd[item])
    assert root_depth(torch.tensor([0.9, 0.8]), window, cameras).shape == (2,)


def test_the_middle_of_the_heat_map_s_first_cell_is_the_crop_s_first_pixel():
    window = crops()
    corner = uvd_to_pixels(torch.tensor([[[-0.5, -0.5, 0.0]]]), window, 256)
    pixel = 420.0 / 256
    torch.testing.assert_close(corner[0, 0], torch.tensor([380.0 - 210 + pixel / 2, 290.0 - 210 + pixel / 2]))


def test_a_mirrored_crop_s_mirrored_coordinates_are_the_same_place():
    uvd = camera_to_uvd(body(), crops(0.3), 256, 2.2, lens())
    mirrored = Crops(torch.tensor([[380.0, 290.0]]), torch.tensor([420.0]), torch.tensor([0.3]), torch.tensor([True]))
    torch.testing.assert_close(
        uvd_to_pixels(mirrored_uvd(uvd, 256), mirrored, 256), uvd_to_pixels(uvd, crops(0.3), 256), rtol=0, atol=1e-3
    )


def test_root_depth_is_hybrik_s_on_its_own_camera():
    # HybrIK: focal length 1000 of a crop of 256 pixels, depth = 1000 / (256 scale)
    camera = Camera(
        torch.tensor([1000.0, 1000.0]), torch.tensor([128.0, 128.0]), torch.eye(3), torch.zeros(3), 256, 256
    )
    window = Crops.upright([(128.0, 128.0)], [256.0])
    depth = root_depth(torch.tensor([0.9]), window, camera)
    torch.testing.assert_close(depth, torch.tensor([1000 / (256 * 0.9)]))
    assert root_depth(torch.tensor([-1.0]), window, camera).isfinite().all()

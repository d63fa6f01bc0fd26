# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from autodiff import autodiff_jacobian
from rigs import random_rotmats
from strategies import BATCH_SHAPES, DTYPES

from ikol.camera import NEAR, Camera, camera_from_fov
from ikol.errors import InputError


def make_camera(shape: tuple[int, ...] = (), dtype: torch.dtype = torch.float64) -> Camera:
    return Camera(
        focal=torch.tensor((900.0, 950.0), dtype=dtype).expand(*shape, 2),
        center=torch.tensor((310.0, 250.0), dtype=dtype).expand(*shape, 2),
        R_camera_world=random_rotmats(shape, 0.3, seed=4, dtype=dtype),
        t_camera_world=torch.tensor((0.1, -0.2, 4.0), dtype=dtype).expand(*shape, 3),
        width=640,
        height=480,
    )


def make_points(shape: tuple[int, ...] = (), dtype: torch.dtype = torch.float64, num_points: int = 7) -> torch.Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.randn(*shape, num_points, 3, dtype=torch.float64, generator=generator).to(dtype)


def test_point_on_the_axis_falls_on_the_principal_point() -> None:
    camera = make_camera()
    ahead = camera.to_world(torch.tensor(((0.0, 0.0, 2.0),), dtype=torch.float64))
    assert torch.allclose(camera.project(ahead), camera.center[None], atol=1e-10)


def test_right_and_down_in_the_camera_are_right_and_down_on_the_picture() -> None:
    camera = camera_from_fov(640, 480, 60.0, dtype=torch.float64)
    # the camera looks along -Z with Y up: world +X is right, world -Y is down
    pixels = camera.project(torch.tensor(((0.5, 0.0, -3.0), (0.0, -0.5, -3.0)), dtype=torch.float64))
    assert pixels[0, 0] > 320
    assert pixels[0, 1] == pytest.approx(240)
    assert pixels[1, 0] == pytest.approx(320)
    assert pixels[1, 1] > 240


def test_field_of_view_spans_the_larger_side() -> None:
    camera = camera_from_fov(640, 480, 60.0, dtype=torch.float64)
    assert math.degrees(float(camera.fov_x)) == pytest.approx(60.0)
    border = torch.tensor(((3.0 * math.tan(math.radians(30.0)), 0.0, -3.0),), dtype=torch.float64)
    assert camera.project(border)[0, 0] == pytest.approx(640.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", BATCH_SHAPES)
def test_unproject_inverts_project(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    camera, points = make_camera(shape, dtype), make_points(shape, dtype)
    projection = camera.project_with_jacobian(points)
    assert projection.pixels.shape == (*shape, 7, 2)
    assert torch.equal(projection.pixels, camera.project(points))
    back = camera.unproject(projection.pixels, projection.depth)
    # pixels are about 1000 at 4 m: one rounding of a pixel in float32 is 6e-5 px = 3e-7 m, a few of them add up
    assert (back - points).abs().max() < (1e-5 if dtype == torch.float32 else 1e-13)


def test_one_point_set_in_many_cameras() -> None:
    camera, points = make_camera((3,)), make_points()
    assert camera.project(points).shape == (3, 7, 2)


@pytest.mark.parametrize("shape", BATCH_SHAPES)
def test_jacobian_equals_its_autodiff_twin(shape: tuple[int, ...]) -> None:
    camera, points = make_camera(shape), make_points(shape)
    jacobian = camera.project_with_jacobian(points).jacobian
    assert jacobian.shape == (*shape, 7, 2, 3)
    twin = autodiff_jacobian(lambda step: camera.project(points + step), torch.zeros(3, dtype=torch.float64))
    assert torch.allclose(jacobian, twin, rtol=1e-10, atol=1e-8)


def test_behind_the_camera_pixels_and_derivatives_stay_finite_and_continuous() -> None:
    camera = Camera(
        focal=torch.full((2,), 500.0, dtype=torch.float64),
        center=torch.full((2,), 320.0, dtype=torch.float64),
        R_camera_world=torch.eye(3, dtype=torch.float64),
        t_camera_world=torch.zeros(3, dtype=torch.float64),
        width=640,
        height=640,
    )
    depths = torch.tensor((-2.0, 0.0, NEAR - 1e-9, NEAR, NEAR + 1e-9), dtype=torch.float64)
    points = torch.stack((torch.full_like(depths, 0.1), torch.zeros_like(depths), depths), dim=-1)
    projection = camera.project_with_jacobian(points)
    assert torch.isfinite(projection.pixels).all()
    assert torch.isfinite(projection.jacobian).all()
    # value and slope agree on both sides of NEAR: 2e-9 m apart times second derivatives of f x 2/z^3 = 8e5
    assert (projection.pixels[2] - projection.pixels[4]).abs().max() < 1e-3
    assert (projection.jacobian[2] - projection.jacobian[4]).abs().max() < 1e-2
    twin = autodiff_jacobian(lambda step: camera.project(points + step), torch.zeros(3, dtype=torch.float64))
    assert torch.allclose(projection.jacobian[:3], twin[:3], rtol=1e-10)


def test_change_of_type_and_place() -> None:
    camera = make_camera().to(dtype=torch.float32)
    assert camera.project(make_points(dtype=torch.float32)).dtype == torch.float32
    moved = camera.with_extrinsics(torch.eye(3), torch.tensor((0.0, 0.0, 1.0)))
    assert torch.equal(moved.focal, camera.focal)
    assert torch.equal(moved.to_camera(torch.zeros(1, 3)), torch.tensor(((0.0, 0.0, 1.0),)))


@pytest.mark.parametrize("fov_deg", [0.0, 180.0, -5.0, math.nan])
def test_impossible_field_of_view_is_refused(fov_deg: float) -> None:
    with pytest.raises(InputError, match="between 0 and 180 degrees"):
        camera_from_fov(640, 480, fov_deg)


def test_impossible_lens_or_picture_is_refused() -> None:
    camera = make_camera()
    lens = (camera.center, camera.R_camera_world, camera.t_camera_world)
    with pytest.raises(InputError, match="focal length must be positive"):
        Camera(torch.tensor((math.nan, 1.0), dtype=torch.float64), *lens, width=1, height=1)
    with pytest.raises(InputError, match="got 0 x 480"):
        Camera(camera.focal, *lens, width=0, height=480)

# SPDX-License-Identifier: Apache-2.0
"""Crops map to the picture and back as their fields say, and are sampled where they map to."""

import math

import numpy as np
import pytest
import torch

from ikol.regressor.crops import Crops, sample_crops

CORNERS = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.5, 0.5]]])


def one(center: tuple[float, float], side: float, rotation: float = 0.0, mirrored: bool = False) -> Crops:
    return Crops.upright([center], [side], rotation).augmented([(1.0, 0.0, mirrored)])


@pytest.mark.parametrize(
    ("rotation", "mirrored", "expected"),
    [
        (0.0, False, [[60, 30], [140, 30], [140, 110], [60, 110], [100, 70]]),
        (0.0, True, [[140, 30], [60, 30], [60, 110], [140, 110], [100, 70]]),
        # Turned clockwise by a quarter: the crop's top-left corner is at the picture's top right.
        (math.pi / 2, False, [[140, 30], [140, 110], [60, 110], [60, 30], [100, 70]]),
        (math.pi, False, [[140, 110], [60, 110], [60, 30], [140, 30], [100, 70]]),
    ],
)
def test_corners_map_to_the_picture(rotation: float, mirrored: bool, expected: list[list[float]]) -> None:
    got = one((100.0, 70.0), 80.0, rotation, mirrored).to_picture(CORNERS)[0]
    assert torch.allclose(got, torch.tensor(expected, dtype=torch.float32), atol=1e-4), got  # float32 of sin(pi)


@pytest.mark.parametrize("mirrored", [False, True])
def test_directions_turn_with_the_points(mirrored: bool) -> None:
    crop = one((0.0, 0.0), 1.0, 0.7, mirrored)
    points = torch.rand(1, 6, 2, generator=torch.Generator().manual_seed(2)) - 0.5
    depth = torch.linspace(-1.0, 1.0, 6).reshape(1, 6, 1)
    turned = crop.directions_to_picture(torch.cat([points, depth], -1))
    assert torch.allclose(turned[..., :2], crop.to_picture(points + 0.5), atol=1e-6)
    assert torch.equal(turned[..., 2:], depth)


@pytest.mark.parametrize("clockwise", [0.0, 0.3, math.pi / 2, 3.0, -1.2])
def test_a_person_s_crop_stands_upright_in_the_person_s_frame(clockwise: float) -> None:
    hips = torch.tensor([[300.0, 400.0]])
    head = hips + 200.0 * torch.tensor([[math.sin(clockwise), -math.cos(clockwise)]])
    crop = Crops.around_person(hips, head)
    assert float(crop.rotation[0]) == pytest.approx(clockwise, abs=1e-6)
    assert float(crop.side[0]) == pytest.approx(2 * 200.0 * 1.25)
    top = crop.to_picture(torch.tensor([[[0.5, 0.5 - 0.5 / 1.25]]]))[0]
    assert torch.allclose(top, head, atol=1e-3)  # a hundredth of a pixel at 600 px from the origin


def test_augmentation_combines_scale_rotation_and_mirroring() -> None:
    crops = Crops.upright([(1.0, 2.0), (3.0, 4.0)], [10.0, 20.0], 0.5)
    many = crops.augmented([(1.0, 0.0, False), (0.5, 0.25, True)])
    assert many.side.tolist() == [10.0, 5.0, 20.0, 10.0]
    assert many.rotation.tolist() == [0.5, 0.75, 0.5, 0.75]
    assert many.mirrored.tolist() == [False, True, False, True]
    assert many.center.tolist() == [[1.0, 2.0], [1.0, 2.0], [3.0, 4.0], [3.0, 4.0]]


def ramp(width: int, height: int) -> np.ndarray:
    """Return a picture whose red is x and whose green is y, from 0 to 250, at the pixels' centres."""
    x, y = np.meshgrid((np.arange(width) + 0.5) / width * 250, (np.arange(height) + 0.5) / height * 250)
    return np.stack([x, y, np.full_like(x, 99.0)], -1).round().astype(np.uint8)


@pytest.mark.parametrize("side", [60.0, 300.0, 900.0], ids=["enlarged", "same", "block-averaged"])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0.0, 0.4, 2.0])
def test_a_linear_picture_is_sampled_exactly(side: float, mirrored: bool, rotation: float) -> None:
    width, height, size = 1400, 1300, 64
    crop = one((690.0, 655.0), side, rotation, mirrored)
    got = sample_crops(ramp(width, height), crop, size, "zeros")[0] * 255.0
    steps = (torch.arange(size) + 0.5) / size
    points = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1).reshape(1, -1, 2)
    where = crop.to_picture(points)[0].reshape(size, size, 2)
    expected = torch.stack([where[..., 0] / width * 250, where[..., 1] / height * 250])
    worst = float((got[:2] - expected).abs().max())
    assert worst < 0.8, worst  # half a grey level from the picture's rounding, a quarter from the averaging's
    assert float((got[2] - 99.0).abs().max()) < 1e-3


def test_outside_is_black_or_the_nearest_pixel() -> None:
    rgb = np.full((40, 60, 3), 200, np.uint8)
    crop = one((0.0, 20.0), 40.0)  # its left half lies outside
    black = sample_crops(rgb, crop, 32, "zeros")[0]
    nearest = sample_crops(rgb, crop, 32, "border")[0]
    assert float(black[:, :, :15].abs().max()) == 0.0
    assert torch.allclose(nearest, torch.full_like(nearest, 200 / 255))
    assert torch.allclose(black[:, 4:-4, 17:], torch.tensor(200 / 255))


def test_a_crop_beside_the_picture_is_possible() -> None:
    rgb = np.full((40, 60, 3), 200, np.uint8)
    sampled = sample_crops(rgb, one((500.0, -300.0), 50.0), 16, "zeros")
    assert sampled.shape == (1, 3, 16, 16)
    assert float(sampled.abs().max()) == 0.0


def test_crops_of_different_sizes_are_sampled_together_as_alone() -> None:
    rgb = np.random.default_rng(3).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    crops = Crops.concatenate([one((200.0, 150.0), 100.0), one((180.0, 140.0), 120.0, 0.2, True)])
    together = sample_crops(rgb, crops, 64, "border")
    alone = torch.cat([sample_crops(rgb, crops[[i]], 64, "border") for i in range(2)])
    assert together.shape == (2, 3, 64, 64)
    # The same pixels, but coordinates are relative to another window of the picture: float32 of a position.
    assert torch.allclose(together, alone, atol=1e-3)


@pytest.mark.parametrize("clockwise", [0.0, 0.7, -2.0, math.pi])
def test_a_window_around_a_body_holds_all_of_it_upright(clockwise: float) -> None:
    body = torch.tensor([[-10.0, 0.0], [10.0, 0.0], [-15.0, -50.0], [15.0, -50.0], [4.0, 90.0], [60.0, -70.0]])
    turn = torch.tensor([[math.cos(clockwise), -math.sin(clockwise)], [math.sin(clockwise), math.cos(clockwise)]])
    points = body @ turn.mT + torch.tensor([300.0, 200.0])
    window = Crops.around_body(points, hips=(0, 1), shoulders=(2, 3))
    radius = math.hypot(60.0, 70.0)
    # float32 of a few hundred pixels
    torch.testing.assert_close(window.center, torch.tensor([[300.0, 200.0]]), atol=1e-3, rtol=0)
    assert float(window.side[0]) == pytest.approx(2.5 * radius, rel=1e-5)
    torch.testing.assert_close(
        window.to_picture((body / float(window.side[0]) + 0.5)[None])[0], points, atol=1e-2, rtol=0
    )


def test_a_body_seen_from_above_has_a_window_that_is_upright() -> None:
    window = Crops.around_body(torch.tensor([[5.0, 5.0], [7.0, 5.0], [5.0, 5.0], [7.0, 5.0]]), (0, 1), (2, 3))
    assert float(window.rotation[0]) == 0.0
    assert float(window.side[0]) > 0.0

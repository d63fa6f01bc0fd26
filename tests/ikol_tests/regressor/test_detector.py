# SPDX-License-Identifier: Apache-2.0
"""The detector finds a person where the person is, once, whatever the picture's size."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ikol.regressor import detector
from ikol.regressor.crops import Crops
from ikol.regressor.detector import detect_persons, search_windows
from ikol.regressor.graph import GraphNetwork
from ikol.regressor.image import decode_image
from ikol.regressor.weights import load_network

SAMPLES = Path(__file__).resolve().parents[3] / "samples"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network() -> GraphNetwork:
    return GraphNetwork(load_network("blazepose_detector"))


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return decode_image((SAMPLES / "person_standing.jpg").read_bytes()).rgb


def whole(rgb: np.ndarray, rotation: float = 0.0) -> Crops:
    return search_windows(rgb.shape[1], rgb.shape[0], rotation)[:1]


def find(network: GraphNetwork, rgb: np.ndarray, windows: Crops) -> detector.Detections:
    with torch.inference_mode():
        return detect_persons(network, rgb, windows, CPU)


def test_anchors_are_as_many_as_the_network_has_boxes() -> None:
    anchors = detector._anchors(224)  # pyright: ignore[reportPrivateUsage]
    assert anchors.shape == (2254, 2)
    assert float(anchors.min()) == pytest.approx(0.5 / 28)
    assert float(anchors.max()) == pytest.approx(1.0 - 0.5 / 28)


def test_one_person_is_found_where_he_stands(network: GraphNetwork, photo: np.ndarray) -> None:
    found = find(network, photo, whole(photo))
    assert len(found.crops) == 1
    # Read off the photograph: the hips are at (234, 245), he is 255 px tall and upright.
    assert float((found.crops.center[0] - torch.tensor([234.0, 245.0])).norm()) < 12.0
    assert 255.0 < float(found.crops.side[0]) < 400.0
    assert abs(float(found.crops.rotation[0])) < 0.15


def test_black_borders_do_not_move_the_person(network: GraphNetwork, photo: np.ndarray) -> None:
    padded = np.pad(photo, ((70, 10), (30, 50), (0, 0)))
    first, second = find(network, photo, whole(photo)), find(network, padded, whole(padded))
    moved = second.crops.center[0] - first.crops.center[0] - torch.tensor([30.0, 70.0])
    assert float(moved.norm()) < 6.0, moved  # two pixels of the 224 px input
    assert float(second.crops.side[0] / first.crops.side[0]) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_picture_is_searched_in_turned_windows(
    network: GraphNetwork, photo: np.ndarray, quarters: int
) -> None:
    turned = np.ascontiguousarray(np.rot90(photo, -quarters))  # clockwise
    found = find(network, turned, whole(turned, quarters * math.pi / 2))
    assert len(found.crops) == 1
    off = (float(found.crops.rotation[0]) - quarters * math.pi / 2 + math.pi) % (2 * math.pi) - math.pi
    assert abs(off) < 0.15


@pytest.mark.parametrize("size", [(640, 424), (1080, 1920), (500, 500), (3000, 400)])
@pytest.mark.parametrize("rotation", [0.0, 0.3, math.pi / 2])
def test_windows_cover_the_picture(size: tuple[int, int], rotation: float) -> None:
    windows = search_windows(*size, rotation)
    x, y = torch.meshgrid(torch.linspace(0, size[0], 9), torch.linspace(0, size[1], 9), indexing="xy")
    points = torch.stack([x, y], -1).reshape(-1, 2)
    # A point is in a window if it is within half a side of the centre along both of the window's axes.
    offset = points[:, None] - windows.center
    cosine, sine = windows.rotation.cos(), windows.rotation.sin()
    along = torch.stack(
        [offset[..., 0] * cosine + offset[..., 1] * sine, offset[..., 1] * cosine - offset[..., 0] * sine]
    )
    inside = (along.abs() <= windows.side / 2 + 1e-3).all(0)
    assert bool(inside[:, 0].all()), "the first window is the whole picture"
    if rotation == 0.0:
        assert bool(inside[:, 1:].any(1).all()), "the parts cover it too"
    assert len(windows) <= 10


def test_boxes_around_one_person_are_averaged_by_score() -> None:
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.1], [5.0, 5.0, 6.0, 6.0]])
    points = torch.tensor([0.0, 1.0, 7.0]).reshape(3, 1, 1).expand(3, 4, 2)
    merged = detector._merge(boxes, points, torch.tensor([0.6, 0.9, 0.7]))  # pyright: ignore[reportPrivateUsage]
    assert [score for score, _ in merged] == pytest.approx([0.9, 0.7])
    assert float(merged[0][1][0, 0]) == pytest.approx(0.6)  # (0 * 0.6 + 1 * 0.9) / 1.5
    assert float(merged[1][1][0, 0]) == pytest.approx(7.0)


def test_a_person_in_several_windows_is_found_once(network: GraphNetwork, photo: np.ndarray) -> None:
    windows = Crops.concatenate([whole(photo), Crops.upright([(240.0, 240.0), (230.0, 250.0)], [420.0, 400.0])])
    assert len(find(network, photo, windows).crops) == 1


def test_nobody_is_found_where_nobody_is(network: GraphNetwork, photo: np.ndarray) -> None:
    meadow = np.ascontiguousarray(photo[:, 330:])  # the horse
    found = find(network, meadow, whole(meadow))
    assert len(found.crops) == 0
    assert found.score.shape == (0,)

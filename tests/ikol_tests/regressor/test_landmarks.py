# SPDX-License-Identifier: Apache-2.0
"""Landmark names, their counterparts, and the refinement by the heat map."""

import pytest
import torch

from ikol.regressor.landmarks import (
    BLAZEPOSE_LANDMARKS,
    LEFT_RIGHT,
    NUM_INNER,
    _read_at,  # pyright: ignore[reportPrivateUsage]
    _refined,  # pyright: ignore[reportPrivateUsage]
    load_landmark_network,
    run_landmarks,
)


def test_there_are_33_distinct_names_in_blazepose_s_order() -> None:
    assert len(set(BLAZEPOSE_LANDMARKS)) == 33
    places = {name: BLAZEPOSE_LANDMARKS.index(name) for name in ("nose", "left_shoulder", "right_hip", "left_heel")}
    assert places == {"nose": 0, "left_shoulder": 11, "right_hip": 24, "left_heel": 29}


@pytest.mark.parametrize("index", range(33))
def test_counterparts_change_sides(index: int) -> None:
    name, other = BLAZEPOSE_LANDMARKS[index], BLAZEPOSE_LANDMARKS[LEFT_RIGHT[index]]
    assert LEFT_RIGHT[LEFT_RIGHT[index]] == index
    if name == "nose":
        assert other == "nose"
    else:
        assert {name.replace("left", "right"), name.replace("right", "left")} == {name, other}


def heatmap(peak: float) -> torch.Tensor:
    """Return logits of 64 x 64 cells, low but for cells (column 20, row 30) and (column 22, row 30)."""
    logits = torch.full((1, 1, 64, 64), -20.0)
    logits[0, 0, 30, 20] = peak
    logits[0, 0, 30, 22] = peak
    return logits


def test_a_sure_heat_map_moves_the_point_to_its_centre_of_mass() -> None:
    refined = _refined(torch.tensor([[[19.4 / 64, 31.2 / 64]]]), heatmap(5.0))
    assert torch.allclose(refined, torch.tensor([[[21.0 / 64, 30.0 / 64]]]), atol=1e-4)  # e^-20 of background


@pytest.mark.parametrize(
    ("point", "peak"),
    [((19.4 / 64, 31.2 / 64), -1.0), ((50.0 / 64, 31.2 / 64), 5.0), ((-0.2, 0.5), 5.0), ((0.5, 1.3), 5.0)],
    ids=["unsure", "elsewhere", "left-of-the-crop", "below-the-crop"],
)
def test_other_points_stay(point: tuple[float, float], peak: float) -> None:
    points = torch.tensor([[point]])
    assert torch.equal(_refined(points, heatmap(peak)), points)


def test_at_the_edge_only_cells_of_the_map_count() -> None:
    logits = torch.full((1, 1, 64, 64), -20.0)
    logits[0, 0, 0, 0] = 5.0
    refined = _refined(torch.tensor([[[0.01, 0.01]]]), logits)
    assert torch.allclose(refined, torch.zeros(1, 1, 2), atol=1e-4)


def test_inner_maps_are_read_where_the_landmarks_are() -> None:
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    fine, coarse = torch.zeros(2, 96, 32, 32), torch.zeros(2, 192, 16, 16)
    fine[:, 0], fine[:, 1], coarse[:, 5] = columns, rows, 7.0
    points = 0.1 + 0.8 * torch.rand(2, 33, 2, generator=torch.Generator().manual_seed(0))
    inner = _read_at((fine, coarse), points)
    assert inner is not None
    assert inner.shape == (2, NUM_INNER)
    of_landmarks = inner[:, : 96 * 33].unflatten(1, (33, 96)).float()
    # a pixel's value belongs to its centre; float16 has eleven bits of up to 32
    assert (of_landmarks[..., :2] - (32.0 * points - 0.5)).abs().max() < 0.02
    assert bool((inner[:, 96 * 33 :].unflatten(1, (15, 192))[..., 5] == 7.0).all())


def test_the_heavy_network_gives_inner_values_and_the_full_one_none() -> None:
    pictures = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        heavy, full = (run_landmarks(load_landmark_network(model), pictures) for model in ("heavy", "full"))
    assert heavy.inner is not None
    assert heavy.inner.shape == (1, NUM_INNER)
    assert float(heavy.inner.float().std()) > 0.1
    assert full.inner is None

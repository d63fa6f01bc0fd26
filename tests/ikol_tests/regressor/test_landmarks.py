# SPDX-License-Identifier: Apache-2.0
"""Landmark names, their counterparts, and the refinement by the heat map."""

import pytest
import torch

from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS, LEFT_RIGHT, _refined  # pyright: ignore[reportPrivateUsage]


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

# SPDX-License-Identifier: Apache-2.0
"""The benchmark measures what it says."""

import json

import pytest

from ikol.errors import InputError
from ikol.evaluation.bench import bench_solver, report_json, report_line
from ikol.evaluation.bench.gradients import LAYER, NOTHING, SOLVES


@pytest.mark.parametrize("backend", ["native", "torch"])
def test_the_report_has_a_line_for_each_batch_with_the_residual_of_the_optimum(backend: str) -> None:
    cases = json.loads(report_json(bench_solver(["paper"], (1, 4), (backend,), seconds=0.01)))["cases"]  # pyright: ignore
    assert [(case["case"], case["batch"], case["backend"]) for case in cases] == [
        ("paper", 1, backend),
        ("paper", 4, backend),
    ]
    for case in cases:
        assert case["frames_per_s"] * case["us_per_frame"] == pytest.approx(1e6)
        assert case["peer"] is None
        # 28 keypoints of 10 mm noise on three axes, 50 degrees of freedom of 84 fitted: about 16 mm * sqrt(34 / 84)
        assert 8.0 < case["residual_mm"] < 12.5
        assert case["converged"] == 1.0


def test_a_tree_of_any_size_is_solved_to_its_noise() -> None:
    (line,) = bench_solver(["paper52"], backends=("native",), seconds=0.01)
    assert line.converged == 1.0
    # 5 mm on three axes, 8 mm in all, of which the fit leaves a part
    assert line.residual_mm is not None
    assert 1.0 < line.residual_mm < 8.0


def test_the_general_solve_finds_the_joints() -> None:
    (line,) = bench_solver(["photo"], (2,), ("torch",), seconds=0.01)
    assert (line.case, line.batch) == ("photo", 2)
    assert line.residual_mm is not None
    assert line.residual_mm < 150.0  # depth from one picture is known to centimetres, the start is worse than that


@pytest.mark.parametrize("name", [*LAYER, NOTHING, *SOLVES])
def test_backward_is_measured_beside_forward(name: str) -> None:
    (line,) = bench_solver([f"backward_{name}"], (2,), backends=("native",), seconds=0.001)
    assert line.peer == "its own forward pass"
    assert line.ratio is not None
    assert line.ratio > 0.0
    assert "its own forward pass" in report_line(line)


def test_an_unknown_case_is_refused() -> None:
    with pytest.raises(InputError, match="there is no case 'nothing'; there are paper, "):
        bench_solver(["nothing"])

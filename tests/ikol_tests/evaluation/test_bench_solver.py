# SPDX-License-Identifier: Apache-2.0
"""The benchmark measures what it says."""

import json

import pytest

from ikol.evaluation.bench_solver import bench_solver, report_json


@pytest.mark.parametrize("backend", ["native", "torch"])
def test_the_report_has_a_line_for_each_batch_with_the_residual_of_the_optimum(backend: str) -> None:
    cases = json.loads(report_json(bench_solver((1, 4), (backend,), seconds=0.01)))["cases"]  # pyright: ignore
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

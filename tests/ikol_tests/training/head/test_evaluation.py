# SPDX-License-Identifier: Apache-2.0
"""Calibration of a head and its scores."""

import pytest
import torch
from head_people import random_network

from ikol.body.default_body import load_default_body
from ikol.regressor.head.prediction import Calibration
from ikol.solver.directions import IKOLLayer
from ikol.training.head.evaluation import calibrate, judge, scores
from ikol.training.head.examples import HeadExamples
from ikol.training.head.simulation import SimulationConfig, simulate
from ikol.training.head.truth import PosedBodies


def test_after_calibration_two_thirds_lie_within_one_standard_deviation() -> None:
    bodies = PosedBodies(load_default_body())
    generator = torch.Generator().manual_seed(0)
    pose = torch.eye(3).repeat(60, 24, 1, 1)
    people = simulate(bodies, pose, torch.randn(60, 10, generator=generator), generator, SimulationConfig())
    judged = judge(random_network(), HeadExamples(*people))
    layer = IKOLLayer(bodies.skeleton)
    found = scores(judged, calibrate(judged), layer)
    # the factors come from all 62 nodes, the scores from the 24 joints
    assert found.one_sigma == pytest.approx(0.683, abs=0.1)
    assert found.twist_one_sigma == pytest.approx(0.683, abs=0.01)
    assert found.betas_one_sigma == pytest.approx(0.683, abs=0.01)
    # a head that has learned nothing is far off, and a hundredth of its deviations holds less
    assert found.mpjpe_mm > 100.0
    assert found.two_sigma > scores(judged, Calibration(0.01, 0.01, 0.01, 0.01, 0.01), layer).two_sigma

# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from ikol.body import load_default_body
from ikol.camera import Camera
from ikol.evaluation.picture_errors import rotation_errors
from ikol.evaluation.samples import EvaluationSample, Truth
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.pipeline import Intrinsics
from ikol.pipeline.evidence import Pose

BODY = load_default_body(dtype=torch.float64)
LOOKING_LEVEL = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))


def root(turn_deg: float, lean_deg: float) -> torch.Tensor:
    """Somebody who is turned about the vertical, and leans forward."""
    turn = rotvec_to_rotmat(torch.tensor([0.0, math.radians(turn_deg), 0.0], dtype=torch.float64))
    return turn @ rotvec_to_rotmat(torch.tensor([math.radians(lean_deg), 0.0, 0.0], dtype=torch.float64))


@pytest.mark.parametrize("lean_deg", [-4.0, 0.0, 4.0])
def test_root_twist_is_how_far_somebody_is_turned(lean_deg: float) -> None:
    # in the camera's axes, whose y points down, four degrees of lean would change it by any angle
    local = torch.eye(3, dtype=torch.float64).repeat(24, 1, 1)
    truth = torch.cat(((LOOKING_LEVEL @ root(30.0, 3.0))[None], local[1:]))
    local[0] = root(0.0, lean_deg)
    zero, one = torch.zeros(3, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    camera = Camera(800.0 * one, 400.0 * one, LOOKING_LEVEL, zero, 800, 800)
    sample = EvaluationSample(
        "turned",
        Intrinsics(800, 800, (800.0, 800.0), (400.0, 400.0), "given"),
        Truth((), zero[:0, None].expand(0, 3), zero[:0].bool(), camera_rotmat=truth),
    )
    errors = rotation_errors(BODY, Pose(zero, local, torch.zeros(10, dtype=torch.float64)), camera, sample)
    assert errors is not None
    assert float(errors[1][0]) == pytest.approx(30.0, abs=2.0)  # the bone from the pelvis is not quite upright

# SPDX-License-Identifier: Apache-2.0
"""Several persons of one picture in one world: seen as before, upright together, on the floor of the first."""

import math

import pytest
import torch
from photo_evidence import LENS, known_pose, seen_as

from ikol.body.default_body import load_default_body
from ikol.body.model import BodyModel
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.pipeline import PoseSolution
from ikol.pipeline.placement import common_up, place_together, point_positions
from ikol.pipeline.posing import solve_pose


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_default_body(dtype=torch.float64)


@pytest.fixture(scope="module")
def apart(body: BodyModel) -> list[PoseSolution]:
    return [solve_pose(body, seen_as(body, known_pose(body, seed)), intrinsics=LENS) for seed in (0, 1, 2)]


def test_everybody_is_seen_at_the_same_pixels_by_one_camera(body: BodyModel, apart: list[PoseSolution]) -> None:
    together = place_together(body, apart)
    for before, after in zip(apart, together, strict=True):
        assert after.camera is together[0].camera
        assert after.camera is not None
        pixels = after.camera.project(after.point_positions)
        torch.testing.assert_close(pixels, before.point_pixels, atol=1e-6, rtol=0)  # float64
        places = point_positions(body, after.pose, after.point_names)
        torch.testing.assert_close(places, after.point_positions, atol=1e-9, rtol=0)
        joints = point_positions(body, after.pose, body.tree.names)
        torch.testing.assert_close(joints, after.joints, atol=1e-9, rtol=0)


def test_up_is_common_and_the_first_stands_on_the_floor_over_the_origin(
    body: BodyModel, apart: list[PoseSolution]
) -> None:
    first = place_together(body, apart)[0]
    ups = torch.stack([each.camera.R_camera_world[:, 1] for each in apart if each.camera is not None])
    assert first.camera is not None
    torch.testing.assert_close(first.camera.R_camera_world[:, 1], common_up(ups), atol=1e-9, rtol=0)
    assert float(point_positions(body, first.pose, body.points.names)[:, 1].min()) == pytest.approx(0.0, abs=1e-9)
    torch.testing.assert_close(first.joints[0, [0, 2]], torch.zeros(2, dtype=torch.float64), atol=1e-9, rtol=0)


def test_one_person_stays(body: BodyModel, apart: list[PoseSolution]) -> None:
    assert place_together(body, apart[:1]) == tuple(apart[:1])


def test_somebody_who_lies_has_no_say() -> None:
    def tilted(degrees: float) -> torch.Tensor:
        turn = rotvec_to_rotmat(torch.tensor([math.radians(degrees), 0.0, 0.0], dtype=torch.float64))
        return turn @ torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64)

    up = common_up(torch.stack([tilted(8.0), tilted(10.0), tilted(80.0)]))
    torch.testing.assert_close(up, tilted(9.0), atol=1e-9, rtol=0)

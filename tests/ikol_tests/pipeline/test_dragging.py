# SPDX-License-Identifier: Apache-2.0
"""A point that is dragged over a photograph takes the body along: under the cursor there, and nowhere else."""

import math
from dataclasses import dataclass, field, replace

import pytest
import torch
from photo_evidence import recorded
from torch import Tensor

from ikol.body.default_body import load_default_body
from ikol.body.model import BodyModel
from ikol.pipeline import Intrinsics, Keypoints2D, NamedEvidence, PoseSolution, RelativeKeypoints3D
from ikol.pipeline.posing import solve_pose
from ikol.pipeline.prepared import PreparedProblems

PICTURES = ("p2s_front_step", "p2s_back_leg_raised")
POINTS = (
    "left_wrist",
    "right_elbow",
    "left_ankle",
    "right_foot_index",
    "left_knee",
    "nose",
    "right_hip",
    "left_shoulder",
)
PLACED_SIGMA = (
    0.00075  # of the picture's longer side, 1.4 px here: at twice that a knee lags behind by up to 14 px of 60
)
DRAG, STEPS = 60.0, 5


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_default_body(dtype=torch.float64)


@dataclass
class Drag:
    """A photograph with a solved person, and one point of it that is moved step by step, each from the last pose."""

    body: BodyModel
    picture: str
    lens: Intrinsics = field(init=False)
    before: PoseSolution = field(init=False)
    prepared: PreparedProblems = field(default_factory=PreparedProblems)

    def __post_init__(self) -> None:
        self.lens, self._pixels, self._world = recorded(self.picture)
        self.before = solve_pose(self.body, [self._pixels, self._world], intrinsics=self.lens)

    def evidence(self, name: str, pixel: Tensor) -> list[NamedEvidence]:
        """The photograph's evidence with one landmark placed by hand; its own rows are gone."""
        others = [index for index, other in enumerate(self._pixels.names) if other != name]
        names = tuple(self._pixels.names[index] for index in others)
        sigma = torch.tensor([PLACED_SIGMA * max(self.lens.width, self.lens.height)]).double()
        return [
            Keypoints2D(names, self._pixels.points[others], self._pixels.sigma[others]),
            RelativeKeypoints3D(names, self._world.points[others], self._world.sigma[others]),
            Keypoints2D((name,), pixel[None], sigma, is_robust=False),
        ]

    def to(self, name: str, angle: float) -> tuple[PoseSolution, float]:
        """Drag a point by 60 px; return where the body is, and how far the point is off, pixels."""
        assert self.before.camera is not None
        start = self.before.point_pixels[self.before.point_names.index(name)]
        shift = DRAG * torch.tensor([math.cos(angle), math.sin(angle)]).double()
        solution = self.before
        for step in range(1, STEPS + 1):
            solution = solve_pose(
                self.body,
                self.evidence(name, start + shift * step / STEPS),
                intrinsics=self.lens,
                extrinsics=(self.before.camera.R_camera_world, self.before.camera.t_camera_world),
                initial=self.before.pose,
                start=solution.pose,
                solve_shape=False,
                prepared=self.prepared,
            )
        at = solution.point_pixels[solution.point_names.index(name)]
        return solution, float((at - start - shift).norm())

    def moved(self, solution: PoseSolution, parts: tuple[str, ...]) -> float:
        """How far the farthest of some joints has moved, metres."""
        joints = [self.body.tree.names.index(part) for part in parts]
        return float((solution.joints - self.before.joints)[joints].norm(dim=-1).max())


@pytest.fixture(scope="module", params=PICTURES)
def drag(request: pytest.FixtureRequest, body: BodyModel) -> Drag:
    return Drag(body, str(request.param))


@pytest.mark.parametrize("angle", [0.0, 0.5 * math.pi, math.pi, 1.5 * math.pi])
@pytest.mark.parametrize("name", POINTS)
def test_the_body_follows_a_dragged_pixel(drag: Drag, name: str, angle: float) -> None:
    _, error = drag.to(name, angle)
    assert error < 5.0, f"{error:.1f} px off after a drag of {DRAG:.0f}"


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_hand_that_is_raised_leaves_the_rest_where_it_is(drag: Drag, side: str) -> None:
    solution, _ = drag.to(f"{side}_wrist", -0.5 * math.pi)
    other = "R" if side == "left" else "L"
    rest = (
        *(f"{foot}_{part}" for foot in "LR" for part in ("Knee", "Ankle", "Foot")),
        f"{other}_Elbow",
        f"{other}_Wrist",
    )
    moved = drag.moved(solution, rest)
    assert moved < 0.015, f"{1000 * moved:.0f} mm"  # metres, of a hand that moves by 11 to 14 cm


def test_a_hand_pulled_beyond_its_reach_bends_the_trunk_and_leaves_the_feet(drag: Drag) -> None:
    """Downwards the hanging arm is too short: the trunk gives way, the feet do a little."""
    solution, _ = drag.to("left_wrist", 0.5 * math.pi)
    feet = drag.moved(solution, ("L_Ankle", "R_Ankle", "L_Foot", "R_Foot"))
    assert feet < 0.03, f"{1000 * feet:.0f} mm"
    assert drag.moved(solution, ("L_Shoulder",)) > 2.0 * feet


def test_an_edit_is_believed_where_a_detection_is_not(body: BodyModel) -> None:
    """300 px off: as a detection it is an outlier that is let go of; placed by hand it is meant."""
    drag = Drag(body, "p2s_front_step")
    assert drag.before.camera is not None
    start = drag.before.point_pixels[drag.before.point_names.index("left_wrist")]
    target = start + torch.tensor([200.0, -220.0]).double()
    errors: list[float] = []
    for is_robust in (True, False):
        *others, block = drag.evidence("left_wrist", target)
        assert isinstance(block, Keypoints2D)
        solution = solve_pose(
            body,
            [*others, replace(block, is_robust=is_robust)],
            intrinsics=drag.lens,
            extrinsics=(drag.before.camera.R_camera_world, drag.before.camera.t_camera_world),
            initial=drag.before.pose,
            start=drag.before.pose,
            solve_shape=False,
        )
        at = solution.point_pixels[solution.point_names.index("left_wrist")]
        errors.append(float((at - target).norm()))
    assert errors[0] > 150.0, errors
    assert errors[1] < 5.0, errors

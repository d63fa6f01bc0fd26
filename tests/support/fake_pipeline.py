# SPDX-License-Identifier: Apache-2.0
"""A pipeline for the server's tests: the interface of `ikol.pipeline.PosePipeline`, without networks or a solver."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ikol.camera import Camera
from ikol.pipeline import evidence as named
from ikol.pipeline.alternatives import Alternative
from ikol.pipeline.evidence import Progress
from ikol.pipeline.inspection import InspectedRow, Inspection
from ikol.pipeline.multiview import View, ViewsSolution
from ikol.pipeline.views_inspection import ViewsInspection

NUM_JOINTS = 3
NUM_BETAS = 2

ROTATION = (0.8, 0.0, 0.6, 0.36, -0.8, -0.48, 0.48, 0.6, -0.64)
"""A rotation row by row. No symmetric one: read column by column it is another."""


@dataclass(frozen=True)
class FakePerson:
    """What the service reads of a `DetectedPerson`."""

    score: float
    box: tuple[float, float, float, float]
    evidence: tuple[named.NamedEvidence, ...]
    confidence: dict[str, float]
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class FakeDetection:
    """What the service reads of a `Detection`."""

    intrinsics: named.Intrinsics
    persons: tuple[FakePerson, ...]


def float64(*shape: int, start: float = 0.0) -> torch.Tensor:
    """Give start, start + 0.5, start + 1, ... in this shape."""
    return (start + 0.5 * torch.arange(int(torch.tensor(shape).prod()), dtype=torch.float64)).reshape(shape)


def turn(angle: float) -> torch.Tensor:
    """Give rotations (NUM_JOINTS, 3, 3) by an angle (radians) about z."""
    c, s = torch.tensor(angle, dtype=torch.float64).cos(), torch.tensor(angle, dtype=torch.float64).sin()
    one, zero = torch.ones_like(c), torch.zeros_like(c)
    return torch.stack((c, -s, zero, s, c, zero, zero, zero, one)).reshape(1, 3, 3).repeat(NUM_JOINTS, 1, 1)


def evidence() -> tuple[named.NamedEvidence, ...]:
    """Give one block of every kind."""
    names = ("nose", "L_Hip")
    return (
        named.Keypoints2D(names, float64(2, 2, start=100.0), float64(2, start=1.0)),
        named.Keypoints3D(names, float64(2, 3), float64(2, start=0.5)),
        named.RelativeKeypoints3D(names, float64(2, 3), float64(2, 3, start=0.5)),
        named.Anchor(turn(0.5), float64(NUM_JOINTS, start=0.5)),
        named.Twist(("L_Elbow",), float64(1), float64(1, start=0.5)),
        named.Keypoints2D(names, float64(2, 2, start=100.0), float64(2, start=1.0), is_robust=False),
        named.Pins(names, float64(2, 3)),
        named.Orientations(("L_Elbow", "Head"), turn(0.5)[:2], float64(2, start=0.5)),
    )


def camera() -> Camera:
    """Give a placed camera."""
    return Camera(
        focal=float64(2, start=1500.0),
        center=float64(2, start=540.0),
        R_camera_world=torch.tensor(ROTATION, dtype=torch.float64).reshape(3, 3),
        t_camera_world=float64(3, start=1.0),
        width=1080,
        height=1920,
    )


@dataclass
class FakePipeline:
    """Records what it is asked, and answers with fixed numbers; `fault` is raised if it is set."""

    fault: Exception | None = None
    joints: torch.Tensor = field(default_factory=lambda: float64(NUM_JOINTS, 3))
    status: str = "converged"
    cost: float = 1.5
    num_alternatives: int = 2
    calls: list[dict[str, Any]] = field(default_factory=list)

    def detect(self, image: bytes, *, progress: Progress | None, **options: Any) -> FakeDetection:
        self.calls.append({"image": image, **options})
        self._step(progress)
        lens = named.Intrinsics(1080, 1920, (1500.0, 1500.5), (540.0, 960.0), "exif")
        person = FakePerson(0.75, (1.0, 2.0, 3.0, 4.0), evidence(), {"nose": 0.5}, ("small",))
        return FakeDetection(lens, (person,))

    def solve(self, *, progress: Progress | None, **options: Any) -> named.PoseSolution:
        self.calls.append(options)
        self._step(progress)
        num_points = 1 if options["intrinsics"] is not None else 0
        return named.PoseSolution(
            pose=named.Pose(float64(3), turn(0.25), float64(NUM_BETAS)),
            camera=camera() if num_points else None,
            joints=self.joints,
            point_names=("nose",) * num_points,
            point_positions=float64(num_points, 3, start=1.0),
            point_pixels=float64(num_points, 2, start=100.0),
            status=self.status,
            iterations=7,
            cost=1.5,
            reprojection_px_median=-1.0,
            unreached={"nose": 0.25},
        )

    def inspect(self, *, progress: Progress | None, **options: Any) -> Inspection:
        self.calls.append({"method": "inspect", **options})
        self._step(progress)
        return Inspection(
            joint_covariance=self.joints[:, :, None] * self.joints[:, None, :],
            rows=(
                InspectedRow("keypoints_2d", "nose", 12.5, "px", 0.75),
                InspectedRow("limits", "L_Knee", 0.5, "rad", 0.25),
            ),
            pulls=float64(2, NUM_JOINTS, 3),
            next_points=("left_wrist",),
            next_gains=float64(1, start=0.5),
        )

    def alternatives(
        self, *, limb: str, count: int, progress: Progress | None, **options: Any
    ) -> tuple[Alternative, ...]:
        self.calls.append({"method": "alternatives", "limb": limb, "count": count, **options})
        self._step(progress)
        return tuple(
            Alternative(named.Pose(float64(3, start=cost), turn(cost), float64(NUM_BETAS)), cost, -1.0, self.joints)
            for cost in (0.25, 0.5)[: self.num_alternatives]
        )

    def solve_views(self, views: Sequence[View], *, progress: Progress | None) -> ViewsSolution:
        self.calls.append({"method": "solve_views", "views": views})
        self._step(progress)
        pose = named.Pose(float64(3), turn(0.25), float64(NUM_BETAS))
        count = len(views)
        return ViewsSolution(pose, (camera(),) * count, self.joints, self.status, 7, self.cost, (2.5,) * count)

    def inspect_views(self, views: Sequence[View], solution: ViewsSolution) -> ViewsInspection:
        pictures = tuple(self._picture(number) for number in range(len(views)))
        return ViewsInspection(pictures, ("L_Hip", "nose"), float64(2, 3), float64(2, start=0.5))

    def solve_same_person(
        self, pictures: Sequence[View], *, progress: Progress | None
    ) -> tuple[named.PoseSolution, ...]:
        self.calls.append({"method": "solve_same_person", "views": pictures})
        self._step(progress)
        return tuple(self._picture(number) for number in range(len(pictures)))

    def _picture(self, number: int) -> named.PoseSolution:
        pose = named.Pose(float64(3, start=number), turn(0.25), float64(NUM_BETAS))
        points = ("nose",), float64(1, 3, start=1.0), float64(1, 2, start=100.0)
        return named.PoseSolution(pose, camera(), self.joints, *points, self.status, 7, 1.5, 2.5)

    def _step(self, progress: Progress | None) -> None:
        if progress is not None:
            progress(0.5, "half of it")
        if self.fault is not None:
            raise self.fault

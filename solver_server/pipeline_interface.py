# SPDX-License-Identifier: Apache-2.0
"""What the service needs of a pipeline, so that it can be tested without networks. Imports: protocol, ikol, torch."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypedDict

from torch import Tensor

from ikol.pipeline import evidence as named
from ikol.pipeline.alternatives import Alternative
from ikol.pipeline.inspection import Inspection
from ikol.pipeline.multiview import View, ViewsSolution
from ikol.pipeline.views_inspection import ViewsInspection
from solver_server.protocol import Limb

Progress = Callable[[float, str], None]
"""Takes a fraction of 0 to 1 and the present step; raises `ikol.errors.Cancelled` to stop."""


class Pipeline(Protocol):
    """What the service needs of `ikol.pipeline.PosePipeline`, which says what the arguments mean."""

    def detect(  # noqa: D102
        self,
        image: bytes,
        *,
        model: str,
        max_persons: int,
        boxes: Sequence[tuple[float, float, float, float]],
        rotation_deg: float,
        thorough: bool,
        focal_px: float | None,
        progress: Progress | None,
    ) -> named.Detection: ...

    def solve(  # noqa: D102
        self,
        evidence: Sequence[named.NamedEvidence],
        *,
        intrinsics: named.Intrinsics | None,
        extrinsics: tuple[Tensor, Tensor] | None,
        initial: named.Pose | None,
        start: named.Pose | None,
        joints: Sequence[str],
        solve_shape: bool,
        progress: Progress | None,
    ) -> named.PoseSolution: ...

    def inspect(  # noqa: D102
        self,
        evidence: Sequence[named.NamedEvidence],
        *,
        intrinsics: named.Intrinsics | None,
        extrinsics: tuple[Tensor, Tensor] | None,
        initial: named.Pose | None,
        start: named.Pose | None,
        joints: Sequence[str],
        solve_shape: bool,
        progress: Progress | None,
    ) -> Inspection: ...

    def alternatives(  # noqa: D102
        self,
        evidence: Sequence[named.NamedEvidence],
        *,
        intrinsics: named.Intrinsics | None,
        extrinsics: tuple[Tensor, Tensor] | None,
        initial: named.Pose | None,
        start: named.Pose | None,
        joints: Sequence[str],
        solve_shape: bool,
        progress: Progress | None,
        limb: Limb,
        count: int,
    ) -> tuple[Alternative, ...]: ...

    def solve_views(  # noqa: D102
        self, views: Sequence[View], *, progress: Progress | None
    ) -> ViewsSolution: ...

    def inspect_views(self, views: Sequence[View], solution: ViewsSolution) -> ViewsInspection: ...  # noqa: D102

    def solve_same_person(  # noqa: D102
        self, pictures: Sequence[View], *, progress: Progress | None
    ) -> tuple[named.PoseSolution, ...]: ...


class Question(TypedDict):
    """What the pipeline's three methods that solve are all asked."""

    evidence: Sequence[named.NamedEvidence]
    intrinsics: named.Intrinsics | None
    extrinsics: tuple[Tensor, Tensor] | None
    initial: named.Pose | None
    start: named.Pose | None
    joints: Sequence[str]
    solve_shape: bool
    progress: Progress | None

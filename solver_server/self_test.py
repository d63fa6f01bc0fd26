# SPDX-License-Identifier: Apache-2.0
"""One solve whose answer is known, before the worker says that it is ready. Imports: torch, ikol.

It is also the warm-up: the first solve of a process takes half a second longer than the second; this one is nobody's.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from ikol.body.default_body import load_default_body
from ikol.body.model import BodyModel
from ikol.errors import IkolError
from ikol.pipeline import evidence as named
from ikol.pipeline.posing import solve_pose

TOLERANCE = (
    0.01  # metres; 0.6 mm is usual, the numbers below being rounded; a library that computes wrongly is off by far more
)
SIGMA = 0.005  # metres

# The default body, half a step forward with bent arms and knees: joints in metres, from its own kinematics.
ANSWER = {
    "Pelvis": (0.0, 0.78, 0.03),
    "L_Hip": (0.082, 0.696, -0.004),
    "R_Hip": (-0.087, 0.696, 0.048),
    "L_Knee": (0.214, 0.372, 0.142),
    "R_Knee": (-0.189, 0.334, 0.002),
    "L_Ankle": (0.204, -0.04, 0.016),
    "R_Ankle": (-0.288, -0.023, -0.218),
    "Neck": (-0.015, 1.253, 0.088),
    "Head": (-0.005, 1.331, 0.129),
    "L_Shoulder": (0.162, 1.189, 0.03),
    "R_Shoulder": (-0.18, 1.154, 0.133),
    "L_Elbow": (0.307, 1.015, -0.092),
    "R_Elbow": (-0.314, 0.934, 0.141),
    "L_Wrist": (0.441, 0.851, -0.003),
    "R_Wrist": (-0.34, 0.833, 0.346),
}


class Solver(Protocol):
    """What is tested of a pipeline."""

    def solve(  # noqa: D102
        self,
        evidence: Sequence[named.NamedEvidence],
        *,
        intrinsics: named.Intrinsics | None,
        extrinsics: tuple[Tensor, Tensor] | None,
        initial: named.Pose | None,
        solve_shape: bool,
        progress: None,
    ) -> named.PoseSolution: ...


class SelfTestError(IkolError):
    """This installation computes something else than it should."""


class DefaultBodySolver:
    """Solves on the default body what a pipeline with another body cannot: the stored answer is the default body's."""

    def solve(  # noqa: D102
        self,
        evidence: Sequence[named.NamedEvidence],
        *,
        intrinsics: named.Intrinsics | None,
        extrinsics: tuple[Tensor, Tensor] | None,
        initial: named.Pose | None,
        solve_shape: bool,
        progress: None,
    ) -> named.PoseSolution:
        return solve_pose(
            load_default_body(dtype=torch.float64),
            evidence,
            intrinsics=intrinsics,
            extrinsics=extrinsics,
            initial=initial,
            solve_shape=solve_shape,
            progress=progress,
        )


def rest_answer(body: BodyModel) -> dict[str, tuple[float, float, float]]:
    """Return where the joints of `ANSWER` are on a body in rest pose."""
    places = dict(zip(body.tree.names, body.joints_template.tolist(), strict=True))
    return {name: places[name] for name in ANSWER}


def check_solver(
    solver: Solver,
    answer: Mapping[str, tuple[float, float, float]] | None = None,
    advice: str = "install the solver again",
) -> None:
    """Solve a known pose from its joints.

    Args:
        solver: What is tested.
        answer: The joints, metres; None for `ANSWER`, which is the default body's.
        advice: What to do when the answer is another one.

    Raises:
        SelfTestError: The answer is another one.
    """
    answer = ANSWER if answer is None else answer
    points = torch.tensor(list(answer.values()), dtype=torch.float64)
    sigma = torch.full((len(answer),), SIGMA, dtype=torch.float64)
    block = named.Keypoints3D(tuple(answer), points, sigma)
    solution = solver.solve([block], intrinsics=None, extrinsics=None, initial=None, solve_shape=False, progress=None)
    distance = float((solution.point_positions - points).norm(dim=-1).max())
    if solution.status == "failed" or not distance < TOLERANCE:  # this way round it is true for NaN
        raise SelfTestError(
            f"the solver's self-test is off by {distance * 1000:.1f} mm, at most {TOLERANCE * 1000:.0f} mm are right; "
            f"{advice}"
        )

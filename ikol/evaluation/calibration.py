# SPDX-License-Identifier: Apache-2.0
"""Whether the solver's uncertainty means what it says: how often the truth lies within 1 and 2 standard deviations.

A normal distribution has 68 % within one and 95 % within two. Axes are the camera's: the image plane, and depth, which
one picture tells worse. Places are relative to the middle of the same points as in MPJPE: how far away the person
stands is another question than the pose.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.model import BodyModel
from ikol.pipeline import Intrinsics, NamedEvidence, PoseSolution
from ikol.pipeline.blocks import block_targets, solver_blocks
from ikol.pipeline.calibrated import stretch
from ikol.pipeline.prepared import PreparedProblems
from ikol.pipeline.problem import make_problem
from ikol.pipeline.start import begin_state
from ikol.solver.uncertainty import Optimum, find_optimum


@dataclass(frozen=True)
class Coverage:
    """How often the truth lay within the standard deviations that were given."""

    within_1_sigma: float
    within_2_sigma: float
    count: int
    """Of the numbers that were compared."""


def relative_covariance(
    body: BodyModel,
    evidence: Sequence[NamedEvidence],
    intrinsics: Intrinsics,
    solution: PoseSolution,
    names: tuple[str, ...],
    origin: tuple[str, ...],
) -> Float[Tensor, "points 3 3"]:
    """Return the covariance of points relative to the middle of the origin's, square metres, in camera axes.

    Args:
        body: that was posed.
        evidence: the same as of the solve.
        intrinsics: the same.
        solution: of `PosePipeline.solve`, with a camera.
        names: of the points.
        origin: of the points whose middle is the origin.
    """
    camera = solution.camera
    assert camera is not None
    place = (camera.R_camera_world, camera.t_camera_world)
    problem = make_problem(body, evidence, intrinsics=intrinsics, extrinsics=place, start=solution.pose)
    result = PreparedProblems().solve(problem, begin_state(problem))
    blocks = solver_blocks(problem, block_targets(problem))
    watched = body.points.select(tuple(dict.fromkeys((*names, *origin))))
    optimum = find_optimum(problem.skeleton, blocks, result, problem.config, watched)
    axes = camera.R_camera_world @ stretch(problem)
    return covariance_between(optimum, watched.names, names, origin, axes)


def covariance_between(
    optimum: Optimum,
    watched: tuple[str, ...],
    names: tuple[str, ...],
    origin: tuple[str, ...],
    axes: Float[Tensor, "3 3"],
) -> Float[Tensor, "points 3 3"]:
    """Return the covariance of points relative to the middle of others, in the given axes (rows), square metres."""
    columns = optimum.columns(optimum.watched)[0]
    middle = columns[[watched.index(name) for name in origin]].mean(0)
    rows = axes @ (columns[[watched.index(name) for name in names]] - middle)
    spread = optimum.inverse.solve(rows.flatten(0, 1).T[None])[0][0]
    return torch.einsum("pcf,fpd->pcd", rows, spread.unflatten(-1, (-1, 3)))


def coverage(scores: Float[Tensor, "numbers"]) -> Coverage | None:
    """Return how many of some errors, in standard deviations, are within one and two; None for no numbers.

    What has no uncertainty and no error, such as the origin itself, is NaN and not counted.
    """
    known = scores[scores.isfinite()].abs()
    if not len(known):
        return None
    return Coverage(float((known <= 1).double().mean()), float((known <= 2).double().mean()), len(known))

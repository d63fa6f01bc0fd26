# SPDX-License-Identifier: Apache-2.0
"""What is known of a pose that was solved from several pictures: how sure each point is, and what each picture shows.

The covariance is that of `ikol.solver.uncertainty`, of the problem whose evidence has no weights among the pictures:
these find the pose best, and its standard deviations say best how sure it is (docs/evaluation.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.model import BodyModel
from ikol.distortion import distort
from ikol.pipeline.evidence import Anchor, PoseSolution, Shape, Twist
from ikol.pipeline.multiview import View, ViewsSolution, views_problem
from ikol.pipeline.placement import point_positions
from ikol.solver import SolveState
from ikol.solver.uncertainty import find_optimum


@dataclass(frozen=True, eq=False)
class ViewsInspection:
    """A pose of several pictures, picture by picture and point by point."""

    pictures: tuple[PoseSolution, ...]
    """For each picture what a solve of it would say, had it found this pose."""
    point_names: tuple[str, ...]
    """The body's joints and landmarks."""
    point_positions: Float[Tensor, "points 3"]
    """Metres, world."""
    point_sigma: Float[Tensor, "points"]
    """Standard deviation of each place, metres: the root mean square of its three axes."""


def inspect_views(body: BodyModel, views: Sequence[View], solution: ViewsSolution) -> ViewsInspection:
    """Return how sure a pose of several pictures is, and what each of them shows of it.

    Args:
        body: the body, in float64.
        views: that were solved.
        solution: of these.
    """
    names = body.points.names
    places = point_positions(body, solution.pose, names)
    placed = [
        replace(view, extrinsics=(camera.R_camera_world, camera.t_camera_world))
        for view, camera in zip(views, solution.cameras, strict=True)
    ]
    pictures = tuple(_picture(body, view, solution, number, places) for number, view in enumerate(placed))
    return ViewsInspection(pictures, names, places, _sigma(body, placed, solution))


def _sigma(body: BodyModel, views: Sequence[View], solution: ViewsSolution) -> Float[Tensor, "points"]:
    pose = solution.pose
    problem = views_problem(body, views, start=pose, is_weighted=False)
    result = problem.solve(SolveState(pose.transl, pose.local_rotmat, pose.betas))
    optimum = find_optimum(problem.skeleton, problem.blocks, result, problem.config, body.points)
    rows = optimum.columns(optimum.watched)[0]
    spread = optimum.inverse.solve(rows.flatten(0, 1).T[None])[0][0].unflatten(-1, (-1, 3))
    variance = torch.einsum("kcf,fkc->k", rows, spread) / 3
    return variance.clamp_min(0.0).sqrt()


def _picture(
    body: BodyModel, view: View, solution: ViewsSolution, number: int, places: Float[Tensor, "points 3"]
) -> PoseSolution:
    """Return the solution as it is for one of the pictures."""
    named = (block for block in view.evidence if not isinstance(block, Anchor | Twist | Shape))
    names = tuple(dict.fromkeys(name for block in named for name in block.names))
    camera, lens = solution.cameras[number], view.intrinsics
    positions = places[[body.points.names.index(name) for name in names]]
    return PoseSolution(
        pose=solution.pose,
        camera=camera,
        joints=solution.joints,
        point_names=names,
        point_positions=positions,
        point_pixels=distort(camera.project(positions), lens.focal, lens.center, lens.distortion),
        status=solution.status,
        iterations=solution.iterations,
        cost=solution.cost,
        reprojection_px_median=solution.reprojection_px_median[number],
    )

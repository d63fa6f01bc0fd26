# SPDX-License-Identifier: Apache-2.0
"""Named evidence to a pose: names become points of the body, priors and limits join, the solver runs.

Without extrinsics the solve happens in a level camera's axes; afterwards body and camera are moved together so that up
is up, the lowest point lies on the floor and the pelvis over the origin.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.model import BodyModel
from ikol.camera import Camera
from ikol.pipeline.evidence import (
    Anchor,
    Intrinsics,
    Keypoints2D,
    NamedEvidence,
    Pose,
    PoseSolution,
    Progress,
    Twist,
)
from ikol.pipeline.placement import place_upright, point_positions
from ikol.pipeline.problem import Problem, camera_of, check_evidence, solver_blocks
from ikol.pipeline.start import start_state
from ikol.solver import Progress as Iteration
from ikol.solver import Skeleton, SolveConfig, SolveResult, SolveState, SolveStatus, solve

MAX_ITERATIONS = 60  # a photograph takes about ten


def solve_pose(
    body: BodyModel,
    evidence: Sequence[NamedEvidence],
    *,
    intrinsics: Intrinsics | None = None,
    extrinsics: tuple[Float[Tensor, "3 3"], Float[Tensor, "3"]] | None = None,
    initial: Pose | None = None,
    solve_shape: bool = True,
    progress: Progress | None = None,
) -> PoseSolution:
    """Return the pose that fits the evidence best, under the priors of `ikol.pipeline.prior` and the body's limits.

    Args:
        body: the body, in float64.
        evidence: what is known; names are those of `body.points`.
        intrinsics: the picture's lens; needed by evidence of a picture.
        extrinsics: R_camera_world and t_camera_world; without them the camera is placed here.
        initial: where to start, and where everything stays that the evidence does not concern (8 cm for each joint);
            without it the start comes from the evidence.
        solve_shape: let the betas move, under their prior; otherwise they stay as `initial` has them (or zero).
        progress: told how far it is; may raise `Cancelled`.

    Raises:
        InputError: there is no evidence, a name is unknown, or evidence of a picture comes without its lens.
    """
    check_evidence(body, evidence, intrinsics, is_placed=extrinsics is not None)
    camera = camera_of(intrinsics, extrinsics)
    given = None if initial is None else SolveState(initial.transl, initial.local_rotmat, initial.betas)
    problem = Problem(body, Skeleton.from_body(body), tuple(evidence), camera, given)
    state = given or start_state(problem)

    def report(iteration: Iteration) -> None:
        if progress is not None:
            progress(min(1.0, iteration.iteration / iteration.max_iterations), "solving")

    config = SolveConfig(max_iterations=MAX_ITERATIONS, solve_shape=solve_shape)
    result = solve(problem.skeleton, solver_blocks(problem), state, config, on_iteration=report)
    pose = Pose(result.state.transl, result.state.local_rotmat, result.state.betas)
    if camera is not None and extrinsics is None:
        pose, camera = place_upright(body, pose, camera, problem.evidence)
    return _solution(problem, pose, camera, result)


def _solution(problem: Problem, pose: Pose, camera: Camera | None, result: SolveResult) -> PoseSolution:
    body = problem.body
    named = (block for block in problem.evidence if not isinstance(block, Anchor | Twist))
    names = tuple(dict.fromkeys(name for block in named for name in block.names))
    positions = point_positions(body, pose, names) if names else torch.zeros(0, 3, dtype=torch.float64)
    pixels = torch.zeros(0, 2, dtype=torch.float64) if camera is None else camera.project(positions)
    errors = [
        (pixels[[names.index(name) for name in block.names]] - block.points).norm(dim=-1)
        for block in problem.evidence
        if isinstance(block, Keypoints2D)
    ]
    median = float(torch.cat(errors).median()) if errors else -1.0
    cost = float(result.cost)
    return PoseSolution(
        pose=pose,
        camera=camera,
        joints=point_positions(body, pose, body.tree.names),
        point_names=names,
        point_positions=positions,
        point_pixels=pixels,
        status=SolveStatus(int(result.status)).name.lower(),
        iterations=int(result.iterations),
        cost=cost if math.isfinite(cost) else -1.0,
        reprojection_px_median=median,
    )

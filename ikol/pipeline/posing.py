# SPDX-License-Identifier: Apache-2.0
"""Named evidence to a pose: names become points of the body, priors and limits join, the solver runs.

Without extrinsics the solve happens in a level camera's axes; afterwards body and camera are moved together so that up
is up, the lowest point lies on the floor and the pelvis over the origin.
"""

import math
from collections.abc import Sequence
from statistics import median

from jaxtyping import Float
from torch import Tensor

from ikol.body.model import BodyModel
from ikol.camera import Camera
from ikol.distortion import distort
from ikol.pipeline.evidence import (
    Anchor,
    Extrinsics,
    Intrinsics,
    Keypoints2D,
    NamedEvidence,
    Pose,
    PoseSolution,
    Progress,
    Shape,
    Twist,
)
from ikol.pipeline.placement import place_upright, point_positions
from ikol.pipeline.prepared import PreparedProblems
from ikol.pipeline.problem import Problem, make_problem, pin_names
from ikol.pipeline.start import begin_state
from ikol.solver import SolveResult, SolveStatus


def solve_pose(
    body: BodyModel,
    evidence: Sequence[NamedEvidence],
    *,
    intrinsics: Intrinsics | None = None,
    extrinsics: Extrinsics | None = None,
    initial: Pose | None = None,
    start: Pose | None = None,
    joints: Sequence[str] = (),
    solve_shape: bool = True,
    progress: Progress | None = None,
    prepared: PreparedProblems | None = None,
) -> PoseSolution:
    """Return the pose that fits the evidence best, under the priors of `ikol.pipeline.prior` and the body's limits.

    Args:
        body: the body, in float64.
        evidence: what is known; names are those of `body.points`.
        intrinsics: the picture's lens; needed by evidence of a picture.
        extrinsics: R_camera_world and t_camera_world; without them the camera is placed here.
        initial: where everything stays that the evidence does not concern (5 cm for each joint); without it the start
            comes from the evidence.
        start: where the iterations begin, such as the last pose of a drag that began at `initial`; None for `initial`.
        joints: whose rotations may change, and the root's place only with the root among them; none for all. The rest,
            and the shape, keep their bits.
        solve_shape: let the betas move, under their prior; otherwise they stay as `initial` has them (or zero).
        progress: told how far it is; may raise `Cancelled`.
        prepared: keeps what solves of the same structure share.

    Raises:
        InputError: there is no evidence, a name is unknown, evidence of a picture comes without its lens, or evidence
            in the world (or on another picture) beside a camera without extrinsics.
    """
    problem = make_problem(
        body,
        evidence,
        intrinsics=intrinsics,
        extrinsics=extrinsics,
        initial=initial,
        start=start,
        joints=joints,
        solve_shape=solve_shape,
    )
    return solve_problem(problem, prepared, progress)


def solve_problem(
    problem: Problem, prepared: PreparedProblems | None = None, progress: Progress | None = None
) -> PoseSolution:
    """Return the pose that fits the evidence of a problem best; the arguments are those of `solve_pose`."""
    if progress is not None:
        progress(0.0, "solving")
    result = (PreparedProblems() if prepared is None else prepared).solve(problem, begin_state(problem))
    pose, camera = Pose(result.state.transl, result.state.local_rotmat, result.state.betas), problem.camera
    if camera is not None and not problem.is_placed:
        pose, camera = place_upright(problem.body, pose, camera, problem.evidence)
    return _solution(problem, pose, camera, result)


def _solution(problem: Problem, pose: Pose, camera: Camera | None, result: SolveResult) -> PoseSolution:
    body = problem.body
    named = (block for block in problem.evidence if not isinstance(block, Anchor | Twist | Shape))
    names = tuple(dict.fromkeys(name for block in named for name in block.names))
    # all points at once, by one forward kinematics
    everything = point_positions(body, pose, body.points.names)
    positions = everything[[body.points.names.index(name) for name in names]]
    pixels = positions[:0, :2] if camera is None else camera.project(positions)
    shown = pixels if camera is None else distort(pixels, _pair(camera.focal), _pair(camera.center), problem.distortion)
    cost = float(result.cost)
    return PoseSolution(
        pose=pose,
        camera=camera,
        joints=everything[[body.points.names.index(name) for name in body.tree.names]],
        point_names=names,
        point_positions=positions,
        point_pixels=shown,
        status=SolveStatus(int(result.status)).name.lower(),
        iterations=int(result.iterations),
        cost=cost if math.isfinite(cost) else -1.0,
        reprojection_px_median=reprojection_px(problem.evidence, names, pixels),
        unreached=_unreached(problem, result),
    )


def _pair(values: Float[Tensor, "2"]) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def reprojection_px(
    evidence: Sequence[NamedEvidence], names: tuple[str, ...], pixels: Float[Tensor, "points 2"]
) -> float:
    """Return the median distance of named points on the picture from their 2D evidence; -1 where there is none.

    Args:
        evidence: of all kinds; points of other names do not count.
        names: of the points.
        pixels: where they are.
    """
    at = {name: index for index, name in enumerate(names)}
    errors: list[float] = []
    for block in evidence:
        if isinstance(block, Keypoints2D):
            used = [index for index, name in enumerate(block.names) if name in at]
            seen = pixels[[at[block.names[index]] for index in used]]
            errors += (seen - block.points[used]).norm(dim=-1).tolist()
    return median(errors) if errors else -1.0


def _unreached(problem: Problem, result: SolveResult) -> dict[str, float]:
    if result.pin_distance is None or result.is_pin_reached is None:
        return {}
    pins = zip(pin_names(problem.evidence), result.pin_distance.tolist(), result.is_pin_reached.tolist(), strict=True)
    return {name: distance for name, distance, is_reached in pins if not is_reached}

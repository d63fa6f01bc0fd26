# SPDX-License-Identifier: Apache-2.0
"""Several pictures of one pose, as one solve.

Each picture gives its evidence and its camera; priors and limits count once. Cameras that nobody knows come from the
person: each picture is solved by itself, the bodies are laid on each other, which places the cameras, and then pose and
cameras are improved in turn by the distances on the pictures. The first picture's camera stays, and the body's size is
the scale of the world.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.model import BodyModel
from ikol.camera import Camera
from ikol.errors import InputError
from ikol.geometry.rotations import kabsch
from ikol.pipeline.blocks import LIMITS, PICTURE_LOSS, SHAPE, STANCE, block_targets, solver_blocks
from ikol.pipeline.evidence import (
    Extrinsics,
    Intrinsics,
    Keypoints2D,
    NamedEvidence,
    Pose,
    PoseSolution,
    Progress,
    RelativeKeypoints3D,
    Shape,
    Twist,
)
from ikol.pipeline.placement import place_upright, point_positions
from ikol.pipeline.posing import reprojection_px, solve_pose
from ikol.pipeline.problem import Problem, make_problem
from ikol.pipeline.resection import resected
from ikol.solver import (
    Evidence,
    GemanMcClure,
    Points2D,
    PreparedSolve,
    Skeleton,
    SolveConfig,
    SolveResult,
    SolveState,
    SolveStatus,
)

MAX_VIEWS = 8
MAX_ROUNDS = 20  # of pose and cameras in turn
STILL = 1e-3  # of the cost: what a round must gain for another one
# Of the standard deviations of one picture alone. A landmark on the picture is doubted there for what body and network
# mean by it, which shape and pose can follow when several pictures show it; outliers are let go at the same distance in
# pixels, or at half of it. A network's guess of the depth is worth little beside a second look, but still says which
# limb is in front where only one picture shows it. MPJPE on the four-view recording, four views (two): 40 mm (45) with
# the weights of one picture, 27 (37) with half the pixels' and three times the guesses' deviations, 23 (36) with these.
PIXEL_SHARE, GUESS_INFLATION = 0.25, 3.0
VIEWS_LOSS = GemanMcClure(k=8.0)
# The cost a picture beyond which the pictures do not agree (docs/evaluation.md): on the recording those of one moment
# have at most 107, those of moments a quarter of a second apart 201 to 283 in the median, at least 109.
MAX_PICTURE_COST = 120.0
_COMMON = (STANCE, LIMITS, SHAPE)  # blocks that count once, however many pictures there are


@dataclass(frozen=True, eq=False)
class View:
    """One picture's evidence of a person, and its camera."""

    evidence: tuple[NamedEvidence, ...]
    intrinsics: Intrinsics
    extrinsics: Extrinsics | None = None
    """R_camera_world and t_camera_world; None where nobody knows them."""


@dataclass(frozen=True, eq=False)
class ViewsSolution:
    """One pose that fits several pictures."""

    pose: Pose
    cameras: tuple[Camera, ...]
    """One for each picture, in their order."""
    joints: Float[Tensor, "joints 3"]
    """Metres, world."""
    status: str
    iterations: int
    cost: float
    reprojection_px_median: tuple[float, ...]
    """On each picture; -1 where it has no 2D evidence."""

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why the pose may be wrong as a whole: `disagreeing`, the pictures may show different moments, or nothing."""
        return ("disagreeing",) if self.cost > MAX_PICTURE_COST * len(self.cameras) else ()


@dataclass(frozen=True, eq=False)
class ViewsProblem:
    """All pictures as one problem of the solver."""

    problems: tuple[Problem, ...]
    """Of each picture alone."""
    blocks: tuple[Evidence, ...]

    @property
    def skeleton(self) -> Skeleton:
        """What is solved."""
        return self.problems[0].skeleton

    @property
    def config(self) -> SolveConfig:
        """The settings of a solve."""
        return self.problems[0].config

    def solve(self, start: SolveState) -> SolveResult:
        """Solve from a state."""
        return PreparedSolve(self.skeleton, self.blocks, start, self.config).solve()

    def cost_of(self, state: SolveState) -> float:
        """Return the cost of a state."""
        config = replace(self.config, max_iterations=0, gnc_start=1.0)
        return float(PreparedSolve(self.skeleton, self.blocks, state, config).solve().cost)


def solve_views(body: BodyModel, views: Sequence[View], progress: Progress | None = None) -> ViewsSolution:
    """Return the pose that fits all pictures best.

    Args:
        body: the body, in float64.
        views: 2 to 8 pictures; either all cameras are known, or none.
        progress: told how far it is; may raise `Cancelled`.

    Raises:
        InputError: there are too few or too many pictures, some cameras are known and some not, or as of a solve.
    """
    if not 2 <= len(views) <= MAX_VIEWS:
        raise InputError(f"one pose is solved from 2 to {MAX_VIEWS} pictures, got {len(views)}")
    known = [view.extrinsics is not None for view in views]
    if any(known) and not all(known):
        raise InputError("the cameras of some pictures are known and of others not; give all extrinsics, or none")

    def report(fraction: float, text: str) -> None:
        if progress is not None:
            progress(fraction, text)

    singles: list[PoseSolution] = []
    for number, view in enumerate(views):
        report(0.5 * number / len(views), f"solving picture {number + 1}")
        singles.append(solve_pose(body, view.evidence, intrinsics=view.intrinsics, extrinsics=view.extrinsics))
    report(0.5, "solving all pictures")
    cameras = [_camera(single) for single in singles]
    if all(known):
        found = _solved(body, views, cameras, [single.pose for single in singles])
        return _solution(body, views, found[0].problems, found[1])
    cameras, poses = _laid_on_each_other(body, singles)
    problem, result = _solved(body, views, cameras, poses)
    problem, result = _with_better_cameras(body, views, problem, result, report)
    return _upright(body, views, problem, result)


def views_problem(
    body: BodyModel, views: Sequence[View], start: Pose | None = None, *, is_weighted: bool = True
) -> ViewsProblem:
    """Return the problem of pictures whose cameras are all known.

    Args:
        body: the body, in float64.
        views: with extrinsics.
        start: a pose near the answer, which has let go of outliers already; None for none.
        is_weighted: whether the evidence has the weights among several pictures, which find the pose best; without
            them its standard deviations are taken at their word, which says best how sure the pose is.
    """
    guesses = [{type(block) for block in view.evidence} for view in views]
    counts = {kind: sum(kind in kinds for kinds in guesses) for kind in (Shape, Twist)}
    problems = tuple(
        make_problem(
            body,
            _weighted(view.evidence, counts) if is_weighted else view.evidence,
            intrinsics=view.intrinsics,
            extrinsics=view.extrinsics,
            start=start,
        )
        for view in views
    )
    is_shape_guessed = any(isinstance(block, Shape) for problem in problems for block in problem.evidence)
    blocks: list[Evidence] = []
    for number, problem in enumerate(problems):
        for block in solver_blocks(problem, block_targets(problem)):
            if block.name not in _COMMON:
                is_seen = is_weighted and isinstance(block, Points2D) and block.loss is not None
                named = replace(block, name=f"picture {number}: {block.name}")
                blocks.append(replace(named, loss=VIEWS_LOSS) if is_seen else named)
            elif number == 0 and not (block.name == SHAPE and is_shape_guessed):
                blocks.append(block)
    return ViewsProblem(problems, tuple(blocks))


def _weighted(evidence: Sequence[NamedEvidence], counts: Mapping[type, int]) -> list[NamedEvidence]:
    """Return the evidence of one of some pictures with its weight among them; what somebody has placed keeps its own.

    Guesses of one person's shape and twists are wrong together: all of them count as one. `counts` says how many
    pictures guess.
    """
    weighted: list[NamedEvidence] = []
    for block in evidence:
        if isinstance(block, Keypoints2D) and block.is_robust:
            weighted.append(replace(block, sigma=PIXEL_SHARE * block.sigma))
        elif isinstance(block, RelativeKeypoints3D):
            weighted.append(replace(block, sigma=GUESS_INFLATION * block.sigma))
        elif isinstance(block, Shape | Twist):
            weighted.append(replace(block, sigma=counts[type(block)] ** 0.5 * block.sigma))
        else:
            weighted.append(block)
    return weighted


def _camera(solution: PoseSolution) -> Camera:
    assert solution.camera is not None
    return solution.camera


def _placed(views: Sequence[View], cameras: Sequence[Camera]) -> list[View]:
    return [
        replace(view, extrinsics=(camera.R_camera_world, camera.t_camera_world))
        for view, camera in zip(views, cameras, strict=True)
    ]


def _solved(
    body: BodyModel, views: Sequence[View], cameras: Sequence[Camera], poses: Sequence[Pose]
) -> tuple[ViewsProblem, SolveResult]:
    """Solve from that of some poses which all pictures together like best."""
    problem = views_problem(body, _placed(views, cameras))
    starts = [SolveState(pose.transl, pose.local_rotmat, pose.betas) for pose in poses]
    return problem, problem.solve(min(starts, key=problem.cost_of))


def _laid_on_each_other(body: BodyModel, singles: Sequence[PoseSolution]) -> tuple[list[Camera], list[Pose]]:
    """Place the cameras so that the bodies of all pictures lie on that of the first, joint by joint.

    Returns:
        The cameras, and each picture's pose in the first one's world.
    """
    first = singles[0].joints
    cameras, poses = [_camera(singles[0])], [singles[0].pose]
    for single in singles[1:]:
        camera = _camera(single)
        theirs = single.joints
        turn = kabsch(theirs - theirs.mean(0), first - first.mean(0), torch.ones_like(first[:, 0]))
        shift = first.mean(0) - turn @ theirs.mean(0)
        # x_first = turn x_theirs + shift, and what the camera sees is the same
        R = camera.R_camera_world @ turn.mT
        cameras.append(camera.with_extrinsics(R, camera.t_camera_world - R @ shift))
        rest = body.rest_joints(single.pose.betas)[0]
        root = turn @ (rest + single.pose.transl) + shift
        local = torch.cat((turn @ single.pose.local_rotmat[:1], single.pose.local_rotmat[1:]))
        poses.append(replace(single.pose, transl=root - rest, local_rotmat=local))
    return cameras, poses


def _with_better_cameras(
    body: BodyModel, views: Sequence[View], problem: ViewsProblem, result: SolveResult, report: Progress
) -> tuple[ViewsProblem, SolveResult]:
    """Improve cameras and pose in turn, until a round gains little. Each step lowers the cost, or is not taken."""
    for number in range(MAX_ROUNDS):
        report(0.5 + 0.5 * number / MAX_ROUNDS, "solving all pictures")
        pose = _pose(result)
        others = [_resected(body, one, pose) for one in problem.problems[1:]]
        cameras = [_problem_camera(problem.problems[0]), *others]
        better = views_problem(body, _placed(views, cameras), start=pose)
        found = better.solve(result.state)
        if not float(found.cost) < float(result.cost):
            break
        gain = float(result.cost - found.cost)
        problem, result = better, found
        if gain < STILL * float(found.cost):
            break
    return problem, result


def _pose(result: SolveResult) -> Pose:
    return Pose(result.state.transl, result.state.local_rotmat, result.state.betas)


def _problem_camera(problem: Problem) -> Camera:
    assert problem.camera is not None
    return problem.camera


def _resected(body: BodyModel, problem: Problem, pose: Pose) -> Camera:
    """Return the camera from which the 2D evidence of a picture is seen best."""
    camera = _problem_camera(problem)
    seen = [block for block in problem.evidence if isinstance(block, Keypoints2D)]
    if not seen:
        return camera
    points = torch.cat([point_positions(body, pose, block.names) for block in seen])
    pixels, sigma = torch.cat([block.points for block in seen]), torch.cat([block.sigma for block in seen])
    return resected(camera, points, pixels, sigma, PICTURE_LOSS)


def _upright(body: BodyModel, views: Sequence[View], problem: ViewsProblem, result: SolveResult) -> ViewsSolution:
    """Move body and cameras together so that up is up, as for one picture."""
    first = _problem_camera(problem.problems[0])
    pose, moved = place_upright(body, _pose(result), first, views[0].evidence)
    # x' = Q x + s with what the first camera sees unchanged
    Q = moved.R_camera_world.mT @ first.R_camera_world
    s = moved.R_camera_world.mT @ (first.t_camera_world - moved.t_camera_world)
    problems: list[Problem] = []
    for one in problem.problems:
        camera = _problem_camera(one)
        R = camera.R_camera_world @ Q.mT
        problems.append(replace(one, camera=camera.with_extrinsics(R, camera.t_camera_world - R @ s)))
    state = SolveState(pose.transl, pose.local_rotmat, pose.betas)
    return _solution(body, views, tuple(problems), replace(result, state=state))


def _solution(
    body: BodyModel, views: Sequence[View], problems: Sequence[Problem], result: SolveResult
) -> ViewsSolution:
    pose = _pose(result)
    names = body.points.names
    places = point_positions(body, pose, names)
    cameras = tuple(_problem_camera(problem) for problem in problems)
    return ViewsSolution(
        pose=pose,
        cameras=cameras,
        joints=places[[names.index(name) for name in body.tree.names]],
        status=SolveStatus(int(result.status)).name.lower(),
        iterations=int(result.iterations),
        cost=float(result.cost),
        reprojection_px_median=tuple(
            reprojection_px(problem.evidence, names, camera.project(places))
            for problem, camera in zip(problems, cameras, strict=True)
        ),
    )

# SPDX-License-Identifier: Apache-2.0
"""Solvers side by side on poses whose truth is known: what each leaves, and how far it is from the truth.

Captured or random poses of the default body, shapes sampled; the targets are its 24 joints with one thing wrong at a
time. Everyone is given the bone lengths, the true twists and leaf rotations, and the root's place, so that only the
solving differs. Twists from a network would add their own error to every row alike.
Imports: torch, ikol.geometry, ikol.body, ikol.solver.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ikol.body.default_body import load_default_body
from ikol.body.kinematics import forward_kinematics
from ikol.body.model import BodyModel
from ikol.errors import InputError
from ikol.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from ikol.solver.anatomy import default_limits
from ikol.solver.baselines import (
    RELEASED_FALLBACK,
    BaselineProblem,
    DampedLeastSquaresConfig,
    HybrikConfig,
    ReleasedIkolConfig,
    solve_damped_least_squares,
    solve_hybrik,
    solve_released_ikol,
    solve_smplify,
    twist_of,
)
from ikol.solver.config import SolveConfig
from ikol.solver.directions import DirectionConfig, solve_directions
from ikol.solver.evidence import Points3D, Twist
from ikol.solver.robust import GemanMcClure, RobustLoss
from ikol.solver.skeleton import Skeleton
from ikol.solver.solve import solve
from ikol.solver.start import start_from_points
from ikol.solver.state import SolveState

POSES = ("motion", "limits", "any")
"""Captured motion with any heading; within a human's limits; every joint turned about any axis by up to 180 degrees."""
JITTER = math.radians(5.0)  # on captured motion, so that joints that the capture does not know turn as well
SETTINGS = ("clean", "noise 10 mm", "noise 30 mm", "bones 5 %", "missing joints", "outliers")
NOISE = {"noise 10 mm": 0.01, "noise 30 mm": 0.03, "outliers": 0.01}  # metres, standard deviation on each axis
BONE_ERROR = 0.05  # each bone is longer or shorter by up to this part
MISSING = 0.15  # of all joints but the root, at random
REWEIGHTINGS, ROBUST_SCALE = 6, 0.03  # of solve_directions by Geman and McClure's weights; metres
OUTLIERS, OUTLIER_SIZE = 2, 0.2  # joints a frame; metres, standard deviation on each axis
SIGMA, TWIST_SIGMA = 0.01, 0.05  # metres, radians: what a joint and a twist are believed in the general solver
# A frame whose cost is no more than this part above the best one, or its root-mean-square residual no further than this
# (metres), is at the optimum.
OPTIMUM_PART, OPTIMUM_GAP = 0.01, 1e-4
RESTARTS, RESTART_TURN = 6, 0.7  # searches for a better optimum, from the truth with each joint turned (radians, sd)
SLOW_FRAMES = 20  # of a method that takes a fifth of a second a frame


@dataclass(frozen=True, eq=False)
class Frames:
    """Targets, and the truth behind them."""

    poses: str
    setting: str
    problem: BaselineProblem
    """With weights; 0 where a joint is missing."""
    filled: BaselineProblem
    """For methods that know no weights: a missing joint hangs on its parent's target as it would at rest."""
    betas: Float[Tensor, "frames betas"]
    local_rotmat: Float[Tensor, "frames joints 3 3"]
    joints: Float[Tensor, "frames joints 3"]

    def __len__(self) -> int:
        """How many frames there are."""
        return len(self.joints)

    def first(self, count: int) -> "Frames":
        """Return the first frames only."""
        return replace(
            self,
            problem=_first(self.problem, count),
            filled=_first(self.filled, count),
            betas=self.betas[:count],
            local_rotmat=self.local_rotmat[:count],
            joints=self.joints[:count],
        )


@dataclass(frozen=True, eq=False)
class Method:
    """One line of the table."""

    name: str
    solve: Callable[[Frames], Float[Tensor, "..."]]
    """Gives local rotations (frames, joints, 3, 3)."""
    is_least_squares: bool = True
    """Whether it means to minimise the squared residual; a robust loss or a prior has another optimum."""
    is_slow: bool = False


@dataclass(frozen=True)
class Row:
    """What one method made of one setting. Means over frames and joints."""

    poses: str
    setting: str
    method: str
    frames: int
    residual_mm: float
    """To the targets that are not missing."""
    joint_error_mm: float
    """To the true joints, all but the root."""
    rotation_error_deg: float
    """Between local rotations, of the joints that are no leaves."""
    at_optimum: float | None
    """Share of frames whose cost is within 1 % of the best that any method or restart found, or 0.1 mm."""


def make_frames(
    body: BodyModel,
    poses: str,
    setting: str,
    count: int,
    seed: int,
    motion: Float[Tensor, "captured 24 3 3"] | None = None,
) -> Frames:
    """Return `count` frames; the same seed gives the same poses and shapes in every setting.

    Raises:
        InputError: captured motion is asked for and not given.
    """
    if poses == "motion" and motion is None:
        raise InputError("poses of captured motion need the motion, see ikol.evaluation.motion_clips")
    generator = torch.Generator().manual_seed(seed)
    tree = body.tree
    joints = tree.num_joints
    like = body.joints_template

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=like.dtype, generator=generator)

    betas = normal(count, body.num_betas)
    if poses == "motion" and motion is not None:
        local = _captured(motion.to(like.dtype), count, generator)
    else:
        local = (_within_limits if poses == "limits" else _any_rotations)(body, count, generator)
    rest = body.rest_joints(betas)
    spread = torch.rand(count, joints, dtype=like.dtype, generator=generator) * 2 - 1
    scale = 1 + BONE_ERROR * spread if setting == "bones 5 %" else torch.ones_like(spread)
    truth = forward_kinematics(tree, _with_scaled_bones(body, rest, scale), local, normal(count, 3)).joints
    error = NOISE.get(setting, 0.0) * normal(count, joints, 3)
    if setting == "outliers":
        which = 1 + torch.rand(count, joints - 1, generator=generator).argsort(-1)[:, :OUTLIERS]
        error = error.scatter_add(1, which[..., None].expand(-1, -1, 3), OUTLIER_SIZE * normal(count, OUTLIERS, 3))
    is_seen = torch.rand(count, joints, generator=generator) >= (MISSING if setting == "missing joints" else 0.0)
    is_seen[:, 0] = True
    error[:, 0] = 0.0
    problem = BaselineProblem(
        tree=tree,
        rest_joints=rest,
        target=truth + error,
        twist=twist_of(tree, rest, local),
        leaf_rotmat=local[:, [joint for joint, children in enumerate(tree.children) if not children]],
        weights=is_seen.to(like.dtype),
    )
    return Frames(poses, setting, problem, _filled(problem, is_seen), betas, local, truth)


def methods(body: BodyModel) -> tuple[Method, ...]:
    """Return who is compared: the published methods, then this library's two solvers."""
    twist_rows = DampedLeastSquaresConfig(twist_weight=0.05)

    def hybrik(config: HybrikConfig) -> Callable[[Frames], Tensor]:
        return lambda frames: solve_hybrik(frames.filled, config).local_rotmat

    def released(config: ReleasedIkolConfig) -> Callable[[Frames], Tensor]:
        return lambda frames: solve_released_ikol(frames.filled, config).local_rotmat

    def general(start: str, loss: RobustLoss | None = None) -> Callable[[Frames], Tensor]:
        return lambda frames: _solve_general(body, frames, start, loss)

    return (
        Method("released IKOL, 5 steps", released(ReleasedIkolConfig())),
        Method("released IKOL, 20 steps, u = 1e-4", released(ReleasedIkolConfig(iterations=20, damping=1e-4))),
        Method("HybrIK naive", hybrik(HybrikConfig(rule="naive"))),
        Method("HybrIK adaptive", hybrik(HybrikConfig())),
        Method("HybrIK adaptive, fallback 15 mm", hybrik(HybrikConfig(fallback=RELEASED_FALLBACK))),
        Method("damped least squares", lambda f: solve_damped_least_squares(f.problem, twist_rows).local_rotmat),
        Method("SMPLify", lambda f: solve_smplify(f.problem).local_rotmat, is_least_squares=False, is_slow=True),
        Method("solve, start_from_points", general("points")),
        Method("solve, start by HybrIK adaptive", general("hybrik")),
        Method("solve_directions", lambda f: _solve_paper(f, 0)),
        Method("solve_directions, reweighted", lambda f: _solve_paper(f, REWEIGHTINGS), is_least_squares=False),
        Method("solve, Geman-McClure", general("hybrik", GemanMcClure()), is_least_squares=False),
    )


def compare(
    poses: Sequence[str] = POSES,
    settings: Sequence[str] = SETTINGS,
    *,
    count: int = 100,
    seed: int = 0,
    motion: Float[Tensor, "captured 24 3 3"] | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[Row]:
    """Return the table, in float64.

    Args:
        poses: of `POSES`.
        settings: of `SETTINGS`.
        count: frames in each setting.
        seed: of poses, shapes and errors.
        motion: local rotations, as `read_motion_clips` gives them; for the poses `motion`.
        progress: told what is about to run.
    """
    body = load_default_body(dtype=torch.float64)
    entries = methods(body)
    rows: list[Row] = []
    for pose_set in poses:
        for setting in settings:
            frames = make_frames(body, pose_set, setting, count, seed, motion)
            found: list[tuple[Method, Frames, Tensor]] = []
            for method in entries:
                if progress is not None:
                    progress(f"{pose_set}, {setting}: {method.name}")
                part = frames.first(SLOW_FRAMES) if method.is_slow else frames
                found.append((method, part, method.solve(part)))
            # from the truth and around it, so that the best known optimum does not hang on anybody's start
            known = [_solve_general(body, frames, "truth", None), *_restarts(body, frames, seed)]
            known += [local for _, part, local in found if len(part) == len(frames)]
            best = torch.stack([_rms(frames, local) for local in known]).amin(0)
            rows += [_row(method, part, local, best) for method, part, local in found]
    return rows


def _solve_general(body: BodyModel, frames: Frames, start: str | Tensor, loss: RobustLoss | None) -> Tensor:
    """Solve with the library's general solver: the root pinned, leaves held, twists as soft rows."""
    problem, tree = frames.problem, body.tree
    assert problem.weights is not None
    assert problem.twist is not None
    skeleton, points = Skeleton.from_body(body), body.points.select(tree.names)
    sigma = torch.where(problem.weights > 0, SIGMA, math.inf).to(problem.target.dtype)
    single = [joint for joint, children in enumerate(tree.children) if len(children) == 1]
    bones = body.joints_template[[tree.children[joint][0] for joint in single]] - body.joints_template[single]
    # the rows' axes are the mean body's; another shape's bones differ by a few degrees, so its twists are made anew
    axis = bones / bones.norm(dim=-1, keepdim=True)
    twist = twist_of(tree, body.joints_template, frames.local_rotmat)[:, single]
    evidence = (
        Points3D(points, problem.target, sigma, loss=loss),
        Twist(torch.tensor(single), axis, twist, torch.full_like(twist, TWIST_SIGMA)),
    )
    free = torch.tensor([bool(children) for children in tree.children])
    if isinstance(start, Tensor):
        local = start
    elif start == "points":
        local = start_from_points(
            skeleton,
            points,
            problem.target,
            problem.weights,
            frames.betas,
            twist=evidence[1],
            root=problem.target[:, 0],
        ).local_rotmat
        local = torch.where(free[:, None, None], local, frames.local_rotmat)
    else:
        local = frames.local_rotmat if start == "truth" else solve_hybrik(frames.filled).local_rotmat
    state = SolveState(problem.target[:, 0] - problem.rest_joints[:, 0], local, frames.betas)
    config = SolveConfig(max_iterations=100, free_joints=free, free_transl=False)
    return solve(skeleton, evidence, state, config).state.local_rotmat


def _restarts(body: BodyModel, frames: Frames, seed: int) -> list[Tensor]:
    """Solve from the truth with every joint turned."""
    generator, found = torch.Generator().manual_seed(seed), list[Tensor]()
    leaves = [joint for joint, children in enumerate(body.tree.children) if not children]
    for _ in range(RESTARTS):
        turn = torch.randn(*frames.local_rotmat.shape[:-1], dtype=torch.float64, generator=generator)
        turned = frames.local_rotmat @ rotvec_to_rotmat(RESTART_TURN * turn.to(frames.local_rotmat.dtype))
        turned[:, leaves] = frames.local_rotmat[:, leaves]
        found.append(_solve_general(body, frames, turned, None))
    return found


def _solve_paper(frames: Frames, reweightings: int) -> Tensor:
    """Solve the paper's problem alone; for a robust loss again, with weights that follow from the last residuals."""
    problem = frames.problem
    assert problem.twist is not None and problem.weights is not None  # noqa: PT018
    offsets = problem.rest_joints - problem.rest_joints[:, [0, *problem.tree.parents[1:]]]
    turning = torch.tensor([joint for joint, children in enumerate(problem.tree.children) if children])
    config, weights, twist = DirectionConfig(hold_root=True), problem.weights, problem.twist[:, turning]
    local = frames.local_rotmat
    for left in reversed(range(reweightings + 1)):
        found = solve_directions(problem.tree, problem.target, offsets, twist, weights=weights, config=config)
        local = local.index_copy(1, turning, found.local_rotmat)
        # from wide to narrow: the first solve may be far off where outliers pulled it
        scale = ROBUST_SCALE * 2.0 ** max(left - REWEIGHTINGS // 2, 0)
        squared = (_posed(frames, local) - problem.target).square().sum(-1)
        weights = problem.weights / (1 + squared / scale**2).square()
    return local


def _posed(frames: Frames, local_rotmat: Float[Tensor, "frames joints 3 3"]) -> Float[Tensor, "frames joints 3"]:
    transl = frames.joints[:, 0] - frames.problem.rest_joints[:, 0]
    return forward_kinematics(frames.problem.tree, frames.problem.rest_joints, local_rotmat, transl).joints


def _rms(frames: Frames, local_rotmat: Float[Tensor, "frames joints 3 3"]) -> Float[Tensor, "frames"]:
    """Root mean square of the distances to the targets that are not missing, metres."""
    is_seen = _seen(frames)
    squared = (_posed(frames, local_rotmat) - frames.problem.target).square().sum(-1)
    return ((squared * is_seen).sum(-1) / is_seen.sum(-1)).sqrt()


def _seen(frames: Frames) -> Bool[Tensor, "frames joints"]:
    """Which joints count: those with a target, but for the root, which everybody puts in its place."""
    assert frames.problem.weights is not None
    is_seen = frames.problem.weights > 0
    return is_seen & (torch.arange(is_seen.shape[-1]) > 0)


def _row(method: Method, frames: Frames, local_rotmat: Tensor, best: Float[Tensor, "all_frames"]) -> Row:
    joints, is_seen = _posed(frames, local_rotmat), _seen(frames)
    turning = [joint for joint, children in enumerate(frames.problem.tree.children) if children]
    angle = rotmat_to_rotvec(local_rotmat[:, turning].mT @ frames.local_rotmat[:, turning]).norm(dim=-1)
    rms, best = _rms(frames, local_rotmat), best[: len(frames)]
    is_best = (rms.square() <= (1 + OPTIMUM_PART) * best.square()) | (rms <= best + OPTIMUM_GAP)
    return Row(
        poses=frames.poses,
        setting=frames.setting,
        method=method.name,
        frames=len(frames),
        residual_mm=1000 * float((joints - frames.problem.target).norm(dim=-1)[is_seen].mean()),
        joint_error_mm=1000 * float((joints - frames.joints).norm(dim=-1)[:, 1:].mean()),
        rotation_error_deg=float(torch.rad2deg(angle).mean()),
        at_optimum=float(is_best.double().mean()) if method.is_least_squares else None,
    )


def _captured(
    motion: Float[Tensor, "captured 24 3 3"], count: int, generator: torch.Generator
) -> Float[Tensor, "frames 24 3 3"]:
    """Frames at random, each joint turned by some degrees, the body by any angle about the vertical."""
    local = motion[torch.randint(len(motion), (count,), generator=generator)]
    jitter = JITTER * torch.randn(*local.shape[:-1], dtype=local.dtype, generator=generator) / math.sqrt(3)
    heading = local.new_zeros(count, 3)
    heading[:, 1] = 2 * math.pi * torch.rand(count, dtype=local.dtype, generator=generator)
    local = local @ rotvec_to_rotmat(jitter)
    return torch.cat((rotvec_to_rotmat(heading)[:, None] @ local[:, :1], local[:, 1:]), dim=1)


def _within_limits(body: BodyModel, count: int, generator: torch.Generator) -> Float[Tensor, "frames joints 3 3"]:
    """Swings and twists spread evenly over a human's ranges, the root turned anywhere."""
    limits = default_limits(body.tree, dtype=body.joints_template.dtype)
    low = torch.cat((limits.twist_range[:, :1], limits.swing_range[:, 0::2]), dim=-1)
    high = torch.cat((limits.twist_range[:, 1:], limits.swing_range[:, 1::2]), dim=-1)
    angles = low + (high - low) * torch.rand(count, *low.shape, dtype=low.dtype, generator=generator)
    # 0.7: two swings at once then stay inside the ellipse of a ball joint
    angles = angles * torch.where(limits.is_hinge, 1.0, 0.7)[:, None]
    swing = rotvec_to_rotmat((angles[..., 1:, None] * limits.axes[:, 1:]).sum(-2))
    local = _any_rotations(body, count, generator)
    local[:, limits.joint_index] = swing @ rotvec_to_rotmat(angles[..., :1] * limits.axes[:, 0])
    return local


def _any_rotations(body: BodyModel, count: int, generator: torch.Generator) -> Float[Tensor, "frames joints 3 3"]:
    """Axes spread evenly over the sphere, angles over 0 to 180 degrees."""
    shape = (count, body.tree.num_joints)
    axis = torch.randn(*shape, 3, dtype=body.joints_template.dtype, generator=generator)
    angle = math.pi * torch.rand(*shape, 1, dtype=axis.dtype, generator=generator)
    return rotvec_to_rotmat(angle * axis / axis.norm(dim=-1, keepdim=True))


def _first(problem: BaselineProblem, count: int) -> BaselineProblem:
    def cut(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor[:count]

    return replace(
        problem,
        rest_joints=problem.rest_joints[:count],
        target=problem.target[:count],
        twist=cut(problem.twist),
        leaf_rotmat=cut(problem.leaf_rotmat),
        weights=cut(problem.weights),
    )


def _with_scaled_bones(
    body: BodyModel, rest: Float[Tensor, "frames joints 3"], scale: Float[Tensor, "frames joints"]
) -> Float[Tensor, "frames joints 3"]:
    places = [rest[:, 0]]
    for joint, parent in enumerate(body.tree.parents[1:], start=1):
        places.append(places[parent] + scale[:, joint, None] * (rest[:, joint] - rest[:, parent]))
    return torch.stack(places, dim=1)


def _filled(problem: BaselineProblem, is_seen: Bool[Tensor, "frames joints"]) -> BaselineProblem:
    flat = problem.flat()
    root = flat.root_rotation()
    places = [flat.target[:, 0]]
    for joint, parent in enumerate(problem.tree.parents[1:], start=1):
        hanging = places[parent] + (root @ flat.bone(joint)[..., None]).squeeze(-1)
        places.append(torch.where(is_seen[:, joint, None], flat.target[:, joint], hanging))
    return replace(problem, target=torch.stack(places, dim=1), weights=None)

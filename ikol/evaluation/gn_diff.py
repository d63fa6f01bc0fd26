# SPDX-License-Identifier: Apache-2.0
"""What the term of GN-Diff is worth that the released code drops.

The published derivative of a Gauss-Newton step has the term [dH/dP] (f - P); in the released code the operator H is a
constant. Both are compared with differences of the very steps that they differentiate, and with the derivative of the
converged solution, which training would want. Imports: torch, ikol.solver, the frames of the solver comparison.

Source: Zhang et al., IKOL, AAAI 2023 (arXiv 2302.01058), fig. 2, and its released code.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.default_body import load_default_body
from ikol.evaluation.solver_comparison import Frames, make_frames
from ikol.solver.backward.unroll import unroll
from ikol.solver.baselines import ReleasedIkolConfig, solve_released_ikol, twist_of
from ikol.solver.config import SolveConfig
from ikol.solver.evidence import Anchor, Evidence, Points3D, Twist
from ikol.solver.problem import build_problem, flatten_state
from ikol.solver.skeleton import Skeleton
from ikol.solver.solve import find_unknowns, free_axes, solve
from ikol.solver.start import start_from_points
from ikol.solver.state import SolveState

NOISES = ("noise 10 mm", "noise 30 mm")
FIRST_VARIED = 4  # the released root follows joints 1 to 3 by an SVD that is held constant: they are not varied
STEP = 1e-6  # metres; steps in float64 are known to 1e-14 or better
CONVERGED_STEPS = 400  # the slowest joint of the released damping gains a quarter a step
SIGMA, TWIST_SIGMA, ANCHOR_SIGMA = 0.01, 0.05, 1.0  # metres, radians

Gradient = Float[Tensor, "frames values"]


@dataclass(frozen=True)
class GnDiffRow:
    """One line of the table: medians over frames."""

    parametrisation: str
    noise: str
    steps: int
    change: float
    """|with the term - without| / |with|."""
    cosine: float
    """Of the angle between the two gradients."""
    error_full: float
    """Relative error with the term, against differences of the steps."""
    error_dropped: float
    """The same without."""
    error_full_converged: float
    """Relative error with the term, against the converged solution's derivative."""
    error_dropped_converged: float


def compare_gn_diff(
    count: int = 16, seed: int = 0, steps: int = 5, converged_steps: int = CONVERGED_STEPS
) -> list[GnDiffRow]:
    """Return the table for the released parametrisation and for the general solve.

    The gradient is that of a random linear function of all local rotations, with respect to the target joints.

    Args:
        count: frames.
        seed: of poses, noise and the function.
        steps: of Gauss-Newton.
        converged_steps: after which the released method counts as converged.
    """
    body = load_default_body(dtype=torch.float64)
    rows: list[GnDiffRow] = []
    for noise in NOISES:
        frames = make_frames(body, "limits", noise, count, seed)
        found = {
            "released, 18 angles": _released(frames, steps, seed, converged_steps),
            "all rotations": _general(frames, steps, seed),
        }
        for name, (full, dropped, differences, converged) in found.items():
            rows.append(
                GnDiffRow(
                    parametrisation=name,
                    noise=noise,
                    steps=steps,
                    change=_median_error(dropped, full),
                    cosine=float(torch.nn.functional.cosine_similarity(dropped, full).median()),
                    error_full=_median_error(full, differences),
                    error_dropped=_median_error(dropped, differences),
                    error_full_converged=_median_error(full, converged),
                    error_dropped_converged=_median_error(dropped, converged),
                )
            )
    return rows


def _median_error(found: Gradient, wanted: Gradient) -> float:
    return float(((found - wanted).norm(dim=-1) / wanted.norm(dim=-1)).median())


def _loss_weights(frames: Frames, seed: int) -> Float[Tensor, "frames joints 3 3"]:
    generator = torch.Generator().manual_seed(seed + 1)
    return torch.randn(frames.local_rotmat.shape, dtype=torch.float64, generator=generator)


def _by_autograd(solved: Callable[[Tensor], Tensor], target: Tensor, weights: Tensor) -> Gradient:
    leaf = target.clone().requires_grad_()
    (found,) = torch.autograd.grad((weights * solved(leaf)).sum(), leaf)
    return found[:, FIRST_VARIED:].flatten(1)


def _by_differences(solved: Callable[[Tensor], Tensor], target: Tensor, weights: Tensor) -> Gradient:
    joints = target.shape[1]
    count = 3 * (joints - FIRST_VARIED)
    # all at once: an item for each coordinate
    shift = torch.zeros(count, 1, joints * 3, dtype=target.dtype)
    shift[:, 0, 3 * FIRST_VARIED :] = STEP * torch.eye(count, dtype=target.dtype)
    shift = shift.unflatten(-1, (joints, 3))
    with torch.no_grad():
        change = solved(target + shift) - solved(target - shift)
    return ((weights * change).flatten(2).sum(-1) / (2 * STEP)).T


def _released(
    frames: Frames, steps: int, seed: int, converged_steps: int
) -> tuple[Gradient, Gradient, Gradient, Gradient]:
    """Gradients with the term, without, by differences of the steps, and of many steps."""
    weights = _loss_weights(frames, seed)

    def solved(config: ReleasedIkolConfig) -> Callable[[Tensor], Tensor]:
        return lambda target: solve_released_ikol(replace(frames.problem, target=target), config).local_rotmat

    full = ReleasedIkolConfig(iterations=steps, differentiate_hessian=True)
    target = frames.problem.target
    return (
        _by_autograd(solved(full), target, weights),
        _by_autograd(solved(replace(full, differentiate_hessian=False)), target, weights),
        _by_differences(solved(full), target, weights),
        _by_autograd(solved(replace(full, iterations=converged_steps)), target, weights),
    )


def _general(frames: Frames, steps: int, seed: int) -> tuple[Gradient, Gradient, Gradient, Gradient]:
    """The same for the general solve: all rotations and the place, known twists, a weak anchor at the start."""
    body = load_default_body(dtype=torch.float64)
    skeleton, weights = Skeleton.from_body(body), _loss_weights(frames, seed)
    points = body.points.select(body.tree.names)
    start = start_from_points(
        skeleton, points, frames.problem.target, torch.ones_like(frames.problem.target[..., 0]), frames.betas
    )
    turning = torch.tensor([joint for joint, children in enumerate(body.tree.children) if len(children) == 1])
    bones = torch.stack([body.joints_template[body.tree.children[j][0]] - body.joints_template[j] for j in turning])
    axis = torch.nn.functional.normalize(bones, dim=-1)
    angle = twist_of(body.tree, body.joints_template, frames.local_rotmat)[:, turning]
    like = frames.problem.target
    config = SolveConfig(backend="torch", unrolled_steps=steps, gradient_tolerance=1e-9, cost_tolerance=0.0)

    def evidence(target: Tensor) -> list[Evidence]:
        joints = body.tree.num_joints
        return [
            Points3D(points, target, like.new_full((joints,), SIGMA)),
            Twist(turning, axis, angle, like.new_full((len(turning),), TWIST_SIGMA)),
            Anchor(start.local_rotmat, like.new_full((joints,), ANCHOR_SIGMA)),
        ]

    def unrolled(*, fixed_operator: bool) -> Callable[[Tensor], Tensor]:
        def solved(target: Tensor) -> Tensor:
            batch = tuple(target.shape[:-2])
            problem = build_problem(skeleton, evidence(target), batch)
            initial: SolveState = flatten_state(start, skeleton, batch)
            unknowns = find_unknowns(problem, config, free_axes(skeleton, config))
            found = unroll(problem, initial, config, unknowns, fixed_operator=fixed_operator)
            return found.end.state.local_rotmat.unflatten(0, batch)

        return solved

    def converged(target: Tensor) -> Tensor:
        return solve(skeleton, evidence(target), start, config).state.local_rotmat

    return (
        _by_autograd(unrolled(fixed_operator=False), like, weights),
        _by_autograd(unrolled(fixed_operator=True), like, weights),
        _by_differences(unrolled(fixed_operator=False), like, weights),
        _by_autograd(converged, like, weights),
    )

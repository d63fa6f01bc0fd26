# SPDX-License-Identifier: Apache-2.0
"""How sure a solved pose is, and what moves if a keypoint does.

Both come from the second derivative H of the cost at the optimum. The evidence's standard deviations make the cost a
negative log-likelihood, so H^-1 is the covariance of the unknowns (Laplace's approximation); a joint's place moves by
J H^-1 K per metre of a target, K the derivative of the cost's gradient by the target.
Imports: torch, ikol.body, ikol.errors, the solve.

Source: Triggs et al., Bundle adjustment, a modern synthesis, 2000, sec. 9 (covariance of an optimum).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ikol.body.points import AttachedPoints
from ikol.errors import InputError
from ikol.solver.backward.columns import point_columns
from ikol.solver.backward.hessian import exact_hessian
from ikol.solver.backward.inverse import Inverse, SpringInverse, invert
from ikol.solver.backward.springs import soften, spring_columns
from ikol.solver.backward.tensors import detached, widened
from ikol.solver.config import SolveConfig
from ikol.solver.evidence import Evidence, Points3D
from ikol.solver.linear import diagonal_scale, newton_where_definite
from ikol.solver.normal_equations import normal_equations
from ikol.solver.one_sided import Unknowns
from ikol.solver.pins import FAR, TAUT, tolerance_of, unit_stiffness
from ikol.solver.problem import Problem, build_problem, flatten_state
from ikol.solver.residuals import PixelTerm, PointTerm, Posed, RelativePointTerm
from ikol.solver.result import SolveResult, SolveStatus
from ikol.solver.robust import robust_cost
from ikol.solver.skeleton import Skeleton
from ikol.solver.solve import find_unknowns, free_axes

HIDDEN_SHARE = 1e-5  # of a motion along what nothing sees: rounding leaves 1e-8, a real share is a few percent or more
WATCHED = "what is watched"  # name of a block that users cannot mean


@dataclass(frozen=True, eq=False)
class Marginals:
    """Covariances of each joint by itself, all others left free.

    What the evidence leaves open has an infinite variance. It is not part of the covariances; the masks say where there
    is any, and there a covariance is a lower bound.
    """

    position: Float[Tensor, "*batch joints 3 3"]
    """Of the joint's place in the world, square metres."""
    rotation: Float[Tensor, "*batch joints 3 3"]
    """Of a right perturbation of the joint's own rotation, R_j Exp(d); square radians."""
    is_position_seen: Bool[Tensor, "*batch joints"]
    """Whether the evidence determines the place in all directions; False for items that have not converged."""
    is_rotation_seen: Bool[Tensor, "*batch joints"]
    """The same of the rotation."""


@dataclass(frozen=True, eq=False)
class Optimum:
    """A solved problem, ready to solve with its second derivative; the points that are watched are its last ones."""

    problem: Problem
    posed: Posed
    unknowns: Unknowns
    with_shape: bool
    hessian: Float[Tensor, "n free free"]
    """Without the springs; Gauss and Newton's where the exact one is not positive definite."""
    gauss_newton: Float[Tensor, "n free free"]
    inverse: SpringInverse[Inverse]
    num_watched: int

    def without(self, information: Float[Tensor, "n free free"]) -> "Optimum":
        """Return the optimum with some of its information taken away: what would be known without it."""
        inverse = invert(self.hessian - information, self.gauss_newton - information)
        return replace(self, inverse=replace(self.inverse, inverse=inverse))

    def columns(self, span: slice) -> Float[Tensor, "n span 3 free"]:
        """Return how points move with the free unknowns."""
        return point_columns(self.problem, self.posed, span, with_shape=self.with_shape)[..., self.unknowns.columns]

    @property
    def watched(self) -> slice:
        """Where the watched points are in the table of points."""
        count = len(self.problem.point_joints)
        return slice(count - self.num_watched, count)


def covariance(
    skeleton: Skeleton, evidence: Sequence[Evidence], result: SolveResult, config: SolveConfig | None = None
) -> Marginals:
    """Return how sure each joint's place and rotation are.

    Args:
        skeleton: what was solved.
        evidence: the same; its standard deviations are taken at their word.
        result: of that solve.
        config: the same; what it holds is known exactly.

    Raises:
        InputError: as of `solve`.
    """
    optimum = find_optimum(skeleton, evidence, result, config)
    count = skeleton.tree.num_joints
    size = len(optimum.posed.points)
    places = optimum.columns(optimum.watched)
    everything = torch.zeros(size, optimum.unknowns.count, 3 * count, dtype=places.dtype, device=places.device)
    everything[:, 3 : 3 + 3 * count] = torch.eye(3 * count, dtype=places.dtype, device=places.device)
    turns = everything[:, optimum.unknowns.columns].transpose(-1, -2).unflatten(1, (count, 3))
    is_converged = (result.status == SolveStatus.CONVERGED).reshape(-1, 1)

    def marginal(rows: Float[Tensor, "n joints 3 free"]) -> tuple[Tensor, Tensor]:
        columns = rows.flatten(1, 2).transpose(-1, -2)
        spread = optimum.inverse.solve(columns)[0].unflatten(-1, (count, 3)).permute(0, 2, 1, 3)
        is_seen = (optimum.inverse.inverse.unseen(columns) < HIDDEN_SHARE).unflatten(-1, (count, 3)).all(-1)
        batch = result.status.shape
        found = (rows @ spread).to(result.cost.dtype)
        return found.reshape(*batch, count, 3, 3), (is_seen & is_converged).reshape(*batch, count)

    position, is_position_seen = marginal(places)
    rotation, is_rotation_seen = marginal(turns)
    return Marginals(position, rotation, is_position_seen, is_rotation_seen)


def sensitivity(
    skeleton: Skeleton,
    evidence: Sequence[Evidence],
    result: SolveResult,
    name: str,
    config: SolveConfig | None = None,
) -> Float[Tensor, "*batch joints 3 points axes"]:
    """Return how the place of each joint changes with each target of a block of points: what moves if I drag this.

    Metres per metre, or per pixel. Zero for missing targets and for items that have not converged; a motion that the
    evidence leaves open is not counted.

    Args:
        skeleton: what was solved.
        evidence: the same.
        result: of that solve.
        name: of a block of `Points3D`, `RelativePoints3D`, `Points2D` or `Pins`.
        config: of the solve.

    Raises:
        InputError: there is no such block; otherwise as of `solve`.
    """
    optimum = find_optimum(skeleton, evidence, result, config)
    term = next((term for term in optimum.problem.terms if term.name == name), None)
    if not isinstance(term, PointTerm | RelativePointTerm | PixelTerm):
        raise InputError(f"sensitivity needs a block of points, got {name!r}; give the name of one")
    size, count = len(optimum.posed.points), skeleton.tree.num_joints
    pull = _pull(term, optimum.posed)
    seen = optimum.columns(slice(term.first, term.first + pull.shape[1]))
    if isinstance(term, RelativePointTerm):
        seen = seen - torch.einsum("q,nqif->nif", term.reference.weights, optimum.columns(term.reference.span))[:, None]
    # the force on each point by its own target
    columns = (seen.transpose(-1, -2) @ pull).permute(0, 2, 1, 3).flatten(2)
    lengths = None
    if optimum.problem.pins is not None:
        lengths = columns.new_zeros(size, optimum.inverse.columns.shape[1], columns.shape[-1])
        if term is optimum.problem.pins:
            # a pin takes its point along
            lengths -= torch.diag_embed((term.weight > 0).to(lengths).expand_as(pull[..., 0]).flatten(1))
    answer, _ = optimum.inverse.solve(columns, lengths)
    moved = -optimum.columns(optimum.watched).flatten(1, 2) @ answer
    is_converged = (result.status == SolveStatus.CONVERGED).reshape(-1, 1, 1)
    moved = torch.where(is_converged, moved, 0.0).to(result.cost.dtype)
    return moved.reshape(*result.status.shape, count, 3, *pull.shape[1::2])


def find_optimum(
    skeleton: Skeleton,
    evidence: Sequence[Evidence],
    result: SolveResult,
    config: SolveConfig | None = None,
    points: AttachedPoints | None = None,
) -> Optimum:
    """Return the problem at its solution.

    Args:
        skeleton: what was solved.
        evidence: the same.
        result: of that solve.
        config: the same.
        points: to be watched; None for the joints.

    Raises:
        InputError: as of `solve`.
    """
    config = SolveConfig() if config is None else config
    batch = tuple(result.status.shape)
    if points is None:
        points = AttachedPoints(
            skeleton.tree.names,
            torch.arange(skeleton.tree.num_joints, device=skeleton.joints_template.device),
            skeleton.joints_template,
            skeleton.joints_shapedirs,
        )
    nothing = torch.zeros_like(points.rest)
    block = Points3D(points, nothing, torch.full_like(nothing, torch.inf), name=WATCHED)
    with torch.no_grad():
        problem = build_problem(skeleton, [*evidence, block], batch, config.bone_groups)
        unknowns = find_unknowns(problem, config, free_axes(skeleton, config))
        state = flatten_state(result.state, skeleton, batch)
        problem, state = detached(widened((problem, state)))
        posed = problem.pose(state)
        if problem.pins is not None:
            problem = _taut(problem, posed, unknowns, with_shape=config.solve_shape)
        springs = soften(problem, posed)
        problem, with_shape = springs.problem, config.solve_shape
        found = normal_equations(problem, posed, problem.rows(posed), with_shape=with_shape).gauss_newton
        free = unknowns.pick(found)
        exact = unknowns.pick_square(exact_hessian(problem, posed, with_shape=with_shape))
        chosen = newton_where_definite(free, exact - free.hessian)
        columns = spring_columns(problem, posed, with_shape=with_shape)[..., unknowns.columns]
        inverse = SpringInverse(invert(chosen.hessian, free.hessian), columns, springs.compliance)
    return Optimum(problem, posed, unknowns, with_shape, chosen.hessian, free.hessian, inverse, num_watched=len(points))


def _taut(problem: Problem, posed: Posed, unknowns: Unknowns, *, with_shape: bool) -> Problem:
    """Return the problem with taut springs for its pins, under the forces that hold the others where they are.

    A result does not say them; they are what the gradient of the other evidence leaves to be held.
    """
    pins = problem.pins
    assert pins is not None
    others = tuple(rows for rows in problem.rows(posed) if rows.name != pins.name)
    found = normal_equations(problem, posed, others, with_shape=with_shape).gauss_newton
    free = unknowns.pick(found)
    scale = diagonal_scale(free.hessian).reciprocal()[..., None]
    columns = spring_columns(problem, posed, with_shape=with_shape)[..., unknowns.columns].transpose(-1, -2)
    # pins that contradict each other share what they hold; the least forces that do it are taken
    force = torch.linalg.lstsq(scale * columns, -scale * free.gradient[..., None], driver="gelsd").solution
    places = posed.points[:, pins.first : pins.first + pins.target.shape[1]]
    is_pinned = (pins.weight > 0).expand_as(places)
    is_near = (places - pins.target).norm(dim=-1, keepdim=True) <= FAR * tolerance_of(problem)
    unit = unit_stiffness(problem, others, posed)[:, None, None]
    weight = torch.where(is_pinned, torch.where(is_near, TAUT, 1.0) * unit, 0.0)
    end = places - force.reshape(places.shape) / torch.where(is_pinned, weight, 1.0)
    return problem.with_pins(torch.where(is_pinned, end, 0.0), weight)


def _pull(term: PointTerm | RelativePointTerm | PixelTerm, posed: Posed) -> Float[Tensor, "n points 3 axes"]:
    """Return how the force on each point of a block changes with its own target."""
    target = term.target.expand(len(posed.points), -1, -1).clone().requires_grad_()
    with torch.enable_grad():
        places = posed.points.clone().requires_grad_()
        rows = replace(term, target=target).rows(replace(posed, points=places))[0]
        cost = 0.5 * robust_cost(rows.loss, rows.squared).sum()
        (force,) = torch.autograd.grad(cost, places, create_graph=True)
        own = force[:, term.first : term.first + target.shape[1]]
        found = [torch.autograd.grad(own[..., axis].sum(), target, retain_graph=axis < 2)[0] for axis in range(3)]
    return torch.stack(found, dim=-2)

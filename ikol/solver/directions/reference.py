# SPDX-License-Identifier: Apache-2.0
"""The solve in PyTorch: any device, any batch, float32 and float64. What the compiled kernel is compared with.

Every joint is a rotation here; at a joint with one child only the part across the bone counts, the turn about it is
projected out. Written for clarity: one level of the tree after the other. The mathematics is in docs/solver.md.
Imports: torch, ikol.geometry, the modules beside it.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.geometry.rotations import skew
from ikol.solver.directions.config import TOLERANCE, DirectionConfig, DirectionResult
from ikol.solver.directions.forks import cayley
from ikol.solver.directions.native import Arrays, Solution
from ikol.solver.directions.rebuild import local_rotations
from ikol.solver.directions.start import Starter
from ikol.solver.directions.tables import Level, Tables
from ikol.solver.result import SolveStatus

HIDDEN = {torch.float32: 1e-4, torch.float64: 1e-9}  # below it a direction counts as not seen by the keypoints
OVERFLOW = 1e12
TINY = {torch.float32: 1e-20, torch.float64: 1e-60}  # its reciprocal is finite


@dataclass(frozen=True, eq=False)
class Problem:
    """Flat inputs, missing keypoints zeroed, and the origin that was taken off the keypoints."""

    tables: Tables
    keypoints: Float[Tensor, "items nodes 3"]
    offsets: Float[Tensor, "items nodes 3"]
    weights: Float[Tensor, "items nodes"]
    twist: Float[Tensor, "items joints"]
    origin: Float[Tensor, "items 3"]
    hold_root: bool


@dataclass(frozen=True, eq=False)
class State:
    """The unknowns: a rotation for each node (not used at the ends), and the root's place."""

    rotmat: Float[Tensor, "items nodes 3 3"]
    root: Float[Tensor, "items 3"]


@dataclass(frozen=True, eq=False)
class _Pivot:
    """One eliminated level: inverse Hessian of its joints and how it couples to where they are."""

    level: Level
    arm: Float[Tensor, "items children 3"]
    across: Float[Tensor, "items joints 3 3"]
    inverse: Float[Tensor, "items joints 3 3"]
    coupling: Float[Tensor, "items joints 3 3"]


@dataclass(frozen=True, eq=False)
class Factors:
    """The eliminated Hessian."""

    pivots: tuple[_Pivot, ...]
    """Deepest level first."""
    root_inverse: Float[Tensor, "items 3 3"] | None


def make_problem(tables: Tables, arrays: Arrays, *, hold_root: bool) -> Problem:
    """Flatten the batch and take the root's (or the first seen) keypoint as the origin, against rounding."""
    *batch, nodes, _ = arrays.keypoints.shape
    items = math.prod(batch)
    keypoints = arrays.keypoints.reshape(items, nodes, 3)
    offsets = arrays.offsets.expand(*batch, nodes, 3).reshape(items, nodes, 3)
    joints = arrays.twist.shape[-1]
    twist = arrays.twist.expand(*batch, joints).reshape(items, joints)
    weights = keypoints.new_ones(items, nodes)
    if arrays.weights is not None:
        weights = arrays.weights.expand(*batch, nodes).reshape(items, nodes)
    is_read = weights != 0
    if hold_root:
        is_root = torch.arange(nodes, device=weights.device) == 0
        is_read = is_read | is_root
        weights = torch.where(is_root, 0.0, weights)
    keypoints = torch.where(is_read[..., None], keypoints, 0.0)
    first = is_read.to(keypoints.dtype).argmax(-1)
    origin = keypoints[torch.arange(items, device=keypoints.device), first]
    if not hold_root:
        origin = origin.detach()
    return Problem(
        tables=tables,
        keypoints=torch.where(is_read[..., None], keypoints - origin[:, None], 0.0),
        offsets=offsets,
        weights=weights,
        twist=twist,
        origin=origin,
        hold_root=hold_root,
    )


def make_starter(problem: Problem) -> Starter:
    """Return what makes the starts of a problem."""
    return Starter(problem.tables, problem.keypoints, problem.offsets, problem.weights, problem.hold_root)


def unroll(tables: Tables, arrays: Arrays, config: DirectionConfig) -> DirectionResult:
    """Take a fixed number of Gauss-Newton steps from a fixed start, all of them differentiable (GN-Diff).

    Without safeguards, as the published formula. The Jacobian is differentiated as well as the residual.
    """
    problem = make_problem(tables, arrays, hold_root=config.hold_root)
    with torch.no_grad():
        start = make_starter(problem).next()
    state = State(start.rotmat, start.root)
    undamped = torch.zeros_like(problem.weights[:, 0])
    size = undamped
    for _ in range(config.unrolled_steps):
        factors = factor(problem, state, undamped, newton=False, floor=undamped + HIDDEN[undamped.dtype])
        turns, shift = step(problem, factors, state)
        size = torch.linalg.vector_norm(turns.detach(), dim=-1).amax(-1)
        state = move(state, turns, shift)
    rotmat, root = finish(problem, state)
    is_small = size < TOLERANCE[undamped.dtype]
    status = torch.where(is_small, SolveStatus.CONVERGED, SolveStatus.MAX_ITERATIONS).to(torch.int32)
    batch = arrays.keypoints.shape[:-2]
    return DirectionResult(
        local_rotmat=rotmat.reshape(*batch, *rotmat.shape[1:]),
        root=root.reshape(*batch, 3),
        cost=cost_of(problem, state).detach().reshape(batch),
        status=status.reshape(batch),
        iterations=torch.full_like(status, config.unrolled_steps).reshape(batch),
    )


def differentiate(
    tables: Tables,
    arrays: Arrays,
    result: DirectionResult | Solution,
    gradients: tuple[Tensor, Tensor],
    hold_root: bool,
    *,
    newton: bool = True,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the derivative of a loss at the optimum to keypoints, offsets, weights and twist, one row an item.

    One Newton step from the optimum has length zero; with its Hessian held fixed, its derivative is that of the
    optimum. Without `newton` the step is one of Gauss-Newton.
    """
    weights = torch.ones_like(arrays.keypoints[..., 0]) if arrays.weights is None else arrays.weights
    nodes, joints = arrays.keypoints.shape[-2], arrays.twist.shape[-1]
    batch = arrays.keypoints.shape[:-2]
    shapes = ((*batch, nodes, 3), (*batch, nodes, 3), (*batch, nodes), (*batch, joints))
    inputs = (arrays.keypoints, arrays.offsets, weights, arrays.twist)
    with torch.enable_grad():
        leaves = tuple(
            each.detach().expand(shape).clone().requires_grad_() for each, shape in zip(inputs, shapes, strict=True)
        )
        keypoints, offsets, weights, twist = leaves
        problem = make_problem(tables, Arrays(keypoints, offsets, weights, twist), hold_root=hold_root)
        state = _with_fixed_directions(problem, _state_of(tables, result, problem.origin.detach()))
        with torch.no_grad():
            still = torch.zeros_like(problem.weights[:, 0])
            factors = factor(problem, state, still, newton=newton, floor=still + HIDDEN[still.dtype], pseudo=True)
        rotmat, root = finish(problem, move(state, *step(problem, factors, state)))
        is_converged = (result.status == SolveStatus.CONVERGED).reshape(-1)
        outputs = (
            torch.where(is_converged[:, None, None, None], gradients[0].reshape(rotmat.shape), 0.0),
            torch.where(is_converged[:, None], gradients[1].reshape(root.shape), 0.0),
        )
        found = torch.autograd.grad((rotmat, root), leaves, outputs, materialize_grads=True)
    keypoints, offsets, weights, twist = found
    return keypoints, offsets, weights, twist


def _state_of(tables: Tables, result: DirectionResult | Solution, origin: Tensor) -> State:
    """The global rotations of a result."""
    local = result.local_rotmat.reshape(-1, *result.local_rotmat.shape[-3:])
    nodes = len(tables.parents) + 1
    position = {joint: index for index, joint in enumerate(tables.joints)}
    parents = (-1, *tables.parents.tolist())
    found = [local.new_zeros(len(local), 3, 3)] * nodes
    for joint in tables.joints:
        own = local[:, position[joint]]
        found[joint] = own if joint == 0 else found[parents[joint]] @ own
    return State(torch.stack(found, dim=1), result.root.reshape(-1, 3) - origin)


def _with_fixed_directions(problem: Problem, state: State) -> State:
    """Return the same state, whose joints with one child turn with the offset so that the bone keeps its direction.

    The unknowns are directions. To the exact derivative it makes no difference, to that of a Gauss-Newton step it does.
    """
    tables = problem.tables
    bones = arms(problem, state)
    length = torch.linalg.vector_norm(bones.detach(), dim=-1, keepdim=True)
    unit = bones / torch.where(length > 0, length, 1.0)
    single = [members[0] for members in tables.children if len(members) == 1]
    turn = torch.linalg.cross(unit, unit.detach())[:, [node - 1 for node in single]]
    on_joints = bones.new_zeros(len(bones), bones.shape[1] + 1, 3)
    on_joints = on_joints.index_add(1, tables.parents[[node - 1 for node in single]], turn)
    return State(state.rotmat + skew(on_joints) @ state.rotmat, state.root)


def arms(problem: Problem, state: State) -> Float[Tensor, "items bones 3"]:
    """Return the global bone vector of each node but the root."""
    return (state.rotmat[:, problem.tables.parents] @ problem.offsets[:, 1:, :, None]).squeeze(-1)


def misses(problem: Problem, state: State) -> Float[Tensor, "items nodes 3"]:
    """Return how far each node is from its keypoint."""
    places = state.root[:, None] + problem.tables.below[:, 1:] @ arms(problem, state)
    return places - problem.keypoints


def cost_of(problem: Problem, state: State) -> Float[Tensor, "items"]:
    """Return 1/2 sum w |p - y|^2."""
    return 0.5 * (problem.weights * misses(problem, state).square().sum(-1)).sum(-1)


def factor(
    problem: Problem,
    state: State,
    damping: Float[Tensor, "items"],
    *,
    newton: bool,
    floor: Float[Tensor, "items"],
    pseudo: bool = False,
) -> Factors:
    """Eliminate all joints, leaves first, and the root's place last.

    Eigenvalues below `floor` of a joint's lever are raised to it, or with `pseudo` left out of the inverse.
    """
    tables, weights = problem.tables, problem.weights
    tiny = TINY[weights.dtype]
    eye = torch.eye(3, dtype=weights.dtype, device=weights.device)
    bones = arms(problem, state)
    force = tables.below.T @ (weights[..., None] * misses(problem, state))  # on each subtree
    reach = weights @ tables.below  # its weight
    stiffness = list((weights[..., None, None] * eye).unbind(1))
    pivots: list[_Pivot] = []
    for level in reversed(tables.levels):
        index = level.child_index
        arm = bones[:, index - 1]
        cross = skew(arm)
        below = torch.stack([stiffness[child] for child in level.children], dim=1)
        moment = cross @ below
        hessian = _gather(level, moment @ cross.transpose(-1, -2))
        coupling = _gather(level, moment)
        lever = hessian.diagonal(dim1=-2, dim2=-1).sum(-1).abs() / (3 - level.is_single[:, 0, 0].to(hessian))
        lever = torch.maximum(lever, 0.01 * _gather(level, reach[:, index] * arm.square().sum(-1)))[..., None, None]
        if newton:
            outer = force[:, index, :, None] * arm[:, :, None, :]
            along = (force[:, index] * arm).sum(-1)[..., None, None]
            hessian = hessian + _gather(level, 0.5 * (outer + outer.transpose(-1, -2)) - along * eye)
        direction = bones[:, level.only - 1].detach()
        length = torch.linalg.vector_norm(direction, dim=-1, keepdim=True)
        direction = torch.where(length > tiny**0.5, direction / length.clamp(min=tiny), 0.0)
        along_bone = direction[..., :, None] * direction[..., None, :] * level.is_single
        across = eye - along_bone
        hessian = across @ hessian @ across + damping[:, None, None, None] * lever * across
        inverse = _invert(hessian + lever * along_bone, lever[..., 0, 0] * floor[:, None] + tiny, pseudo=pseudo)
        inverse = across @ inverse @ across
        handed = _gather(level, below) - coupling.transpose(-1, -2) @ inverse @ coupling
        for position, joint in enumerate(level.joints):
            stiffness[joint] = stiffness[joint] + handed[:, position]
        pivots.append(_Pivot(level, arm, across, inverse, coupling))
    if problem.hold_root:
        return Factors(tuple(pivots), None)
    last = stiffness[0]
    lever = torch.maximum(last.diagonal(dim1=-2, dim2=-1).sum(-1).abs() / 3, 0.01 * reach[:, 0])
    last = last + (damping * lever)[:, None, None] * eye
    return Factors(tuple(pivots), _invert(last, lever * floor + tiny, pseudo=pseudo))


def step(
    problem: Problem, factors: Factors, state: State
) -> tuple[Float[Tensor, "items nodes 3"], Float[Tensor, "items 3"]]:
    """Return the Newton step: a rotation vector for each node in global axes, and the root's displacement."""
    bones = arms(problem, state)
    gradient = list((problem.weights[..., None] * misses(problem, state)).unbind(1))
    right: list[Tensor] = []
    for pivot in factors.pivots:
        level = pivot.level
        below = torch.stack([gradient[child] for child in level.children], dim=1)
        torque = _gather(level, torch.linalg.cross(bones[:, level.child_index - 1], below))
        turn = (pivot.inverse @ torque[..., None]).squeeze(-1)
        handed = _gather(level, below) - (pivot.coupling.transpose(-1, -2) @ turn[..., None]).squeeze(-1)
        for position, joint in enumerate(level.joints):
            gradient[joint] = gradient[joint] + handed[:, position]
        right.append(turn)
    shift = torch.zeros_like(state.root)
    if factors.root_inverse is not None:
        shift = -(factors.root_inverse @ gradient[0][..., None]).squeeze(-1)
    places = [shift] * (len(problem.tables.parents) + 1)
    turns = [torch.zeros_like(shift)] * len(places)
    for pivot, turn in zip(reversed(factors.pivots), reversed(right), strict=True):
        level = pivot.level
        own = torch.stack([places[joint] for joint in level.joints], dim=1)
        turn = -turn - (pivot.inverse @ (pivot.coupling @ own[..., None])).squeeze(-1)  # noqa: PLW2901
        moved = own[:, level.owner] + torch.linalg.cross(turn[:, level.owner], pivot.arm)
        for position, joint in enumerate(level.joints):
            turns[joint] = turn[:, position]
        for position, child in enumerate(level.children):
            places[child] = moved[:, position]
    return torch.stack(turns, dim=1), shift


def move(state: State, turns: Float[Tensor, "items nodes 3"], shift: Float[Tensor, "items 3"]) -> State:
    """Turn every node by Cayley's map and shift the root."""
    return State(cayley(turns) @ state.rotmat, state.root + shift)


def finish(problem: Problem, state: State) -> tuple[Float[Tensor, "items joints 3 3"], Float[Tensor, "items 3"]]:
    """Return the local rotations with the given twists, and the root's place."""
    bones = arms(problem, state)
    rotmat = local_rotations(problem.tables, state.rotmat, bones, problem.offsets[:, 1:], problem.twist)
    return rotmat, state.root + problem.origin


def _gather(level: Level, values: Tensor) -> Tensor:
    """Sum over the children of each joint of a level."""
    shape = (len(values), len(level.joints), *values.shape[2:])
    return values.new_zeros(shape).index_add(1, level.owner, values)


def _invert(
    matrix: Float[Tensor, "*items 3 3"], floor: Float[Tensor, "*items"], *, pseudo: bool
) -> Float[Tensor, "..."]:
    """Return the inverse; eigenvalues below the floor are raised to it, or left out with `pseudo`.

    By cofactors where all pivots are above the floor, so within a factor of 1/floor of each other. The raise is held
    fixed under differentiation: eigenvectors of equal eigenvalues have no derivative.
    """
    with torch.no_grad():
        row_x, row_y, row_z = matrix.unbind(-2)
        rows = (torch.linalg.cross(row_y, row_z), torch.linalg.cross(row_z, row_x), torch.linalg.cross(row_x, row_y))
        cofactors = torch.stack(rows, dim=-1)
        first, second = matrix[..., 0, 0], cofactors[..., 2, 2]
        third = (row_x * cofactors[..., :, 0]).sum(-1)
        is_bad = ~((first > floor) & (second > floor * first) & (third > floor * second))
        inverse = cofactors / torch.where(is_bad, 1.0, third)[..., None, None]
        if bool(is_bad.any()):
            # an indefinite Hessian far from the optimum can overflow in float32: the step is rejected whatever it is
            bad = matrix[is_bad]
            values, vectors = torch.linalg.eigh(torch.where(bad.abs() < OVERFLOW, bad, 0.0))
            limit = floor[is_bad][..., None]
            is_low = values < limit
            scales = torch.where(is_low, 0.0 if pseudo else 1.0 / limit, 1.0 / torch.where(is_low, 1.0, values))
            inverse[is_bad] = (vectors * scales[..., None, :]) @ vectors.transpose(-1, -2)
    if not matrix.requires_grad:
        return inverse
    # nothing is added; the derivative is that of an inverse, -M^-1 dM M^-1
    return inverse - inverse @ (matrix - matrix.detach()) @ inverse

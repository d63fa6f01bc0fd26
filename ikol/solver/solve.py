# SPDX-License-Identifier: Apache-2.0
"""The way in: a tree, evidence and a start become a pose.

Here: input of any batch shape is checked and flattened, the result is given its shape back.
Imports: torch, ikol.geometry, ikol.errors, the other modules of this package.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ikol.errors import InputError
from ikol.geometry.rotations import quat_to_rotmat, rotmat_to_quat
from ikol.solver.analytic_start import analytic_start
from ikol.solver.backward import attach, attach_native, can_attach, unroll, wants_gradient
from ikol.solver.checks import check_tensor
from ikol.solver.config import Progress, SolveConfig
from ikol.solver.evidence import Evidence
from ikol.solver.general_native import PackedProblem, library_for, minimise_native
from ikol.solver.levenberg_marquardt import Evaluated, Minimised, evaluate, minimise
from ikol.solver.one_sided import Unknowns
from ikol.solver.pins import Springs, cost_beside_pins, minimise_pinned, tolerance_of, with_springs
from ikol.solver.problem import Problem, batch_shape_of, build_problem, flatten_state
from ikol.solver.residuals import Rows
from ikol.solver.result import BlockResidual, SolveResult, SolveStatus
from ikol.solver.robust import robust_weight
from ikol.solver.skeleton import Skeleton
from ikol.solver.state import SolveState


def solve(
    skeleton: Skeleton,
    evidence: Iterable[Evidence],
    start: SolveState | None = None,
    config: SolveConfig | None = None,
    on_iteration: Callable[[Progress], None] | None = None,
) -> SolveResult:
    """Find the state that the evidence makes most likely, near `start`.

    Minimises 1/2 sum rho(s^2) over all residual groups. The batch dimensions of the state and the evidence broadcast;
    each item is solved for itself.

    Args:
        skeleton: the rig.
        evidence: blocks with different names.
        start: where to start; what is not free keeps its value. None: near the 3D points that there are, else the rest
            pose, placed by the first picture.
        config: settings; None for the defaults.
        on_iteration: called after each iteration, or where the compiled kernel does them after every 4,096 frames,
            with a cost of NaN for those to come; may raise `ikol.errors.Cancelled` to stop.

    Returns:
        State, status and residuals. Not converging is a status, not an error.

    Raises:
        InputError: shapes, types or values that cannot be used.

    Gradient: of the state and the cost, to whatever tensors of the skeleton, the evidence and the start require it; see
    `SolveConfig.backward`. Items that did not converge get none. Residuals are numbers without history.
    """
    evidence = tuple(evidence)
    device = skeleton.joints_template.device.type
    if torch.is_autocast_enabled(device):
        with torch.autocast(device, enabled=False):
            return solve(skeleton, evidence, start, config, on_iteration)
    config = SolveConfig() if config is None else config
    batch = batch_shape_of(skeleton.rest_state() if start is None else start, evidence)

    def report(iteration: int, cost: Tensor, num_active: int) -> None:
        if on_iteration is not None:
            on_iteration(Progress(iteration, config.max_iterations, cost.reshape(batch), num_active))

    problem = build_problem(skeleton, evidence, batch, config.bone_groups)
    free = free_axes(skeleton, config)
    if start is None:
        with torch.no_grad():
            start = analytic_start(skeleton, evidence, free, free_transl=config.free_transl)
    initial = flatten_state(start, skeleton, batch)
    if initial.bone_scale is None and problem.bone_groups.shape[-1]:
        initial = replace(initial, bone_scale=torch.ones_like(initial.local_rotmat[..., 0, 0]))
    unknowns = find_unknowns(problem, config, free)
    library = library_for(config, initial.transl)

    def iterate(problem: Problem, initial: SolveState, config: SolveConfig) -> Minimised:
        if library is None:
            return minimise(problem, initial, config, unknowns, report)
        found = minimise_native(library, problem, initial, config, free)
        report(int(found.iterations.max()) if found.iterations.numel() else 0, found.end.cost(), 0)
        return found

    if config.backward == "unrolled":
        if problem.pins is not None:
            raise InputError("pins are not reached in steps that could be unrolled; use another `backward`")
        found = unroll(problem, initial, config, unknowns)
        end = evaluate(problem, orthonormal(found.end.state, free.any(-1)))
        return _result(problem, found, end, batch)
    has_gradient = wants_gradient(problem, initial)
    if library is not None and problem.pins is None:
        packed = PackedProblem(problem, config, free)
        if not has_gradient or can_attach(packed, initial):
            result = packed.run(library, initial, batch, None if on_iteration is None else report)
            return attach_native(packed, initial, result) if has_gradient else result
    springs: Springs | None = None
    with torch.no_grad():
        if problem.pins is None:
            found = iterate(problem, initial, config)
        else:
            found, springs = minimise_pinned(problem, initial, config, iterate)
        end = evaluate(problem, orthonormal(found.end.state, free.any(-1)))
    if has_gradient and springs is not None:
        packed = None if library is None else PackedProblem(problem, config, free)
        if packed is not None and can_attach(packed, initial):
            return attach_native(packed, initial, _result(problem, found, end, batch), springs)
        solved = with_springs(problem, springs, end)
        end = attach(solved, initial, end, found.status == SolveStatus.CONVERGED, unknowns, config)
        end = evaluate(problem, end.state)
    elif has_gradient:
        end = attach(problem, initial, end, found.status == SolveStatus.CONVERGED, unknowns, config)
    return _result(problem, found, end, batch)


def _result(problem: Problem, found: Minimised, end: Evaluated, batch: tuple[int, ...]) -> SolveResult:
    """Give the end of the iteration its shape back."""
    residuals = tuple(block_residual(rows, batch) for rows in end.rows if rows.is_reported)
    result = SolveResult(
        state=_unflattened(end.state, batch),
        status=found.status.reshape(batch),
        iterations=found.iterations.reshape(batch),
        cost=cost_beside_pins(problem, end).reshape(batch),
        initial_cost=found.initial_cost.reshape(batch),
        gradient_norm=found.gradient_norm.reshape(batch),
        residuals=residuals,
    )
    if problem.pins is None:
        return result
    distance = result.residual(problem.pins.name).distance
    return replace(result, pin_distance=distance, is_pin_reached=distance <= tolerance_of(problem))


def free_axes(skeleton: Skeleton, config: SolveConfig) -> Bool[Tensor, "joints 3"]:
    """Which axes of which joints may turn."""
    count = skeleton.tree.num_joints
    mask = config.free_joints
    if mask is None:
        return torch.ones(count, 3, dtype=torch.bool, device=skeleton.joints_template.device)
    check_tensor("free_joints", mask)
    if mask.dtype != torch.bool or tuple(mask.shape) not in ((count,), (count, 3)):
        raise InputError(
            f"free_joints must be a mask of shape ({count},) or ({count}, 3), got {mask.dtype} {tuple(mask.shape)}"
        )
    mask = mask.to(skeleton.joints_template.device)
    return mask if mask.ndim == 2 else mask[:, None].expand(count, 3)


def find_unknowns(problem: Problem, config: SolveConfig, free_rotations: Bool[Tensor, "joints 3"]) -> Unknowns:
    """The free unknowns among translation, rotations and, if they are unknowns, betas and bone scales."""
    transl = free_rotations.new_full((3,), config.free_transl)
    num_betas = problem.skeleton.num_betas if config.solve_shape else 0
    lengths = free_rotations.new_ones(num_betas + problem.bone_groups.shape[-1])
    is_free = torch.cat((transl, free_rotations.flatten(), lengths))
    return Unknowns(len(is_free), is_free.nonzero().squeeze(-1))


def orthonormal(state: SolveState, is_free: Bool[Tensor, "joints"]) -> SolveState:
    """Take off what the products of the iterations have left of shear; joints that did not move keep their bits."""
    clean = quat_to_rotmat(rotmat_to_quat(state.local_rotmat))
    return replace(state, local_rotmat=torch.where(is_free[:, None, None], clean, state.local_rotmat))


def _unflattened(state: SolveState, batch: tuple[int, ...]) -> SolveState:
    """Give a flat batch of states its shape back."""

    def shaped(part: Tensor) -> Tensor:
        return part.reshape(*batch, *part.shape[1:])

    return SolveState(
        transl=shaped(state.transl),
        local_rotmat=shaped(state.local_rotmat),
        betas=shaped(state.betas),
        bone_scale=None if state.bone_scale is None else shaped(state.bone_scale),
    )


def block_residual(rows: Rows, batch: tuple[int, ...]) -> BlockResidual:
    """Return what is left of one block, 0 where rows are missing."""
    with torch.no_grad():
        is_used = rows.weight > 0
        residual = torch.where(is_used, rows.residual, torch.zeros_like(rows.residual))
        weight: Float[Tensor, "n groups"] = robust_weight(rows.loss, rows.squared) * is_used.any(-1)
    return BlockResidual(
        name=rows.name,
        residual=residual.reshape(*batch, *residual.shape[1:]),
        robust_weight=weight.reshape(*batch, *weight.shape[1:]),
    )

# SPDX-License-Identifier: Apache-2.0
"""The way in: several frames, their evidence and what links them become one motion. Imports: torch, this package."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.errors import InputError
from ikol.solver.config import Progress, SolveConfig
from ikol.solver.evidence import Evidence
from ikol.solver.general_native import PackedProblem, library_for
from ikol.solver.native_library import Library
from ikol.solver.problem import batch_shape_of, flatten_state
from ikol.solver.residuals import Posed
from ikol.solver.result import BlockResidual
from ikol.solver.robust import robust_weight
from ikol.solver.sequence.evidence import SequenceEvidence
from ikol.solver.sequence.links import Link
from ikol.solver.sequence.minimise import minimise_sequence
from ikol.solver.sequence.model import SequenceModel, evaluate_sequence
from ikol.solver.sequence.problem import SequenceProblem, build_sequence
from ikol.solver.sequence.result import SequenceResult
from ikol.solver.skeleton import Skeleton
from ikol.solver.solve import block_residual, find_unknowns, free_axes, orthonormal
from ikol.solver.state import SolveState


def solve_sequence(
    skeleton: Skeleton,
    evidence: Sequence[Evidence],
    start: SolveState,
    sequence_evidence: Sequence[SequenceEvidence] = (),
    config: SolveConfig | None = None,
    on_iteration: Callable[[Progress], None] | None = None,
) -> SequenceResult:
    """Find the motion near `start` that the evidence makes most likely.

    Minimises 1/2 sum rho(s^2) over all residual groups of all frames and of what links them. The cost of a step grows
    linearly with the number of frames. With `solve_shape` or `bone_groups` in the settings the betas and bone scales
    are one set of unknowns for all frames, and priors about them count once.

    Args:
        skeleton: the rig.
        evidence: of the frames; its one batch dimension is time. Blocks with different names.
        start: T states, such as those of a `solve` for each frame. Their mean is where shared unknowns start.
        sequence_evidence: smoothness, contacts, floors.
        config: settings; None for the defaults. Damping, acceptance and tolerances hold for the sequence as a whole.
        on_iteration: called after each iteration; may raise `ikol.errors.Cancelled` to stop.

    Returns:
        States, status and residuals. Not converging is a status, not an error.

    Raises:
        InputError: shapes, types or values that cannot be used.

    Gradient: none; the result is detached.
    """
    config = SolveConfig() if config is None else config
    batch = batch_shape_of(start, evidence)
    if len(batch) != 1 or batch[0] == 0:
        raise InputError(
            f"a sequence has one batch dimension, time, with at least one frame; start and evidence have {batch}"
        )

    def report(iteration: int, cost: Tensor) -> None:
        if on_iteration is not None:
            on_iteration(Progress(iteration, config.max_iterations, cost.reshape(()), 1))

    with torch.no_grad():
        library = library_for(config, skeleton.joints_template)
        problem = build_sequence(skeleton, evidence, sequence_evidence, batch[0], config)
        frames = problem.frames
        initial = _shared_lengths(flatten_state(start, skeleton, batch), config, frames.bone_groups.shape[-1] > 0)
        free = free_axes(skeleton, config)
        model = SequenceModel(problem, config, find_unknowns(frames, config, free))
        found = minimise_sequence(model, initial, config, report)
        state = orthonormal(found.state, free.any(-1))
        frame_cost, of_frames, posed = _frame_ends(problem, state, config, library)
        return SequenceResult(
            state=state,
            status=found.status,
            iterations=found.iterations,
            cost=float(model.at(state, 1.0).cost),
            initial_cost=found.initial_cost,
            gradient_norm=found.gradient_norm,
            residuals=(*of_frames, *(_link_residual(link, posed) for link in problem.links)),
            frame_cost=frame_cost,
        )


def _frame_ends(
    problem: SequenceProblem, state: SolveState, config: SolveConfig, library: Library | None
) -> tuple[Float[Tensor, "frames"], tuple[BlockResidual, ...], Posed]:
    """Return what each frame costs with its floors, the residuals of these, and where everything is."""
    batch = problem.frames.batch_shape
    if library is None:
        end = evaluate_sequence(problem, state)
        return end.cost(), tuple(block_residual(rows, batch) for rows in end.rows if rows.is_reported), end.posed
    held = torch.zeros(state.local_rotmat.shape[-3:-1], dtype=torch.bool, device=state.transl.device)
    found = PackedProblem(problem.frames, replace(config, max_iterations=0), held).run(library, state, batch)
    posed = problem.frames.pose(state)
    floors = [floor.rows(posed) for floor in problem.floors]
    cost = found.cost + sum((0.5 * rows.squared.sum(-1) for rows in floors), torch.zeros_like(found.cost))
    return cost, (*found.residuals, *(block_residual(rows, batch) for rows in floors)), posed


def _shared_lengths(state: SolveState, config: SolveConfig, has_groups: bool) -> SolveState:
    """Give all frames the same betas and bone scales, where these are unknowns."""
    if config.solve_shape:
        state = replace(state, betas=state.betas.mean(0).expand_as(state.betas))
    if has_groups:
        scale = torch.ones_like(state.local_rotmat[..., 0, 0]) if state.bone_scale is None else state.bone_scale
        state = replace(state, bone_scale=scale.mean(0).expand_as(scale))
    return state


def _link_residual(link: Link, posed: Posed) -> BlockResidual:
    is_used = link.weight > 0
    residual = torch.where(is_used[..., None], link.residual(posed), 0.0)
    return BlockResidual(
        name=link.name,
        residual=residual,
        robust_weight=robust_weight(link.loss, link.weight * residual.square().sum(-1)) * is_used,
    )

# SPDX-License-Identifier: Apache-2.0
"""The way in: a tree, evidence and a start become a pose.

Here: input of any batch shape is checked and flattened, the result is given its shape back.
Imports: torch, ikol.geometry, ikol.errors, the other modules of this package.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ikol.errors import InputError
from ikol.geometry.rotations import quat_to_rotmat, rotmat_to_quat
from ikol.solver.config import Progress, SolveConfig
from ikol.solver.evidence import Evidence
from ikol.solver.levenberg_marquardt import evaluate, minimise
from ikol.solver.one_sided import Unknowns
from ikol.solver.problem import batch_shape_of, build_problem, flatten_state
from ikol.solver.residuals import Rows
from ikol.solver.result import BlockResidual, SolveResult
from ikol.solver.robust import robust_weight
from ikol.solver.skeleton import Skeleton
from ikol.solver.state import SolveState


def solve(
    skeleton: Skeleton,
    evidence: Sequence[Evidence],
    start: SolveState,
    config: SolveConfig | None = None,
    on_iteration: Callable[[Progress], None] | None = None,
) -> SolveResult:
    """Find the state near `start` that the evidence makes most likely.

    Minimises 1/2 sum rho(s^2) over all residual groups. The batch dimensions of the state and the evidence broadcast;
    each item is solved for itself.

    Args:
        skeleton: the rig.
        evidence: blocks with different names.
        start: where to start; what is not free keeps its value.
        config: settings; None for the defaults.
        on_iteration: called after each iteration; may raise `ikol.errors.Cancelled` to stop.

    Returns:
        State, status and residuals. Not converging is a status, not an error.

    Raises:
        InputError: shapes, types or values that cannot be used.

    Gradient: none; the result is detached.
    """
    config = SolveConfig() if config is None else config
    batch = batch_shape_of(start, evidence)

    def report(iteration: int, cost: Tensor, num_active: int) -> None:
        if on_iteration is not None:
            on_iteration(Progress(iteration, config.max_iterations, cost.reshape(batch), num_active))

    with torch.no_grad():
        problem = build_problem(skeleton, evidence, batch)
        initial = flatten_state(start, skeleton, batch)
        free = _free_rotations(skeleton, config)
        found = minimise(problem, initial, config, _unknowns(skeleton, config, free), report)
        end = evaluate(problem, _orthonormal(found.end.state, free.any(-1)))
        shape_of = {"transl": (3,), "local_rotmat": (skeleton.tree.num_joints, 3, 3), "betas": (skeleton.num_betas,)}
        return SolveResult(
            state=SolveState(
                **{key: getattr(end.state, key).reshape(*batch, *shape) for key, shape in shape_of.items()}
            ),
            status=found.status.reshape(batch),
            iterations=found.iterations.reshape(batch),
            cost=end.cost().reshape(batch),
            initial_cost=found.initial_cost.reshape(batch),
            gradient_norm=found.gradient_norm.reshape(batch),
            residuals=tuple(_block_residual(rows, batch) for rows in end.rows if rows.is_reported),
        )


def _free_rotations(skeleton: Skeleton, config: SolveConfig) -> Bool[Tensor, "joints 3"]:
    """Which axes of which joints may turn."""
    count = skeleton.tree.num_joints
    mask = config.free_joints
    if mask is None:
        return torch.ones(count, 3, dtype=torch.bool, device=skeleton.joints_template.device)
    if mask.dtype != torch.bool or tuple(mask.shape) not in ((count,), (count, 3)):
        raise InputError(
            f"free_joints must be a mask of shape ({count},) or ({count}, 3), got {mask.dtype} {tuple(mask.shape)}"
        )
    mask = mask.to(skeleton.joints_template.device)
    return mask if mask.ndim == 2 else mask[:, None].expand(count, 3)


def _unknowns(skeleton: Skeleton, config: SolveConfig, free_rotations: Bool[Tensor, "joints 3"]) -> Unknowns:
    """The free unknowns among translation, rotations and, if they are unknowns, betas."""
    transl = free_rotations.new_full((3,), config.free_transl)
    betas = free_rotations.new_ones(skeleton.num_betas if config.solve_shape else 0)
    is_free = torch.cat((transl, free_rotations.flatten(), betas))
    return Unknowns(len(is_free), is_free.nonzero().squeeze(-1))


def _orthonormal(state: SolveState, is_free: Bool[Tensor, "joints"]) -> SolveState:
    """Take off what the products of the iterations have left of shear; joints that did not move keep their bits."""
    clean = quat_to_rotmat(rotmat_to_quat(state.local_rotmat))
    return SolveState(state.transl, torch.where(is_free[:, None, None], clean, state.local_rotmat), state.betas)


def _block_residual(rows: Rows, batch: tuple[int, ...]) -> BlockResidual:
    is_used = rows.weight > 0
    residual = torch.where(is_used, rows.residual, torch.zeros_like(rows.residual))
    weight: Float[Tensor, "n groups"] = robust_weight(rows.loss, rows.squared) * is_used.any(-1)
    return BlockResidual(
        name=rows.name,
        residual=residual.reshape(*batch, *residual.shape[1:]),
        robust_weight=weight.reshape(*batch, *weight.shape[1:]),
    )

# SPDX-License-Identifier: Apache-2.0
"""The optimum as a differentiable function of everything that the solve was given.

At the optimum g(x, p) = 0, so dx/dp = -H^-1 dg/dp (implicit function theorem), with H the exact second derivative. The
state that comes back is x Exp(-H^-1 (g - g)) with x and H held fixed: its value is x, its derivative that. Nothing of
the iterations is kept. Pins are springs; see `springs`. Imports: torch, the modules beside it, the solve's.

Source: Blondel et al., Efficient and modular implicit differentiation, NeurIPS 2022; for `one_step` Bolte, Pauwels and
Vaiter, One-step differentiation of iterative algorithms, NeurIPS 2023.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Bool
from torch import Tensor

from ikol.solver.backward.hessian import exact_hessian
from ikol.solver.backward.inverse import SpringInverse
from ikol.solver.backward.proximal import Proximal, invert_proximally, settle
from ikol.solver.backward.springs import soften, spring_columns
from ikol.solver.backward.tensors import detached, gated, widened
from ikol.solver.config import SolveConfig
from ikol.solver.levenberg_marquardt import Evaluated, evaluate, merge_states, moved
from ikol.solver.normal_equations import normal_equations
from ikol.solver.one_sided import Unknowns
from ikol.solver.problem import Problem
from ikol.solver.residuals import Rows
from ikol.solver.state import SolveState


def attach(
    problem: Problem,
    initial: SolveState,
    end: Evaluated,
    is_converged: Bool[Tensor, "n"],
    unknowns: Unknowns,
    config: SolveConfig,
) -> Evaluated:
    """Return the same states and residuals with a derivative to everything that `problem` and `initial` were made from.

    Args:
        problem: with history; pins are taut springs.
        initial: with history; what is not free keeps its derivative.
        end: where the solve ended, without history.
        is_converged: others get no gradient at all.
        unknowns: which are free.
        config: of the solve.

    Gradient: the exact Hessian's (`implicit`) or the Gauss-Newton step's (`one_step`). Directions that nothing sees get
    none.
    """
    if not bool(is_converged.all()):
        problem = gated(problem, is_converged)
    base = _based(problem, initial, end.state, is_converged, unknowns)
    wide, place = widened(problem), widened(base)
    if config.backward == "implicit" and problem.pins is None:
        place = settle(wide, place, unknowns, with_shape=config.solve_shape)
    posed = wide.pose(place)
    springs = soften(wide, posed)
    wide = springs.problem
    here = normal_equations(wide, posed, wide.rows(posed), with_shape=config.solve_shape)
    equations = unknowns.pick(here.gauss_newton)
    fixed, gauss_newton, gradient = detached((wide, posed)), equations.hessian.detach(), equations.gradient.detach()

    def inverse() -> SpringInverse[Proximal]:
        hessian = gauss_newton
        if config.backward == "implicit":
            hessian = unknowns.pick_square(exact_hessian(*fixed, with_shape=config.solve_shape))
        columns = spring_columns(*fixed, with_shape=config.solve_shape)[..., unknowns.columns]
        return SpringInverse(invert_proximally(hessian, gauss_newton, gradient), columns, springs.compliance.detach())

    step: Tensor = _Step.apply(equations.gradient, springs.offset, inverse)  # pyright: ignore[reportUnknownMemberType]
    state = moved(problem, base, unknowns.spread(step), with_shape=config.solve_shape)
    if bool(is_converged.all()):
        return evaluate(problem, state)
    return _merged(evaluate(problem, state), end, is_converged)


class _Step(torch.autograd.Function):
    """-H^-1 (g - g), with springs at hand: zero, with the derivative of a step."""

    @staticmethod
    def forward(ctx, gradient: Tensor, offset: Tensor, inverse: Callable[[], SpringInverse[Proximal]]) -> Tensor:  # pyright: ignore
        ctx.inverse = inverse
        return torch.zeros_like(gradient)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor):  # pyright: ignore
        step, forces = ctx.inverse().solve(grad[..., None])
        return -step.squeeze(-1), -forces.squeeze(-1), None


def _based(
    problem: Problem, initial: SolveState, end: SolveState, is_converged: Bool[Tensor, "n"], unknowns: Unknowns
) -> SolveState:
    """Return the end's values: what is free without history, what is held with that of the initial state.

    Items that have not converged are at rest, so that whatever they hold cannot spoil a gradient.
    """
    joints = 3 + 3 * len(problem.parents)
    is_free = torch.zeros(max(unknowns.count, joints), dtype=torch.bool, device=end.transl.device)
    is_free[unknowns.columns] = True
    turns = is_free[3:joints].unflatten(0, (-1, 3))
    # about one axis a joint goes on from where it started, so a turn of the start turns it as well
    turned = initial.local_rotmat @ (initial.local_rotmat.transpose(-1, -2) @ end.local_rotmat).detach()
    rotmat = torch.where(turns.any(-1)[:, None, None], turned, initial.local_rotmat)
    with_shape = unknowns.count > joints + problem.bone_groups.shape[-1]
    scale = end.bone_scale
    if scale is not None and initial.bone_scale is not None:
        # bones of a group change by the same amount: what they differ by is held
        scale = initial.bone_scale + (scale - initial.bone_scale).detach()
    state = SolveState(
        transl=end.transl if bool(is_free[:3].any()) else initial.transl,
        local_rotmat=torch.where(turns.all(-1)[:, None, None], end.local_rotmat, rotmat),
        betas=end.betas if with_shape else initial.betas,
        bone_scale=scale,
    )
    if bool(is_converged.all()):
        return state
    rest = SolveState(
        transl=torch.zeros_like(end.transl),
        local_rotmat=torch.eye(3, dtype=rotmat.dtype, device=rotmat.device).expand_as(rotmat),
        betas=torch.zeros_like(end.betas),
        bone_scale=None if scale is None else torch.ones_like(scale),
    )
    return merge_states(is_converged, state, rest)


def _merged(new: Evaluated, old: Evaluated, keep: Bool[Tensor, "n"]) -> Evaluated:
    """Return the new states and residuals of the items to keep, the old ones of the others."""

    def merged(rows: Rows, before: Rows) -> Rows:
        residual, weight = (
            torch.where(keep[:, None, None], part, part_before)
            for part, part_before in ((rows.residual, before.residual), (rows.weight, before.weight))
        )
        return replace(rows, residual=residual, weight=weight)

    rows = tuple(merged(item, before) for item, before in zip(new.rows, old.rows, strict=True))
    return Evaluated(merge_states(keep, new.state, old.state), old.posed, rows)

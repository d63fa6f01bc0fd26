# SPDX-License-Identifier: Apache-2.0
"""A solve that is repeated with other targets, as while something is dragged: what does not change is checked once.

Imports: torch, the packed problem, the solve.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.errors import InputError
from ikol.solver import evidence as ev
from ikol.solver import residuals as res
from ikol.solver.config import SolveConfig
from ikol.solver.general_native import PackedProblem, library_for
from ikol.solver.levenberg_marquardt import evaluate
from ikol.solver.native_library import Library
from ikol.solver.pins import FAR, GOAL, MAX_ROUNDS, ROUGH, Springs, next_round, unit_stiffness
from ikol.solver.problem import batch_shape_of, build_problem, flatten_state
from ikol.solver.result import SolveResult, SolveStatus
from ikol.solver.skeleton import Skeleton
from ikol.solver.solve import free_axes, solve
from ikol.solver.state import SolveState


class PreparedSolve:
    """Solves the same kinds of evidence again and again; a call costs some 70 us beside the kernel's own time.

    Where the compiled kernel cannot be used, each call is an ordinary `solve`. Not for several threads at once.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        evidence: Sequence[ev.Evidence],
        start: SolveState,
        config: SolveConfig | None = None,
    ) -> None:
        """Check everything once.

        Args:
            skeleton: the rig.
            evidence: blocks with different names; exact pins for a single frame only.
            start: of the batch shape that all later starts have.
            config: settings; None for the defaults.

        Raises:
            InputError: what `solve` refuses, or pins of several frames.
        """
        self._skeleton, self._config = skeleton, SolveConfig() if config is None else config
        self._evidence = {block.name: block for block in evidence}
        self._batch = batch_shape_of(start, evidence)
        problem = build_problem(skeleton, evidence, self._batch, self._config.bone_groups)
        self._start = flatten_state(start, skeleton, self._batch)
        self._library = library_for(self._config, self._start.transl)
        self._packed = PackedProblem(problem, self._config, free_axes(skeleton, self._config))
        self._numbers = {term.name: number for number, term in enumerate(problem.terms)}
        self._pins = None
        if problem.pins is not None:
            if math.prod(self._batch) != 1:
                raise InputError("exact pins are prepared for a single frame; use solve for a batch")
            with torch.no_grad():
                here = evaluate(problem, self._start)
                unit = unit_stiffness(problem, here.rows, here.posed)
            self._pins = _PreparedPins(self._packed, self._config, self._numbers[problem.pins.name], unit)

    def solve(self, start: SolveState | None = None, targets: Mapping[str, Tensor] | None = None) -> SolveResult:
        """Solve with other targets from another start.

        Args:
            start: of the prepared batch shape; None for the prepared one. Its rotations are taken as such.
            targets: of some blocks, by name, in the shape that they were prepared with: the target, reference, angle or
                mean. They stay for later calls. Rows that were missing stay so.

        Raises:
            InputError: a name is unknown, or a shape or type is another one than was prepared.

        Gradient: none. A frame whose numbers are not finite has the status FAILED.
        """
        for name, target in (targets or {}).items():
            self._set_target(name, target.detach())
        if self._library is None:
            given = _reshaped(self._start, self._batch) if start is None else start
            return solve(self._skeleton, list(self._evidence.values()), given, self._config)
        initial = self._start if start is None else self._flat(start)
        if self._pins is not None:
            return self._pins.solve(self._library, initial, self._batch)
        return self._packed.run(self._library, initial, self._batch)

    def _set_target(self, name: str, target: Tensor) -> None:
        block = self._evidence.get(name)
        if block is None or isinstance(block, ev.Limits):
            raise InputError(
                f"there is no evidence called {name!r} with a target; there is {', '.join(self._evidence)}"
            )
        field, before, dimensions = _target_of(block)
        if target.shape != before.shape or target.dtype != before.dtype or target.device != before.device:
            raise InputError(
                f"{name}: the target must stay {before.dtype} of shape {tuple(before.shape)}, got {target.dtype} of "
                f"shape {tuple(target.shape)}; prepare another solve for another shape"
            )
        self._evidence[name] = replace(block, **{field: target})
        number = self._numbers[name]
        term = self._packed.problem.terms[number]
        if isinstance(term, res.AnchorTerm) and len(term.joint_index) != self._packed.call.joints:
            target = target[..., term.joint_index, :, :]
        tail = target.shape[target.ndim - dimensions :]
        if math.prod(target.shape[: target.ndim - dimensions]) != 1:
            target = target.expand(*self._batch, *tail)
        target = target.reshape(-1, *tail)
        if isinstance(block, ev.Pins):
            assert self._pins is not None
            self._pins.target = target
        self._packed.set_target(self._packed.blocks[number], f"{number}", target)

    def _flat(self, start: SolveState) -> SolveState:
        before, count = self._start, len(self._batch)
        parts: dict[str, Tensor] = {}
        for name in ("transl", "local_rotmat", "betas", "bone_scale"):
            part, old = getattr(start, name), getattr(before, name)
            if part is None or old is None:
                if part is not None:
                    raise InputError("the start has bone scales, the prepared one had none")
                continue
            part = part.detach()
            fits = part.dtype == old.dtype and part.device == old.device
            if part.ndim == old.ndim - 1 and name == "betas":
                part = part.expand(*self._batch, -1)
            if not fits or tuple(part.shape) != (*self._batch, *old.shape[1:]):
                raise InputError(
                    f"start: {name} must be {old.dtype} of shape {(*self._batch, *old.shape[1:])}, got {part.dtype} of "
                    f"shape {tuple(part.shape)}"
                )
            parts[name] = part[None] if count == 0 else part.flatten(0, count - 1)
        return SolveState(**parts)


class _PreparedPins:
    """`pins.minimise_pinned` over a packed problem of one frame: nothing is evaluated outside of the kernel.

    Args:
        packed: the problem.
        config: its settings.
        number: of the block of pins.
        unit: the stiffness of all other evidence where the solve was prepared, which sets the scale of the springs'.
    """

    def __init__(self, packed: PackedProblem, config: SolveConfig, number: int, unit: Float[Tensor, "1"]) -> None:
        pins = packed.problem.pins
        assert pins is not None
        assert pins.tolerance is not None
        self._packed, self._config, self._number, self._tolerance = packed, config, number, pins.tolerance
        self._is_pinned = pins.weight > 0
        self._unit = unit[:, None] * self._is_pinned[..., 0]
        self.target = pins.target.detach()

    def solve(self, library: Library, initial: SolveState, batch: tuple[int, ...]) -> SolveResult:
        """Solve from a flat batch of one state."""
        config, is_rough, iterations = self._config, True, 0
        springs = Springs.first(self._unit, torch.zeros_like(self.target))
        first, offset = self._round(library, initial, batch, springs, replace(config, max_iterations=0))
        springs, found, is_done = Springs.first(self._unit, offset), first, False
        state = initial
        for _ in range(MAX_ROUNDS):
            now = replace(config, cost_tolerance=max(ROUGH, config.cost_tolerance)) if is_rough else config
            found, offset = self._round(library, state, batch, springs, now)
            iterations += int(found.iterations)
            is_off = ~springs.is_given_up & (offset.norm(dim=-1) > GOAL * self._tolerance)
            is_done = int(found.status) == SolveStatus.FAILED or not (is_rough or bool(is_off.any()))
            if is_done:
                break
            springs, is_suspect = next_round(springs, offset, is_off, FAR * self._tolerance, is_rough=is_rough)
            is_rough = bool(is_off.any()) and not is_suspect
            # losses that have reached their final shape would let go again of what they have found
            config = replace(config, gnc_start=1.0)
            parts = found.state
            scale = None if parts.bone_scale is None else parts.bone_scale.reshape(1, -1)
            state = SolveState(
                parts.transl.reshape(1, 3),
                parts.local_rotmat.reshape(1, -1, 3, 3),
                parts.betas.reshape(1, -1),
                scale,
            )
        distance = offset.norm(dim=-1).reshape(*batch, -1)
        residuals = list(found.residuals)
        residuals[self._number] = replace(residuals[self._number], residual=offset.reshape(*batch, -1, 3))
        return replace(
            found,
            status=found.status if is_done else torch.full_like(found.status, int(SolveStatus.MAX_ITERATIONS)),
            iterations=torch.full_like(found.iterations, iterations),
            initial_cost=first.cost,
            residuals=tuple(residuals),
            pin_distance=distance,
            is_pin_reached=distance <= self._tolerance,
        )

    def _round(
        self,
        library: Library,
        initial: SolveState,
        batch: tuple[int, ...],
        springs: Springs,
        config: SolveConfig,
    ) -> tuple[SolveResult, Float[Tensor, "1 pins 3"]]:
        """Solve with springs; return the result with the cost of the evidence alone, and pins to points."""
        packed, number = self._packed, self._number
        call, block = packed.call, packed.blocks[number]
        call.max_iterations, call.cost_tolerance = config.max_iterations, config.cost_tolerance
        call.gnc_start = config.gnc_start
        end = self.target - springs.slack
        weight = springs.stiffness[..., None].expand_as(end)
        packed.set_rows(block, f"{number}", end, weight)
        result = packed.run(library, initial, batch)
        stretched = result.residuals[number].residual.reshape(end.shape)
        spring_cost = 0.5 * (weight * stretched.square()).sum().reshape(batch)
        offset = torch.where(self._is_pinned, stretched - springs.slack, 0.0)
        return replace(result, cost=result.cost - spring_cost), offset


def _target_of(block: ev.Evidence) -> tuple[str, Tensor, int]:
    """Return the name of a block's target, the target, and how many dimensions a frame's has."""
    match block:
        case ev.Orientation() | ev.Anchor():
            return "reference", block.reference, 3
        case ev.Twist():
            return "angle", block.angle, 1
        case ev.ShapePrior() | ev.BonePrior():
            return "mean", block.mean, 1
        case ev.Limits():
            raise InputError("limits have no target")
        case _:
            return "target", block.target, 2


def _reshaped(state: SolveState, batch: tuple[int, ...]) -> SolveState:
    def shaped(part: Tensor) -> Tensor:
        return part.reshape(*batch, *part.shape[1:])

    scale = state.bone_scale
    return SolveState(
        shaped(state.transl), shaped(state.local_rotmat), shaped(state.betas), None if scale is None else shaped(scale)
    )

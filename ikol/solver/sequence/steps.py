# SPDX-License-Identifier: Apache-2.0
"""Damped steps of a whole sequence that know of the limits they would cross.

A step is solved from the band; where it would enter limits or leave them, the frames around are solved again with the
limits as the step finds them, the others' step held: that lowers the one-sided model as one more solve of all frames
would, in a fraction of the time. Imports: torch, the ordinary steps, the band, the model.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.solver.config import SolveConfig
from ikol.solver.levenberg_marquardt import shrinkage
from ikol.solver.linear import LEAST_DIAGONAL
from ikol.solver.one_sided import change_of_decrease, change_of_sides, crossed_sides
from ikol.solver.sequence.band import Band, solve_band
from ikol.solver.sequence.equations import SequenceEquations
from ikol.solver.sequence.model import SequenceModel
from ikol.solver.sequence.windows import LARGEST_SHARE, MARGIN, stretches

# limits that a step would cross are worth solving again only where they cost this part of what it gains
WORTH_A_ROUND = 0.1
MAX_ROUNDS = 5


@dataclass(frozen=True, eq=False)
class Step:
    """A damped step of all unknowns, and by how much the model falls along it."""

    full: Float[Tensor, "moving all"]
    decrease: Float[Tensor, "1"]
    promised: Float[Tensor, "moving"]
    """Each moving frame's part in the decrease, limits and damping not counted."""


@dataclass(frozen=True, eq=False)
class _Solution:
    """(H + damping D) d = -g, later with some limits' rows changed."""

    step: Float[Tensor, "moving columns"]
    shared: Float[Tensor, "shared"]
    against: Float[Tensor, ""]
    """g^T d."""
    held: Float[Tensor, ""]
    """d^T (H + damping D) d."""


class Stepper:
    """Makes steps of one sequence, or of a part."""

    def __init__(self, model: SequenceModel, config: SolveConfig) -> None:
        self._model = model
        self._config = config
        self._work: Tensor | None = None

    def no_step(self) -> Step:
        """Return a step that is rejected: what is not definite gets more damping."""
        like, count = self._model.problem.frames.carries, self._model.inner.stop - self._model.inner.start
        return Step(like.new_zeros(count, self._model.unknowns.count), like.new_zeros(1), like.new_zeros(count))

    def step(self, equations: SequenceEquations, damping: Float[Tensor, "1"]) -> Step | None:
        """Return the damped step; None where the equations are not definite."""
        each, shared = diagonals(equations)
        plain = self._plain(equations, damping, each, shared)
        if plain is None:
            return None

        def finished(found: _Solution) -> tuple[Step, float]:
            braked = damping * ((each * found.step.square()).sum() + (shared * found.shared.square()).sum())
            return self._finished(equations, found, braked)

        best, gain = finished(plain)
        if not equations.limits:
            return best if math.isfinite(gain) else None
        full, before = best.full, torch.cat([rows.residual.sign() for rows in equations.limits], dim=1)
        used = before
        for _ in range(MAX_ROUNDS):
            sides = torch.cat([crossed_sides(rows, full) for rows in equations.limits], dim=1)
            if torch.equal(sides, used):
                break
            spans = stretches((sides != before).flatten(1).any(-1), MARGIN)
            if sum(span.stop - span.start for span in spans) > LARGEST_SHARE * len(full):
                lost = change_of_decrease(equations.limits, best.full).sum()
                if used is not before or -lost < WORTH_A_ROUND * (best.decrease - lost):
                    break
                spans = [slice(0, len(full))]
            again = self._again(equations, damping, each, plain, sides, before, spans)
            # rows that leave may take the definiteness with them: the step before stands then
            if again is None:
                break
            step, found_gain = finished(again)
            full, used = step.full, sides
            if found_gain > gain:
                best, gain = step, found_gain
        return best if math.isfinite(gain) else None

    def _plain(
        self, equations: SequenceEquations, damping: Float[Tensor, "1"], each: Tensor, shared: Tensor
    ) -> _Solution | None:
        """Solve (H + damping D) d = -g."""
        band, gradient = equations.band, equations.gradient
        if self._work is None:
            self._work = band.panels.new_empty(*band.panels.shape[:2], band.panels.shape[2] + 1)
        work = self._work
        work[..., :-1] = band.panels
        work[..., -1] = -gradient
        work.diagonal(dim1=1, dim2=2).add_(damping * each)
        found = solve_band(Band(work, band.reach))
        if found is None:
            return None
        step, shared_step = found[..., -1], shared.new_zeros(0)
        if len(shared):
            border, through = band.panels[..., band.sides].flatten(0, 1), found[..., :-1].flatten(0, 1)
            corner = equations.shared.hessian[0] + torch.diag(damping * shared) - border.mT @ through
            factor, info = torch.linalg.cholesky_ex(corner)
            if int(info) != 0:
                return None
            right = -equations.shared.gradient[0] - border.mT @ step.flatten()
            shared_step = torch.cholesky_solve(right[:, None], factor).squeeze(-1)
            step = step - found[..., :-1] @ shared_step
        against = (gradient * step).sum() + (equations.shared.gradient[0] * shared_step).sum()
        return _Solution(step, shared_step, against, -against)

    def _again(
        self,
        equations: SequenceEquations,
        damping: Float[Tensor, "1"],
        each: Float[Tensor, "moving columns"],
        plain: _Solution,
        sides: Float[Tensor, "moving groups rows"],
        before: Float[Tensor, "moving groups rows"],
        spans: list[slice],
    ) -> _Solution | None:
        """Solve some frames' part again, with limits on other sides: (H + damping D + C) e = -c - C d, C, c the change.

        Args:
            equations: of all frames.
            damping: the same as before.
            each: D.
            plain: d.
            sides: which ends of their ranges the limits' rows are beyond.
            before: which they are beyond at the state.
            spans: the frames whose step changes; all those whose sides do are among them.
        """
        band, picks = equations.band, self._model.each
        index = torch.cat([torch.arange(span.start, span.stop, device=each.device) for span in spans])
        is_changed = (sides != before).flatten(1).any(-1)
        frames = is_changed.nonzero().squeeze(-1)
        change = change_of_sides(
            [rows.take(is_changed) for rows in equations.limits], sides[is_changed], self._model.unknowns.count
        )
        hessian = picks.pick_square(change.hessian[:, : picks.count, : picks.count])
        right = -change.gradient[:, picks.columns] - (hessian @ plain.step[frames][..., None]).squeeze(-1)
        place = torch.searchsorted(index, frames)
        own, size = band.blocks(0, 1), band.panels.shape[1]
        work = band.panels.new_empty(len(index), size, band.reach * size + 1)
        work[..., :-1] = band.panels[index, :, : band.reach * size]
        work.diagonal(dim1=1, dim2=2).add_(damping * each[index])
        work[place, :, own] += hessian
        work[..., -1] = 0.0
        work[place, :, -1] = right
        ends = torch.tensor([span.stop - span.start for span in spans]).cumsum(0)
        for ahead in range(1, band.reach):  # a stretch does not touch the next one
            for back in range(min(ahead, int(ends[0]))):
                work[(ends - 1 - back).clamp(min=0), :, band.blocks(ahead, ahead + 1)] = 0.0
        found = solve_band(Band(work, band.reach))
        if found is None:
            return None
        change_of_step = found[..., 0]
        along = change_of_step[place]
        against = (equations.gradient[index] * change_of_step).sum()
        bent = (along * right).sum() - ((hessian @ along[..., None]).squeeze(-1) * along).sum()
        return _Solution(
            step=plain.step.index_add(0, index, change_of_step),
            shared=plain.shared,
            against=plain.against + against,
            held=plain.held - 2.0 * against + bent,
        )

    def _finished(
        self, equations: SequenceEquations, found: _Solution, braked: Float[Tensor, "1"]
    ) -> tuple[Step, float]:
        """Shorten a step so that no joint turns too far; return it and by how much the damped model falls."""
        joined = torch.cat((found.step, found.shared.expand(len(found.step), -1)), dim=-1)
        full = self._model.unknowns.spread(joined)
        shrink = shrinkage(self._model.problem.frames, full, self._config).amin()
        full = shrink * full
        decrease = -shrink * found.against - 0.5 * shrink.square() * (found.held - braked)
        if equations.limits:
            decrease = decrease + change_of_decrease(equations.limits, full).sum()
        promised = 0.5 * (equations.gradient * found.step).sum(-1).abs()
        gain = float(decrease - 0.5 * shrink.square() * braked)
        return Step(full, decrease, promised), gain if bool(torch.isfinite(full).all()) else math.nan


def diagonals(equations: SequenceEquations) -> tuple[Float[Tensor, "frames columns"], Float[Tensor, "shared"]]:
    """Return D: the diagonal of H, raised for what the evidence hardly sees."""
    each = equations.band.panels.diagonal(dim1=1, dim2=2)
    shared = equations.shared.hessian[0].diagonal()
    joined = torch.cat((each.flatten(), shared))
    largest = float(joined.amax()) if len(joined) else 1.0
    least = LEAST_DIAGONAL * (largest if largest > 0 else 1.0)
    return each.clamp(min=least), shared.clamp(min=least)

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
from ikol.solver.sequence.band import solve_band
from ikol.solver.sequence.band_native import Stretches
from ikol.solver.sequence.equations import SequenceEquations
from ikol.solver.sequence.model import SequenceModel
from ikol.solver.sequence.windows import stretches

# limits that a step would cross are worth solving again only where they cost this part of what it gains
WORTH_A_ROUND = 0.1
MAX_ROUNDS = 5
MARGIN = 4  # frames on each side of one whose limits change: its step changes theirs
LARGEST_SHARE = 0.5  # of all frames


@dataclass(frozen=True, eq=False)
class Step:
    """A damped step of all unknowns, and by how much the model falls along it."""

    full: Float[Tensor, "moving all"]
    decrease: Float[Tensor, "1"]
    promised: Float[Tensor, "moving"]
    """Each moving frame's part in the decrease, limits and damping not counted."""


@dataclass(frozen=True, eq=False)
class _Solution:
    """(H + D) d = -g, later with some limits' rows changed."""

    step: Float[Tensor, "moving columns"]
    shared: Float[Tensor, "shared"]
    against: Float[Tensor, ""]
    """g^T d."""
    held: Float[Tensor, ""]
    """d^T (H + D) d."""


class Stepper:
    """Makes steps of one sequence, or of a part."""

    def __init__(self, model: SequenceModel, config: SolveConfig) -> None:
        self._model = model
        self._config = config

    def no_step(self) -> Step:
        """Return a step that is rejected: what is not definite gets more damping."""
        like, count = self._model.problem.frames.carries, self._model.inner.stop - self._model.inner.start
        return Step(like.new_zeros(count, self._model.unknowns.count), like.new_zeros(1), like.new_zeros(count))

    def step(
        self, equations: SequenceEquations, damping: Float[Tensor, "1"], local: Float[Tensor, "moving"]
    ) -> Step | None:
        """Return the damped step; None where the equations are not definite.

        Args:
            equations: of all frames.
            damping: relative to the diagonal.
            local: of some frames more.
        """
        each, shared = diagonals(equations)
        each, shared = torch.maximum(damping, local)[:, None] * each, damping * shared
        plain = self._plain(equations, each, shared)
        if plain is None:
            return None

        def finished(found: _Solution) -> tuple[Step, float]:
            braked = (each * found.step.square()).sum() + (shared * found.shared.square()).sum()
            return self._finished(equations, found, braked)

        best, gain = finished(plain)
        if not equations.limits:
            return best if math.isfinite(gain) else None
        full, before = best.full, torch.cat([rows.residual.sign() for rows in equations.limits], dim=1)
        used = before
        for _ in range(MAX_ROUNDS):
            sides = torch.cat([crossed_sides(rows, full) for rows in equations.limits], dim=1)
            spans = stretches((sides != before).flatten(1).any(-1), MARGIN)
            if not spans or torch.equal(sides, used):
                break
            if sum(span.stop - span.start for span in spans) > LARGEST_SHARE * len(full):
                lost = change_of_decrease(equations.limits, best.full).sum()
                if used is not before or -lost < WORTH_A_ROUND * (best.decrease - lost):
                    break
            again = self._again(equations, each, plain, sides, before, spans)
            # rows that leave may take the definiteness with them: the step before stands then
            if again is None:
                break
            step, found_gain = finished(again)
            full, used, gained = step.full, sides, found_gain - gain
            if found_gain > gain:
                best, gain = step, found_gain
            if 0.0 <= gained < WORTH_A_ROUND * gain:
                break
        return best if math.isfinite(gain) else None

    def _plain(
        self, equations: SequenceEquations, each: Float[Tensor, "moving columns"], shared: Float[Tensor, "shared"]
    ) -> _Solution | None:
        """Solve (H + D) d = -g, D the damping: that of each frame's own unknowns, and of what all share."""
        band, gradient = equations.band, equations.gradient
        found = solve_band(band, each, -gradient, None, self._model.memory, is_rough=not len(shared))
        if found is None:
            return None
        step, shared_step = found[..., -1], shared.new_zeros(0)
        if len(shared):
            border, through = band.panels[..., band.sides].flatten(0, 1), found[..., :-1].flatten(0, 1)
            corner = equations.shared.hessian[0] + torch.diag(shared) - border.mT @ through
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
        each: Float[Tensor, "moving columns"],
        plain: _Solution,
        sides: Float[Tensor, "moving groups rows"],
        before: Float[Tensor, "moving groups rows"],
        spans: list[slice],
    ) -> _Solution | None:
        """Solve some frames' part again, with limits on other sides: (H + D + C) e = -c - C d, C, c the change.

        Args:
            equations: of all frames.
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
        some = Stretches(
            index=index,
            left=torch.cat([torch.arange(span.stop - span.start - 1, -1, -1, device=each.device) for span in spans]),
            changed=torch.full_like(index, -1).index_copy_(0, place, torch.arange(len(place), device=each.device)),
            change=hessian,
        )
        against_limits = torch.zeros_like(each[index]).index_copy_(0, place, right)
        found = solve_band(band, each[index], against_limits, some, self._model.memory, is_rough=not len(plain.shared))
        if found is None:
            return None
        change_of_step = found[..., -1]
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
        self, equations: SequenceEquations, found: _Solution, braked: Float[Tensor, ""]
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
        return Step(full, decrease.reshape(1), promised), gain if bool(torch.isfinite(full).all()) else math.nan


def diagonals(equations: SequenceEquations) -> tuple[Float[Tensor, "frames columns"], Float[Tensor, "shared"]]:
    """Return D: the diagonal of H, raised for what the evidence hardly sees."""
    each = equations.band.panels.diagonal(dim1=1, dim2=2)
    shared = equations.shared.hessian[0].diagonal()
    joined = torch.cat((each.flatten(), shared))
    largest = float(joined.amax()) if len(joined) else 1.0
    least = LEAST_DIAGONAL * (largest if largest > 0 else 1.0)
    return each.clamp(min=least), shared.clamp(min=least)

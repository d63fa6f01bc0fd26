# SPDX-License-Identifier: Apache-2.0
"""Linear equations whose frames touch only the next one or two.

Cholesky frame by frame: O(T n^3) for T frames of n unknowns, no fill-in beyond the band. The compiled kernel does it on
the CPU; elsewhere, or without it, each frame's part of the factor comes from a few dense products in PyTorch.
Imports: torch, the compiled kernel.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.solver.sequence.band_native import Memory, Stretches, can_solve, solve_native


@dataclass(frozen=True, eq=False)
class Band:
    """For each frame a row of blocks on and right of the diagonal of A, and right-hand sides: [A_tt, A_t,t+1 ..., b_t].

    Of blocks on the diagonal only the upper triangle counts. Blocks beyond the last frame are ignored.
    """

    panels: Float[Tensor, "frames columns all"]
    reach: int
    """How many blocks of A a row has: 1 where frames are independent, 3 with second differences."""

    def __len__(self) -> int:
        """How many frames there are."""
        return len(self.panels)

    @property
    def sides(self) -> slice:
        """Where the right-hand sides lie in a row."""
        return slice(self.reach * self.panels.shape[1], self.panels.shape[2])

    def blocks(self, first: int, stop: int) -> slice:
        """Where blocks lie in a row."""
        return slice(first * self.panels.shape[1], stop * self.panels.shape[1])

    def coupled(self, frame: int) -> int:
        """How many of the following frames a frame touches."""
        return min(self.reach, len(self) - frame) - 1


def solve_band(
    band: Band,
    diagonal: Float[Tensor, "some columns"] | None = None,
    right: Float[Tensor, "some columns"] | None = None,
    stretches: Stretches | None = None,
    memory: Memory | None = None,
    *,
    is_rough: bool = False,
) -> Float[Tensor, "some columns sides"] | None:
    """Return the x with A x = b, None where A is not positive definite.

    Of the blocks on the diagonal only the upper triangle is read.

    Args:
        band: A and b.
        diagonal: to be added to that of A.
        right: one more right-hand side, the last one.
        stretches: solve these frames only, as if there were no others; `diagonal` and `right` are theirs.
        memory: to work in.
        is_rough: whether some seven digits less the root of the condition are enough, as for a step; takes less time.
    """
    if can_solve(band.panels):
        return solve_native(band.panels, band.reach, diagonal, right, stretches, memory, is_rough=is_rough)
    return solve_band_torch(band, diagonal, right, stretches)


def solve_band_torch(
    band: Band,
    diagonal: Float[Tensor, "some columns"] | None = None,
    right: Float[Tensor, "some columns"] | None = None,
    stretches: Stretches | None = None,
) -> Float[Tensor, "some columns sides"] | None:
    """Do what `solve_band` does, in PyTorch.

    Source: Golub and Van Loan, Matrix Computations, 2013, sec. 4.3.5 (band Cholesky), by blocks.
    """
    size = band.panels.shape[1]
    panels = band.panels.clone() if stretches is None else band.panels[stretches.index]
    if right is not None:
        panels = torch.cat((panels, right[..., None]), dim=-1)
    band, own, others = Band(panels, band.reach), slice(0, size), slice(size, panels.shape[2])
    if diagonal is not None:
        panels.diagonal(dim1=1, dim2=2).add_(diagonal)
    if stretches is not None:
        is_changed = stretches.changed >= 0
        panels[is_changed, :, own] += stretches.change[stretches.changed[is_changed]]
        for ahead in range(1, band.reach):
            panels[stretches.left < ahead, :, band.blocks(ahead, ahead + 1)] = 0.0
    for frame in range(len(band)):
        factor, info = torch.linalg.cholesky_ex(panels[frame, :, own], upper=True)
        if int(info) != 0:
            return None
        panels[frame, :, own] = factor
        panels[frame, :, others] = torch.linalg.solve_triangular(factor.mT, panels[frame, :, others], upper=False)
        _eliminate(band, frame)
    solution = panels[..., band.sides].clone()
    for frame in reversed(range(len(band))):
        coupled = band.coupled(frame)
        known = solution[frame + 1 : frame + 1 + coupled].flatten(0, 1)
        right_side = torch.addmm(solution[frame], panels[frame, :, band.blocks(1, 1 + coupled)], known, alpha=-1.0)
        solution[frame] = torch.linalg.solve_triangular(panels[frame, :, own], right_side, upper=True)
    return solution


def _eliminate(band: Band, frame: int) -> None:
    """Take a frame's part off the frames that it touches."""
    panels, coupled = band.panels, band.coupled(frame)
    if coupled == 0:
        return
    to_blocks = panels[frame, :, band.blocks(1, 1 + coupled)]
    between = to_blocks.mT @ to_blocks
    on_sides = to_blocks.mT @ panels[frame, :, band.sides]
    for ahead in range(coupled):
        own = band.blocks(ahead, ahead + 1)
        later = panels[frame + 1 + ahead]
        later[:, band.blocks(0, coupled - ahead)] -= between[own, band.blocks(ahead, coupled)]
        later[:, band.sides] -= on_sides[own]

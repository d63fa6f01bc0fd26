# SPDX-License-Identifier: Apache-2.0
"""What solving a sequence gives back. Imports: torch, the ordinary result."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ikol.solver.result import BlockResidual, SolveStatus, find_residual
from ikol.solver.state import SolveState


@dataclass(frozen=True, eq=False)
class SequenceResult:
    """The states found, and how well and how the sequence ended as a whole."""

    state: SolveState
    """Of all frames; what they share is repeated."""
    status: SolveStatus
    iterations: int
    """Steps tried, rejected ones included."""
    cost: float
    """1/2 sum rho(s^2) over all groups of all frames and links, at the end."""
    initial_cost: float
    gradient_norm: float
    """Largest |g_i| / sqrt(H_ii) at the end, in standard deviations."""
    residuals: tuple[BlockResidual, ...]
    """Of frames, (T, ...), and of what links them: (T - 2, ...) for second differences, (T - 1, ...) for contacts."""
    frame_cost: Float[Tensor, "frames"]
    """Each frame's part of the cost, links not counted."""

    def residual(self, name: str) -> BlockResidual:
        """Return the residual of the block called `name`.

        Raises:
            InputError: there was no such block.
        """
        return find_residual(self.residuals, name)

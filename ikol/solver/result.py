# SPDX-License-Identifier: Apache-2.0
"""What a solve gives back. Imports: torch, the state."""

from dataclasses import dataclass
from enum import IntEnum

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ikol.errors import InputError
from ikol.solver.state import SolveState


class SolveStatus(IntEnum):
    """How a solve ended."""

    CONVERGED = 0
    """No step lowers the cost by more than the tolerance."""
    STALLED = 1
    """No step that lowers the cost was found although the gradient says that there is one."""
    MAX_ITERATIONS = 2
    """The iterations ran out; the state is the best one found."""
    FAILED = 3
    """The cost of the initial state is not finite (numbers overflow); the state is the initial one."""


@dataclass(frozen=True, eq=False)
class BlockResidual:
    """What is left of one evidence block."""

    name: str
    residual: Float[Tensor, "*batch groups rows"]
    """Metres, pixels or radians; 0 where missing."""
    robust_weight: Float[Tensor, "*batch groups"]
    """How much the robust loss listens to each group, 0 to 1; 0 where all its rows are missing."""

    @property
    def distance(self) -> Float[Tensor, "*batch groups"]:
        """Length of each group's residual."""
        return torch.linalg.vector_norm(self.residual, dim=-1)


def find_residual(residuals: tuple[BlockResidual, ...], name: str) -> BlockResidual:
    """Return the residual called `name`.

    Raises:
        InputError: there is none.
    """
    for block in residuals:
        if block.name == name:
            return block
    known = ", ".join(block.name for block in residuals)
    raise InputError(f"the solve had no evidence called {name!r}; it had {known}")


@dataclass(frozen=True, eq=False)
class SolveResult:
    """The state found, and for each item of the batch how well and how it ended."""

    state: SolveState
    status: Int[Tensor, "*batch"]
    """Values of `SolveStatus`."""
    iterations: Int[Tensor, "*batch"]
    """Steps tried, rejected ones included."""
    cost: Float[Tensor, "*batch"]
    """1/2 sum rho(s^2) over all groups, at the end. Pins are no part of it, so with them it may rise."""
    initial_cost: Float[Tensor, "*batch"]
    gradient_norm: Float[Tensor, "*batch"]
    """Largest |g_i| / sqrt(H_ii) at the end, in standard deviations."""
    residuals: tuple[BlockResidual, ...]
    pin_distance: Float[Tensor, "*batch pins"] | None = None
    """Metres from each of the `Pins` to its point, 0 where nothing is pinned; None without pins."""
    is_pin_reached: Bool[Tensor, "*batch pins"] | None = None
    """Whether that is within the tolerance."""

    def residual(self, name: str) -> BlockResidual:
        """Return the residual of the block called `name`.

        Raises:
            InputError: there was no such block.
        """
        return find_residual(self.residuals, name)

# SPDX-License-Identifier: Apache-2.0
"""Settings and result of the solve for bone directions. Imports: torch, ikol.errors."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ikol.errors import InputError

Backend = Literal["auto", "native", "torch"]
Backward = Literal["implicit", "one_step", "unrolled"]
TOLERANCE = {torch.float32: 5e-5, torch.float64: 1e-10}  # radians; a Newton step squares the error


@dataclass(frozen=True)
class DirectionConfig:
    """How to solve, and how to differentiate."""

    hold_root: bool = False
    """Whether the root stays on its keypoint, as in the paper; otherwise its place is an unknown like the others."""
    max_iterations: int = 50
    """Steps tried from a start, rejected ones included; 0 gives the analytic start. Where keypoints on a fork are
    missing, or the residual is large, up to five starts are tried and the lowest cost is kept."""
    backend: Backend = "auto"
    """`auto`: compiled on the CPU in float32 and float64 where the library can be loaded, else PyTorch."""
    backward: Backward = "implicit"
    """`implicit`: derivative of the optimum, by the exact Hessian; zero for items that did not converge.
    `one_step`: derivative of one Gauss-Newton step at the optimum: the second-order part of the Hessian is left out,
    which is wrong by 12-19 % where a residual of 10 mm is left.
    `unrolled`: derivative of `unrolled_steps` Gauss-Newton steps from the analytic start, in PyTorch: the paper's
    GN-Diff, dx_k = dx_{k-1} - dH r - H dr, with all terms, dH (which the released code drops) included. The steps have
    no safeguards; its status is that of the last step's length, and its gradients are not gated on it."""
    unrolled_steps: int = 5
    """Gauss-Newton steps of `unrolled`."""

    def __post_init__(self) -> None:
        if self.max_iterations < 0 or self.unrolled_steps < 1:
            raise InputError(
                "max_iterations must not be negative and unrolled_steps must be 1 or more, got "
                f"{self.max_iterations} and {self.unrolled_steps}"
            )
        for name, allowed in (("backend", get_args(Backend)), ("backward", get_args(Backward))):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")


@dataclass(frozen=True, eq=False)
class DirectionResult:
    """Rotations, and for each item of the batch how well and how the solve ended."""

    local_rotmat: Float[Tensor, "*batch joints 3 3"]
    """Of the joints that have children, in the skeleton's order, relative to their parents."""
    root: Float[Tensor, "*batch 3"]
    """Where the root joint is, in metres."""
    cost: Float[Tensor, "*batch"]
    """1/2 sum w |x - y|^2, in square metres for weights without a unit. No gradient."""
    status: Int[Tensor, "*batch"]
    """Values of `SolveStatus`."""
    iterations: Int[Tensor, "*batch"]
    """Steps tried from the start that was kept, rejected ones included."""

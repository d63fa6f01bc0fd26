# SPDX-License-Identifier: Apache-2.0
"""Settings and progress of a solve. Imports: torch, ikol.errors."""

import math
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Bool, Float, Int
from torch import Tensor

from ikol.errors import InputError

BACKENDS = ("auto", "native", "torch")
BACKWARDS = ("implicit", "one_step", "unrolled")


@dataclass(frozen=True, eq=False)
class SolveConfig:
    """What may move, and when to stop."""

    max_iterations: int = 200
    """Steps tried, rejected ones included; 0 only evaluates the initial state. With `Pins`, of each round."""
    free_joints: Bool[Tensor, "..."] | None = None
    """(J,), or (J, 3) for each axis of the joint: which rotations may change. None: all, the root's too."""
    free_transl: bool = True
    """Whether the root translation may change."""
    solve_shape: bool = False
    """Whether the betas may change; give a `ShapePrior` then."""
    bone_groups: Int[Tensor, "..."] | None = None
    """(J,): which bone scales may change; give a `BonePrior` then. Bones of equal numbers change by the same amount, -1
    is fixed, the root's is ignored. None: all fixed. `elastic_bones`: each by itself."""
    max_step: float = 0.8
    """Radians: no joint turns by more in one step. Linearised rotations mean little beyond."""
    initial_damping: float = 1e-3
    """Relative to the diagonal of the normal equations, so without a unit."""
    cost_tolerance: float = 1e-6
    """An accepted step that lowers the cost by less than this part of it is the last."""
    gradient_tolerance: float = 1e-4
    """In standard deviations: no unknown alone could lower the cost by more than half its square."""
    gnc_start: float = 64.0
    """Convexity of the first iteration where a Geman-McClure loss is used: outliers up to 8 k count as inliers."""
    gnc_factor: float = 2.0
    """The convexity is divided by this after each iteration, down to 1."""
    backend: Literal["auto", "native", "torch"] = "auto"
    """What computes the steps: torch, on any device, or the compiled kernel, on the CPU; auto prefers the kernel."""
    backward: Literal["implicit", "one_step", "unrolled"] = "implicit"
    """How gradients come about. `implicit`: exactly, from the optimum alone. `one_step`: from a Gauss-Newton step more,
    which is wrong where residuals are left. `unrolled`: through `unrolled_steps` plain Gauss-Newton steps, which then
    are all that is done (GN-Diff, for comparison). It has no safeguards, and its gradients are those of the steps
    whether or not they have converged."""
    unrolled_steps: int = 5

    def __post_init__(self) -> None:
        if self.max_iterations < 0:
            raise InputError(f"max_iterations must not be negative, got {self.max_iterations}")
        if self.unrolled_steps < 1:
            raise InputError(f"unrolled_steps must be at least 1, got {self.unrolled_steps}")
        for name, known in (("backend", BACKENDS), ("backward", BACKWARDS)):
            if getattr(self, name) not in known:
                raise InputError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        for name in ("max_step", "initial_damping"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise InputError(f"{name} must be a positive number, got {value}")
        for name in ("cost_tolerance", "gradient_tolerance"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} must not be negative, got {getattr(self, name)}")
        if not (self.gnc_start >= 1 and self.gnc_factor > 1):
            raise InputError(
                f"gnc_start must be at least 1 and gnc_factor above 1, got {self.gnc_start} and {self.gnc_factor}"
            )


@dataclass(frozen=True, eq=False)
class Progress:
    """Handed to the callback after each iteration."""

    iteration: int
    """Counted from 1; with `Pins`, in each round."""
    max_iterations: int
    cost: Float[Tensor, "*batch"]
    num_active: int
    """How many items of the batch have not ended yet."""

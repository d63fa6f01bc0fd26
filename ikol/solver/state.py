# SPDX-License-Identifier: Apache-2.0
"""What is solved for. Imports: torch."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class SolveState:
    """A pose, or a batch of them; the batch dimensions of the parts broadcast."""

    transl: Float[Tensor, "*#batch 3"]
    """Metres, world; the posed root joint lies at its rest place plus this."""
    local_rotmat: Float[Tensor, "*#batch joints 3 3"]
    """Relative to the parent; the root's relative to the world."""
    betas: Float[Tensor, "*#batch betas"]
    """Shape coefficients; none for a rig without a shape space."""
    bone_scale: Float[Tensor, "*#batch joints"] | None = None
    """How much longer each joint's bone from its parent is than the shape says; the root's is ignored. None for ones.

    Points keep their place relative to their own joint: they move with its bone, and are not stretched themselves."""

# SPDX-License-Identifier: Apache-2.0
"""Residuals between neighbouring frames, with their local derivatives, and the floor's.

A link's row r speaks of the frames r, r + 1 ... up to its stencil's width. Its groups (one point, one joint) have
three rows with one weight. How places and turns move with the unknowns is the business of the normal equations.
Imports: torch, ikol.geometry, the ordinary residuals, the robust losses.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.geometry.rotations import right_jacobian_inverse, rotmat_to_rotvec, skew
from ikol.solver.residuals import OnPoints, Posed, Rows
from ikol.solver.robust import RobustLoss


@dataclass(frozen=True, eq=False)
class PointLink:
    """sum_k stencil_k x_{r + k} of points."""

    name: str
    loss: RobustLoss | None
    first: int
    """Where its points lie in the table."""
    weight: Float[Tensor, "rows points"]
    stencil: Float[Tensor, "rows width"]

    @property
    def span(self) -> slice:
        """Where its points lie in the table."""
        return slice(self.first, self.first + self.weight.shape[-1])

    def residual(self, posed: Posed) -> Float[Tensor, "rows points 3"]:
        """Return the residuals of all rows."""
        points = posed.points[:, self.span]
        rows, width = self.stencil.shape
        return sum(
            (self.stencil[:, k, None, None] * points[k : k + rows] for k in range(width)), points.new_zeros(rows, 1, 3)
        )


@dataclass(frozen=True, eq=False)
class RotationLink:
    """stencil_2 Log(R_{r+1}^T R_{r+2}) - stencil_0 Log(R_r^T R_{r+1}) of all joints."""

    name: str
    loss: RobustLoss | None
    weight: Float[Tensor, "rows joints"]
    stencil: Float[Tensor, "rows 3"]

    def residual(self, posed: Posed) -> Float[Tensor, "rows joints 3"]:
        """Return the residuals of all rows."""
        turn = _turns(posed)
        return self.stencil[:, 2, None, None] * turn[1:] - self.stencil[:, 0, None, None] * turn[:-1]

    def jacobians(self, posed: Posed) -> tuple[Float[Tensor, "rows joints 3 3"], ...]:
        """Return the derivatives for right perturbations in each of the three frames.

        Log(R^T S) changes by J_r^-1 for S <- S Exp(d), and by -J_r^-T for R <- R Exp(d).
        """
        inverse = right_jacobian_inverse(_turns(posed))
        before, after = self.stencil[:, 0, None, None, None], self.stencil[:, 2, None, None, None]
        earlier, later = before * inverse[:-1], after * inverse[1:]
        return earlier.transpose(-1, -2), -earlier - later.transpose(-1, -2), later

    def bending(self, posed: Posed, force: Float[Tensor, "rows joints 3"]) -> Float[Tensor, "pairs joints 3 3"]:
        """Return the second-order part between each frame and the next: turns in space do not add up like numbers.

        Log(Exp(-d) A Exp(e)) = Log(A) + J_r^-1 (e - A^T d - 1/2 (A^T d) x e), but for products with the small Log(A).

        Args:
            posed: the frames.
            force: derivative of the cost with respect to each row's residual.
        """
        turn = _turns(posed)
        on_turn = torch.zeros_like(turn)
        on_turn[1:] += self.stencil[:, 2, None, None] * force
        on_turn[:-1] -= self.stencil[:, 0, None, None] * force
        on_turn = (right_jacobian_inverse(turn).mT @ on_turn[..., None]).squeeze(-1)
        rotmat = posed.local_rotmat
        return 0.5 * rotmat[:-1].mT @ rotmat[1:] @ skew(on_turn)


Link = PointLink | RotationLink


@dataclass(frozen=True, eq=False)
class FloorTerm:
    """up . x_p - height: one-sided below the floor, two-sided in contact."""

    name: str
    first: int
    up: Float[Tensor, "3"]
    height: float
    weight: float
    contact_weight: Float[Tensor, "#frames points"]

    def rows(self, posed: Posed) -> Rows:
        """Linearise."""
        touches = OnPoints(self.first)
        above = posed.points[:, touches.span(self.contact_weight.shape[-1])] @ self.up - self.height
        weight = self.contact_weight + self.weight * (above < 0)
        return Rows(self.name, above[..., None], weight[..., None], self.up[None, None, None], touches)


def _turns(posed: Posed) -> Float[Tensor, "pairs joints 3"]:
    """How each joint turns from each frame to the next."""
    rotmat = posed.local_rotmat
    return rotmat_to_rotvec(rotmat[:-1].transpose(-1, -2) @ rotmat[1:])

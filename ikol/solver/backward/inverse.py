# SPDX-License-Identifier: Apache-2.0
"""Second derivatives made ready to solve with, also where they are singular. Imports: torch, the linear step."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ikol.solver.linear import diagonal_scale

# Of a matrix with unit diagonal. A prior of one radian beside keypoints of a centimetre leaves 1e-5. What nothing sees
# comes out at 1e-14 of Gauss and Newton's matrix, but chains of joints that can take each other's turns are coupled in
# the exact one by what is left of the gradient: that is no knowledge. A minimum has no negative curvature either.
LEAST_EIGENVALUE = 1e-7
SAFE_PIVOT = 1e-6  # of Cholesky's factor, of which the least eigenvalue was found to be 2 to 6 times smaller


@dataclass(frozen=True, eq=False)
class Inverse:
    """The pseudo-inverse of the second derivative: directions that nothing sees are left out."""

    scale: Float[Tensor, "n free"]
    """Standard deviations to units of the unknowns."""
    factor: Float[Tensor, "n free free"]
    """Cholesky's, of the scaled matrix; the identity where that is not safely definite."""
    eigen: Bool[Tensor, "n"]
    """Where it is not."""
    values: Float[Tensor, "singular free"]
    """Of the pseudo-inverse of those; 0 where left out."""
    vectors: Float[Tensor, "singular free free"]

    def solve(self, right: Float[Tensor, "n free columns"]) -> Float[Tensor, "n free columns"]:
        """Return the pseudo-inverse times some columns."""
        scaled = self.scale[..., None] * right
        result = torch.cholesky_solve(scaled, self.factor)
        if len(self.values):
            singular = self.vectors.transpose(-1, -2) @ scaled[self.eigen]
            result[self.eigen] = self.vectors @ (self.values[..., None] * singular)
        return self.scale[..., None] * result

    def unseen(self, columns: Float[Tensor, "n free columns"]) -> Float[Tensor, "n columns"]:
        """Return how much of each column lies along what is left out, 0 to 1."""
        scaled = columns * self.scale[..., None]
        part = scaled.new_zeros(len(scaled), scaled.shape[-1])
        if len(self.values):
            hidden = (self.vectors.transpose(-1, -2) @ scaled[self.eigen]) * (self.values == 0)[..., None]
            size = torch.linalg.vector_norm(scaled[self.eigen], dim=1)
            share = torch.linalg.vector_norm(hidden, dim=1) / torch.where(size > 0, size, 1.0)
            part[self.eigen] = share
        return part


@dataclass(frozen=True, eq=False)
class SpringInverse:
    """The inverse of [[H, C^T], [C, -D]]: springs of any stiffness 1/D on top of H, by the Schur complement."""

    inverse: Inverse
    columns: Float[Tensor, "n springs free"]
    """C: how the springs' lengths change."""
    compliance: Float[Tensor, "n springs"]
    """D."""

    def solve(
        self, right: Float[Tensor, "n free columns"], lengths: Float[Tensor, "n springs columns"] | None = None
    ) -> tuple[Float[Tensor, "n free columns"], Float[Tensor, "n springs columns"]]:
        """Return d and m with H d + C^T m = right and C d - D m = lengths: the unknowns and the springs' forces.

        Args:
            right: on the unknowns.
            lengths: of the springs; None for zeros.
        """
        alone = self.inverse.solve(right)
        if self.columns.shape[1] == 0:
            return alone, self.columns @ alone
        answer = self.inverse.solve(self.columns.transpose(-1, -2))
        stretched = self.columns @ alone
        forces = torch.linalg.solve(
            self.columns @ answer + torch.diag_embed(self.compliance),
            stretched if lengths is None else stretched - lengths,
        )
        return alone - answer @ forces, forces


def invert(hessian: Float[Tensor, "n free free"], gauss_newton: Float[Tensor, "n free free"]) -> Inverse:
    """Return the pseudo-inverse of symmetric matrices, scaled by the diagonals of others that are never negative.

    Args:
        hessian: to invert.
        gauss_newton: at the same place.
    """
    if hessian.shape[-1] == 0:
        nothing = hessian.sum(-1)
        return Inverse(
            nothing,
            hessian,
            torch.zeros(len(hessian), dtype=torch.bool, device=hessian.device),
            nothing[:0],
            hessian[:0],
        )
    scale = diagonal_scale(gauss_newton).reciprocal()
    scaled = scale[..., :, None] * hessian * scale[..., None, :]
    factor, info = torch.linalg.cholesky_ex(scaled)
    least_pivot = factor.diagonal(dim1=-2, dim2=-1).square().amin(-1)
    is_singular = ~((info == 0) & (least_pivot > SAFE_PIVOT))
    eye = torch.eye(scaled.shape[-1], dtype=scaled.dtype, device=scaled.device)
    factor = torch.where(is_singular[:, None, None], eye, factor)
    values, vectors = _seen(
        scaled[is_singular], (scale[..., :, None] * gauss_newton * scale[..., None, :])[is_singular]
    )
    is_seen = values > LEAST_EIGENVALUE
    inverse = torch.where(is_seen, 1.0 / torch.where(is_seen, values, 1.0), 0.0)
    return Inverse(scale, factor, is_singular, inverse, vectors)


def _seen(
    scaled: Float[Tensor, "n free free"], gauss_newton: Float[Tensor, "n free free"]
) -> tuple[Float[Tensor, "n free"], Float[Tensor, "n free free"]]:
    """Return eigenvalues and eigenvectors, after taking out what no row sees.

    A turn that changes no residual is exactly that for Gauss-Newton's matrix. In the exact one it couples with the rest
    by what is left of the gradient, which would make it look as if it were seen.
    """
    values, vectors = torch.linalg.eigh(gauss_newton)
    vectors = vectors * (values > LEAST_EIGENVALUE)[..., None, :]
    projector = vectors @ vectors.transpose(-1, -2)
    found = torch.linalg.eigh(projector @ scaled @ projector)
    return found.eigenvalues, found.eigenvectors

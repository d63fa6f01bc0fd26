# SPDX-License-Identifier: Apache-2.0
"""Second derivatives made ready to solve with, also where they are singular, for covariances. Imports: torch, the step.

What is left out here is left out altogether, so that a covariance can say of what it knows nothing. Gradients, which
are to change smoothly, are made with `proximal`.
"""

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ikol.solver.linear import diagonal_scale

# Of a matrix with unit diagonal: what rows must see of a direction for it to follow them, which bounds by how much: a
# target by its standard deviation moves no direction by more than 1 / sqrt(LEAST_SEEN) = 316 of those it would have if
# all others were known. What nothing sees comes out at 1e-14; in between are bends of limbs that are nearly straight.
LEAST_SEEN = 1e-5
# A prior of one radian beside keypoints of a millimetre leaves 1e-7: it is not less known for what is known beside it.
WIDEST = 10.0  # standard deviations, in radians or metres, of what is seen less than that
LEAST_EIGENVALUE = 1e-9  # of what forces leave, and of what a prior knows
LEAST_SHARE = 1e-3  # of what the rows see of a direction: where forces leave less, it is about to give way
SAFE_PIVOT = 6e-5  # of Cholesky's factor, of which the least eigenvalue was found to be 2 to 6 times smaller


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


@runtime_checkable
class Solvable(Protocol):
    """What springs can be put on."""

    def solve(self, right: Float[Tensor, "n free columns"]) -> Float[Tensor, "n free columns"]:
        """Return the inverse times some columns."""
        ...


_Solvable = TypeVar("_Solvable", bound=Solvable)


@dataclass(frozen=True, eq=False)
class SpringInverse(Generic[_Solvable]):
    """The inverse of [[H, C^T], [C, -D]]: springs of any stiffness 1/D on top of H, by the Schur complement."""

    inverse: _Solvable
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
    scaled, rows = (scale[..., :, None] * each * scale[..., None, :] for each in (hessian, gauss_newton))
    factor, is_safe = _cholesky(scaled)
    # of a matrix that the rest of the gradient has made definite nothing would tell that there is nothing to be seen
    is_singular = ~(is_safe & _cholesky(rows)[1])
    eye = torch.eye(scaled.shape[-1], dtype=scaled.dtype, device=scaled.device)
    factor = torch.where(is_singular[:, None, None], eye, factor)
    values, vectors = _seen(scaled[is_singular], rows[is_singular], scale[is_singular])
    return Inverse(scale, factor, is_singular, values, vectors)


def _cholesky(scaled: Float[Tensor, "n free free"]) -> tuple[Float[Tensor, "n free free"], Bool[Tensor, "n"]]:
    factor, info = torch.linalg.cholesky_ex(scaled)
    return factor, (info == 0) & (factor.diagonal(dim1=-2, dim2=-1).square().amin(-1) > SAFE_PIVOT)


def _seen(
    scaled: Float[Tensor, "n free free"], gauss_newton: Float[Tensor, "n free free"], scale: Float[Tensor, "n free"]
) -> tuple[Float[Tensor, "n free"], Float[Tensor, "n free free"]]:
    """Return inverse eigenvalues, 0 where left out, and eigenvectors, after taking out what nothing sees.

    A turn that changes no residual is exactly that for Gauss-Newton's matrix. In the exact one it couples with the rest
    by what is left of the gradient, which would make it look as if it were seen.
    """
    values, vectors = torch.linalg.eigh(gauss_newton)
    wide = (vectors * scale[..., None]).square().sum(-2) / WIDEST**2  # the eigenvalue with that standard deviation
    is_seen = (values > LEAST_SEEN) | (values > torch.clamp(wide, min=LEAST_EIGENVALUE))
    seen = vectors * is_seen[..., None, :]
    projector = seen @ seen.mT
    values, vectors = torch.linalg.eigh(projector @ scaled @ projector)
    rows = (vectors * (gauss_newton @ vectors)).sum(-2)
    is_kept = (values > LEAST_EIGENVALUE) & (values > LEAST_SHARE * rows)
    return torch.where(is_kept, 1.0 / torch.where(is_kept, values, 1.0), 0.0), vectors

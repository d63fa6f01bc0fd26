# SPDX-License-Identifier: Apache-2.0
"""The inverse of the second derivative, also where it is singular: by proximal steps from the optimum.

Of what no row sees, a twist that the next joint takes back, the optimum has no derivative: a whole curve is optimal.
What is differentiated is a solve that goes on from the optimum: `STEPS` times to the minimum of the cost and of a
prior of standard deviation `LOOSE` about the last place. It moves what nothing sees as little as it can. With
mu = 1 / LOOSE^2 those steps have, along an eigenvector of H with eigenvalue a, the derivative

    (1 - q^STEPS) / a,    q = mu / (a + mu)

which is 1 / a to eight digits where the standard deviation 1 / sqrt(a) is below 3, and which fades, smoothly, where it
is above 10: nothing moves by more than some 20 radians (metres) for a target's standard deviation. The factor
1 - q^STEPS is taken once more, so that a loss that asks for what nothing sees hears nothing. All of it is solves with
H + mu, so the compiled kernel (native/general_adjoint.h) does the same, joint by joint.
Imports: torch, the modules beside it, the solve's.

Source: Rockafellar, Monotone operators and the proximal point algorithm, 1976; as a filter King and Chillingworth,
Approximation of generalized inverses by iterated regularization, 1979.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ikol.solver.backward.hessian import exact_hessian
from ikol.solver.backward.tensors import detached
from ikol.solver.levenberg_marquardt import merge_states, moved
from ikol.solver.normal_equations import normal_equations
from ikol.solver.one_sided import Unknowns
from ikol.solver.problem import Problem
from ikol.solver.residuals import Posed
from ikol.solver.state import SolveState

LOOSE = 10.0  # radians, metres, standard deviations of shape
LEAST_PART = 1e-5  # of the largest diagonal entry: where weights are small altogether, the prior is too
ROUNDING = 1e-9  # of the same: what cannot be told from nothing
STEPS = 8
# What is left of the gradient couples turns that nothing sees with the others, by as much as itself: the prior is that
# many times as strong. No eigenvalue of a minimum is then more negative than 1 / REST of the prior.
REST = 20.0
SETTLING = 3  # Newton steps towards the optimum, where the rest of the gradient would make the prior stronger
# Where there are such eigenvalues, the end of the solve lies flat: a limb is about to give way. What is kept is what is
# seen better than that.
TIGHTER, TRIES = 30.0, 3


@dataclass(frozen=True, eq=False)
class Proximal:
    """The second derivative with a prior, ready to solve with."""

    prior: Float[Tensor, "n"]
    """1 / standard deviation^2."""
    factor: Float[Tensor, "n free free"]
    """Cholesky's, of the sum."""
    has_minimum: Bool[Tensor, "n"]
    """Others are answered with zeros."""

    def solve(self, right: Float[Tensor, "n free columns"]) -> Float[Tensor, "n free columns"]:
        """Return the inverse times some columns, without what nothing sees."""
        prior = self.prior[:, None, None]
        answer = torch.zeros_like(right)
        for _ in range(STEPS):
            answer = torch.cholesky_solve(right + prior * answer, self.factor)
        unseen = answer
        for _ in range(STEPS):
            unseen = prior * torch.cholesky_solve(unseen, self.factor)
        return torch.where(self.has_minimum[:, None, None], answer - unseen, 0.0)


def invert_proximally(
    hessian: Float[Tensor, "n free free"],
    gauss_newton: Float[Tensor, "n free free"],
    gradient: Float[Tensor, "n free"],
) -> Proximal:
    """Return the inverse of symmetric matrices.

    Args:
        hessian: to invert.
        gauss_newton: at the same place; its diagonal says how much is seen at all.
        gradient: what is left of it there.
    """
    prior = _prior(gauss_newton, gradient)
    for _ in range(TRIES - 1):
        has_minimum = _factorise(hessian, prior / REST)[1]
        prior = torch.where(has_minimum, prior, TIGHTER * prior)
    has_minimum = _factorise(hessian, prior / REST)[1]
    return Proximal(prior, _factorise(hessian, prior)[0], has_minimum)


def settle(problem: Problem, state: SolveState, unknowns: Unknowns, *, with_shape: bool) -> SolveState:
    """Return the states nearer to their optima, where what a solve has left of the gradient would count.

    Args:
        problem: in `WIDE`.
        state: the same; its history stays, and the steps have none.
        unknowns: which are free.
        with_shape: whether the betas are unknowns.
    """
    if len(unknowns.columns) == 0:
        return state
    problem = detached(problem)
    gauss_newton, gradient, posed = _seen(problem, state, unknowns, with_shape=with_shape)
    for _ in range(SETTLING):
        size = gradient.abs().amax(-1)
        goes_on = REST * size > _prior(gauss_newton, 0.0 * gradient)
        if not bool(goes_on.any()):
            break
        hessian = unknowns.pick_square(exact_hessian(problem, posed, with_shape=with_shape))
        factor, is_definite = _factorise(hessian, _prior(gauss_newton, gradient))
        step = torch.cholesky_solve(-gradient[..., None], factor).squeeze(-1)
        trial = moved(problem, state, unknowns.spread(step), with_shape=with_shape)
        tried = _seen(problem, trial, unknowns, with_shape=with_shape)[1]
        state = merge_states(goes_on & is_definite & (tried.abs().amax(-1) < size), trial, state)
        gauss_newton, gradient, posed = _seen(problem, state, unknowns, with_shape=with_shape)
    return state


def _prior(gauss_newton: Float[Tensor, "n free free"], gradient: Float[Tensor, "n free"]) -> Float[Tensor, "n"]:
    if gradient.shape[-1] == 0:
        return gradient.sum(-1)
    largest = gauss_newton.diagonal(dim1=-2, dim2=-1).amax(-1)
    least = torch.maximum((LEAST_PART * largest).clamp(max=LOOSE**-2), ROUNDING * largest)
    least = torch.where(largest > 0, least, 1.0)
    return torch.maximum(least, REST * gradient.abs().amax(-1))


def _factorise(
    hessian: Float[Tensor, "n free free"], prior: Float[Tensor, "n"]
) -> tuple[Float[Tensor, "n free free"], Bool[Tensor, "n"]]:
    """Return Cholesky's factor of the sum, the identity where it has none, and where it has one."""
    eye = torch.eye(hessian.shape[-1], dtype=hessian.dtype, device=hessian.device)
    factor, info = torch.linalg.cholesky_ex(hessian + prior[:, None, None] * eye)
    is_definite = info == 0
    return torch.where(is_definite[:, None, None], factor, eye), is_definite


def _seen(
    problem: Problem, state: SolveState, unknowns: Unknowns, *, with_shape: bool
) -> tuple[Float[Tensor, "n free free"], Float[Tensor, "n free"], Posed]:
    """Return Gauss-Newton's matrix, the gradient and where everything is."""
    posed = problem.pose(detached(state))
    found = unknowns.pick(normal_equations(problem, posed, problem.rows(posed), with_shape=with_shape).gauss_newton)
    return found.hessian, found.gradient, posed

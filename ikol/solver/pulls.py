# SPDX-License-Identifier: Apache-2.0
"""What each residual group says at an optimum: its part of the cost's gradient. All parts together are zero.

Imports: torch, the optimum, the residuals.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.solver.normal_equations import quadratic
from ikol.solver.residuals import OnBones, OnJoints, OnPoints, OnRotations, OnShape, Rows
from ikol.solver.robust import robust_cost
from ikol.solver.uncertainty import Optimum


@dataclass(frozen=True, eq=False)
class GroupGradients:
    """The groups of one block of rows."""

    rows: Rows
    cost: Float[Tensor, "n groups"]
    gradient: Float[Tensor, "n groups free"]
    """J^T w r, w with the robust loss's weight; in the free unknowns."""


def group_gradients(optimum: Optimum) -> tuple[GroupGradients, ...]:
    """Return the gradients of all groups. Pins pull with the force that holds them; their cost is none."""
    places = optimum.columns(slice(None))
    return tuple(
        GroupGradients(
            rows=rows,
            cost=0.5 * robust_cost(rows.loss, rows.squared),
            gradient=_gradient(optimum, rows, places),
        )
        for rows in optimum.problem.rows(optimum.posed)
    )


def _gradient(optimum: Optimum, rows: Rows, places: Float[Tensor, "n points 3 free"]) -> Float[Tensor, "n groups free"]:
    force = quadratic(rows).force
    joints, columns = len(optimum.problem.parents), optimum.unknowns.columns
    everything = force.new_zeros(*force.shape[:2], optimum.unknowns.count)
    match rows.touches:
        case OnPoints() as touches:
            own = torch.einsum("ngc,ngcf->ngf", force, places[:, touches.span(force.shape[1])])
            if touches.reference is None:
                return own
            origin = torch.einsum("q,nqcf->ncf", touches.reference.weights, places[:, touches.reference.span])
            return own - force @ origin
        case OnRotations() as touches:
            above = optimum.problem.ancestors[touches.joint_index]
            turned = torch.einsum("ngc,njck->ngjk", force, optimum.posed.global_rotmat) * above[..., None]
            everything[..., 3 : 3 + 3 * joints] = turned.flatten(2)
        case OnJoints() as touches:
            own = force.new_zeros(*force.shape[:2], joints, 3)
            own[:, torch.arange(force.shape[1]), touches.joint_index] = force
            everything[..., 3 : 3 + 3 * joints] = own.flatten(2)
        case OnShape():
            if optimum.with_shape:
                everything[..., 3 + 3 * joints : 3 + 3 * joints + force.shape[-1]] = force
        case OnBones():
            groups = optimum.problem.bone_groups
            everything[..., optimum.unknowns.count - groups.shape[-1] :] = force * groups
    return everything[..., columns]

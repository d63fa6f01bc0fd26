# SPDX-License-Identifier: Apache-2.0
"""What is solved for: a rest tree and the state that poses it.

Here: any rig as a tree with rest joints (and, where it has one, a linear shape space), and the unknowns. Not here: what
moves them. Imports: torch, ikol.body.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.kinematics import BodyPose, forward_kinematics
from ikol.body.model import BodyModel
from ikol.body.points import AttachedPoints
from ikol.body.skeleton import Skeleton
from ikol.errors import InputError


@dataclass(frozen=True, eq=False)
class SolveState:
    """A pose, or a batch of them; the batch dimensions of the parts broadcast."""

    transl: Float[Tensor, "*#batch 3"]
    """Metres, world; the posed root joint lies at its rest place plus this."""
    local_rotmat: Float[Tensor, "*#batch joints 3 3"]
    """Relative to the parent; the root's relative to the world."""
    betas: Float[Tensor, "*#batch betas"]
    """Shape coefficients; none for a rig without a shape space."""


@dataclass(frozen=True, eq=False)
class RestTree:
    """A joint tree with its rest joints, linear in the betas: template + shapedirs @ betas. Metres, model frame."""

    skeleton: Skeleton
    joints_template: Float[Tensor, "joints 3"]
    joints_shapedirs: Float[Tensor, "joints 3 betas"]

    def __post_init__(self) -> None:
        count = self.skeleton.num_joints
        if len(self.joints_template) != count or len(self.joints_shapedirs) != count:
            raise InputError(
                f"a rest tree of {count} joints needs as many rest joints and shape directions, got "
                f"{len(self.joints_template)} and {len(self.joints_shapedirs)}"
            )

    @classmethod
    def from_body(cls, body: BodyModel) -> "RestTree":
        """Return the tree inside a body model."""
        return cls(body.skeleton, body.joints_template, body.joints_shapedirs)

    @classmethod
    def from_rest_joints(cls, skeleton: Skeleton, rest_joints: Float[Tensor, "joints 3"]) -> "RestTree":
        """Return a rig without a shape space."""
        return cls(skeleton, rest_joints, rest_joints.new_zeros(*rest_joints.shape, 0))

    @property
    def num_betas(self) -> int:
        """How many shape coefficients there are."""
        return self.joints_shapedirs.shape[-1]

    def rest_joints(self, betas: Float[Tensor, "*batch betas"]) -> Float[Tensor, "*batch joints 3"]:
        """Return the joints of the rest pose for a shape, metres, model frame."""
        return self.joints_template + torch.einsum("jik,...k->...ji", self.joints_shapedirs, betas)

    def pose(self, state: SolveState) -> BodyPose:
        """Return where the joints of a state are."""
        return forward_kinematics(self.skeleton, self.rest_joints(state.betas), state.local_rotmat, state.transl)

    def posed_points(self, points: AttachedPoints, state: SolveState) -> Float[Tensor, "*batch points 3"]:
        """Return where the points of a state are, metres, world."""
        return points.posed_points(points.rest_points(state.betas), self.rest_joints(state.betas), self.pose(state))


def rest_state(tree: RestTree, batch_shape: Sequence[int] = ()) -> SolveState:
    """Return the rest pose of the mean shape, as often as `batch_shape` says."""
    like = tree.joints_template
    eye = torch.eye(3, dtype=like.dtype, device=like.device)
    return SolveState(
        transl=like.new_zeros(*batch_shape, 3),
        local_rotmat=eye.repeat(*batch_shape, tree.skeleton.num_joints, 1, 1),
        betas=like.new_zeros(*batch_shape, tree.num_betas),
    )

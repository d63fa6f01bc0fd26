# SPDX-License-Identifier: Apache-2.0
"""A skeleton: a joint tree with rest joints, of any rig, and (where it has one) a linear shape space.

Not here: what moves it. Imports: torch, ikol.body, the state.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.joint_tree import JointTree
from ikol.body.kinematics import BodyPose, forward_kinematics
from ikol.body.model import BodyModel
from ikol.body.points import AttachedPoints
from ikol.errors import InputError
from ikol.solver.state import SolveState


@dataclass(frozen=True, eq=False)
class Skeleton:
    """A joint tree with its rest joints, linear in the betas: template + shapedirs @ betas. Metres, model frame."""

    tree: JointTree
    joints_template: Float[Tensor, "joints 3"]
    joints_shapedirs: Float[Tensor, "joints 3 betas"]
    betas: Float[Tensor, "betas"] | None = None
    """The shape that a solve starts from; None for the mean one."""

    def __post_init__(self) -> None:
        count = self.tree.num_joints
        if len(self.joints_template) != count or len(self.joints_shapedirs) != count:
            raise InputError(
                f"a skeleton of {count} joints needs as many rest joints and shape directions, got "
                f"{len(self.joints_template)} and {len(self.joints_shapedirs)}"
            )
        if self.betas is not None and len(self.betas) != self.num_betas:
            raise InputError(f"a skeleton of {self.num_betas} betas was given {len(self.betas)}")

    @classmethod
    def from_body(cls, body: BodyModel, betas: Float[Tensor, "betas"] | None = None) -> "Skeleton":
        """Return the skeleton inside a body model, of the mean shape or that of `betas`."""
        return cls(body.tree, body.joints_template, body.joints_shapedirs, betas)

    @classmethod
    def from_rest_joints(cls, tree: JointTree, rest_joints: Float[Tensor, "joints 3"]) -> "Skeleton":
        """Return a rig without a shape space."""
        return cls(tree, rest_joints, rest_joints.new_zeros(*rest_joints.shape, 0))

    def with_ends(self, points: AttachedPoints) -> "Skeleton":
        """Return the skeleton with points as further joints: leaves that turn with the joint that carries them.

        Raises:
            InputError: a point has a joint's name, or another number of betas.
        """
        if points.num_betas != self.num_betas:
            raise InputError(f"a skeleton of {self.num_betas} betas needs ends of as many, got {points.num_betas}")
        tree = self.tree
        return Skeleton(
            JointTree(tree.names + points.names, (*tree.parents, *points.joint_index.tolist())),
            torch.cat((self.joints_template, points.rest)),
            torch.cat((self.joints_shapedirs, points.shapedirs)),
            self.betas,
        )

    @property
    def num_betas(self) -> int:
        """How many shape coefficients there are."""
        return self.joints_shapedirs.shape[-1]

    def rest_joints(self, betas: Float[Tensor, "*batch betas"]) -> Float[Tensor, "*batch joints 3"]:
        """Return the joints of the rest pose for a shape, metres, model frame."""
        return self.joints_template + torch.einsum("jik,...k->...ji", self.joints_shapedirs, betas)

    def pose(self, state: SolveState) -> BodyPose:
        """Return where the joints of a state are."""
        rest_joints = self.rest_joints(state.betas)
        return forward_kinematics(self.tree, rest_joints, state.local_rotmat, state.transl, state.bone_scale)

    def posed_points(self, points: AttachedPoints, state: SolveState) -> Float[Tensor, "*batch points 3"]:
        """Return where the points of a state are, metres, world."""
        return points.posed_points(points.rest_points(state.betas), self.rest_joints(state.betas), self.pose(state))

    def rest_state(self, batch_shape: Sequence[int] = ()) -> SolveState:
        """Return the rest pose of the skeleton's own shape, as often as `batch_shape` says."""
        like = self.joints_template
        eye = torch.eye(3, dtype=like.dtype, device=like.device)
        betas = like.new_zeros(self.num_betas) if self.betas is None else self.betas
        return SolveState(
            transl=like.new_zeros(*batch_shape, 3),
            local_rotmat=eye.repeat(*batch_shape, self.tree.num_joints, 1, 1),
            betas=betas.repeat(*batch_shape, 1) if batch_shape else betas.clone(),
        )

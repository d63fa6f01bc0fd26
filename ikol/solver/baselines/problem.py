# SPDX-License-Identifier: Apache-2.0
"""What the baselines are given and what they give back: joint positions in, local rotations out.

The common ground of the published methods: a tree of known bone lengths, one target for every joint, the root joint
placed on its own target, twist and leaf rotations known from elsewhere (a network). Here: that problem, its flat form
and the walk of a root that all of them share. Not here: any method.
Imports: torch, ikol.errors, ikol.geometry, ikol.body.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ikol.body.joint_tree import JointTree
from ikol.body.kinematics import forward_kinematics
from ikol.errors import InputError
from ikol.geometry.rotations import kabsch
from ikol.geometry.swing_twist import twist_angle


@dataclass(frozen=True, eq=False)
class BaselineProblem:
    """Joints at known places. Batch dimensions broadcast; all tensors share dtype and device.

    The leaves of the tree are points: with SMPL's 24 joints these are head, hands and toes, with five more points
    below them (`with_leaf_points`) HybrIK's 29.
    """

    tree: JointTree
    rest_joints: Float[Tensor, "..."]
    """(*b, J, 3) metres, model frame, of the body's shape."""
    target: Float[Tensor, "..."]
    """(*b, J, 3) metres, world. The root joint is put on its own."""
    twist: Float[Tensor, "..."] | None = None
    """(*b, J) radians about the rest bone to the first child, as `twist_of` gives it; None for zeros. Only joints with
    one child need it, or all that are no leaves for a method that follows the first child."""
    leaf_rotmat: Float[Tensor, "..."] | None = None
    """(*b, leaves, 3, 3) local rotations of the joints without children, in the skeleton's order; they move no joint.
    None for the identity."""
    weights: Float[Tensor, "..."] | None = None
    """(*b, J), 0 for a missing joint, 1 for a sure one; None for ones. Only the least-squares methods know weights."""

    def __post_init__(self) -> None:
        joints = self.tree.num_joints
        shapes = {
            "rest_joints": (self.rest_joints, (joints, 3)),
            "target": (self.target, (joints, 3)),
            "twist": (self.twist, (joints,)),
            "leaf_rotmat": (self.leaf_rotmat, (len(self.leaves), 3, 3)),
            "weights": (self.weights, (joints,)),
        }
        for name, (tensor, shape) in shapes.items():
            if tensor is not None and tuple(tensor.shape[-len(shape) :]) != shape:
                raise InputError(
                    f"{name} must have shape (..., {', '.join(map(str, shape))}) for a skeleton of {joints} joints, "
                    f"got {tuple(tensor.shape)}"
                )
        # a missing joint's target may hold anything
        if not bool(torch.isfinite(torch.where(self._is_seen[..., None], self.target, 0.0)).all()):
            raise InputError("targets hold NaN or infinite numbers; give missing joints the weight 0")

    @property
    def _is_seen(self) -> Bool[Tensor, "..."]:
        if self.weights is None:
            return torch.ones_like(self.target[..., 0], dtype=torch.bool)
        return self.weights > 0

    @cached_property
    def leaves(self) -> tuple[int, ...]:
        """The joints without children."""
        return tuple(joint for joint, children in enumerate(self.tree.children) if not children)

    @cached_property
    def batch(self) -> tuple[int, ...]:
        """The common batch shape."""
        shapes = [self.rest_joints.shape[:-2], self.target.shape[:-2]]
        shapes += [] if self.twist is None else [self.twist.shape[:-1]]
        shapes += [] if self.leaf_rotmat is None else [self.leaf_rotmat.shape[:-3]]
        shapes += [] if self.weights is None else [self.weights.shape[:-1]]
        try:
            return tuple(torch.broadcast_shapes(*shapes))
        except RuntimeError as error:
            raise InputError(f"the batch shapes {[tuple(shape) for shape in shapes]} do not broadcast") from error

    def flat(self) -> "FlatProblem":
        """Return the problem with one batch dimension and nothing left out."""
        size, joints, leaves = math.prod(self.batch), self.tree.num_joints, len(self.leaves)
        rest = self.rest_joints.expand(*self.batch, joints, 3).reshape(size, joints, 3)
        eye = torch.eye(3, dtype=rest.dtype, device=rest.device)
        twist = rest.new_zeros(joints) if self.twist is None else self.twist
        leaf = eye.expand(leaves, 3, 3) if self.leaf_rotmat is None else self.leaf_rotmat
        weights = rest.new_ones(joints) if self.weights is None else self.weights
        target = torch.where(self._is_seen[..., None], self.target, 0.0)
        return FlatProblem(
            tree=self.tree,
            leaves=self.leaves,
            rest_joints=rest,
            target=target.expand(*self.batch, joints, 3).reshape(size, joints, 3),
            twist=twist.expand(*self.batch, joints).reshape(size, joints),
            leaf_rotmat=leaf.expand(*self.batch, leaves, 3, 3).reshape(size, leaves, 3, 3),
            weights=weights.expand(*self.batch, joints).reshape(size, joints),
        )

    def result(self, flat: "FlatProblem", local_rotmat: Float[Tensor, "n joints 3 3"]) -> "BaselineResult":
        """Pose the tree and give the result the batch shape of the problem."""
        joints = flat.joints(local_rotmat)
        gap = torch.where(flat.weights[..., None] > 0, joints - flat.target, 0.0)
        count = self.tree.num_joints
        return BaselineResult(
            local_rotmat=local_rotmat.reshape(*self.batch, count, 3, 3),
            joints=joints.reshape(*self.batch, count, 3),
            residual=gap.reshape(*self.batch, count, 3),
        )


@dataclass(frozen=True, eq=False)
class BaselineResult:
    """A pose and what it leaves."""

    local_rotmat: Float[Tensor, "*batch joints 3 3"]
    """Relative to the parent; the root's relative to the world."""
    joints: Float[Tensor, "*batch joints 3"]
    """Metres, world: the posed joints of these rotations."""
    residual: Float[Tensor, "*batch joints 3"]
    """joints - target, metres; 0 where a joint is missing."""

    @property
    def distance(self) -> Float[Tensor, "*batch joints"]:
        """How far each joint is from its target, metres."""
        return torch.linalg.vector_norm(self.residual, dim=-1)


@dataclass(frozen=True, eq=False)
class FlatProblem:
    """A `BaselineProblem` of n frames, complete."""

    tree: JointTree
    leaves: tuple[int, ...]
    rest_joints: Float[Tensor, "n joints 3"]
    target: Float[Tensor, "n joints 3"]
    twist: Float[Tensor, "n joints"]
    leaf_rotmat: Float[Tensor, "n leaves 3 3"]
    weights: Float[Tensor, "n joints"]

    def bone(self, joint: int) -> Float[Tensor, "n 3"]:
        """Return the rest bone that ends in `joint`."""
        return self.rest_joints[:, joint] - self.rest_joints[:, self.tree.parents[joint]]

    def fork_rotation(
        self, joint: int, origin: Float[Tensor, "n 3"], above: Float[Tensor, "n 3 3"]
    ) -> Float[Tensor, "n 3 3"]:
        """Return the local rotation that brings the bones to all children nearest to their targets (SVD).

        Args:
            joint: with children; joints with several get a rotation that is unique.
            origin: where its bones start, world.
            above: the parent's global rotation.
        """
        children = list(self.tree.children[joint])
        rest = self.rest_joints[:, children] - self.rest_joints[:, joint, None]
        wanted = (self.target[:, children] - origin[:, None]) @ above
        return kabsch(rest, wanted, self.weights[:, children])

    def root_rotation(self) -> Float[Tensor, "n 3 3"]:
        """Return the root's rotation from the targets of its children."""
        eye = torch.eye(3, dtype=self.target.dtype, device=self.target.device)
        return self.fork_rotation(0, self.target[:, 0], eye.expand(len(self.target), 3, 3))

    def start(self) -> Float[Tensor, "n joints 3 3"]:
        """Return the rest pose with the root turned to its children and the leaves as given."""
        eye = torch.eye(3, dtype=self.target.dtype, device=self.target.device).expand(len(self.target), 3, 3)
        local = [eye] * self.tree.num_joints
        local[0] = self.root_rotation()
        for k, leaf in enumerate(self.leaves):
            local[leaf] = self.leaf_rotmat[:, k]
        return torch.stack(local, dim=1)

    def joints(self, local_rotmat: Float[Tensor, "n joints 3 3"]) -> Float[Tensor, "n joints 3"]:
        """Return the posed joints, the root on its target."""
        transl = self.target[:, 0] - self.rest_joints[:, 0]
        return forward_kinematics(self.tree, self.rest_joints, local_rotmat, transl).joints


def with_leaf_points(tree: JointTree, names: tuple[str, ...], parents: tuple[int, ...]) -> JointTree:
    """Return the skeleton with more leaves: HybrIK's 29 points are SMPL's 24 joints, head, fingers and toes."""
    return JointTree(tree.names + names, tree.parents + parents)


def twist_of(
    tree: JointTree,
    rest_joints: Float[Tensor, "*#batch joints 3"],
    local_rotmat: Float[Tensor, "*#batch joints 3 3"],
) -> Float[Tensor, "*batch joints"]:
    """Return each joint's angle about its rest bone to the first child, radians; 0 for leaves.

    Source: Li et al., HybrIK, CVPR 2021, sec. 3.2 (R = swing twist, the twist about the rest bone).
    """
    angles = torch.zeros_like(local_rotmat[..., 0, 0] + rest_joints[..., 0])
    for joint, children in enumerate(tree.children):
        if children:
            bone = rest_joints[..., children[0], :] - rest_joints[..., joint, :]
            axis = bone / torch.linalg.vector_norm(bone, dim=-1, keepdim=True)
            angles[..., joint] = twist_angle(local_rotmat[..., joint, :, :], axis)
    return angles

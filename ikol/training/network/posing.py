# SPDX-License-Identifier: Apache-2.0
"""Keypoints, twist and shape to rotations inside a network: our layer, or one of the published solutions.

Imports: torch, the body, the solver.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ikol.body.ends import end_points
from ikol.body.kinematics import forward_kinematics
from ikol.body.model import BodyModel
from ikol.regressor.networks.joints import SMPL29
from ikol.solver import Skeleton
from ikol.solver.baselines import (
    BaselineProblem,
    HybrikConfig,
    ReleasedIkolConfig,
    solve_hybrik,
    solve_released_ikol,
    twist_of,
)
from ikol.solver.directions import DirectionConfig, IKOLLayer
from ikol.training.network.config import Layer

NUM_BODY_JOINTS = 24


def skeleton_29(body: BodyModel) -> Skeleton:
    """Return SMPL's joints and the five ends of the limbs in the networks' order, which is not the body's."""
    return Skeleton.from_body(body).with_ends(end_points(body).select(SMPL29[NUM_BODY_JOINTS:]))


class PosingLayer(nn.Module):
    """Rotations of SMPL's 24 joints from as many keypoints, or from 29 that tell how the limbs end."""

    template: Tensor
    shapedirs: Tensor

    def __init__(self, body: BodyModel, settings: Layer, num_keypoints: int = 29) -> None:
        """Make the layer.

        Args:
            body: in the dtype of the network.
            settings: which solver, and how its derivative is taken.
            num_keypoints: 24 or 29. With 24 head, hands and feet keep the rotations that they are given.
        """
        super().__init__()
        self.settings = settings
        skeleton = Skeleton.from_body(body) if num_keypoints == NUM_BODY_JOINTS else skeleton_29(body)
        self.tree = skeleton.tree
        below = [bool(children) for children in self.tree.children[:NUM_BODY_JOINTS]]
        self._turning = [joint for joint, is_turned in enumerate(below) if is_turned]
        self._leaves = [joint for joint, is_turned in enumerate(below) if not is_turned]
        self.register_buffer("template", skeleton.joints_template, persistent=False)
        self.register_buffer("shapedirs", skeleton.joints_shapedirs, persistent=False)
        config = DirectionConfig(hold_root=True, backward=settings.backward, unrolled_steps=settings.steps)
        self.layer = IKOLLayer(skeleton, config)

    def rest_joints(self, betas: Float[Tensor, "*batch betas"]) -> Float[Tensor, "*batch nodes 3"]:
        """Return the joints and ends of the rest pose, metres."""
        return self.template + torch.einsum("jik,...k->...ji", self.shapedirs, betas)

    def twist_of(
        self, local_rotmat: Float[Tensor, "batch 24 3 3"], betas: Float[Tensor, "batch betas"]
    ) -> Float[Tensor, "batch 24"]:
        """Return the angles about the bones that the layer takes, radians."""
        return twist_of(self.tree, self.rest_joints(betas), self._with_ends(local_rotmat))[:, :NUM_BODY_JOINTS]

    def joints(
        self, local_rotmat: Float[Tensor, "batch 24 3 3"], betas: Float[Tensor, "batch betas"]
    ) -> Float[Tensor, "batch nodes 3"]:
        """Return the posed joints and ends relative to the root, metres."""
        rest = self.rest_joints(betas)
        return forward_kinematics(self.tree, rest, self._with_ends(local_rotmat), -rest[:, 0]).joints

    def _with_ends(self, local_rotmat: Float[Tensor, "batch 24 3 3"]) -> Float[Tensor, "batch nodes 3 3"]:
        ends = self.tree.num_joints - NUM_BODY_JOINTS
        eye = torch.eye(3, dtype=local_rotmat.dtype, device=local_rotmat.device)
        return torch.cat((local_rotmat, eye.expand(len(local_rotmat), ends, 3, 3)), 1)

    def forward(
        self,
        keypoints: Float[Tensor, "batch nodes 3"],
        twist: Float[Tensor, "batch 24"],
        betas: Float[Tensor, "batch betas"],
        leaf_rotmat: Float[Tensor, "batch 5 3 3"] | None = None,
    ) -> Float[Tensor, "batch 24 3 3"]:
        """Return local rotations.

        Args:
            keypoints: metres, the root first.
            twist: radians; the root's is not used.
            betas: the shape.
            leaf_rotmat: of the joints without children, in the tree's order, where no keypoint tells of them.
        """
        if self.settings.gradient == "detached":
            keypoints, betas = keypoints.detach(), betas.detach()
        # under autocast a network's outputs are of half precision, in which no solver converges
        keypoints, twist, betas = keypoints.float(), twist.float(), betas.float()
        rotmat = self._solved(keypoints, twist, betas)
        if leaf_rotmat is None:
            return rotmat
        return rotmat.index_copy(1, torch.tensor(self._leaves, device=rotmat.device), leaf_rotmat.to(rotmat))

    def _solved(self, keypoints: Tensor, twist: Tensor, betas: Tensor) -> Float[Tensor, "batch 24 3 3"]:
        if self.settings.solver == "ikol":
            # the layer knows the joints that have a keypoint below them
            found = self.layer(keypoints, twist[:, self._turning], betas).local_rotmat
            eye = torch.eye(3, dtype=found.dtype, device=found.device).expand(len(found), NUM_BODY_JOINTS, 3, 3)
            return eye.index_copy(1, torch.tensor(self._turning, device=found.device), found)
        ends = self.tree.num_joints - NUM_BODY_JOINTS
        angles = torch.cat((twist, twist.new_zeros(len(twist), ends)), 1)
        problem = BaselineProblem(self.tree, self.rest_joints(betas), keypoints, angles)
        if self.settings.solver == "released":
            released = ReleasedIkolConfig(iterations=self.settings.steps, damping=self.settings.damping)
            return solve_released_ikol(problem, released).local_rotmat[:, :NUM_BODY_JOINTS]
        # as published: naive while training, adaptive afterwards
        rule = HybrikConfig("naive" if self.training else "adaptive")
        return solve_hybrik(problem, rule).local_rotmat[:, :NUM_BODY_JOINTS]

# SPDX-License-Identifier: Apache-2.0
"""What the head has to say: joints, ends, rotations, twists and shape of posed bodies in the axes of a camera.

Imports: torch, the body, the head.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.bone_axes import bone_axes
from ikol.body.kinematics import forward_kinematics
from ikol.body.model import BodyModel
from ikol.body.points import AttachedPoints
from ikol.geometry.swing_twist import twist_angle
from ikol.pipeline.blocks import HIPS
from ikol.regressor.head.network import ENDS, NUM_JOINTS
from ikol.regressor.head.prediction import MIRRORED_JOINTS, MIRRORED_NODES
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS
from ikol.solver import Skeleton


@dataclass(frozen=True)
class HeadTruth:
    """Posed bodies in camera axes."""

    joints: Float[Tensor, "people nodes 3"]
    """Metres from the middle of the hip landmarks: 24 joints, 5 ends, 33 landmarks."""
    local_rotmat: Float[Tensor, "people 24 3 3"]
    """The root's is from the rest pose to camera axes."""
    twist: Float[Tensor, "people 24"]
    """Radians about the bone; the root's means nothing."""
    betas: Float[Tensor, "people 10"]
    hips: Float[Tensor, "people 3"]
    """The middle of the hip landmarks, metres."""

    def __getitem__(self, index: slice | Tensor) -> "HeadTruth":
        """Return some of the people."""
        return HeadTruth(
            self.joints[index], self.local_rotmat[index], self.twist[index], self.betas[index], self.hips[index]
        )

    def joined(self, other: "HeadTruth") -> "HeadTruth":
        """Return the people of both."""
        return HeadTruth(
            torch.cat((self.joints, other.joints)),
            torch.cat((self.local_rotmat, other.local_rotmat)),
            torch.cat((self.twist, other.twist)),
            torch.cat((self.betas, other.betas)),
            torch.cat((self.hips, other.hips)),
        )

    def turned(self, rotation: Float[Tensor, "people 3 3"]) -> "HeadTruth":
        """Return the same people in the axes of a camera that is turned; `rotation` takes old axes to new ones."""
        local = self.local_rotmat.clone()
        local[:, 0] = rotation @ local[:, 0]
        return HeadTruth(
            self.joints @ rotation.mT, local, self.twist, self.betas, (self.hips[:, None] @ rotation.mT)[:, 0]
        )

    def mirrored(self) -> "HeadTruth":
        """Return the people in a mirror whose normal is the camera's x axis."""
        flip = self.joints.new_tensor((-1.0, 1.0, 1.0))
        swap = torch.tensor(MIRRORED_JOINTS)
        return HeadTruth(
            self.joints[:, list(MIRRORED_NODES)] * flip,
            # in the rest pose's axes x is across the body as well
            flip[:, None] * self.local_rotmat[:, swap] * flip,
            -self.twist[:, swap],
            self.betas,
            self.hips * flip,
        )


class PosedBodies:
    """A body with straight ends on its limbs, ready to be posed many at a time."""

    def __init__(self, body: BodyModel) -> None:
        """Prepare a body; float32 is enough."""
        self.body = body
        self.axes = bone_axes(body)
        self.skeleton = Skeleton.from_body(body).with_ends(straight_ends(body))
        self._landmarks = body.points.select(BLAZEPOSE_LANDMARKS)
        self.parents = [*self.skeleton.tree.parents, *self._landmarks.joint_index.tolist()]
        """Of each node; the root's is itself."""
        self.parents[0] = 0
        self._hips = [BLAZEPOSE_LANDMARKS.index(name) for name in HIPS]

    def truth(
        self, local_rotmat: Float[Tensor, "people 24 3 3"], betas: Float[Tensor, "people 10"]
    ) -> tuple[HeadTruth, Float[Tensor, "people 33 3"]]:
        """Return the truth, the hips at the origin, and the landmarks from the middle of the hips.

        Args:
            local_rotmat: the root's in the axes that are wanted.
            betas: of the shapes.
        """
        ends = torch.eye(3).expand(len(betas), len(ENDS), 3, 3)
        rest = self.skeleton.rest_joints(betas)
        pose = forward_kinematics(
            self.skeleton.tree, rest, torch.cat((local_rotmat, ends), 1), betas.new_zeros(len(betas), 3)
        )
        landmarks = self._landmarks.posed_points(self._landmarks.rest_points(betas), rest, pose)
        middle = landmarks[:, self._hips].mean(1, keepdim=True)
        twist = twist_angle(local_rotmat, self.axes)
        truth = HeadTruth(
            torch.cat((pose.joints, landmarks), 1) - middle, local_rotmat, twist, betas, torch.zeros_like(middle[:, 0])
        )
        return truth, landmarks - middle


def rest_height(bodies: PosedBodies, betas: Float[Tensor, "people 10"]) -> Float[Tensor, " people"]:
    """Return how high the joints of people who stand straight reach, metres."""
    rest = bodies.skeleton.rest_joints(betas)[..., 1]
    return rest.amax(-1) - rest.amin(-1)


def straight_ends(body: BodyModel) -> AttachedPoints:
    """Return a point beyond each joint without children, as far as its parent is before it and in line with it.

    So the twist about the bone that ends there is the one about the pipeline's axis of that joint.
    """
    names = body.tree.names
    leaves = [names.index(name) for name in ENDS]
    parents = [body.tree.parents[leaf] for leaf in leaves]

    def beyond(joints: Tensor) -> Tensor:
        return 2 * joints[leaves] - joints[parents]

    assert len(names) == NUM_JOINTS
    return AttachedPoints(
        tuple(f"{name}_end" for name in ENDS),
        torch.tensor(leaves),
        beyond(body.joints_template),
        beyond(body.joints_shapedirs),
    )

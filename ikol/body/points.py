# SPDX-License-Identifier: Apache-2.0
"""Points that ride on joints: what evidence about a body speaks of (joints, landmarks, any skin vertex).

A point keeps its place relative to one joint, so it needs the tree only, not the mesh and its skinning. Its rest
position is linear in the betas. Here: the points. Not here: which landmarks a body has; they come with the body's file.

The default body carries the 24 joints and BlazePose's 33 landmarks, placed by anatomy:

    nose                        skin at the tip of the nose                                                   Head
    *_eye_inner, *_eye_outer    skin at the corners of the eye                                                Head
    *_eye                       front of the eyeball, mean of the ring around the pupil                       Head
    *_ear                       tragus, the skin flap in front of the ear canal                               Head
    mouth_left, mouth_right     skin at the corner of the mouth                                               Head
    *_shoulder, *_elbow, *_wrist, *_knee, *_ankle       centre of the joint of that name                      that joint
    *_index, *_pinky            centre of the knuckle (MCP) of the index and the little finger                Wrist
    *_thumb                     centre of the thumb's second joint from the wrist (MCP)                       Wrist
    *_hip                       on the line of the hip joint centres, 1.07 times their distance apart (19 cm) Pelvis
    *_heel                      skin at the back of the heel, 2 cm above the sole                             Ankle
    *_foot_index                between the tips of the big and the second toe                                Foot

Imports: torch, ikol.errors, ikol.body.kinematics.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ikol.body.kinematics import BodyPose
from ikol.errors import InputError


@dataclass(frozen=True, eq=False)
class AttachedPoints:
    """Named points, each fixed to one joint."""

    names: tuple[str, ...]
    """Distinct."""
    joint_index: Int[Tensor, "points"]
    """The joint that carries each point."""
    rest: Float[Tensor, "points 3"]
    """Metres, model frame, at betas = 0."""
    shapedirs: Float[Tensor, "points 3 betas"]
    """Metres per unit of each beta."""

    def __post_init__(self) -> None:
        count = len(self.names)
        if len({*self.names}) != count:
            repeated = sorted({name for name in self.names if self.names.count(name) > 1})
            raise InputError(f"point names must differ, got {', '.join(repeated)} more than once")
        if not count == len(self.joint_index) == len(self.rest) == len(self.shapedirs):
            raise InputError(
                f"points need one joint, one place and one set of shape directions for each name, got {count} names, "
                f"{len(self.joint_index)} joints, {len(self.rest)} places, {len(self.shapedirs)} directions"
            )

    @classmethod
    def from_regressor(
        cls,
        names: tuple[str, ...],
        joint_index: Int[Tensor, "points"],
        regressor: Float[Tensor, "points vertices"],
        v_template: Float[Tensor, "vertices 3"],
        shapedirs: Float[Tensor, "vertices 3 betas"],
    ) -> "AttachedPoints":
        """Place each point at a weighted mean of rest vertices, as a joint regressor does.

        Args:
            names: one a point.
            joint_index: the joint that carries each point.
            regressor: weights, each row sums to one.
            v_template: metres, model frame.
            shapedirs: of the vertices.
        """
        rest = regressor @ v_template
        directions = torch.einsum("pv,vik->pik", regressor, shapedirs)
        return cls(names, joint_index, rest, directions)

    @classmethod
    def from_vertices(
        cls,
        names: tuple[str, ...],
        joint_index: Int[Tensor, "points"],
        vertex_index: Int[Tensor, "points"],
        v_template: Float[Tensor, "vertices 3"],
        shapedirs: Float[Tensor, "vertices 3 betas"],
    ) -> "AttachedPoints":
        """Place each point on one rest vertex.

        Args:
            names: one a point.
            joint_index: the joint that carries each point.
            vertex_index: the vertex of each point.
            v_template: metres, model frame.
            shapedirs: of the vertices.

        Raises:
            InputError: a vertex does not exist.
        """
        last = len(v_template) - 1
        if vertex_index.numel() and not 0 <= int(vertex_index.min()) <= int(vertex_index.max()) <= last:
            raise InputError(
                f"vertex indices must lie between 0 and {last}, got {int(vertex_index.min())} to "
                f"{int(vertex_index.max())}; are they meant for another mesh?"
            )
        return cls(names, joint_index, v_template[vertex_index], shapedirs[vertex_index])

    @property
    def num_betas(self) -> int:
        """How many shape coefficients move the points."""
        return self.shapedirs.shape[-1]

    def __len__(self) -> int:
        """How many points there are."""
        return len(self.names)

    def index(self, name: str) -> int:
        """Return the index of the point called `name`.

        Raises:
            InputError: no point has this name.
        """
        if name not in self.names:
            raise InputError(f"there is no point {name!r}; the points are {', '.join(self.names)}")
        return self.names.index(name)

    def select(self, names: tuple[str, ...]) -> "AttachedPoints":
        """Return the named points, in the given order.

        Raises:
            InputError: no point has one of the names.
        """
        order = torch.tensor([self.index(name) for name in names], dtype=torch.long, device=self.joint_index.device)
        return AttachedPoints(tuple(names), self.joint_index[order], self.rest[order], self.shapedirs[order])

    def joined(self, other: "AttachedPoints") -> "AttachedPoints":
        """Return these points followed by the other ones, which belong to the same body."""
        return AttachedPoints(
            self.names + other.names,
            torch.cat([self.joint_index, other.joint_index]),
            torch.cat([self.rest, other.rest]),
            torch.cat([self.shapedirs, other.shapedirs]),
        )

    def rest_points(self, betas: Float[Tensor, "*batch betas"]) -> Float[Tensor, "*batch points 3"]:
        """Return the points of the rest pose for a shape, metres, model frame.

        Raises:
            InputError: the number of betas is wrong.
        """
        check_betas(betas, self.num_betas)
        return self.rest + torch.einsum("pik,...k->...pi", self.shapedirs, betas)

    def posed_points(
        self,
        rest_points: Float[Tensor, "*#batch points 3"],
        rest_joints: Float[Tensor, "*#batch joints 3"],
        pose: BodyPose,
    ) -> Float[Tensor, "*batch points 3"]:
        """Return the points of a posed body: x_j + G_j (p - rest_j), metres, world.

        Args:
            rest_points: `rest_points(betas)`.
            rest_joints: the same body's rest joints for the same betas.
            pose: its posed joints.
        """
        j = self.joint_index
        arm = rest_points - rest_joints[..., j, :]
        return pose.joints[..., j, :] + (pose.global_rotmat[..., j, :, :] @ arm[..., None])[..., 0]

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "AttachedPoints":
        """Return the points on another device, in another floating-point type."""
        return replace(
            self,
            joint_index=self.joint_index.to(device=device),
            rest=self.rest.to(device=device, dtype=dtype),
            shapedirs=self.shapedirs.to(device=device, dtype=dtype),
        )


def check_betas(betas: Tensor, num_betas: int) -> None:
    """Refuse a shape vector of the wrong length.

    Raises:
        InputError: the last dimension is not `num_betas`.
    """
    if betas.shape[-1:] != (num_betas,):
        advice = (
            f"pass betas[..., :{num_betas}]" if betas.ndim and betas.shape[-1] > num_betas else "fill up with zeros"
        )
        raise InputError(f"betas must have shape (..., {num_betas}), got {tuple(betas.shape)}; {advice}")

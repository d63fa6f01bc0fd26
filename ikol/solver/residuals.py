# SPDX-License-Identifier: Apache-2.0
"""Residuals of every kind of evidence, with their local derivatives.

A term is one evidence block made ready: one batch dimension (or one of size 1), weights 1/sigma^2, zero for missing
rows. Its rows differentiate only by what they touch directly: the place of a point, the rotation of a joint in the
world, a joint's own rotation, the betas, or the bone scales. How that moves with the unknowns is the business of
`normal_equations`.
Imports: torch, ikol.geometry, ikol.camera, ikol.solver.limits, ikol.solver.robust.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ikol.camera import Camera
from ikol.geometry.rotations import right_jacobian_inverse, rotmat_to_rotvec
from ikol.geometry.swing_twist import twist_angle, twist_gradient
from ikol.solver.limits import JointLimits, limit_excess, twist_gate
from ikol.solver.robust import RobustLoss

MIN_DEPTH = 0.2  # metres: nobody is photographed from nearer; points there are pushed away from the camera
DEPTH_SIGMA = 0.01  # metres: at 5 cm behind MIN_DEPTH the push weighs as much as 5 standard deviations of a keypoint


@dataclass(frozen=True, eq=False)
class Posed:
    """A batch of n states with everything that residuals look at. Metres, world."""

    local_rotmat: Float[Tensor, "n joints 3 3"]
    global_rotmat: Float[Tensor, "n joints 3 3"]
    joints: Float[Tensor, "n joints 3"]
    points: Float[Tensor, "n points 3"]
    betas: Float[Tensor, "n betas"]
    bone_scale: Float[Tensor, "n joints"] | None = None
    """None for ones."""

    def to(self, dtype: torch.dtype) -> "Posed":
        """Return the states in another floating-point type."""
        return Posed(
            local_rotmat=self.local_rotmat.to(dtype),
            global_rotmat=self.global_rotmat.to(dtype),
            joints=self.joints.to(dtype),
            points=self.points.to(dtype),
            betas=self.betas.to(dtype),
            bone_scale=None if self.bone_scale is None else self.bone_scale.to(dtype),
        )


@dataclass(frozen=True, eq=False)
class Reference:
    """The weighted mean of some points of the table, from which others are measured."""

    first: int
    weights: Float[Tensor, "reference"]

    @property
    def span(self) -> slice:
        """Where the points lie in the table."""
        return slice(self.first, self.first + len(self.weights))


@dataclass(frozen=True, eq=False)
class OnPoints:
    """The rows' three columns are the place of points `first`, `first + 1` ... of the table, less the reference."""

    first: int
    reference: Reference | None = None

    def span(self, count: int) -> slice:
        """Return where `count` points lie in the table."""
        return slice(self.first, self.first + count)


@dataclass(frozen=True, eq=False)
class OnRotations:
    """The rows' three columns are a turn of the joint in the world: G <- Exp(w) G."""

    joint_index: Int[Tensor, "rows"]


@dataclass(frozen=True, eq=False)
class OnJoints:
    """The rows' three columns are a right perturbation of the joint's own rotation: R <- R Exp(d)."""

    joint_index: Int[Tensor, "rows"]


@dataclass(frozen=True, eq=False)
class OnShape:
    """One group of rows whose columns are the betas."""


@dataclass(frozen=True, eq=False)
class OnBones:
    """One group of one row for each joint, whose column is the joint's bone scale."""


@dataclass(frozen=True, eq=False)
class Range:
    """Rows that count only outside of a range, with weight and derivative also inside, for steps that leave it."""

    above: Float[Tensor, "n groups rows"]
    """Over the upper end; negative inside."""
    below: Float[Tensor, "n groups rows"]
    """Over the lower end; positive inside."""
    weight: Float[Tensor, "#n groups rows"]
    """1 / sigma^2, inside as well."""

    def to(self, dtype: torch.dtype) -> "Range":
        """Return the range in another floating-point type."""
        return Range(self.above.to(dtype), self.below.to(dtype), self.weight.to(dtype))


@dataclass(frozen=True, eq=False)
class Rows:
    """K residual groups of m rows each, whitened by `weight`, robust by group."""

    name: str
    residual: Float[Tensor, "n groups rows"]
    weight: Float[Tensor, "#n groups rows"]
    """1 / sigma^2; 0 where missing."""
    jacobian: Float[Tensor, "#n #groups rows columns"]
    touches: OnPoints | OnRotations | OnJoints | OnShape | OnBones
    loss: RobustLoss | None = None
    is_reported: bool = True
    """False for rows that only keep the solver on track."""
    range: Range | None = None
    """For one-sided rows, whose `weight` is 0 inside; they touch joints and have no loss."""

    def to(self, dtype: torch.dtype) -> "Rows":
        """Return the rows in another floating-point type."""
        return replace(
            self,
            residual=self.residual.to(dtype),
            weight=self.weight.to(dtype),
            jacobian=self.jacobian.to(dtype),
            range=None if self.range is None else self.range.to(dtype),
        )

    def spread(self, size: int) -> "Rows":
        """Return the rows with all parts expanded to a batch of `size`."""
        parts = (self.residual, self.weight, self.jacobian)
        residual, weight, jacobian = (part.expand(size, *part.shape[1:]) for part in parts)
        limits = self.range
        if limits is not None:
            limits = replace(limits, weight=limits.weight.expand(size, *limits.weight.shape[1:]))
        return replace(self, residual=residual, weight=weight, jacobian=jacobian, range=limits)

    def take(self, items: Bool[Tensor, "n"]) -> "Rows":
        """Return the rows of some items of the batch; for rows that are `spread`."""
        limits = self.range
        if limits is not None:
            limits = Range(limits.above[items], limits.below[items], limits.weight[items])
        return replace(
            self,
            residual=self.residual[items],
            weight=self.weight[items],
            jacobian=self.jacobian[items],
            range=limits,
        )

    @property
    def squared(self) -> Float[Tensor, "n groups"]:
        """The squared number of standard deviations of each group."""
        return (self.weight * self.residual.square()).sum(-1)


@dataclass(frozen=True, eq=False)
class PointTerm:
    """x_p - target."""

    name: str
    loss: RobustLoss | None
    first: int
    target: Float[Tensor, "#n rows 3"]
    weight: Float[Tensor, "#n rows 3"]
    tolerance: float | None = None
    """Of pins, metres; None for evidence that is soft."""

    def rows(self, posed: Posed) -> tuple[Rows, ...]:
        """Linearise."""
        points = posed.points[:, self.first : self.first + self.target.shape[-2]]
        eye = torch.eye(3, dtype=points.dtype, device=points.device)[None, None]
        return (Rows(self.name, points - self.target, self.weight, eye, OnPoints(self.first), self.loss),)


@dataclass(frozen=True, eq=False)
class RelativePointTerm:
    """axes (x_p - x_reference) - target."""

    name: str
    loss: RobustLoss | None
    first: int
    target: Float[Tensor, "#n rows 3"]
    weight: Float[Tensor, "#n rows 3"]
    axes: Float[Tensor, "#n 3 3"]
    reference: Reference

    def rows(self, posed: Posed) -> tuple[Rows, ...]:
        """Linearise."""
        points = posed.points[:, self.first : self.first + self.target.shape[-2]]
        origin = self.reference.weights @ posed.points[:, self.reference.span]
        residual = (points - origin[:, None]) @ self.axes.transpose(-1, -2) - self.target
        touches = OnPoints(self.first, self.reference)
        return (Rows(self.name, residual, self.weight, self.axes[:, None], touches, self.loss),)


@dataclass(frozen=True, eq=False)
class PixelTerm:
    """project(x_p) - target, and a one-sided row that keeps the points in front of the camera."""

    name: str
    loss: RobustLoss | None
    first: int
    target: Float[Tensor, "#n rows 2"]
    weight: Float[Tensor, "#n rows 2"]
    camera: Camera

    def rows(self, posed: Posed) -> tuple[Rows, ...]:
        """Linearise."""
        points = posed.points[:, self.first : self.first + self.target.shape[-2]]
        seen = self.camera.project_with_jacobian(points)
        touches = OnPoints(self.first)
        lack = (MIN_DEPTH - seen.depth).clamp(min=0.0)[..., None]
        ahead = self.camera.R_camera_world[:, None, 2:, :]
        # a missing keypoint may be behind the camera, as in a portrait's feet: only what is seen is in front
        push = torch.where(lack > 0, self.weight[..., :1] > 0, False).to(points.dtype) / DEPTH_SIGMA**2
        return (
            Rows(self.name, seen.pixels - self.target, self.weight, seen.jacobian, touches, self.loss),
            Rows(f"{self.name}_depth", lack, push, -ahead, touches, None, is_reported=False),
        )


@dataclass(frozen=True, eq=False)
class OrientationTerm:
    """Log(reference^T G_j)."""

    name: str
    loss: RobustLoss | None
    joint_index: Int[Tensor, "rows"]
    reference: Float[Tensor, "#n rows 3 3"]
    weight: Float[Tensor, "#n rows 3"]

    def rows(self, posed: Posed) -> tuple[Rows, ...]:
        """Linearise: Exp(w) G = G Exp(G^T w)."""
        rotmat = posed.global_rotmat[:, self.joint_index]
        residual = rotmat_to_rotvec(self.reference.transpose(-1, -2) @ rotmat)
        jacobian = right_jacobian_inverse(residual) @ rotmat.transpose(-1, -2)
        return (Rows(self.name, residual, self.weight, jacobian, OnRotations(self.joint_index), self.loss),)


@dataclass(frozen=True, eq=False)
class AnchorTerm:
    """Log(reference_j^T R_j)."""

    name: str
    loss: RobustLoss | None
    joint_index: Int[Tensor, "rows"]
    reference: Float[Tensor, "#n rows 3 3"]
    weight: Float[Tensor, "#n rows 3"]

    def rows(self, posed: Posed) -> tuple[Rows, ...]:
        """Linearise."""
        residual = rotmat_to_rotvec(self.reference.transpose(-1, -2) @ posed.local_rotmat[:, self.joint_index])
        jacobian = right_jacobian_inverse(residual)
        return (Rows(self.name, residual, self.weight, jacobian, OnJoints(self.joint_index), self.loss),)


@dataclass(frozen=True, eq=False)
class TwistTerm:
    """gate(swing) wrap(twist_j - angle)."""

    name: str
    loss: RobustLoss | None
    joint_index: Int[Tensor, "rows"]
    axis: Float[Tensor, "rows 3"]
    angle: Float[Tensor, "#n rows"]
    weight: Float[Tensor, "#n rows 1"]

    def rows(self, posed: Posed) -> tuple[Rows, ...]:
        """Linearise."""
        rotmat = posed.local_rotmat[:, self.joint_index]
        difference = twist_angle(rotmat, self.axis) - self.angle
        wrapped = torch.remainder(difference + math.pi, 2.0 * math.pi) - math.pi
        gate, gate_gradient = twist_gate(rotmat, self.axis)
        jacobian = gate[..., None] * twist_gradient(rotmat, self.axis) + wrapped[..., None] * gate_gradient
        residual = (gate * wrapped)[..., None]
        touches = OnJoints(self.joint_index)
        return (Rows(self.name, residual, self.weight, jacobian[..., None, :], touches, self.loss),)


@dataclass(frozen=True, eq=False)
class LimitTerm:
    """Excess over joint limits."""

    name: str
    limits: JointLimits
    weight: Float[Tensor, "1 limited 3"]

    def rows(self, posed: Posed) -> tuple[Rows, ...]:
        """Linearise."""
        excess = limit_excess(self.limits, posed.local_rotmat[:, self.limits.joint_index])
        residual = excess.residual
        weight = torch.where(residual != 0, self.weight, torch.zeros_like(residual))
        return (
            Rows(
                self.name,
                residual,
                weight,
                excess.jacobian,
                OnJoints(self.limits.joint_index),
                range=Range(excess.above, excess.below, self.weight),
            ),
        )


@dataclass(frozen=True, eq=False)
class ShapeTerm:
    """betas - mean."""

    name: str
    mean: Float[Tensor, "#n 1 betas"]
    weight: Float[Tensor, "#n 1 betas"]

    def rows(self, posed: Posed) -> tuple[Rows, ...]:
        """Linearise."""
        eye = torch.eye(posed.betas.shape[-1], dtype=posed.betas.dtype, device=posed.betas.device)[None, None]
        return (Rows(self.name, posed.betas[:, None] - self.mean, self.weight, eye, OnShape()),)


@dataclass(frozen=True, eq=False)
class BoneTerm:
    """bone_scale - mean."""

    name: str
    mean: Float[Tensor, "#n joints 1"]
    weight: Float[Tensor, "#n joints 1"]
    """0 for the root."""

    def rows(self, posed: Posed) -> tuple[Rows, ...]:
        """Linearise."""
        scale = torch.ones_like(posed.joints[..., 0]) if posed.bone_scale is None else posed.bone_scale
        one = torch.ones(1, 1, 1, 1, dtype=scale.dtype, device=scale.device)
        return (Rows(self.name, scale[..., None] - self.mean, self.weight, one, OnBones()),)


Term = (
    PointTerm
    | RelativePointTerm
    | PixelTerm
    | OrientationTerm
    | AnchorTerm
    | TwistTerm
    | LimitTerm
    | ShapeTerm
    | BoneTerm
)

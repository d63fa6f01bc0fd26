# SPDX-License-Identifier: Apache-2.0
"""Joint limits: how far each joint may swing and twist, and the one-sided residuals that say so.

Here: the limits of any rig as numbers, and their residual with its derivative. Not here: a human's ranges (anatomy).
Imports: torch, ikol.geometry, ikol.errors.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ikol.errors import InputError
from ikol.geometry.rotations import right_jacobian_inverse, rotmat_to_rotvec, rotvec_to_rotmat
from ikol.geometry.swing_twist import swing_twist, twist_angle, twist_gradient

# cos^2(swing / 2) between which a twist is believed: at a swing of 175 degrees not at all, at 150 fully. In between the
# gate closes smoothly, because the twist angle turns ever faster and is undefined at half a turn.
GATE_CLOSED = math.cos(math.radians(175) / 2) ** 2
GATE_OPEN = math.cos(math.radians(150) / 2) ** 2
LEAST_HALF_AXIS = 1e-3  # a hinge's range may end at 0; its ellipse is not used, but must not divide by 0


@dataclass(frozen=True, eq=False)
class JointLimits:
    """Ranges of K joints in radians. R = Exp(swing) Exp(twist about axes[0]); swing has two components.

    A ball joint's swing stays in an ellipse, made of four quarters with the ends of both ranges as half-axes. A hinge's
    swing stays in a box: the first range is its bend, the second what play it has sideways.
    """

    joint_index: Int[Tensor, "limited"]
    axes: Float[Tensor, "limited 3 3"]
    """Rows: the twist axis (along the bone), the first and the second swing axis; orthonormal, in the joint's frame."""
    swing_range: Float[Tensor, "limited 4"]
    """Lowest and highest angle about the first, then about the second swing axis. A ball joint's contain 0."""
    twist_range: Float[Tensor, "limited 2"]
    """Lowest and highest twist, within (-pi, pi)."""
    is_hinge: Bool[Tensor, "limited"]

    def __post_init__(self) -> None:
        count = len(self.joint_index)
        if not count == len(self.axes) == len(self.swing_range) == len(self.twist_range) == len(self.is_hinge):
            raise InputError("joint limits need axes, a swing range, a twist range and a kind for each joint")
        if not bool(torch.isfinite(self.axes).all()):
            raise InputError("the axes of joint limits must be finite")
        gram = self.axes @ self.axes.transpose(-1, -2)
        if not bool(((gram - torch.eye(3, dtype=gram.dtype, device=gram.device)).abs() < 1e-4).all()):
            raise InputError("the three axes of each joint limit must be unit vectors at right angles")
        low, high = self.swing_range[:, 0::2], self.swing_range[:, 1::2]
        is_ball = ~self.is_hinge[:, None]
        if not bool(((low <= high) & (~is_ball | ((low < 0) & (high > 0)))).all()):
            raise InputError("a swing range must be lowest, highest; a ball joint's must contain 0 inside")
        if not bool((self.twist_range[:, 0] <= self.twist_range[:, 1]).all()):
            raise InputError("a twist range must be lowest, highest")

    def take(self, rows: list[int]) -> "JointLimits":
        """Return the limits of some of the joints, by their row."""
        return JointLimits(
            self.joint_index[rows], self.axes[rows], self.swing_range[rows], self.twist_range[rows], self.is_hinge[rows]
        )

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "JointLimits":
        """Return the limits on another device, in another floating-point type."""
        return JointLimits(
            joint_index=self.joint_index.to(device=device),
            axes=self.axes.to(device=device, dtype=dtype),
            swing_range=self.swing_range.to(device=device, dtype=dtype),
            twist_range=self.twist_range.to(device=device, dtype=dtype),
            is_hinge=self.is_hinge.to(device=device),
        )


@dataclass(frozen=True)
class Excess:
    """How far K joints are beyond their limits (swing, swing, twist), in radians, and how that changes.

    Also inside the limits, where the residual is 0: a step has to know how far away they are.
    """

    above: Float[Tensor, "*batch limited 3"]
    """Over the upper limit; negative inside. A ball joint's swing gives the first number, scaled to its mean range."""
    below: Float[Tensor, "*batch limited 3"]
    """Over the lower limit; positive inside. Infinite for a ball joint's swing."""
    jacobian: Float[Tensor, "*batch limited 3 3"]
    """Of the number that is limited, with respect to a right perturbation R Exp(d) of the joint's own rotation."""

    @property
    def residual(self) -> Float[Tensor, "*batch limited 3"]:
        """Positive above, negative below, 0 inside."""
        return self.above.clamp(min=0.0) + self.below.clamp(max=0.0)


def limit_excess(limits: JointLimits, local_rotmat: Float[Tensor, "*batch limited 3 3"]) -> Excess:
    """Return the excess over the limits and its derivative.

    With R = S T: dS is S Exp(T d) Exp(-u dt), so the swing vector changes by J_r^-1(swing) (T - u dt/dd) d.
    """
    axis = limits.axes[:, 0]
    twist = twist_angle(local_rotmat, axis)
    gradient = twist_gradient(local_rotmat, axis)
    twist_rotmat = rotvec_to_rotmat(twist[..., None] * axis)
    swing = rotmat_to_rotvec(local_rotmat @ twist_rotmat.transpose(-1, -2))
    components = (limits.axes[:, 1:] @ swing[..., None]).squeeze(-1)
    swing_jacobian = right_jacobian_inverse(swing) @ (twist_rotmat - axis[..., :, None] * gradient[..., None, :])
    swing_jacobian = limits.axes[:, 1:] @ swing_jacobian
    radial, ray = _ellipse_excess(components, limits.swing_range)
    is_hinge = limits.is_hinge[:, None]
    nothing = torch.full_like(radial, math.inf)
    low, high = components - limits.swing_range[:, 0::2], components - limits.swing_range[:, 1::2]
    above = torch.where(is_hinge, high, torch.stack((radial, -nothing), dim=-1))
    below = torch.where(is_hinge, low, torch.stack((nothing, nothing), dim=-1))
    ball_jacobian = torch.cat(
        (ray[..., None, :] @ swing_jacobian, torch.zeros_like(swing_jacobian[..., :1, :])), dim=-2
    )
    gate, gate_gradient = twist_gate(local_rotmat, axis)
    over, under = twist - limits.twist_range[:, 1], twist - limits.twist_range[:, 0]
    beyond = over.clamp(min=0.0) + under.clamp(max=0.0)
    twist_jacobian = gate[..., None] * gradient + beyond[..., None] * gate_gradient
    return Excess(
        above=torch.cat((above, (gate * over)[..., None]), dim=-1),
        below=torch.cat((below, (gate * under)[..., None]), dim=-1),
        jacobian=torch.cat(
            (torch.where(is_hinge[..., None], swing_jacobian, ball_jacobian), twist_jacobian[..., None, :]), dim=-2
        ),
    )


def clamp_rotations(
    limits: JointLimits, local_rotmat: Float[Tensor, "*batch limited 3 3"]
) -> Float[Tensor, "*batch limited 3 3"]:
    """Return the rotations with what is beyond the limits taken off: twist to its range, swing to its box or ellipse.

    A ball joint's swing is shortened, its direction kept. What is inside stays, to rounding.
    """
    axis = limits.axes[:, 0]
    split = swing_twist(local_rotmat, axis)
    components = (limits.axes[:, 1:] @ rotmat_to_rotvec(split.swing)[..., None]).squeeze(-1)
    low, high = limits.swing_range[:, 0::2], limits.swing_range[:, 1::2]
    half_axes = torch.where(components < 0, -low, high).clamp(min=LEAST_HALF_AXIS)
    ratio = (components / half_axes).square().sum(-1, keepdim=True).clamp(min=1.0).sqrt()
    boxed = torch.minimum(torch.maximum(components, low), high)
    components = torch.where(limits.is_hinge[:, None], boxed, components / ratio)
    swing = rotvec_to_rotmat((components[..., None] * limits.axes[:, 1:]).sum(-2))
    angle = torch.minimum(torch.maximum(split.twist_angle, limits.twist_range[:, 0]), limits.twist_range[:, 1])
    return swing @ rotvec_to_rotmat(angle[..., None] * axis)


def twist_gate(
    rotmat: Float[Tensor, "*batch joints 3 3"], axis: Float[Tensor, "joints 3"]
) -> tuple[Float[Tensor, "*batch joints"], Float[Tensor, "*batch joints 3"]]:
    """Return how far the twist is to be believed, 0 to 1, and its derivative for a right perturbation.

    A smooth step of cos^2(swing / 2) = (1 + axis^T R axis) / 2; the derivative of axis^T R Exp(d) axis is
    axis x (R^T axis).
    """
    back = (rotmat.transpose(-1, -2) @ axis[..., None]).squeeze(-1)
    closeness = 0.5 * (1.0 + (axis * back).sum(-1))
    step = ((closeness - GATE_CLOSED) / (GATE_OPEN - GATE_CLOSED)).clamp(0.0, 1.0)
    slope = 6.0 * step * (1.0 - step) / (GATE_OPEN - GATE_CLOSED)
    return step.square() * (3.0 - 2.0 * step), 0.5 * slope[..., None] * torch.linalg.cross(axis.expand_as(back), back)


def _ellipse_excess(
    swing: Float[Tensor, "*batch limited 2"], swing_range: Float[Tensor, "limited 4"]
) -> tuple[Float[Tensor, "*batch limited"], Float[Tensor, "*batch limited 2"]]:
    """Return (e - 1) a and its gradient: e = sqrt((s_1/a_1)^2 + (s_2/a_2)^2), a the mean of the four half-axes.

    Convex in the swing, so that its linearisation never sees a limit where there is none. The way to the ellipse along
    the ray would be radians in every direction, but is not convex: its linearisation fails where the half-axes differ
    much.
    """
    half_axes = torch.stack((-swing_range[:, 0::2], swing_range[:, 1::2])).clamp(min=LEAST_HALF_AXIS)
    mean = half_axes.mean((0, 2))
    scaled = swing / torch.where(swing < 0, half_axes[0], half_axes[1]).square()
    ratio_squared = (swing * scaled).sum(-1)
    is_central = ratio_squared < 1e-4  # the tip of the cone has no gradient; a hundredth of the range around it neither
    ratio = torch.where(is_central, torch.ones_like(ratio_squared), ratio_squared).sqrt()
    excess = torch.where(is_central, -mean.expand_as(ratio), (ratio - 1.0) * mean)
    gradient = torch.where(is_central[..., None], 0.0, scaled * (mean / ratio)[..., None])
    return excess, gradient

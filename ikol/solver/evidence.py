# SPDX-License-Identifier: Apache-2.0
"""What is known about a pose: blocks of residuals, each row with a standard deviation.

The cost is 1/2 sum_g rho(s_g^2) over residual groups g (one point, one joint), s_g^2 = sum_i (r_i / sigma_i)^2. A row
with sigma = inf is missing and its target is ignored, whatever it holds. Every tensor may carry batch dimensions in
front; they broadcast against those of the initial state and of the other blocks. Shapes are written (*b, ...) here and
checked by `solve`, in words. Imports: torch, ikol.body, ikol.camera.
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from ikol.body.points import AttachedPoints
from ikol.camera import Camera
from ikol.solver.limits import JointLimits
from ikol.solver.robust import RobustLoss


@dataclass(frozen=True, eq=False)
class Points3D:
    """Points of the body at known places: x_p - target."""

    points: AttachedPoints
    target: Float[Tensor, "..."]
    """(*b, P, 3) metres, world."""
    sigma: Float[Tensor, "..."]
    """(*b, P), or (*b, P, 3) for each world axis; metres. (3, 3) for three points in a batch of three may be either and
    is refused: give all dimensions then. So with every sigma that may be by axis."""
    loss: RobustLoss | None = None
    name: str = "points_3d"


@dataclass(frozen=True, eq=False)
class Pins:
    """Points of the body that must lie at given places, whatever the other evidence says: x_p = target.

    They are conditions, not rows: the cost leaves them out. What cannot be reached comes as near as the others allow,
    and the result says so. At most one block in a solve. For points that may give way use `Points3D`.
    """

    points: AttachedPoints
    target: Float[Tensor, "..."]
    """(*b, P, 3) metres, world; ignored where nothing is pinned."""
    is_pinned: Bool[Tensor, "..."] | None = None
    """(*b, P); None for all."""
    tolerance: float = 1e-4
    """Metres: a pin within it is reached."""
    name: str = "pins"


@dataclass(frozen=True, eq=False)
class RelativePoints3D:
    """Points of the body at known places relative to other points: axes (x_p - x_reference) - target."""

    points: AttachedPoints
    target: Float[Tensor, "..."]
    """(*b, P, 3) metres, in `axes`."""
    sigma: Float[Tensor, "..."]
    """(*b, P), or (*b, P, 3) for each of `axes`; metres."""
    axes: Float[Tensor, "..."]
    """(*b, 3, 3) rotation whose rows are the axes in the world, such as a camera's R_camera_world."""
    reference: AttachedPoints
    """The points whose weighted mean is the origin, such as both hips."""
    reference_weights: Float[Tensor, "..."] | None = None
    """(Q,) one for each reference point, with sum 1; None for equal ones."""
    loss: RobustLoss | None = None
    name: str = "relative_points_3d"


@dataclass(frozen=True, eq=False)
class Points2D:
    """Points of the body seen by a camera: project(x_p) - target.

    A point that comes nearer to the camera than `MIN_DEPTH` is pushed back by an extra row.
    """

    points: AttachedPoints
    target: Float[Tensor, "..."]
    """(*b, P, 2) pixels."""
    sigma: Float[Tensor, "..."]
    """(*b, P) pixels."""
    camera: Camera
    loss: RobustLoss | None = None
    name: str = "points_2d"


@dataclass(frozen=True, eq=False)
class Orientation:
    """Joints whose rotation in the world is known: Log(reference^T G_j)."""

    joint_index: Int[Tensor, "..."]
    """(K,)"""
    reference: Float[Tensor, "..."]
    """(*b, K, 3, 3) global rotations."""
    sigma: Float[Tensor, "..."]
    """(*b, K), or (*b, K, 3) for each axis of the joint; radians."""
    loss: RobustLoss | None = None
    name: str = "orientation"


@dataclass(frozen=True, eq=False)
class Anchor:
    """Stay near given local rotations: Log(reference_j^T R_j). With the identity it is a prior about the rest pose."""

    reference: Float[Tensor, "..."]
    """(*b, J, 3, 3) local rotations."""
    sigma: Float[Tensor, "..."]
    """(*b, J), or (*b, J, 3) for each axis of the joint; radians."""
    loss: RobustLoss | None = None
    name: str = "anchor"


@dataclass(frozen=True, eq=False)
class Twist:
    """Known twists: R_j's angle about its bone minus `angle`, wrapped; fades out towards a swing of half a turn."""

    joint_index: Int[Tensor, "..."]
    """(K,)"""
    axis: Float[Tensor, "..."]
    """(K, 3) unit vectors in the joint's frame."""
    angle: Float[Tensor, "..."]
    """(*b, K) radians."""
    sigma: Float[Tensor, "..."]
    """(*b, K) radians."""
    loss: RobustLoss | None = None
    name: str = "twist"


@dataclass(frozen=True, eq=False)
class Limits:
    """Joints stay within their ranges: the excess beyond them, zero inside."""

    limits: JointLimits
    sigma: float = 0.02
    """Radians; about one degree, so that a few degrees beyond a limit already outweigh any single keypoint."""
    name: str = "limits"


@dataclass(frozen=True, eq=False)
class ShapePrior:
    """The betas stay near a mean: betas - mean."""

    mean: Float[Tensor, "..."]
    """(*b, B)"""
    sigma: Float[Tensor, "..."]
    """(*b, B)"""
    name: str = "shape_prior"


@dataclass(frozen=True, eq=False)
class BonePrior:
    """The bones stay near given lengths: bone_scale - mean."""

    mean: Float[Tensor, "..."]
    """(*b, J) factors on the rest bones from the parents; the root's is ignored. 1 for the skeleton's own lengths."""
    sigma: Float[Tensor, "..."]
    """(*b, J); 0.05 where lengths are known to 5 %."""
    name: str = "bone_prior"


Evidence = (
    Points3D | Pins | RelativePoints3D | Points2D | Orientation | Anchor | Twist | Limits | ShapePrior | BonePrior
)

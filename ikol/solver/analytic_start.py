# SPDX-License-Identifier: Apache-2.0
"""A start for any evidence: from its 3D points if there are any, else the rest pose, placed by the pictures.

Imports: torch, the evidence and what makes a start of points or pixels.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ikol.body.points import AttachedPoints
from ikol.solver.evidence import Evidence, Limits, Pins, Points2D, Points3D, RelativePoints3D, Twist
from ikol.solver.skeleton import Skeleton
from ikol.solver.start import start_from_points, translation_from_projection
from ikol.solver.state import SolveState

PIN_WEIGHT = 1e4  # 1 / m^2, as a point known to a centimetre


def analytic_start(
    skeleton: Skeleton, evidence: Sequence[Evidence], is_free: Bool[Tensor, "joints 3"], *, free_transl: bool
) -> SolveState:
    """Return a state near the evidence, which has been checked.

    Points in the world, else those relative to others, give the pose, with the limits and the twists that are known;
    without points in the world, the first picture gives the place.

    Args:
        skeleton: the rig.
        evidence: of any kind.
        is_free: which axes of which joints may turn; a joint that is held, if only about one axis, rests.
        free_transl: whether the body may be placed.
    """
    rest = skeleton.rest_state()
    in_world = [_points_of(block) for block in evidence if isinstance(block, Points3D | Pins)]
    relative = next((block for block in evidence if isinstance(block, RelativePoints3D)), None)
    state = rest
    if in_world:
        points, targets, weights = zip(*in_world, strict=True)
        state = _from_points(skeleton, evidence, _joined(points), _stacked(targets, 2), _stacked(weights, 1))
    elif relative is not None:
        weight = _weights(relative.sigma, relative.target)
        target = torch.where(weight[..., None] > 0, relative.target, 0.0) @ relative.axes
        state = _from_points(skeleton, evidence, relative.points, target, weight)
    joint_is_free = is_free.all(-1)[:, None, None]
    state = replace(state, local_rotmat=torch.where(joint_is_free, state.local_rotmat, rest.local_rotmat))
    picture = next((block for block in evidence if isinstance(block, Points2D)), None)
    if not in_world and picture is not None:
        camera = picture.camera
        seen = camera.to_camera(skeleton.posed_points(picture.points, state))
        shift = translation_from_projection(seen, picture.target, 1.0 / picture.sigma.square(), camera)
        state = replace(state, transl=state.transl + (shift[..., None, :] @ camera.R_camera_world).squeeze(-2))
    return state if free_transl else replace(state, transl=rest.transl)


def _from_points(
    skeleton: Skeleton, evidence: Sequence[Evidence], points: AttachedPoints, target: Tensor, weights: Tensor
) -> SolveState:
    limits = next((block.limits for block in evidence if isinstance(block, Limits)), None)
    twist = next((block for block in evidence if isinstance(block, Twist)), None)
    betas = skeleton.rest_state().betas
    return start_from_points(skeleton, points, target, weights, betas, limits=limits, twist=twist)


def _points_of(block: Points3D | Pins) -> tuple[AttachedPoints, Tensor, Tensor]:
    """Points with names that no other block has, their targets and weights."""
    points = replace(block.points, names=tuple(f"{block.name}: {name}" for name in block.points.names))
    if isinstance(block, Points3D):
        return points, block.target, _weights(block.sigma, block.target)
    weights = torch.full_like(block.target[..., 0], PIN_WEIGHT)
    return points, block.target, weights if block.is_pinned is None else weights * block.is_pinned


def _weights(sigma: Tensor, target: Float[Tensor, "*batch points 3"]) -> Tensor:
    """One weight for each point: of its least known axis, so that no missing coordinate is looked at."""
    is_per_point = sigma.ndim < target.ndim and sigma.shape[-1:] == target.shape[-2:-1]
    return 1.0 / (sigma if is_per_point else sigma.amax(-1)).square()


def _joined(parts: Sequence[AttachedPoints]) -> AttachedPoints:
    result = parts[0]
    for part in parts[1:]:
        result = result.joined(part)
    return result


def _stacked(parts: Sequence[Tensor], trailing: int) -> Tensor:
    """Concatenate along the points, the first of the trailing dimensions."""
    batch = torch.broadcast_shapes(*(part.shape[:-trailing] for part in parts))
    return torch.cat([part.expand(*batch, *part.shape[-trailing:]) for part in parts], dim=-trailing)

# SPDX-License-Identifier: Apache-2.0
"""A start for any evidence.

From its 3D points if there are any, else from the points that several pictures show, else the rest pose, placed by the
picture.

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
LEAST_PARALLAX = 1e-3  # squared sine of half the angle between two rays: less than 4 degrees say little about depth
LEAST_POINTS = 6  # fewer are more likely a limb than a body


def analytic_start(
    skeleton: Skeleton, evidence: Sequence[Evidence], is_free: Bool[Tensor, "joints 3"], *, free_transl: bool
) -> SolveState:
    """Return a state near the evidence, which has been checked.

    Points in the world, else those relative to others, else those that several pictures show give the pose, with the
    limits and the twists that are known; without points in the world, the first picture gives the place.

    Args:
        skeleton: the rig.
        evidence: of any kind.
        is_free: which axes of which joints may turn; a joint that is held, if only about one axis, rests.
        free_transl: whether the body may be placed.
    """
    rest = skeleton.rest_state()
    in_world = [_points_of(block) for block in evidence if isinstance(block, Points3D | Pins)]
    relative = next((block for block in evidence if isinstance(block, RelativePoints3D)), None)
    pictures = [block for block in evidence if isinstance(block, Points2D)]
    if not in_world and relative is None and len(pictures) > 1:
        in_world = _triangulated(pictures)
    state = rest
    if in_world:
        points, targets, weights = zip(*in_world, strict=True)
        held = None if free_transl else skeleton.rest_joints(rest.betas)[..., 0, :]
        state = _from_points(skeleton, evidence, _joined(points), _stacked(targets, 2), _stacked(weights, 1), held)
    elif relative is not None:
        weight = _weights(relative.sigma, relative.target)
        target = torch.where(weight[..., None] > 0, relative.target, 0.0) @ relative.axes
        state = _from_points(skeleton, evidence, relative.points, target, weight, None)
    joint_is_free = is_free.all(-1)[:, None, None]
    state = replace(state, local_rotmat=torch.where(joint_is_free, state.local_rotmat, rest.local_rotmat))
    if pictures and not in_world:
        picture = pictures[0]
        camera = picture.camera
        seen = camera.to_camera(skeleton.posed_points(picture.points, state))
        shift = translation_from_projection(seen, picture.target, 1.0 / picture.sigma.square(), camera)
        state = replace(state, transl=state.transl + (shift[..., None, :] @ camera.R_camera_world).squeeze(-2))
    return state if free_transl else replace(state, transl=rest.transl)


def _triangulated(pictures: Sequence[Points2D]) -> list[tuple[AttachedPoints, Tensor, Tensor]]:
    """The points that several pictures show, by linear least squares; nothing where they are too few for a pose."""
    names = tuple(dict.fromkeys(name for block in pictures for name in block.points.names))
    parts: list[AttachedPoints] = []
    normal, right = torch.zeros(()), torch.zeros(())
    for block in pictures:
        known = [name for part in parts for name in part.names]
        parts.append(block.points.select(tuple(name for name in block.points.names if name not in known)))
        camera, is_seen = block.camera, torch.isfinite(block.sigma)[..., None]
        slope = (block.target - camera.center[..., None, :]) / camera.focal[..., None, :]
        slope = torch.where(is_seen, slope, 0.0)
        R, t = camera.R_camera_world[..., None, :, :], camera.t_camera_world[..., None, :]
        # x - slope z = 0 in camera axes, each row in pixels at a depth of a metre
        rows = R[..., :2, :] - slope[..., None] * R[..., 2:, :]
        value = slope * t[..., 2:] - t[..., :2]
        weighted = (camera.focal[..., None, :] / block.sigma[..., None]).square()[..., None] * rows
        order = [names.index(name) for name in block.points.names]
        place = torch.eye(len(names), dtype=rows.dtype, device=rows.device)[:, order]
        normal = normal + torch.einsum("np,...pij->...nij", place, weighted.mT @ rows)
        right = right + torch.einsum("np,...pi->...ni", place, (weighted.mT @ value[..., None]).squeeze(-1))
    spread = torch.linalg.eigvalsh(normal)
    is_known = spread[..., 0] > LEAST_PARALLAX * spread[..., 2]
    if not bool((is_known.sum(-1) >= LEAST_POINTS).all()):
        return []
    eye = torch.eye(3, dtype=normal.dtype, device=normal.device)
    target = torch.linalg.solve(torch.where(is_known[..., None, None], normal, eye), right)
    return [(_joined(parts), target, spread[..., 0] * is_known)]


def _from_points(
    skeleton: Skeleton,
    evidence: Sequence[Evidence],
    points: AttachedPoints,
    target: Tensor,
    weights: Tensor,
    root: Tensor | None,
) -> SolveState:
    limits = next((block.limits for block in evidence if isinstance(block, Limits)), None)
    twist = next((block for block in evidence if isinstance(block, Twist)), None)
    betas = skeleton.rest_state().betas
    return start_from_points(skeleton, points, target, weights, betas, limits=limits, twist=twist, root=root)


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

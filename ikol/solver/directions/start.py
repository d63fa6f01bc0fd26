# SPDX-License-Identifier: Apache-2.0
"""The analytic start: each bone towards its keypoint from where its joint was put, Kabsch at joints with several.

Imports: torch, ikol.geometry, the tables.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.geometry.rotations import kabsch, rotation_between
from ikol.solver.directions.tables import Tables

BEND = 0.5  # how far a limb whose middle is missing keeps to the rest pose: straight towards its end is a saddle
FAINT = 1e-3  # weight of an aim far down a limb: it says little of the first bone
PULL = 100.0  # in units of rounding: towards the frame above, settles only what the keypoints leave open


def analytic_start(
    tables: Tables,
    keypoints: Float[Tensor, "items nodes 3"],
    offsets: Float[Tensor, "items nodes 3"],
    weights: Float[Tensor, "items nodes"],
    *,
    hold_root: bool,
) -> tuple[Float[Tensor, "items nodes 3 3"], Float[Tensor, "items 3"]]:
    """Return a global rotation for each node (the identity at the ends) and the root's place.

    A missing keypoint is replaced as an aim by the mean of those below it; where there are none, the rest pose stays.
    """
    items, nodes = weights.shape
    eye = torch.eye(3, dtype=weights.dtype, device=weights.device).expand(items, 3, 3)
    seen = weights > 0
    reach = weights @ tables.below
    mean = tables.below.T @ (weights[..., None] * keypoints) / reach.clamp(min=1e-12)[..., None]
    aims = torch.where(seen[..., None], keypoints, torch.where(reach[..., None] > 0, mean, 0.0))
    trust = torch.where(seen, weights, FAINT * reach)
    parents = (-1, *tables.parents.tolist())
    root = keypoints[:, 0] if hold_root else aims[:, 0]
    rotations = [eye] * nodes
    frames = [eye] * nodes
    places = [root] * nodes
    for level in tables.levels:
        for index, joint in enumerate(level.joints):
            children = [child for child in level.children if parents[child] == joint]
            frame = frames[parents[joint]] if joint else eye
            place, offset = places[joint], offsets[:, children]
            if bool(level.is_single[index]):
                child = children[0]
                rest = (frame @ offset[:, 0, :, None]).squeeze(-1)
                if joint == 0 and not hold_root:
                    place = torch.where(seen[:, :1], place, aims[:, child] - rest)
                direction = _direction(aims[:, child] - place, rest, seen[:, child], reach[:, child] > 0)
                rotations[joint] = rotation_between(rest, direction) @ frame
                frames[joint] = frame
            else:
                rotations[joint], place = _place_fan(
                    frame, place, offset, aims[:, children], trust[:, children],
                    own=torch.where(seen[:, 0], weights[:, 0], 0.0) if joint == 0 and not hold_root else None,
                )  # fmt: skip
                frames[joint] = rotations[joint]
            places[joint] = place
            for child in children:
                places[child] = place + (rotations[joint] @ offsets[:, child, :, None]).squeeze(-1)
    return torch.stack(rotations, dim=1), places[0]


def _direction(
    aim: Float[Tensor, "items 3"], rest: Float[Tensor, "items 3"], is_seen: Tensor, is_reached: Tensor
) -> Float[Tensor, "items 3"]:
    """Where a bone points: at its keypoint, between the rest pose and what is below it, or as in the rest pose."""
    distance = torch.linalg.vector_norm(aim, dim=-1, keepdim=True)
    is_clear = distance > 1e-10
    aim = torch.where(is_clear, aim / distance.clamp(min=1e-10), 0.0)
    rest = rest / torch.linalg.vector_norm(rest, dim=-1, keepdim=True).clamp(min=1e-10)
    bent = torch.where(is_reached[:, None], aim, 0.0) + BEND * rest
    bent = torch.where(bent.square().sum(-1, keepdim=True) > 1e-4, bent, rest)
    return torch.where(is_seen[:, None] & is_clear, aim, bent)


def _place_fan(
    frame: Float[Tensor, "items 3 3"],
    place: Float[Tensor, "items 3"],
    offsets: Float[Tensor, "items children 3"],
    aims: Float[Tensor, "items children 3"],
    trust: Float[Tensor, "items children"],
    *,
    own: Float[Tensor, "items"] | None,
) -> tuple[Float[Tensor, "items 3 3"], Float[Tensor, "items 3"]]:
    """The rotation of a joint with several children, and its place: moved to the weighted centre if `own` is given."""
    mean_aim, mean_offset = place, torch.zeros_like(place)
    if own is not None:
        share = torch.cat((own[:, None], trust), dim=1)
        share = share / share.sum(-1, keepdim=True).clamp(min=1e-12)
        mean_aim = share[:, 0, None] * place + (share[:, 1:, None] * aims).sum(1)
        mean_offset = (share[:, 1:, None] * offsets).sum(1)
        offsets = torch.cat((torch.zeros_like(place)[:, None], offsets), dim=1)
        aims = torch.cat((place[:, None], aims), dim=1)
        trust = torch.cat((own[:, None], trust), dim=1)
    source, target = offsets - mean_offset[:, None], aims - mean_aim[:, None]
    size = (trust * offsets.square().sum(-1)).sum(-1)
    eye = torch.eye(3, dtype=place.dtype, device=place.device).expand_as(frame)
    pull = (PULL * torch.finfo(size.dtype).eps * size)[:, None].expand(-1, 3)
    rotation = kabsch(
        torch.cat((source, eye), dim=1),
        torch.cat((target, frame.transpose(-1, -2)), dim=1),
        torch.cat((trust, pull), dim=1),
    )
    if own is None:
        return rotation, place
    moved = mean_aim - (rotation @ mean_offset[..., None]).squeeze(-1)
    return rotation, torch.where((trust.sum(-1) > 0)[:, None], moved, place)

# SPDX-License-Identifier: Apache-2.0
"""The analytic start: each bone towards its keypoint from where its joint was put, Kabsch at joints with several.

Imports: torch, ikol.geometry, the tables, the forks.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ikol.geometry.rotations import kabsch, rotation_between
from ikol.solver.directions.forks import Fork, find_aims, scan
from ikol.solver.directions.tables import Tables

BEND = 0.5  # how far a limb whose middle is missing keeps to the rest pose: straight towards its end is a saddle
FAINT = 1e-3  # weight of an aim that is no keypoint
PULL = 100.0  # in units of rounding: towards the frame above, settles only what the keypoints leave open


@dataclass(frozen=True, eq=False)
class Start:
    """Where a solve begins."""

    rotmat: Float[Tensor, "items nodes 3 3"]
    """Global; the identity at the ends."""
    root: Float[Tensor, "items 3"]
    is_open: Bool[Tensor, "items"]
    """Whether keypoints on a fork are missing, so that another start may end in a better optimum."""


@dataclass(frozen=True, eq=False)
class Starter:
    """Makes one start after the other."""

    tables: Tables
    keypoints: Float[Tensor, "items nodes 3"]
    offsets: Float[Tensor, "items nodes 3"]
    weights: Float[Tensor, "items nodes"]
    hold_root: bool
    taken: dict[int, list[Tensor]] = field(default_factory=dict[int, list[Tensor]])
    """The rotations that each fork has begun with so far."""

    def next(self, is_noisy: Bool[Tensor, "items"] | None = None) -> Start:
        """Return a start: the best one first. `is_noisy`: for which items forks differ though nothing is missing.

        A missing keypoint is replaced as an aim by the next ones below it; where there are none, the rest pose stays.
        """
        tables, offsets, hold_root = self.tables, self.offsets, self.hold_root
        items, nodes = self.weights.shape
        eye = torch.eye(3, dtype=offsets.dtype, device=offsets.device).expand(items, 3, 3)
        parents, children = (-1, *tables.parents.tolist()), tables.children
        aims = find_aims(children, self.keypoints, offsets, self.weights)
        is_open = torch.zeros(items, dtype=torch.bool, device=offsets.device)
        rotmats, frames = [eye] * nodes, [eye] * nodes
        places = [self.keypoints[:, 0] if hold_root else aims.place[:, 0]] * nodes
        for joint in tables.joints:
            below, parent = list(children[joint]), parents[joint]
            frame = frames[parent] if joint else eye
            if len(below) == 1:
                child = below[0]
                rest = (frame @ offsets[:, child, :, None]).squeeze(-1)
                if joint == 0 and not hold_root:
                    places[0] = torch.where(aims.is_seen[:, :1], places[0], aims.place[:, child] - rest)
                aim, is_seen = aims.place[:, child] - places[joint], aims.is_seen[:, child]
                direction = _direction(aim, rest, is_seen, aims.weight[:, child] > 0)
                rotmats[joint], frames[joint] = rotation_between(rest, direction) @ frame, frame
            else:
                hangs = joint > 0 and len(children[parent]) == 1  # on a bone that may be turned
                is_moved = ~aims.is_seen[:, joint] if hangs else torch.zeros_like(is_open)
                fork = Fork(
                    offsets=offsets[:, below],
                    aims=aims.at(below),
                    trust=torch.where(aims.is_seen[:, below], aims.weight[:, below], FAINT * aims.weight[:, below]),
                    place=torch.where(is_moved[:, None], places[parent] if hangs else places[joint], places[joint]),
                    length=torch.where(is_moved, torch.linalg.vector_norm(offsets[:, joint], dim=-1), 0.0)
                    if hangs
                    else None,
                    own=torch.where(aims.is_seen[:, 0], self.weights[:, 0], 0.0)
                    if joint == 0 and not hold_root
                    else None,
                )
                is_centred = torch.ones_like(is_open) if fork.own is not None else is_moved
                rotmat = _align(fork, frame, is_centred)
                is_unclear = (~fork.aims.is_seen & (fork.aims.weight > 0)).any(-1) | is_moved
                is_unclear = is_unclear if is_noisy is None else is_unclear | is_noisy
                if bool(is_unclear.any()):
                    found = scan(fork, rotmat, self.taken.setdefault(joint, []))
                    self.taken[joint].append(found)
                    rotmat = torch.where(is_unclear[:, None, None], found, rotmat)
                    is_open |= is_unclear
                if fork.own is not None:
                    places[joint] = fork.place_of(rotmat)
                if hangs:
                    places[joint] = torch.where(is_moved[:, None], fork.place_of(rotmat), places[joint])
                    bone = (rotmats[parent] @ offsets[:, joint, :, None]).squeeze(-1)
                    turned = rotation_between(bone, places[joint] - places[parent]) @ rotmats[parent]
                    rotmats[parent] = torch.where(is_moved[:, None, None], turned, rotmats[parent])
                rotmats[joint] = frames[joint] = rotmat
            for child in below:
                places[child] = places[joint] + (rotmats[joint] @ offsets[:, child, :, None]).squeeze(-1)
        return Start(torch.stack(rotmats, dim=1), places[0], is_open)


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


def _align(
    fork: Fork, frame: Float[Tensor, "items 3 3"], is_centred: Bool[Tensor, "items"]
) -> Float[Tensor, "items 3 3"]:
    """The rotation that brings the children of a fork nearest to their aims; its place moves too where `is_centred`."""
    place, offsets, aims, trust = fork.place, fork.offsets, fork.aims.place, fork.trust
    zero = torch.zeros_like(place)
    own = torch.zeros_like(trust[:, 0]) if fork.own is None else fork.own
    share = torch.cat((own[:, None], trust), dim=1)
    share = (share / share.sum(-1, keepdim=True).clamp(min=1e-12))[..., None]
    mean_aim = torch.where(is_centred[:, None], share[:, 0] * place + (share[:, 1:] * aims).sum(1), place)
    mean_offset = torch.where(is_centred[:, None], (share[:, 1:] * offsets).sum(1), zero)
    size = (trust * offsets.square().sum(-1)).sum(-1)
    pull = (PULL * torch.finfo(size.dtype).eps * size)[:, None].expand(-1, 3)
    eye = torch.eye(3, dtype=place.dtype, device=place.device).expand_as(frame)
    return kabsch(
        torch.cat((zero[:, None] - mean_offset[:, None], offsets - mean_offset[:, None], eye), dim=1),
        torch.cat(((place - mean_aim)[:, None], aims - mean_aim[:, None], frame.transpose(-1, -2)), dim=1),
        torch.cat((own[:, None], trust, pull), dim=1),
    )

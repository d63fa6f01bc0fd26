# SPDX-License-Identifier: Apache-2.0
"""Where a fork (a joint with several children) may start when keypoints on it are missing, or very wrong.

Then its rotation has several local optima: with both hips missing the pelvis may turn either way round the spine. Each
child counts by how far it is from where the next known keypoint below lets it be, a shell around that keypoint; a few
Gauss-Newton steps on this small problem from rotations all around give the places to start from, the best one first.
Imports: torch, ikol.geometry.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ikol.geometry.rotations import skew

NUM_STARTS = 5  # with 3, up to 0.3 % of the frames with both hips missing and 30 mm of noise miss the optimum
NOISY = 0.15  # of the bones at forks: a residual of this size can hide a better optimum though nothing is missing
STEPS = 3
SCAN_DAMPING = 0.02  # part of the trace
LONGEST_TURN = 0.6  # radians a step
LIKE = 0.85  # cosine of the angle below which two starts count as the same
NEAREST = 1e-4  # of a child's lever: what a turn away from the first guess costs, where nothing else decides


@dataclass(frozen=True, eq=False)
class Aims:
    """Where each node may be: on a shell around `place` with two radii, both 0 where its keypoint is known."""

    place: Float[Tensor, "items nodes 3"]
    low: Float[Tensor, "items nodes"]
    high: Float[Tensor, "items nodes"]
    weight: Float[Tensor, "items nodes"]
    """0 where nothing below is known."""
    is_seen: Bool[Tensor, "items nodes"]

    def at(self, nodes: list[int]) -> "Aims":
        """Return those of some nodes."""
        return Aims(
            place=self.place[:, nodes],
            low=self.low[:, nodes],
            high=self.high[:, nodes],
            weight=self.weight[:, nodes],
            is_seen=self.is_seen[:, nodes],
        )


@dataclass(frozen=True, eq=False)
class Fork:
    """What is known around one fork."""

    offsets: Float[Tensor, "items children 3"]
    aims: Aims
    """Of the children."""
    trust: Float[Tensor, "items children"]
    """How much each aim counts for the place."""
    place: Float[Tensor, "items 3"]
    """Where the fork is, its keypoint, or what it hangs on at the distance `length`."""
    length: Float[Tensor, "items"] | None
    """None where the place is known."""
    own: Float[Tensor, "items"] | None
    """Weight of its own keypoint at `place`, of a root that is not held."""

    def place_of(self, rotmat: Float[Tensor, "items 3 3"]) -> Float[Tensor, "items 3"]:
        """Return the place that suits a rotation best."""
        if self.own is None and self.length is None:
            return self.place
        back = self.aims.place - self.offsets @ rotmat.transpose(-1, -2)
        wanted = (self.trust[..., None] * back).sum(1)
        total = self.trust.sum(1, keepdim=True)
        if self.own is not None:
            wanted, total = wanted + self.own[:, None] * self.place, total + self.own[:, None]
        wanted = torch.where(total > 0, wanted / total.clamp(min=1e-12), self.place)
        if self.length is None:
            return wanted
        gap = wanted - self.place
        gap = gap / torch.linalg.vector_norm(gap, dim=-1, keepdim=True).clamp(min=1e-10)
        return self.place + self.length[:, None] * gap


def find_aims(
    children: tuple[tuple[int, ...], ...],
    keypoints: Float[Tensor, "items nodes 3"],
    offsets: Float[Tensor, "items nodes 3"],
    weights: Float[Tensor, "items nodes"],
) -> Aims:
    """Return the aims, leaves first. A missing fork hangs on the mean of its children's aims by their mean offset."""
    is_seen = weights > 0
    place, weight = [*keypoints.unbind(1)], [*weights.unbind(1)]
    zero = torch.zeros_like(weight[0])
    low, high = [zero] * len(place), [zero] * len(place)
    for node in reversed(range(len(children))):
        below = list(children[node])
        if not below:
            continue
        known = torch.stack([weight[child] for child in below], dim=1)
        share = known / known.sum(1, keepdim=True).clamp(min=1e-12)
        mean = (share[..., None] * torch.stack([place[child] for child in below], dim=1)).sum(1)
        length = torch.linalg.vector_norm((share[..., None] * offsets[:, below]).sum(1), dim=-1)
        far = (share * torch.stack([high[child] for child in below], dim=1)).sum(1)
        near = (share * torch.stack([low[child] for child in below], dim=1)).sum(1)
        seen = is_seen[:, node]
        place[node] = torch.where(seen[:, None], place[node], mean)
        high[node] = torch.where(seen, 0.0, far + length)
        low[node] = torch.where(seen, 0.0, torch.maximum(near - length, length - far).clamp(min=0.0))
        weight[node] = torch.where(seen, weight[node], known.mean(1))
    return Aims(
        place=torch.stack(place, dim=1),
        low=torch.stack(low, dim=1),
        high=torch.stack(high, dim=1),
        weight=torch.stack(weight, dim=1),
        is_seen=is_seen,
    )


def scan(
    fork: Fork, first: Float[Tensor, "items 3 3"], taken: list[Float[Tensor, "items 3 3"]]
) -> Float[Tensor, "items 3 3"]:
    """Return the best rotation that is not like one of those `taken`. `first`: the guess from what is known."""
    lever = (fork.aims.weight * fork.offsets.square().sum(-1)).sum(-1)
    best, lowest = first, torch.full_like(lever, torch.inf)
    for turn in _rotations_around(first):
        rotmat = first @ turn
        for _ in range(STEPS):
            rotmat = cayley(_scan_step(fork, rotmat)) @ rotmat
        score = _score(fork, rotmat) + NEAREST * lever * (rotmat - first).square().sum((-1, -2))
        is_like = torch.zeros_like(score, dtype=torch.bool)
        for other in taken:
            is_like = is_like | (((rotmat * other).sum((-1, -2)) - 1) / 2 > LIKE)
        is_better = (score < lowest) & ~is_like
        best = torch.where(is_better[:, None, None], rotmat, best)
        lowest = torch.where(is_better, score, lowest)
    return best


def cayley(turn: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Return the rotation about `turn` by the angle 2 atan(|turn|/2): without trigonometry."""
    half = 0.5 * turn
    cross = skew(half)
    scale = 2.0 / (1.0 + half.square().sum(-1))[..., None, None]
    return torch.eye(3, dtype=turn.dtype, device=turn.device) + scale * (cross + cross @ cross)


def _violation(fork: Fork, rotmat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Arms, unit vectors from the aims, and how far outside of the shells the children are."""
    arms = fork.offsets @ rotmat.transpose(-1, -2)
    gap = fork.place_of(rotmat)[:, None] + arms - fork.aims.place
    distance = torch.linalg.vector_norm(gap, dim=-1)
    outside = (distance - fork.aims.high).clamp(min=0.0) - (fork.aims.low - distance).clamp(min=0.0)
    return arms, gap / distance.clamp(min=1e-10)[..., None], outside


def _score(fork: Fork, rotmat: Float[Tensor, "items 3 3"]) -> Float[Tensor, "items"]:
    score = (fork.aims.weight * _violation(fork, rotmat)[2].square()).sum(-1)
    if fork.own is not None:
        score = score + fork.own * (fork.place_of(rotmat) - fork.place).square().sum(-1)
    return score


def _scan_step(fork: Fork, rotmat: Float[Tensor, "items 3 3"]) -> Float[Tensor, "items 3"]:
    """One damped Gauss-Newton step of the rotation, about the place as it is."""
    arms, away, outside = _violation(fork, rotmat)
    row = torch.linalg.cross(arms, away)
    weight = torch.where(outside != 0, fork.aims.weight, 0.0)
    gradient = ((weight * outside)[..., None] * row).sum(1)
    # a known child counts with all three coordinates
    eye = torch.eye(3, dtype=rotmat.dtype, device=rotmat.device)
    full = arms.square().sum(-1)[..., None, None] * eye - arms[..., :, None] * arms[..., None, :]
    outer = row[..., :, None] * row[..., None, :]
    blocks = torch.where(
        fork.aims.is_seen[..., None, None], fork.aims.weight[..., None, None] * full, weight[..., None, None] * outer
    )
    hessian = blocks.sum(1)
    trace = hessian.diagonal(dim1=-2, dim2=-1).sum(-1)
    floor = torch.finfo(trace.dtype).tiny ** 0.5
    hessian = hessian + (SCAN_DAMPING * trace + floor)[..., None, None] * eye
    turn = -torch.linalg.solve(hessian, gradient)
    length = torch.linalg.vector_norm(turn, dim=-1, keepdim=True)
    return turn * (LONGEST_TURN / length.clamp(min=LONGEST_TURN))


def _rotations_around(like: Tensor) -> Tensor:
    """The twelve rotations of a tetrahedron, the identity first."""
    eye = torch.eye(3, dtype=like.dtype, device=like.device)
    signs = like.new_tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    return torch.stack([sign[:, None] * eye.roll(shift, dims=1) for shift in range(3) for sign in signs])

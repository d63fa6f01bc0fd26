# SPDX-License-Identifier: Apache-2.0
"""Poses and shapes to learn from: captured motion and everyday poses, widened, within the limits of human joints.

Two poses of five start from DeepMimic's clips (`ikol.evaluation.motion_clips`: fetched, never shipped), the others from
rules (`everyday`). To all of them is added what the clips lack: forearm twist, wrists, hands, collars, the head's
turns, and some play of every joint. The three splits share no clip, no drawn pose and no shape. Imports: torch,
ikol.body, ikol.evaluation, ikol.geometry, ikol.solver.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ikol.body import load_default_body
from ikol.errors import InputError
from ikol.evaluation.motion_clips import CLIPS, fetch_motion_archive, read_clips
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.solver.anatomy import default_limits
from ikol.solver.limits import clamp_rotations
from ikol.training.everyday import everyday_poses

SPLITS = ("train", "val", "test")

MOTION_REQUIREMENT = "pybullet==3.2.7"
_CLIPS_OF: dict[str, tuple[str, ...]] = {"val": ("punch", "jump"), "test": ("kick", "dance_b", "getup_faceup")}
_NUM_SUBJECTS = {"train": 2000, "val": 200, "test": 200}
_MOST_BETA = 2.5  # standard deviations; further out the body's shape space has not been looked at
_EVERYDAY_SHARE = 0.6
_SWAP_SHARE = 0.5  # of the captured poses whose arms, neck and head come from another frame

_UPPER = (9, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23)
_PLAY_DEG = 5.0  # of every joint about every axis, times a factor of each pose that is itself spread
_MORE_PLAY_DEG = {  # about x, y, z
    "Spine1": (4, 5, 4),
    "Spine2": (4, 5, 4),
    "Neck": (8, 12, 6),
    "Head": (10, 14, 6),
    "L_Collar": (5, 7, 7),
    "L_Wrist": (8, 12, 22),
    "L_Hand": (0, 4, 18),
    "L_Foot": (6, 0, 0),
}
_PRONATION_DEG = 35.0  # standard deviation of half of the forearms' twist; the other half is spread evenly
_MOST_PRONATION_DEG = 95.0
_ELBOW_SHARE = (0.55, 1.0)  # of the forearm's twist that the elbow carries; the wrist has the rest


@dataclass(frozen=True, eq=False)
class PoseSample:
    """Poses of the default body."""

    local_rotmat: Float[Tensor, "poses 24 3 3"]
    """The root's is relative to the SMPL world: upright, with any heading."""
    betas: Float[Tensor, "poses 10"]
    motion_id: Int[Tensor, "poses"]
    """Which clip, or which family of everyday poses, of which split; splits share none."""
    subject_id: Int[Tensor, "poses"]
    """Which shape; splits share none."""


def clips_of_split(split: str) -> tuple[str, ...]:
    """Return the names of the clips that a split may use."""
    taken = {clip for clips in _CLIPS_OF.values() for clip in clips}
    return _CLIPS_OF.get(split, tuple(clip for clip in CLIPS if clip not in taken))


def sample_poses(count: int, seed: int, split: str, *, folder: Path = Path(".cache/motion")) -> PoseSample:
    """Return poses and shapes; the same for the same arguments.

    Args:
        count: how many.
        seed: any integer.
        split: whose clips, draws and subjects.
        folder: where the motion is kept, or fetched to (100 MB, once).

    Raises:
        InputError: there is no such split, or the motion could not be fetched.
    """
    if split not in SPLITS:
        raise InputError(f"unknown split {split!r}, expected one of {', '.join(SPLITS)}")
    generator = torch.Generator().manual_seed(3 * seed + SPLITS.index(split))
    body = load_default_body()
    everyday, stance = everyday_poses(count, body, generator)
    captured, clip = _captured_poses(count, split, folder, generator)
    is_everyday = torch.rand(count, generator=generator) < _EVERYDAY_SHARE
    local = torch.where(is_everyday[:, None, None, None], everyday, captured)
    motion_id = torch.where(is_everyday, len(CLIPS) + len(SPLITS) * stance + SPLITS.index(split), clip)
    local = _mirrored_half(_with_play(local, body.tree.names, generator), body.tree.names, generator)
    limits = default_limits(body.tree)
    local[:, limits.joint_index] = clamp_rotations(limits, local[:, limits.joint_index])
    heading = torch.rand(count, generator=generator) * 2 * math.pi
    local[:, 0] = rotvec_to_rotmat(heading[:, None] * torch.tensor([0.0, 1.0, 0.0])) @ local[:, 0]
    shapes, first = _subjects(split)
    subject = torch.randint(len(shapes), (count,), generator=generator)
    return PoseSample(local, shapes[subject], motion_id, first + subject)


def _subjects(split: str) -> tuple[Float[Tensor, "subjects 10"], int]:
    """Return the shapes of a split, always the same ones, and the number of the first."""
    first = sum(_NUM_SUBJECTS[other] for other in SPLITS[: SPLITS.index(split)])
    generator = torch.Generator().manual_seed(first)
    return torch.randn(_NUM_SUBJECTS[split], 10, generator=generator).clamp(-_MOST_BETA, _MOST_BETA), first


def _captured_poses(
    count: int, split: str, folder: Path, generator: torch.Generator
) -> tuple[Float[Tensor, "poses 24 3 3"], Int[Tensor, "poses"]]:
    """Return frames of the clips, each clip equally often, and the clip's number; some with another frame's arms."""
    clips = read_clips(fetch_motion_archive(folder, MOTION_REQUIREMENT))
    names = clips_of_split(split)

    def draw() -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(names), (count,), generator=generator)
        lengths = torch.tensor([len(clips[name]) for name in names])
        starts = lengths.cumsum(0) - lengths
        frame = starts[chosen] + (torch.rand(count, generator=generator) * lengths[chosen]).long()
        return torch.cat([clips[name] for name in names])[frame].float(), chosen

    (local, chosen), (other, _) = draw(), draw()
    is_swapped = torch.rand(count, generator=generator) < _SWAP_SHARE
    joints = torch.zeros(24, dtype=torch.bool)
    joints[list(_UPPER)] = True
    local = torch.where((is_swapped[:, None] & joints)[..., None, None], other, local)
    return local, torch.tensor([CLIPS.index(name) for name in names])[chosen]


def _with_play(
    local: Float[Tensor, "poses 24 3 3"], names: tuple[str, ...], generator: torch.Generator
) -> Float[Tensor, "poses 24 3 3"]:
    """Return the poses with some play in every joint but the root, raised collars and turned forearms."""
    count = len(local)
    deviation = torch.full((24, 3), _PLAY_DEG)
    for name, degrees in _MORE_PLAY_DEG.items():
        for part in {name, name.replace("L_", "R_")}:
            deviation[names.index(part)] = torch.tensor(degrees, dtype=torch.float32)
    deviation[0] = 0.0
    # knees and elbows are hinges; their bend has play, and the forearm its twist below
    for name in ("L_Knee", "R_Knee", "L_Elbow", "R_Elbow"):
        deviation[names.index(name)] *= torch.tensor([1.0, 0.2, 0.2] if "Knee" in name else [0.0, 1.0, 0.2])
    scale = torch.rand(count, 1, 1, generator=generator) * 1.6
    rotvec = scale * torch.deg2rad(deviation) * torch.randn(count, 24, 3, generator=generator)
    for side, sign in (("L", 1.0), ("R", -1.0)):
        collar, shoulder, elbow, wrist, hand = (
            names.index(f"{side}_{part}") for part in ("Collar", "Shoulder", "Elbow", "Wrist", "Hand")
        )
        lift = local[:, shoulder, 1, 0] * sign  # how far up the arm points
        rotvec[:, collar, 2] += sign * torch.deg2rad(20.0 * lift.clamp_min(0.0) - 3.0)
        even = torch.rand(count, generator=generator) * 2 - 1
        normal = torch.randn(count, generator=generator)
        is_even = torch.rand(count, generator=generator) < 0.5
        pronation = torch.where(is_even, _MOST_PRONATION_DEG * even, _PRONATION_DEG * normal)
        low, high = _ELBOW_SHARE
        share = low + (high - low) * torch.rand(count, generator=generator)
        # the play of the elbow's own twist is left out above: all of it is here
        rotvec[:, wrist, 0] += torch.deg2rad((1 - share) * pronation)
        rotvec[:, hand, 2] -= sign * math.radians(12.0)  # relaxed fingers are bent
        twist = torch.zeros(count, 3)
        twist[:, 0] = torch.deg2rad(share * pronation)
        local[:, elbow] = local[:, elbow] @ rotvec_to_rotmat(twist)
        # an arm stays where it was when its collar lifts
        local[:, shoulder] = rotvec_to_rotmat(-rotvec[:, collar]) @ local[:, shoulder]
    return local @ rotvec_to_rotmat(rotvec)


def _mirrored_half(
    local: Float[Tensor, "poses 24 3 3"], names: tuple[str, ...], generator: torch.Generator
) -> Float[Tensor, "poses 24 3 3"]:
    """Return the poses, every second one on average with left and right exchanged."""
    other = {"L_": "R_", "R_": "L_"}
    swap = [names.index(other.get(name[:2], name[:2]) + name[2:]) for name in names]
    sign = torch.tensor([-1.0, 1.0, 1.0])
    mirrored = sign[:, None] * local[:, swap] * sign
    is_mirrored = torch.rand(len(local), generator=generator) < 0.5
    return torch.where(is_mirrored[:, None, None, None], mirrored, local)

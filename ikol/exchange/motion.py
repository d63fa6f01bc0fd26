# SPDX-License-Identifier: Apache-2.0
"""What files of motion become in memory: rotations of a joint tree over frames, and named points over frames.

Imports: torch, ikol.body, ikol.errors.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.body.joint_tree import JointTree
from ikol.body.smpl_trees import SMPL_TREE
from ikol.errors import InputError

MAX_FRAMES: Final = 200_000  # nearly two hours at 30 a second; SMPL-X's 55 joints then take 800 MB as matrices
MAX_VALUES: Final = 40_000_000  # numbers in one array of a file: 320 MB
SMPL_PELVIS: Final = (-0.0018, -0.2233, 0.0282)
"""Where the pelvis of SMPL's neutral mean body rests, metres: SMPL's translation is counted from it. Used where no body
is given; other shapes and sexes are off by millimetres then, and only in files whose axes are turned."""

Axes = Literal["y", "z", "camera"]
"""Which way is up in a file: +Y (SMPL's world), +Z (AMASS, Blender), or -Y, the axes of a camera."""
_TO_Y_UP: Final[dict[Axes, tuple[tuple[float, ...], ...]]] = {
    "y": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "z": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "camera": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
}


@dataclass(frozen=True, eq=False)
class Motion:
    """Rotations over frames: SMPL's world, Y up, metres, radians."""

    joint_names: tuple[str, ...]
    local_rotmat: Float[Tensor, "frames joints 3 3"]
    """Relative to the parent; the root's to the world."""
    transl: Float[Tensor, "frames 3"]
    """Added to the root joint of the rest pose."""
    betas: Float[Tensor, "shapes betas"]
    """One row for all frames, or one a frame."""
    fps: float
    gender: str = "neutral"

    def __post_init__(self) -> None:
        frames, joints = self.local_rotmat.shape[:2]
        if joints != len(self.joint_names) or len(self.transl) != frames or len(self.betas) not in (1, frames):
            raise InputError(
                f"a motion needs a rotation for each joint, and a translation and one or no shape for each frame, got "
                f"{len(self.joint_names)} names, rotations {tuple(self.local_rotmat.shape)}, {len(self.transl)} "
                f"translations, {len(self.betas)} shapes"
            )
        if not frames:
            raise InputError("a motion needs at least one frame, got none")
        if not (math.isfinite(self.fps) and 0 < self.fps <= 100_000):
            raise InputError(f"a motion needs a positive number of frames a second, got {self.fps}")
        for what, part in (("rotations", self.local_rotmat), ("translations", self.transl), ("betas", self.betas)):
            if not bool(torch.isfinite(part).all()):
                raise InputError(f"the {what} hold infinite or undefined numbers; the file is damaged")

    @property
    def num_frames(self) -> int:
        """How many frames there are."""
        return len(self.transl)

    def on(self, tree: JointTree) -> "Motion":
        """Return the motion of another tree's joints: those of the same name; the others are at rest."""
        at = {name: joint for joint, name in enumerate(self.joint_names)}
        rest = torch.eye(3, dtype=self.local_rotmat.dtype).expand(self.num_frames, 3, 3)
        parts = [self.local_rotmat[:, at[name]] if name in at else rest for name in tree.names]
        return replace(self, joint_names=tree.names, local_rotmat=torch.stack(parts, 1))

    def turned(self, rotmat: Float[Tensor, "3 3"], pelvis: Float[Tensor, "3"]) -> "Motion":
        """Return the motion in other world axes; `pelvis` is where the root rests, about which nothing turns."""
        local = torch.cat((rotmat @ self.local_rotmat[:, :1], self.local_rotmat[:, 1:]), 1)
        return replace(self, local_rotmat=local, transl=(self.transl + pelvis) @ rotmat.mT - pelvis)

    def from_axes(self, axes: Axes, pelvis: Float[Tensor, "3"]) -> "Motion":
        """Return a motion that is in a file's axes in SMPL's world."""
        return self.turned(_axes(axes), pelvis)

    def to_axes(self, axes: Axes, pelvis: Float[Tensor, "3"]) -> "Motion":
        """Return the motion in a file's axes."""
        return self.turned(_axes(axes).mT, pelvis)

    def likely_axes(self) -> Axes:
        """Return which way is up, by where the root's own up points most of the time: people are mostly upright."""
        up = self.local_rotmat[:, 0, :, 1].mean(0)
        scores: dict[Axes, float] = {"y": float(up[1]), "z": float(up[2]), "camera": -float(up[1])}
        return max(scores, key=lambda axes: scores[axes])


def _axes(axes: Axes) -> Tensor:
    return torch.tensor(_TO_Y_UP[axes], dtype=torch.float64)


def smpl_pelvis() -> Float[Tensor, "3"]:
    """Return `SMPL_PELVIS` as a tensor."""
    return torch.tensor(SMPL_PELVIS, dtype=torch.float64)


RestPelvis = Callable[[Tensor], Tensor]
"""Gives where the pelvis of a body of given betas (B,) rests: (3,) metres."""


def rest_pelvis(pelvis: RestPelvis | None, betas: Float[Tensor, "shapes betas"]) -> Float[Tensor, "3"]:
    """Return where the pelvis rests in the shape of a motion; that of SMPL's mean body for None."""
    return smpl_pelvis() if pelvis is None else pelvis(betas.mean(0))


def as_body_motion(motion: Motion, name: str) -> Motion:
    """Return a motion of SMPL's joints, as a format that knows only these can hold it.

    Raises:
        InputError: it has none of them.
    """
    missing = [joint for joint in SMPL_TREE.names[:22] if joint not in motion.joint_names]
    if missing:
        raise InputError(
            f"{name} holds motions of SMPL's joints; this one has no {', '.join(missing[:5])}. Other joints stay in "
            "a .bvh, which Blender's own importer (File > Import > Motion Capture) reads"
        )
    return motion


@dataclass(frozen=True, eq=False)
class Keypoints:
    """Named points over frames: markers in space, or points on a picture."""

    names: tuple[str, ...]
    """Those of the body's points where the format means the same place; otherwise the format's own."""
    points: Float[Tensor, "frames points axes"]
    """(F, K, 3) metres, SMPL's world; or (F, K, 2) pixels, from the top left corner."""
    confidence: Float[Tensor, "frames points"]
    """0 for a point that is missing, whose place means nothing; 1 for sure."""
    fps: float = 30.0
    size: tuple[int, int] | None = None
    """Width and height of the picture in pixels, where the file says so."""

    def __post_init__(self) -> None:
        shape = self.points.shape
        if len(self.names) != shape[1] or self.confidence.shape != shape[:2] or shape[2] not in (2, 3):
            raise InputError(
                f"keypoints need a place and a confidence for each name, got {len(self.names)} names, places "
                f"{tuple(shape)}, confidences {tuple(self.confidence.shape)}"
            )
        if not shape[0] or not shape[1]:
            raise InputError("the file holds no keypoints")
        if len({*self.names}) != len(self.names):
            twice = sorted({name for name in self.names if self.names.count(name) > 1})
            raise InputError(f"keypoint names must differ, got {', '.join(twice[:5])} more than once")
        if not bool(torch.isfinite(self.points).all() & torch.isfinite(self.confidence).all()):
            raise InputError("the keypoints hold infinite or undefined numbers; the file is damaged")

    @property
    def is_spatial(self) -> bool:
        """Whether these are places in space, not on a picture."""
        return self.points.shape[2] == 3

    def of(self, names: tuple[str, ...]) -> "Keypoints":
        """Return the points with these names, in this order; missing where there is none."""
        at = {name: index for index, name in enumerate(self.names)}
        points = self.points.new_zeros(len(self.points), len(names), self.points.shape[2])
        confidence = self.confidence.new_zeros(len(self.points), len(names))
        for column, name in enumerate(names):
            if name in at:
                points[:, column], confidence[:, column] = self.points[:, at[name]], self.confidence[:, at[name]]
        return replace(self, names=names, points=points, confidence=confidence)

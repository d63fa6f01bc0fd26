# SPDX-License-Identifier: Apache-2.0
"""Captured motion as SMPL poses: the DeepMimic clips inside the `pybullet` wheel (zlib licence), 1 620 frames.

They are fetched where they are needed and read from the wheel, which is not installed; nothing of them is in this
repository. Imports: torch, ikol.geometry, ikol.errors; `pip` as a program.
"""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.errors import FileFormatError, InputError
from ikol.geometry.rotations import quat_to_rotmat, rotmat_to_rotvec, rotvec_to_rotmat

CLIPS = ("walk", "run", "jump", "kick", "punch", "spin", "spinkick", "cartwheel", "backflip", "roll", "crawl",
         "dance_a", "dance_b", "getup_facedown", "getup_faceup")  # fmt: skip
_NUM_VALUES = 44
# Where a frame keeps its joints: seconds, the root's place, then quaternions (wxyz) and one angle for knees and elbows.
_ROOT, _CHEST, _NECK = 4, 8, 12
_HIPS, _KNEES, _ANKLES = (30, 16), (34, 20), (35, 21)  # left, right
_SHOULDERS, _ELBOWS = (39, 25), (43, 29)


def fetch_motion_archive(folder: Path, requirement: str, *, seconds: float = 300.0) -> Path:
    """Return the wheel, fetched from the package index unless the folder has it (100 MB).

    Args:
        folder: where it is kept.
        requirement: such as `pybullet==3.2.7`.
        seconds: how long it may take.

    Raises:
        InputError: it could not be fetched.
    """
    name, _, version = requirement.partition("==")
    kept = sorted(folder.glob(f"{name}-{version}-*.whl"))
    if kept:
        return kept[0]
    # any platform's wheel holds the same clips; this one exists for sure
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", "311"]
    command += ["--platform", "manylinux2014_x86_64", "--dest", str(folder), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{requirement} could not be fetched into {folder}: {error}") from error
    kept = sorted(folder.glob(f"{name}-{version}-*.whl"))
    if done.returncode or not kept:
        raise InputError(f"{requirement} could not be fetched into {folder}: {done.stderr.strip() or 'no wheel'}")
    return kept[0]


def read_motion_clips(archive: Path) -> Float[Tensor, "frames 24 3 3"]:
    """Return the local rotations of all clips, one after the other; see `read_clips`.

    Raises:
        FileFormatError: the archive does not hold the clips.
    """
    return torch.cat(list(read_clips(archive).values()))


def read_clips(archive: Path) -> dict[str, Float[Tensor, "frames 24 3 3"]]:
    """Return the local rotations of each clip, in SMPL's joints and axes, float64.

    DeepMimic's axes are x forward, y up, z right and its arms hang at rest. The chest's rotation is shared among the
    three joints of the spine, the neck's between neck and head; what DeepMimic has not (collars, wrists, hands, feet)
    stays at rest.

    Raises:
        FileFormatError: the archive does not hold the clips.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            texts = {clip: opened.read(f"pybullet_data/data/motions/humanoid3d_{clip}.txt") for clip in CLIPS}
        clips = {clip: torch.tensor(json.loads(text)["Frames"], dtype=torch.float64) for clip, text in texts.items()}
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise FileFormatError(f"{archive} does not hold DeepMimic's clips: {error}") from error
    for frames in clips.values():
        if frames.ndim != 2 or frames.shape[1] != _NUM_VALUES:
            raise FileFormatError(
                f"frames of {_NUM_VALUES} numbers were expected in {archive}, got {tuple(frames.shape)}"
            )
    return {clip: _to_smpl(frames) for clip, frames in clips.items()}


def _to_smpl(frames: Float[Tensor, "frames values"]) -> Float[Tensor, "frames 24 3 3"]:
    axes = frames.new_tensor([[0, 0, -1], [0, 1, 0], [1, 0, 0]])

    def ball(first: int) -> Tensor:
        return axes @ quat_to_rotmat(frames[:, first : first + 4]) @ axes.T

    def hinge(index: int) -> Tensor:
        rotvec = torch.zeros_like(frames[:, :3])
        rotvec[:, 2] = frames[:, index]
        return axes @ rotvec_to_rotmat(rotvec) @ axes.T

    def part(rotmat: Tensor, share: float) -> Tensor:
        return rotvec_to_rotmat(share * rotmat_to_rotvec(rotmat))

    local = torch.eye(3, dtype=frames.dtype).repeat(len(frames), 24, 1, 1)
    local[:, 0] = ball(_ROOT)
    local[:, 3] = local[:, 6] = local[:, 9] = part(ball(_CHEST), 1 / 3)
    local[:, 12] = local[:, 15] = part(ball(_NECK), 1 / 2)
    for side in range(2):
        # a quarter turn lets the arms of the T-pose hang
        hang = rotvec_to_rotmat(frames.new_tensor([0.0, 0.0, (-1) ** (side + 1) * torch.pi / 2]))
        local[:, 1 + side] = ball(_HIPS[side])
        local[:, 4 + side] = hinge(_KNEES[side])
        local[:, 7 + side] = ball(_ANKLES[side])
        local[:, 16 + side] = ball(_SHOULDERS[side]) @ hang
        local[:, 18 + side] = hang.T @ hinge(_ELBOWS[side]) @ hang
    return local

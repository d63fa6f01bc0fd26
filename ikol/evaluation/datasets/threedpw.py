# SPDX-License-Identifier: Apache-2.0
"""3DPW: outdoor videos with SMPL poses from IMUs. `sequenceFiles/<split>/*.pkl`, `imageFiles/<sequence>/image_*.jpg`.

Joints are those that the files give, so they need no SMPL file. Rotations are compared too; shape and mesh only where
`body` is the SMPL that the betas belong to. Actors whose camera is marked invalid for a frame are left out.

Source: von Marcard et al., "Recovering accurate 3D human pose in the wild using IMUs and a moving camera", 2018, and
the readme of its files.
"""

from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ikol.body.model import BodyModel
from ikol.errors import FileFormatError
from ikol.evaluation.datasets.fields import Fields, as_array, found_files, read_pickle_fields
from ikol.evaluation.datasets.sample_list import (
    SMPL_JOINTS,
    SampleList,
    box_around,
    camera_rotmat,
    is_in_picture,
    joint_truth,
    lens,
    picture_reader,
)
from ikol.evaluation.samples import EvaluationSample
from ikol.pipeline import Intrinsics

LONG_SIDE, SHORT_SIDE = 1920, 1080  # of all its pictures; upright ones have their longer side upright


def load_3dpw(folder: Path, *, split: str = "test", every: int = 1, body: BodyModel | None = None) -> SampleList:
    """Return the persons of every `every`-th frame.

    Args:
        folder: with `sequenceFiles` and `imageFiles`.
        split: `train`, `validation` or `test`.
        every: take every n-th frame only.
        body: the SMPL that truth's betas belong to; None to leave shape and mesh out.

    Raises:
        InputError: the folder is not laid out like that.
        FileFormatError: a file is not what it should be.
    """
    makers: list[partial[EvaluationSample]] = []
    for path in found_files(folder, f"sequenceFiles/{split}/*.pkl", "3DPW"):
        sequence = _Sequence(read_pickle_fields(path), folder, body is not None)
        makers += [
            partial(sequence.sample, actor, frame)
            for frame in range(0, sequence.num_frames, every)
            for actor in range(sequence.num_actors)
            if sequence.is_usable(actor, frame)
        ]
    return SampleList("3DPW", SMPL_JOINTS, ("Pelvis",), makers, body)


class _Sequence:
    """One file: several actors, one moving camera."""

    def __init__(self, data: Fields, folder: Path, with_shape: bool) -> None:
        self.name = data.text("sequence")
        K = data.array("cam_intrinsics", 3, 3)
        is_upright = K[1, 2] > K[0, 2]
        size = (SHORT_SIDE, LONG_SIDE) if is_upright else (LONG_SIDE, SHORT_SIDE)
        self._lens: Intrinsics = lens(*size, K)
        self._T_camera_world = data.array("cam_poses", None, 4, 4)
        self.num_frames = len(self._T_camera_world)
        self._joints = self._each(data, "jointPositions", 72)
        self._poses = self._each(data, "poses", 72)
        self._valid = self._each(data, "campose_valid")
        self._betas = [as_array(each, f"{data.source}: betas", None) for each in data.items("betas")]
        counts = {len(self._joints), len(self._poses), len(self._valid), len(self._betas)}
        if len(counts) != 1:
            raise FileFormatError(f"{data.source} has as many actors in no two lists: {sorted(counts)}")
        self._folder, self._with_shape = folder / "imageFiles" / self.name, with_shape

    @property
    def num_actors(self) -> int:
        """How many persons have a truth."""
        return len(self._joints)

    def _each(self, data: Fields, key: str, *shape: int) -> list[Float[np.ndarray, "..."]]:
        return [as_array(each, f"{data.source}: {key}", self.num_frames, *shape) for each in data.items(key)]

    def _in_camera(self, actor: int, frame: int) -> Float[np.ndarray, "24 3"]:
        T = self._T_camera_world[frame]
        return self._joints[actor][frame].reshape(24, 3) @ T[:3, :3].T + T[:3, 3]

    def is_usable(self, actor: int, frame: int) -> bool:
        """Say whether an actor's truth is good in a frame, and the picture shows the actor."""
        return bool(self._valid[actor][frame]) and is_in_picture(self._in_camera(actor, frame), self._lens)

    def sample(self, actor: int, frame: int) -> EvaluationSample:
        """Return one actor in one frame."""
        joints = self._in_camera(actor, frame)
        rotmat = camera_rotmat(self._poses[actor][frame].reshape(24, 3), self._T_camera_world[frame, :3, :3])
        betas = self._betas[actor][:10] if self._with_shape else None
        return EvaluationSample(
            name=f"{self.name} frame {frame} actor {actor}",
            intrinsics=self._lens,
            truth=joint_truth(SMPL_JOINTS, joints, camera_rotmat=rotmat, betas=betas),
            picture=picture_reader(self._folder, f"image_{frame:05d}.jpg"),
            box=box_around(joints, self._lens),
        )

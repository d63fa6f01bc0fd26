# SPDX-License-Identifier: Apache-2.0
"""EMDB: videos with SMPL poses from sensors. `P*/<sequence>/*_data.pkl` and `images/%05d.jpg` beside it.

The files give SMPL parameters and no joints, so the SMPL file that they belong to is needed.

Source: Kaufmann et al., "EMDB: the electromagnetic database of global 3D human pose and shape in the wild", 2023, and
its description of the files.
"""

from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ikol.body.model import BodyModel
from ikol.errors import FileFormatError, InputError
from ikol.evaluation.datasets.fields import Fields, found_files, read_pickle_fields
from ikol.evaluation.datasets.sample_list import (
    SMPL_JOINTS,
    SampleList,
    box_around,
    camera_rotmat,
    is_in_picture,
    joint_truth,
    lens,
    picture_reader,
    posed_joints,
)
from ikol.evaluation.samples import EvaluationSample


def load_emdb(folder: Path, *, split: str = "emdb1", every: int = 1, body: BodyModel | None = None) -> SampleList:
    """Return the person of every `every`-th frame that is marked as good.

    Args:
        folder: with the participants' folders, `P0` and so on.
        split: `emdb1` (what papers report for poses seen by the camera), `emdb2`, or `all`.
        every: take every n-th frame only.
        body: the SMPL that the parameters belong to.

    Raises:
        InputError: the folder is not laid out like that, no sequence belongs to the split, or there is no body.
        FileFormatError: a file is not what it should be.
    """
    if body is None:
        raise InputError("EMDB ships SMPL parameters and no joints; give the SMPL model file with --body")
    makers: list[partial[EvaluationSample]] = []
    for path in found_files(folder, "P*/*/*_data.pkl", "EMDB"):
        data = read_pickle_fields(path)
        if split != "all" and not data.get(split):
            continue
        sequence = _Sequence(data, path.parent, body)
        makers += [partial(sequence.sample, frame) for frame in sequence.usable_frames(every)]
    if not makers:
        raise InputError(f"no sequence in {folder} belongs to {split}; choose emdb1, emdb2 or all")
    return SampleList("EMDB", SMPL_JOINTS, ("Pelvis",), makers, body)


class _Sequence:
    """One file: one person, one moving camera."""

    def __init__(self, data: Fields, folder: Path, body: BodyModel) -> None:
        self.name, self._folder, self._body = data.text("name"), folder, body
        camera, smpl = data.fields("camera"), data.fields("smpl")
        K = camera.array("intrinsics", 3, 3)
        self._lens = lens(camera.integer("width"), camera.integer("height"), K)
        self._T_camera_world = camera.array("extrinsics", None, 4, 4)
        frames = len(self._T_camera_world)
        root, rest = smpl.array("poses_root", frames, 3), smpl.array("poses_body", frames, 69)
        self._poses = np.concatenate((root, rest), axis=-1).reshape(frames, 24, 3)
        self._transl, self._betas = smpl.array("trans", frames, 3), smpl.array("betas", None)
        if len(self._betas) < body.num_betas:
            raise FileFormatError(f"{data.source}: betas has {len(self._betas)} numbers, the body has {body.num_betas}")
        good = np.asarray(data.get("good_frames_mask"))
        if good.shape != (frames,):
            raise FileFormatError(f"{data.source}: good_frames_mask has shape {good.shape}, expected ({frames},)")
        self._good = good.astype(bool)

    def usable_frames(self, every: int) -> list[int]:
        """Return the frames whose truth is good and which show the person."""
        good = np.flatnonzero(self._good)[::every].tolist()
        return [frame for frame in good if is_in_picture(self._joints(frame), self._lens)]

    def _joints(self, frame: int) -> Float[np.ndarray, "24 3"]:
        world = posed_joints(self._body, self._poses[frame], self._betas[: self._body.num_betas], self._transl[frame])
        T = self._T_camera_world[frame]
        return world @ T[:3, :3].T + T[:3, 3]

    def sample(self, frame: int) -> EvaluationSample:
        """Return one frame."""
        joints = self._joints(frame)
        rotmat = camera_rotmat(self._poses[frame], self._T_camera_world[frame, :3, :3])
        betas = self._betas[: self._body.num_betas]
        return EvaluationSample(
            name=f"{self.name} frame {frame}",
            intrinsics=self._lens,
            truth=joint_truth(SMPL_JOINTS, joints, camera_rotmat=rotmat, betas=betas),
            picture=picture_reader(self._folder / "images", f"{frame:05d}.jpg"),
            box=box_around(joints, self._lens),
        )

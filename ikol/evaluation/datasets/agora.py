# SPDX-License-Identifier: Apache-2.0
"""AGORA: rendered crowds with SMPL joints, from its ground-truth tables with joints (`*_withjv`).

The tables are pickled pandas objects, whose classes are not read from strangers' files; whoever trusts them writes each
once as records, `pandas.read_pickle(p).drop(columns="gt_verts").to_json(q, orient="records")`, and that is read here:
`<folder>/*<split>*.json` beside the pictures in `<folder>/images`. Only persons marked as valid count. The lens is that
with which the given joints fall on the given pixels.

Source: Patel et al., "AGORA: avatars in geography optimized for regression analysis", 2021, and its description of the
ground truth.
"""

from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ikol.body.model import BodyModel
from ikol.errors import FileFormatError
from ikol.evaluation.datasets.fields import Fields, as_array, found_files, read_json
from ikol.evaluation.datasets.sample_list import SMPL_JOINTS, SampleList, box_around, joint_truth, picture_reader
from ikol.evaluation.samples import EvaluationSample
from ikol.pipeline import Intrinsics

WIDTH, HEIGHT = 3840, 2160  # to which the tables' pixels belong; the smaller pictures are a third of it
MAX_MISFIT_PX = 2.0  # of the table's own pixels from its own joints under the best lens


def load_agora(folder: Path, *, split: str = "validation", every: int = 1, body: BodyModel | None = None) -> SampleList:
    """Return the valid persons of every `every`-th picture.

    Args:
        folder: with the tables as JSON, and `images`.
        split: a part of the tables' names.
        every: take every n-th picture only.
        body: not used; the tables have joints and no parameters.

    Raises:
        InputError: the folder is not laid out like that.
        FileFormatError: a file is not what it should be.
    """
    del body
    makers: list[partial[EvaluationSample]] = []
    for path in found_files(folder, f"*{split}*.json", "AGORA"):
        rows = Fields({"rows": read_json(path)}, path.name).items("rows")
        for index in range(0, len(rows), every):
            row = Fields(rows[index], f"{path.name}: row {index}")
            valid = row.items("isValid")
            makers += [
                partial(_sample, folder / "images", row, person) for person in range(len(valid)) if valid[person]
            ]
    return SampleList("AGORA", SMPL_JOINTS, ("Pelvis",), makers)


def _sample(pictures: Path, row: Fields, person: int) -> EvaluationSample:
    joints = _of_person(row, "gt_joints_3d", person, 3)
    pixels = _of_person(row, "gt_joints_2d", person, 2)
    lens = _lens(joints, pixels, row.source)
    name = row.text("imgPath")
    joints = joints[: len(SMPL_JOINTS)]
    return EvaluationSample(
        name=f"{name} person {person}",
        intrinsics=lens,
        truth=joint_truth(SMPL_JOINTS, joints),
        picture=picture_reader(pictures, name),
        box=box_around(joints, lens),
    )


def _of_person(row: Fields, key: str, person: int, axes: int) -> Float[np.ndarray, "joints axes"]:
    people = row.items(key)
    if person >= len(people):
        raise FileFormatError(f"{row.source}: {key} has {len(people)} persons, isValid has more")
    joints = as_array(people[person], f"{row.source}: {key}", None, axes)
    if len(joints) < len(SMPL_JOINTS):
        raise FileFormatError(f"{row.source}: {key} has {len(joints)} joints, expected {len(SMPL_JOINTS)} or more")
    return joints


def _lens(joints: Float[np.ndarray, "joints 3"], pixels: Float[np.ndarray, "joints 2"], source: str) -> Intrinsics:
    """Return the pinhole under which the joints fall on the pixels, by least squares."""
    count = min(len(joints), len(pixels))
    if not (np.isfinite(joints[:count]).all() and np.isfinite(pixels[:count]).all() and joints[:count, 2].all()):
        raise FileFormatError(f"{source}: gt_joints_3d or gt_joints_2d hold places that no camera sees")
    rays = joints[:count, :2] / joints[:count, 2:]
    fitted: list[np.ndarray] = []
    for axis in range(2):
        design = np.stack((rays[:, axis], np.ones(count)), axis=-1)
        solution = np.linalg.lstsq(design, pixels[:count, axis])[0]
        misfit = np.abs(design @ solution - pixels[:count, axis]).max()
        if not (np.isfinite(misfit) and misfit < MAX_MISFIT_PX and solution[0] > 0):
            raise FileFormatError(
                f"{source}: gt_joints_3d do not fall on gt_joints_2d under any pinhole camera that looks along +z "
                "with y down; is it a table with joints in camera coordinates?"
            )
        fitted.append(solution)
    (focal_x, center_x), (focal_y, center_y) = (each.tolist() for each in fitted)
    return Intrinsics(WIDTH, HEIGHT, (focal_x, focal_y), (center_x, center_y), "given")

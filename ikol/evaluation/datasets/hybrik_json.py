# SPDX-License-Identifier: Apache-2.0
"""Human3.6M and MPI-INF-3DHP in the JSON annotations that HybrIK's authors have made of them, which the field shares.

Both have `images` and `annotations`. Human3.6M: `annotations/*.json` and `images/`; MPI-INF-3DHP:
`annotation_mpi_inf_3dhp_<split>.json` and `mpi_inf_3dhp_<split>_set/`. Lengths are millimetres in camera axes.

Source: the loaders of HybrIK (Li et al., 2021) and of MMHuman3D, which read the same files.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ikol.body.model import BodyModel
from ikol.errors import FileFormatError, InputError
from ikol.evaluation.datasets.fields import Fields, as_array, found_files, read_json
from ikol.evaluation.datasets.sample_list import (
    SMPL_JOINTS,
    SampleList,
    camera_rotmat,
    joint_truth,
    lens,
    picture_reader,
)
from ikol.evaluation.samples import EvaluationSample

METRES = 1e-3  # one of its millimetres
_SIDED = ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle")
LIMB_JOINTS = ("Pelvis", *(f"{side}_{part}" for part in _SIDED for side in "LR"))
# where the joints that SMPL has too are among the 17 of the test set and the 28 of the training set
_TEST_ORDER = (14, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10)
_TRAIN_ORDER = (4, 9, 14, 10, 15, 11, 16, 18, 23, 19, 24, 20, 25)


def load_human36m(folder: Path, *, split: str = "test", every: int = 1, body: BodyModel | None = None) -> SampleList:
    """Return Human3.6M with the SMPL joints of its annotation, and rotations where it has them.

    Args:
        folder: with `annotations` and `images`.
        split: a part of the annotation's file name, such as `test`; it must be of one file.
        every: take every n-th annotation only.
        body: the SMPL that truth's betas belong to; None to leave shape and mesh out.

    Raises:
        InputError: the folder is not laid out like that.
        FileFormatError: the file is not what it should be.
    """
    path = _only(found_files(folder, f"annotations/*{split}*.json", "Human3.6M"), split)
    makers = [
        partial(_human36m_sample, folder / "images", image, annotation, body is not None)
        for image, annotation in _pairs(path, every)
    ]
    return SampleList("Human3.6M", SMPL_JOINTS, ("Pelvis",), makers, body)


def load_mpi_inf_3dhp(
    folder: Path, *, split: str = "test", every: int = 1, body: BodyModel | None = None
) -> SampleList:
    """Return MPI-INF-3DHP with those of its joints that SMPL has too: pelvis, arms and legs.

    Args:
        folder: with the annotation and `mpi_inf_3dhp_<split>_set`.
        split: `test` or `train`.
        every: take every n-th annotation only.
        body: not used; the set has no SMPL parameters.

    Raises:
        InputError: the folder is not laid out like that.
        FileFormatError: the file is not what it should be.
    """
    del body
    path = _only(found_files(folder, f"annotation_mpi_inf_3dhp_{split}*.json", "MPI-INF-3DHP"), split)
    pictures = folder / f"mpi_inf_3dhp_{split}_set"
    makers = [partial(_3dhp_sample, pictures, image, annotation) for image, annotation in _pairs(path, every)]
    return SampleList("MPI-INF-3DHP", LIMB_JOINTS, ("Pelvis",), makers)


def _only(paths: list[Path], split: str) -> Path:
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths)
        raise InputError(f"several annotations are called {split}: {names}; give more of the name with --split")
    return paths[0]


def _pairs(path: Path, every: int) -> Iterator[tuple[Fields, Fields]]:
    """Give every n-th annotation with its image."""
    data = Fields(read_json(path), path.name)
    images = [Fields(each, f"{path.name}: images") for each in data.items("images")]
    by_id = {_label(image, "id"): image for image in images if "id" in image}
    for index, value in enumerate(data.items("annotations")):
        if index % every:
            continue
        annotation = Fields(value, f"{path.name}: annotation {index}")
        image = by_id.get(_label(annotation, "image_id"))
        if image is None and index >= len(images):
            raise FileFormatError(f"{annotation.source} names an image that the file does not have")
        yield images[index] if image is None else image, annotation


def _label(fields: Fields, key: str) -> int | str:
    value = fields.get(key)
    if not isinstance(value, int | str):
        raise FileFormatError(f"{fields.source}: {key} is a {type(value).__name__}, expected a number or a text")
    return value


def _box(annotation: Fields) -> tuple[float, float, float, float]:
    x, y, width, height = annotation.array("bbox", 4).tolist()
    return x, y, x + width, y + height


def _camera(image: Fields, annotation: Fields) -> Fields:
    return (image if "cam_param" in image else annotation).fields("cam_param")


def _name(image: Fields, annotation: Fields) -> str:
    return f"{image.text('file_name')} ({annotation.source.rsplit(' ', 1)[-1]})"


def _human36m_sample(pictures: Path, image: Fields, annotation: Fields, with_shape: bool) -> EvaluationSample:
    camera = _camera(image, annotation)
    focal, center = camera.array("f", 2), camera.array("c", 2)
    K = np.array(((focal[0], 0.0, center[0]), (0.0, focal[1], center[1]), (0.0, 0.0, 1.0)))
    # 24 joints, or 29 with the ends of head, hands and feet after them; flat in some versions of the file
    flat = np.asarray(annotation.get("smpl_joints"), dtype=object).size
    joints = _reshaped(annotation, "smpl_joints", flat // 3)[: len(SMPL_JOINTS)]
    rotmat = None
    if "thetas" in annotation:
        rotmat = camera_rotmat(_reshaped(annotation, "thetas", len(SMPL_JOINTS)), np.eye(3))
    return EvaluationSample(
        name=_name(image, annotation),
        intrinsics=lens(image.integer("width"), image.integer("height"), K),
        truth=joint_truth(
            SMPL_JOINTS,
            METRES * joints,
            camera_rotmat=rotmat,
            betas=annotation.array("betas", None)[:10] if with_shape else None,
        ),
        picture=picture_reader(pictures, image.text("file_name")),
        box=_box(annotation),
    )


def _reshaped(fields: Fields, key: str, rows: int) -> Float[np.ndarray, "rows 3"]:
    """Return rows of three numbers, which may be in the file without the brackets around each."""
    value = fields.get(key)
    is_nested = isinstance(value, list) and bool(value) and isinstance(value[0], list)
    source = f"{fields.source}: {key}"
    if rows < len(SMPL_JOINTS):
        raise FileFormatError(f"{source} has {rows} rows of three numbers, expected {len(SMPL_JOINTS)} or more")
    return as_array(value, source, rows, 3) if is_nested else as_array(value, source, 3 * rows).reshape(rows, 3)


def _3dhp_sample(pictures: Path, image: Fields, annotation: Fields) -> EvaluationSample:
    K = np.array(_camera(image, annotation).get("intrinsic_param"), dtype=object)
    matrix = as_array(K[:3, :3].tolist() if K.ndim == 2 else K.tolist(), f"{annotation.source}: intrinsic_param", 3, 3)
    joints = annotation.array("keypoints_cam", None, 3)
    order = {17: _TEST_ORDER, 28: _TRAIN_ORDER}.get(len(joints))
    if order is None:
        raise FileFormatError(f"{annotation.source}: keypoints_cam has {len(joints)} joints, expected 17 or 28")
    return EvaluationSample(
        name=_name(image, annotation),
        intrinsics=lens(image.integer("width"), image.integer("height"), matrix),
        truth=joint_truth(LIMB_JOINTS, METRES * joints[list(order)]),
        picture=picture_reader(pictures, image.text("file_name")),
        box=_box(annotation),
    )

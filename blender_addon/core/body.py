# SPDX-License-Identifier: GPL-3.0-or-later
"""A body as the armature builder needs it: template, shape directions, weights, joints. numpy only.

The default body, or a user's own in the layout of SMPL's model files, checked as the solver checks it.
"""

import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import FileError, Fix, SceneError
from .keypoint_files import MAX_HEADER_BYTES, UNREADABLE
from .rig import SMPLX, TREES, Tree

FloatArray = NDArray[np.float64]

WEIGHT_THRESHOLD = 1e-4
"""Skinning weights below it move a vertex by less than 0.1 mm over a metre and are left out of the vertex groups."""


MIN_BETAS, MAX_BETAS = 10, 300
"""Shape directions of a body: SMPL's first files have ten, its full ones 300."""

SHORT_SMPLX = 20
"""Directions of an SMPL-X file with ten of the body and ten of the face; the full ones have 300 and 100."""

MAX_POSEDIRS_BYTES = 128 << 20
"""SMPL-X's pose correctives in float64 take 122 MB."""

MAX_ARRAY_BYTES = 128 << 20
"""Of all arrays together, unpacked; SMPL with 300 betas in float64 takes 55 MB."""

ROW_SUM_TOLERANCE = 1e-3
"""By how much weights that are cut to a few influences may miss one."""

FIT_TOLERANCE = 0.002
"""Metres between the bones of a body in the scene and the joints of a body file in the nearest shape, over which they
are two bodies. Bones are where the file has them to 1e-6; the default body 5% smaller is 9 mm off its own shapes.
"""

_KINDS = {
    "v_template": "iuf",
    "shapedirs": "iuf",
    "J_regressor": "iuf",
    "weights": "iuf",
    "kintree_table": "iu",
    "f": "iu",
}
"""The arrays of a body file and the kinds of numbers that they may hold."""


@dataclass(frozen=True)
class BodyData:
    """A body in SMPL's layout and axes, metres: SMPL's 24 joints, SMPL-H's 52 or SMPL-X's 55."""

    v_template: FloatArray
    """(V, 3)"""
    shapedirs: FloatArray
    """(V, 3, B)"""
    faces: NDArray[np.int64]
    """(F, 3)"""
    lbs_weights: FloatArray
    """(V, J)"""
    joints_template: FloatArray
    """(J, 3)"""
    joints_shapedirs: FloatArray
    """(J, 3, B)"""
    tree: Tree
    """The joints."""

    @property
    def num_betas(self) -> int:
        """Number of shape coefficients."""
        return self.shapedirs.shape[2]

    def complete(self, betas: Sequence[float]) -> tuple[float, ...]:
        """Return as many betas as the body has: those that are not told are zero.

        Raises:
            SceneError: There are more, and they are not zero.
        """
        if any(betas[self.num_betas :]):
            raise SceneError(
                f"a shape of {len(betas)} betas does not fit a body that has {self.num_betas}; name its body in the "
                "preferences",
                Fix.OPEN_PREFERENCES,
            )
        return (*betas, *(0.0,) * (self.num_betas - len(betas)))[: self.num_betas]

    def rest_joints(self, betas: ArrayLike) -> FloatArray:
        """Return the joints (J, 3) of the unposed body of that shape; betas that are not told are zero."""
        told = np.asarray(betas, dtype=np.float64)
        return self.joints_template + self.joints_shapedirs[..., : len(told)] @ told

    def check_joints(
        self, tree: Tree, joints: FloatArray, name: str, file_name: str, betas: Sequence[float] = ()
    ) -> None:
        """Check that rest joints (J, 3) are this body's, in whichever shape.

        Args:
            tree: Of an armature.
            joints: Where its bones rest.
            name: Of the armature, for the sentence.
            file_name: Of this body, for the sentence.
            betas: The shape that the armature was given. Of it count those after the first ten: 72 of them could move
                the joints of any skeleton to where they are.

        Raises:
            SceneError: It has other joints, or one lies elsewhere; the sentence names it with both places.
        """
        if tree != self.tree:
            raise SceneError(
                f"{name} has the {len(tree.names)} joints of {tree.model}, {file_name} the {len(self.tree.names)} of "
                f"{self.tree.model}; name its body in the preferences, or choose New Body",
                Fix.OPEN_PREFERENCES,
            )
        told = np.array(betas[: self.num_betas], dtype=np.float64)
        told[:MIN_BETAS] = 0.0
        away = (joints - self.rest_joints(told)).ravel()
        directions = self.joints_shapedirs[..., :MIN_BETAS].reshape(len(away), -1)
        nearest = joints - (away - directions @ np.linalg.lstsq(directions, away, rcond=None)[0]).reshape(joints.shape)
        distance = np.linalg.norm(joints - nearest, axis=1)
        worst = int(distance.argmax())
        if distance[worst] > FIT_TOLERANCE:
            here, there = (", ".join(f"{value:.2f}" for value in places[worst]) for places in (joints, nearest))
            raise SceneError(
                f"{name} was made with another body than {file_name}: its {self.tree.names[worst]} rests at ({here}), "
                f"that of the file at ({there}) metres; name its body in the preferences, or choose New Body",
                Fix.OPEN_PREFERENCES,
            )


def load_body(path: Path, remedy: str = "install the add-on again") -> BodyData:
    """Return the body stored at `path`.

    Args:
        path: The default body's file, or one in the layout of SMPL's model files.
        remedy: What the user can do when it is no such file.

    Raises:
        FileError: The file is missing, damaged or too large, or is no body.
    """
    try:
        if not path.is_file():
            raise ValueError("there is no such file")
        if path.suffix.lower() == ".pkl":
            raise ValueError(f"Blender reads no pickles; write it as arrays once: ikol convert {path.name} body.npz")
        with zipfile.ZipFile(path) as archive:
            _check_sizes(archive)
            return _build({key: _read_array(archive, key) for key in _KINDS})
    except UNREADABLE as error:
        reason = str(error).partition("\n")[0][:300] or type(error).__name__
        raise FileError(
            f"the body file {path.name} cannot be read ({reason}); {remedy}", Fix.OPEN_PREFERENCES
        ) from error


def load_posedirs(path: Path, body: BodyData) -> NDArray[np.float32] | None:
    """Return the pose correctives (V, 3, 9 (J - 1)) of a body file, metres per entry of R - I of the joints 1, 2, ...

    None where it has none, or where all are zero.

    Raises:
        FileError: They are damaged, too large, or of another body.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
            if "posedirs.npy" not in sizes:
                return None
            if sizes["posedirs.npy"] > MAX_POSEDIRS_BYTES:
                raise ValueError(f"posedirs takes {sizes['posedirs.npy'] >> 20} MB")
            array = _read_array(archive, "posedirs")
        _check_shape({"posedirs": array}, "posedirs", (len(body.v_template), 3, 9 * (len(body.tree.names) - 1)))
        posedirs = array.astype(np.float32)
        if not np.isfinite(posedirs).all():
            raise ValueError("posedirs holds infinite or undefined numbers")
        return posedirs if posedirs.any() else None
    except UNREADABLE as error:
        reason = str(error).partition("\n")[0][:300] or type(error).__name__
        raise FileError(
            f"the pose correctives of {path.name} cannot be read ({reason}); name another file in the preferences",
            Fix.OPEN_PREFERENCES,
        ) from error


def corrective_values(matrices: FloatArray, tree: Tree) -> FloatArray:
    """Return the values of the pose correctives (9 (J - 1),): R - I of the joints 1, 2, ... row by row.

    Args:
        matrices: (J, 3, 3) rotation of each bone in one common frame; bones that rest with equal axes.
        tree: The joints.

    Source: Loper et al. 2015, SMPL, equation 9.
    """
    parents = np.array(tree.parents[1:])
    local = matrices[parents].transpose(0, 2, 1) @ matrices[1:]
    return (local - np.eye(3)).ravel()


def pose_corrective_values(local_quat: ArrayLike) -> FloatArray:
    """Return the same of the local rotations (J, 4) of a pose, wxyz."""
    quats = np.asarray(local_quat, dtype=np.float64)[1:]
    w, x, y, z = (quats / np.linalg.norm(quats, axis=1, keepdims=True)).T
    rows = [
        [-2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), -2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), -2 * (x * x + y * y)],
    ]
    return np.array(rows).transpose(2, 0, 1).ravel()


def _check_sizes(archive: zipfile.ZipFile) -> None:
    """Raise ValueError where an array is missing or all together are too large."""
    sizes = {info.filename: info.file_size for info in archive.infolist()}
    missing = [key for key in _KINDS if f"{key}.npy" not in sizes]
    if missing:
        raise ValueError(f"it has no array {', '.join(missing)}")
    total = sum(sizes[f"{key}.npy"] for key in _KINDS)
    if total > MAX_ARRAY_BYTES:
        raise ValueError(f"it unpacks to {total >> 20} MB, at most {MAX_ARRAY_BYTES >> 20} MB are read")


def _read_array(archive: zipfile.ZipFile, key: str) -> NDArray[Any]:
    """Return an array of numbers whose header agrees with the size of its member; nothing is allocated before."""
    info = archive.getinfo(f"{key}.npy")
    with archive.open(info) as member:
        if np.lib.format.read_magic(member) != (1, 0):
            raise ValueError(f"{key} is not an array in numpy's format 1.0")
        shape, _, dtype = np.lib.format.read_array_header_1_0(member, max_header_size=MAX_HEADER_BYTES)
        kinds = _KINDS.get(key, "iuf")
        if dtype.hasobject or dtype.kind not in kinds:
            raise ValueError(f"{key} has type {dtype}, expected {'integers' if kinds == 'iu' else 'numbers'}")
        announced, held = math.prod(shape) * dtype.itemsize, info.file_size - member.tell()
        if announced != held:
            raise ValueError(f"{key} announces {announced} bytes and holds {held}")
    with archive.open(info) as member:
        return np.lib.format.read_array(member, allow_pickle=False, max_header_size=MAX_HEADER_BYTES)


def _build(arrays: Mapping[str, NDArray[Any]]) -> BodyData:
    num_vertices, num_joints = arrays["weights"].shape if arrays["weights"].ndim == 2 else (0, 0)
    tree = TREES.get(num_joints)
    if tree is None:
        wanted = ", ".join(f"{count} ({known.model})" for count, known in TREES.items())
        raise ValueError(f"weights has shape {arrays['weights'].shape}, expected columns for {wanted} joints")
    _check_shape(arrays, "v_template", (num_vertices, 3))
    _check_shape(arrays, "J_regressor", (num_joints, num_vertices))
    _check_shape(arrays, "weights", (num_vertices, num_joints))
    _check_shape(arrays, "kintree_table", (2, num_joints))
    _check_shape(arrays, "f", (*arrays["f"].shape[:1], 3))
    _check_shape(arrays, "shapedirs", (num_vertices, 3, *arrays["shapedirs"].shape[2:3]))
    if arrays["shapedirs"].ndim != 3 or arrays["shapedirs"].shape[2] < MIN_BETAS:
        raise ValueError(f"shapedirs must have {MIN_BETAS} betas or more, got {arrays['shapedirs'].shape}")
    parents, joints = arrays["kintree_table"].tolist()
    if [*parents[1:]] != [*tree.parents[1:]] or parents[0] not in (-1, 2**32 - 1) or joints != [*range(num_joints)]:
        raise ValueError(f"kintree_table is not the tree of {tree.model}'s {num_joints} joints")
    faces = arrays["f"].astype(np.int64)
    if not (faces.size and 0 <= faces.min() <= faces.max() < num_vertices):
        raise ValueError(f"f must name vertices 0 to {num_vertices - 1}")
    v_template = _floats(arrays, "v_template")
    directions = arrays["shapedirs"].shape[2]
    count = MIN_BETAS if tree is SMPLX and directions == SHORT_SMPLX else min(directions, MAX_BETAS)
    shapedirs = np.ascontiguousarray(_floats(arrays, "shapedirs")[:, :, :count])
    regressor, weights = _floats(arrays, "J_regressor"), _floats(arrays, "weights")
    for key, rows in (("J_regressor", regressor), ("weights", weights)):
        if np.abs(rows.sum(axis=1) - 1).max() > ROW_SUM_TOLERANCE:
            raise ValueError(f"the rows of {key} must sum to one")
    return BodyData(
        v_template=v_template,
        shapedirs=shapedirs,
        faces=faces,
        lbs_weights=weights,
        joints_template=regressor @ v_template,
        joints_shapedirs=np.einsum("jv,vcb->jcb", regressor, shapedirs),
        tree=tree,
    )


def _check_shape(arrays: Mapping[str, NDArray[Any]], key: str, expected: tuple[int, ...]) -> None:
    if arrays[key].shape != expected:
        raise ValueError(f"{key} has shape {arrays[key].shape}, expected {expected}")


def _floats(arrays: Mapping[str, NDArray[Any]], key: str) -> FloatArray:
    array = arrays[key].astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{key} holds infinite or undefined numbers")
    return array

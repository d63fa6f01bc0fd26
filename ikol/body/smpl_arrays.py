# SPDX-License-Identifier: Apache-2.0
"""The arrays of a model file in SMPL's layout, out of an .npz or the official .pkl, checked.

Here: reading, and what each array must be. Not here: what is made of them (smpl_file), other files of the same
(smpl_convert). Imports: numpy, ikol.errors, ikol.restricted_pickle, ikol.body.{array_archive, smpl_trees}.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from ikol.body.array_archive import array_names, read_arrays
from ikol.body.smpl_trees import MODELS, model_of
from ikol.errors import FileFormatError
from ikol.files import read_limited
from ikol.restricted_pickle import PickleLimits, read_pickle, resolve_array

MAX_FILE_BYTES: Final = 1 << 30  # SMPL-X in float64 with pose blend shapes has 240 MB
MAX_ARRAY_BYTES: Final = 128 << 20  # without pose blend shapes; SMPL-X with 400 directions in float64 takes 110 MB
MAX_EXTRA_BYTES: Final = 256 << 20  # one array beside these; SMPL-X's pose blend shapes in float64 take 122 MB
MAX_BETAS: Final = 300

LAYOUT: Final = {  # key: its axes; V vertices, F faces, B betas, J joints
    "v_template": ("V", 3),
    "shapedirs": ("V", 3, "B"),
    "J_regressor": ("J", "V"),
    "weights": ("V", "J"),
    "kintree_table": (2, "J"),
    "f": ("F", 3),
}
"""What is needed of a file."""
_INTEGERS: Final = ("kintree_table", "f")


@dataclass(frozen=True)
class SmplArrays:
    """A model file's arrays, as they are stored, of one model and of shapes that fit together."""

    model: str
    """SMPL, SMPL-H or SMPL-X."""
    num_betas: int
    """How many of the shape directions are the body's; in SMPL-X the face's come after them."""
    arrays: dict[str, np.ndarray]
    """Those of `LAYOUT`, and of the extra keys those that the file has."""


def read_smpl_arrays(path: Path, extra: tuple[str, ...] = ()) -> SmplArrays:
    """Return the arrays of a model file.

    Args:
        path: .npz, or .pkl as SMPL's own download, which is read as data: nothing in it is run.
        extra: other arrays that are wanted where the file has them.

    Raises:
        FileFormatError: the file cannot be read, lacks an array, or an array has the wrong type or shape.
    """
    data = _read(path)
    if data[:2] == b"PK":
        present = tuple(key for key in extra if key in array_names(data, path.name))
        arrays = read_arrays(data, LAYOUT, path.name, MAX_ARRAY_BYTES)
        for key in present:
            arrays |= read_arrays(data, (key,), path.name, MAX_EXTRA_BYTES)
    else:
        arrays = _unpickled(data, path.name, extra)
    return _checked(arrays, path.name)


def _read(path: Path) -> bytes:
    data = read_limited(path, MAX_FILE_BYTES, "body file")
    if data[:2] != b"PK" and path.suffix.lower() == ".npz":
        raise FileFormatError(f"{path.name} is not a readable .npz file, it may be truncated")
    return data


def _unpickled(data: bytes, source: str, extra: tuple[str, ...]) -> dict[str, np.ndarray]:
    held = read_pickle(data, source, PickleLimits(max_bytes=MAX_FILE_BYTES))
    if not isinstance(held, dict):
        raise FileFormatError(f"{source} holds a {type(held).__name__}, expected a dictionary with {', '.join(LAYOUT)}")
    missing = [key for key in LAYOUT if key not in held]
    if missing:
        got = ", ".join(sorted(str(key)[:40] for key in list(held)[:50]))
        raise FileFormatError(f"{source} has no array {', '.join(missing)}; got {got}")
    sizes = dict.fromkeys(LAYOUT, MAX_ARRAY_BYTES) | dict.fromkeys(
        (key for key in extra if key in held), MAX_EXTRA_BYTES
    )
    return {key: resolve_array(held[key], key, source, size) for key, size in sizes.items()}


def _checked(arrays: dict[str, np.ndarray], source: str) -> SmplArrays:
    table = arrays["kintree_table"]
    if table.ndim != 2:
        raise FileFormatError(f"{source}: kintree_table has shape {table.shape}, expected (2, joints)")
    model = model_of(table.shape[1], source)
    lengths: dict[str, int] = {"J": table.shape[1]}
    for key, axes in LAYOUT.items():
        array = arrays[key]
        kinds = "iu" if key in _INTEGERS else "iuf"
        if array.dtype.kind not in kinds:
            wanted = "integers" if kinds == "iu" else "numbers"
            raise FileFormatError(f"{source}: {key} has type {array.dtype}, expected {wanted}")
        if array.ndim != len(axes):
            raise FileFormatError(f"{source}: {key} has shape {array.shape}, expected {len(axes)} axes: {axes}")
        expected = tuple(
            lengths.setdefault(axis, size) if isinstance(axis, str) else axis
            for axis, size in zip(axes, array.shape, strict=True)
        )
        if array.shape != expected:
            raise FileFormatError(f"{source}: {key} has shape {array.shape}, expected {expected}")
        if array.size == 0:
            raise FileFormatError(f"{source}: {key} is empty, it has shape {array.shape}")
    _check_tree(table, model, source)
    return SmplArrays(model, _num_betas(lengths["B"], model), arrays)


def _check_tree(table: np.ndarray, model: str, source: str) -> None:
    """Raise FileFormatError where the table is not the model's tree."""
    # the root's parent is -1, in SMPL's own files as an unsigned number of 32 bits
    parents = tuple(-1 if parent in (-1, 2**32 - 1) else parent for parent in table[0].tolist())
    tree = MODELS[model]
    if parents != tree.parents or table[1].tolist() != list(range(tree.num_joints)):
        raise FileFormatError(
            f"{source}: kintree_table is not the tree of {model}'s {tree.num_joints} joints; it has the parents "
            f"{parents}"
        )


def _num_betas(directions: int, model: str) -> int:
    """Return how many shape directions are the body's: SMPL-X has 300 and 100 of the face, or 10 and 10 (smplx)."""
    return 10 if model == "SMPL-X" and directions == 20 else min(directions, MAX_BETAS)

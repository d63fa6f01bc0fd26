# SPDX-License-Identifier: Apache-2.0
"""The body that comes with the package: CC0, SMPL's tree and format, 13 492 vertices, 10 betas, BlazePose's landmarks.

The file is made by `scripts/build_default_body.py` and described in `data/README.md`. Its betas mean nothing on another
body. Here: reading and checking that file. Imports: numpy, torch, ikol.errors, ikol.body.{array_archive, model, points,
skeleton}.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch

from ikol.body.array_archive import read_arrays
from ikol.body.joint_tree import JointTree
from ikol.body.model import BodyModel
from ikol.body.points import AttachedPoints
from ikol.errors import FileFormatError

DEFAULT_BODY_PATH = Path(__file__).parent / "data" / "default_body.npz"
DEFAULT_BODY_SHA256 = "de7811fcf73ca2cde5837a8a43027426447eed302495f2fded653b61b65b4ded"

_MAX_FILE_BYTES = 8 << 20  # the file has 1.1 MB
_MAX_ARRAY_BYTES = 64 << 20  # it unpacks to 6 MB

_INTEGERS, _FLOATS, _TEXTS = "iu", "f", "U"
_LAYOUT = {  # key: the kind of its numbers and its axes; V vertices, F faces, B betas, J joints, L landmarks
    "v_template": (_FLOATS, ("V", 3)),
    "f": (_INTEGERS, ("F", 3)),
    "shapedirs": (_FLOATS, ("V", 3, "B")),
    "J_regressor": (_FLOATS, ("J", "V")),
    "weights": (_FLOATS, ("V", "J")),
    "kintree_table": (_INTEGERS, (2, "J")),
    "joint_names": (_TEXTS, ("J",)),
    "landmark_names": (_TEXTS, ("L",)),
    "landmark_joint_index": (_INTEGERS, ("L",)),
    "landmark_regressor": (_FLOATS, ("L", "V")),
}


def load_default_body(
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    path: Path = DEFAULT_BODY_PATH,
    sha256: str | None = DEFAULT_BODY_SHA256,
) -> BodyModel:
    """Return the default body.

    Args:
        dtype: floating-point type of the body's tensors; sums are made in it, so float64 is not float32 widened.
        device: where the tensors go.
        path: another file in the same layout, such as a fresh build.
        sha256: what the file's hash must be, in hexadecimal; None accepts any file.

    Raises:
        FileFormatError: the file is missing, is not the one with this hash, or does not have the layout.
        InputError: its arrays do not fit together.
    """
    arrays = read_arrays(_read_checked(path, sha256), _LAYOUT, path.name, _MAX_ARRAY_BYTES)
    _check_layout(arrays, path.name)

    def floats(key: str) -> torch.Tensor:
        return torch.from_numpy(arrays[key]).to(device=device, dtype=dtype)

    def integers(key: str) -> torch.Tensor:
        return torch.from_numpy(arrays[key].astype(np.int64)).to(device=device)

    v_template, shapedirs = floats("v_template"), floats("shapedirs")
    landmarks = AttachedPoints.from_regressor(
        tuple(arrays["landmark_names"].tolist()),
        integers("landmark_joint_index"),
        floats("landmark_regressor"),
        v_template,
        shapedirs,
    )
    return BodyModel.from_arrays(
        name="default body",
        tree=JointTree(tuple(arrays["joint_names"].tolist()), tuple(arrays["kintree_table"][0].tolist())),
        v_template=v_template,
        faces=integers("f"),
        shapedirs=shapedirs,
        J_regressor=floats("J_regressor"),
        lbs_weights=floats("weights"),
        landmarks=landmarks,
    )


def _read_checked(path: Path, sha256: str | None) -> bytes:
    """Return the file's content, if it is small enough and has the hash."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise FileFormatError(f"cannot read the body file {path}: {error.strerror}; reinstall the package") from error
    if len(data) > _MAX_FILE_BYTES:
        raise FileFormatError(f"{path.name} is larger than {_MAX_FILE_BYTES} bytes; it is not the default body")
    got = hashlib.sha256(data).hexdigest()
    if sha256 is not None and got != sha256:
        raise FileFormatError(
            f"{path.name} has SHA-256 {got}, expected {sha256}; the file was changed or is truncated: "
            "reinstall the package"
        )
    return data


def _check_layout(arrays: dict[str, np.ndarray], source: str) -> None:
    """Raise FileFormatError where an array has the wrong kind of numbers, or an axis unlike its namesakes."""
    lengths: dict[str, int] = {}
    for key, (kinds, axes) in _LAYOUT.items():
        array = arrays[key]
        if array.dtype.kind not in kinds:
            raise FileFormatError(
                f"{source}: {key} has type {array.dtype}, expected a type of kind {' or '.join(kinds)}"
            )
        if array.ndim != len(axes):
            raise FileFormatError(f"{source}: {key} has {array.ndim} axes, expected {len(axes)}: {axes}")
        expected = tuple(
            lengths.setdefault(axis, size) if isinstance(axis, str) else axis
            for axis, size in zip(axes, array.shape, strict=True)
        )
        if array.shape != expected:
            raise FileFormatError(f"{source}: {key} has shape {array.shape}, expected {expected}")

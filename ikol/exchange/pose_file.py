# SPDX-License-Identifier: Apache-2.0
"""The .npz that `ikol pose --out` writes: the persons of a photograph, each a motion of one frame.

Imports: numpy, torch, ikol.body, ikol.errors, ikol.exchange.{motion, npz_values}.
"""

from pathlib import Path
from typing import Final

import numpy as np
import torch

from ikol.body.array_archive import read_arrays
from ikol.errors import FileFormatError
from ikol.exchange.motion import Motion
from ikol.exchange.npz_values import texts_of
from ikol.files import read_limited
from ikol.geometry.rotations import quat_to_rotmat

MAX_FILE_BYTES: Final = 64 << 20
_FPS: Final = 30.0  # of a still picture, which has none


def read_pose_file(path: Path, person: int = 0) -> Motion:
    """Return one person's pose.

    Args:
        path: the .npz.
        person: from 0, the largest on the photograph first.

    Raises:
        FileFormatError: it cannot be read, an array has the wrong shape, or it has no such person.
    """
    keys = ("joint_names", "local_quat", "transl", "betas")
    arrays = read_arrays(read_limited(path, MAX_FILE_BYTES), keys, path.name, MAX_FILE_BYTES)
    names, quat = tuple(texts_of(arrays["joint_names"], "joint_names", path.name)), arrays["local_quat"]
    persons = len(quat) if quat.ndim else 0
    shapes = {
        "local_quat": (persons, len(names), 4),
        "transl": (persons, 3),
        "betas": (persons, *arrays["betas"].shape[1:2]),
    }
    for key, shape in shapes.items():
        if arrays[key].shape != shape or arrays[key].dtype.kind != "f":
            raise FileFormatError(f"{path.name}: {key} is {arrays[key].dtype} {arrays[key].shape}, expected {shape}")
    if not 0 <= person < persons:
        raise FileFormatError(f"{path.name} has {persons} persons, counted from 0; number {person} is asked for")
    quat, transl, betas = (torch.from_numpy(arrays[key][person].astype(np.float64)) for key in keys[1:])
    if not bool((quat.norm(dim=-1) > 0.5).all()):
        raise FileFormatError(f"{path.name}: local_quat holds what are no rotations")
    unit = quat / quat.norm(dim=-1, keepdim=True)
    return Motion(names, quat_to_rotmat(unit)[None], transl[None], betas[None], _FPS)

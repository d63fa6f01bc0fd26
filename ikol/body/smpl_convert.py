# SPDX-License-Identifier: Apache-2.0
"""An official model file as a plain .npz that any program can read without running what is in it.

Imports: numpy, ikol.errors, ikol.body.{smpl_arrays, smpl_file}.
"""

import zipfile
from pathlib import Path
from typing import Final

import numpy as np

from ikol.body.smpl_arrays import SmplArrays, read_smpl_arrays
from ikol.body.smpl_file import load_smpl_body
from ikol.errors import InputError

EXTRA_KEYS: Final = (  # kept for other programs where the file has them
    "posedirs", "J", "hands_meanl", "hands_meanr", "hands_componentsl", "hands_componentsr", "hands_coeffsl",
    "hands_coeffsr", "lmk_faces_idx", "lmk_bary_coords", "dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords", "vt", "ft",
)  # fmt: skip


def convert_smpl_file(source: Path, target: Path) -> SmplArrays:
    """Write the arrays of a model file to an .npz, numbers unchanged; return them.

    Args:
        source: the official .pkl or .npz.
        target: the .npz to write; an existing file is replaced.

    Raises:
        InputError: the source is not a model file, or the target is not an .npz.
    """
    if target.suffix.lower() != ".npz":
        raise InputError(f"a body is written to an .npz file, got {target.name}; name it {target.stem}.npz")
    load_smpl_body(source, num_betas=1)  # says what is wrong before anything is written
    held = read_smpl_arrays(source, EXTRA_KEYS)
    partial = target.with_name(f"{target.name}.partial")
    try:
        with partial.open("wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for key, array in held.arrays.items():
                with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)
        partial.replace(target)  # never half a file
    finally:
        partial.unlink(missing_ok=True)
    return held

# SPDX-License-Identifier: Apache-2.0
"""A small body in the layout of SMPL's model files, made of the default body's own arrays. numpy only."""

from pathlib import Path

import numpy as np
from numpy_body import BODY_PATH

SCALE = 0.9  # so that it is visibly another body


def own_arrays(scale: float = SCALE, step: int = 8) -> dict[str, np.ndarray]:
    """Return every `step`-th vertex of the default body, smaller, with weights and joints of the same places.

    A joint is the mean of all vertices left, moved to where it belongs by weights that may be negative: the joints are
    those of the default body, scaled, whatever the step.
    """
    with np.load(BODY_PATH) as data:
        full, directions = data["v_template"].astype(float), data["shapedirs"].astype(float)
        regressor, weights = data["J_regressor"].astype(float), data["weights"].astype(float)
        tree = data["kintree_table"]
    kept = np.arange(0, len(full), step)
    v_template, shapedirs = scale * full[kept], scale * directions[kept]
    joints = scale * (regressor @ full)
    joint_directions = scale * np.einsum("jv,vcb->jcb", regressor, directions)
    # least norm of: each joint in its place and moved by each beta as before, its weights summing to one
    count = len(kept)
    system = np.vstack([v_template.T, shapedirs.reshape(count, -1).T, np.ones(count)])
    wanted = np.hstack([joints, joint_directions.reshape(len(joints), -1), np.ones((len(joints), 1))])
    own_regressor = np.linalg.lstsq(system, wanted.T, rcond=None)[0].T
    triangles = np.arange(count - count % 3).reshape(-1, 3)
    table = tree.astype(np.int64)
    table[0, 0] = 2**32 - 1  # as in SMPL's own files
    return {
        "v_template": v_template,
        "shapedirs": np.concatenate([shapedirs, np.zeros((count, 3, 2))], axis=2),
        "posedirs": np.zeros((count, 3, 207)),
        "J_regressor": own_regressor,
        "weights": weights[kept],
        "kintree_table": table.astype(np.uint32),
        "f": triangles.astype(np.uint32),
        "J": joints,
    }


def more_betas(arrays: dict[str, np.ndarray], count: int) -> np.ndarray:
    """Return shape directions for `count` betas: the default body's ten, and smaller ones that move joints too."""
    first = arrays["shapedirs"][..., :10]
    rng = np.random.default_rng(count)
    turns = rng.normal(size=(3, 3, count - 10)) / np.arange(2, count - 8)
    smooth = np.einsum("vc,cdb->vdb", arrays["v_template"], 0.1 * turns)
    return np.concatenate([first, smooth], axis=2)


def write_own_body(path: Path, **changed: np.ndarray | None) -> Path:
    """Write it, with some arrays replaced, or left out for None."""
    arrays = own_arrays() | changed
    np.savez(path, **{key: array for key, array in arrays.items() if array is not None})
    return path

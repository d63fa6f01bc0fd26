# SPDX-License-Identifier: Apache-2.0
"""Small files in the layouts of SMPL, SMPL-H and SMPL-X, plain and with the official .pkl's objects."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
from own_body import own_arrays
from pickles import chumpy_array, chumpy_select, csc_matrix

from ikol.body.smpl_trees import MODELS

STEP = 32  # every 32nd vertex: files of a megabyte
FINGERS = ("Index", "Middle", "Ring", "Pinky")  # across the hand, from its thumb's side


@lru_cache
def _arrays(model: str) -> dict[str, np.ndarray]:
    plain = own_arrays(step=STEP)
    tree, names = MODELS[model], MODELS["SMPL"].names
    v_template, shapedirs, count = plain["v_template"], plain["shapedirs"], len(plain["v_template"])
    places = dict(zip(names, plain["J"], strict=True))
    joints = np.stack([_place(name, places) for name in tree.names])
    directions = np.einsum("jv,vcb->jcb", plain["J_regressor"], shapedirs)
    directions = directions[[names.index(_carrier(name)) for name in tree.names]]
    weights = np.zeros((count, tree.num_joints))
    for number, name in enumerate(names):
        weights[:, tree.names.index(name if name in tree.names else name.replace("Hand", "Middle1"))] = plain[
            "weights"
        ][:, number]
    # least norm of: each joint in its place and moved by each beta as its carrier, its weights summing to one
    system = np.vstack([v_template.T, shapedirs.reshape(count, -1).T, np.ones(count)])
    wanted = np.hstack([joints, directions.reshape(len(joints), -1), np.ones((len(joints), 1))])
    table = np.stack([np.array(tree.parents), np.arange(tree.num_joints)])
    table[0, 0] = 2**32 - 1  # as in SMPL's own files
    return plain | {
        "posedirs": np.zeros((count, 3, 9 * (tree.num_joints - 1))),
        "J_regressor": np.linalg.lstsq(system, wanted.T, rcond=None)[0].T,
        "weights": weights,
        "kintree_table": table.astype(np.uint32),
        "J": joints,
    }


def model_arrays(model: str = "SMPL", **changed: np.ndarray | None) -> dict[str, np.ndarray]:
    """Return the arrays of a file, with some replaced, or left out for None.

    The first joints are those of `own_arrays`; those of fingers and face are at plausible places.
    """
    return {key: array for key, array in (_arrays(model) | changed).items() if array is not None}


def write_model(path: Path, model: str = "SMPL", **changed: np.ndarray | None) -> Path:
    """Write the arrays as an .npz."""
    np.savez(path, **model_arrays(model, **changed))
    return path


def official_objects(arrays: Mapping[str, np.ndarray]) -> dict[str, object]:
    """Return the arrays as the objects that SMPL's official .pkl holds, to be written by `pickles`."""
    return {
        **arrays,
        "shapedirs": chumpy_array(arrays["shapedirs"]),
        "posedirs": chumpy_select(arrays["posedirs"]),
        "v_template": chumpy_select(arrays["v_template"]),
        "J_regressor": csc_matrix(arrays["J_regressor"]),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
        "vert_sym_idxs": np.arange(len(arrays["v_template"])),
        "pose_training_info": {"kind": "x", "gender": "neutral", "weight": 1.5},
    }


def _carrier(name: str) -> str:
    """Return the joint of SMPL with which a joint of any model moves when the shape changes."""
    side, _, part = name.rpartition("_")
    if part.startswith((*FINGERS, "Thumb")):
        return f"{side}_Wrist"
    return "Head" if part in ("Jaw", "Eye") else name


def _place(name: str, joints: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return where a joint of any model is, metres."""
    at = joints[_carrier(name)]
    side, _, part = name.rpartition("_")
    if _carrier(name) == name:
        return at
    if part in ("Jaw", "Eye"):
        if part == "Jaw":  # its joints are before the ears, near the head's own
            return at + np.array([0.0, -0.01, 0.01])
        return at + np.array([{"L": 0.03, "R": -0.03}[side], 0.06, 0.07])
    along = joints[f"{side}_Hand"] - at
    finger, number = part[:-1], int(part[-1])
    if finger == "Thumb":
        return at + 0.3 * number * along + np.array([0.0, -0.01, 0.03])
    return at + (0.8 + 0.3 * number) * along + np.array([0.0, 0.0, 0.03 - 0.02 * FINGERS.index(finger)])

# SPDX-License-Identifier: Apache-2.0
"""A user's own body: SMPL, SMPL-H or SMPL-X, with the landmarks that the pipeline names.

These files are under licences of their own and do not come with this package. Here: the body that such a file makes.
Imports: torch, ikol.errors, ikol.body.{default_body, joint_tree, model, points, smpl_arrays, smpl_trees}.
"""

from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from ikol.body.default_body import load_default_body
from ikol.body.model import BodyModel
from ikol.body.points import AttachedPoints
from ikol.body.smpl_arrays import SmplArrays, read_smpl_arrays
from ikol.body.smpl_trees import MODELS
from ikol.errors import FileFormatError

MIN_HEIGHT, MAX_HEIGHT = 0.3, 3.0  # metres from the lowest to the highest joint: infants to giants, but no centimetres
AT_JOINT = 1e-4  # metres; a landmark of the default body that is this near to its joint is the joint
KNUCKLES: Final = {  # landmarks that are joints of the models with fingers
    "left_index": "L_Index1",
    "right_index": "R_Index1",
    "left_pinky": "L_Pinky1",
    "right_pinky": "R_Pinky1",
    "left_thumb": "L_Thumb2",
    "right_thumb": "R_Thumb2",
}


def load_smpl_body(path: Path, num_betas: int | None = 10, dtype: torch.dtype = torch.float64) -> BodyModel:
    """Return the body of a model file: SMPL's 24 joints, SMPL-H's 52 or SMPL-X's 55, Y up, facing +Z, metres.

    Pose blend shapes (`posedirs`) may be in the file and are not read. The file has no landmarks. Each is attached to
    the joint that carries it on the default body, at the default body's rest offset from that joint, scaled by the
    ratio of the two bodies' joint heights; where the model has finger joints, those of the hand lie at them. It moves
    with the betas as the nearest vertex does, or as the joint where it lies at the joint. On a body of other
    proportions a landmark on the skin may be off by a few centimetres.

    Args:
        path: .npz, or the official .pkl, which is read as data.
        num_betas: how many shape directions to keep, 1 to 300; None for all that are the body's.
        dtype: floating-point type of the body's tensors.

    Raises:
        InputError: the file cannot be read, lacks an array, or an array has the wrong shape or impossible numbers.
    """
    held = read_smpl_arrays(path)
    count = held.num_betas if num_betas is None else num_betas
    if not 1 <= count <= held.num_betas:
        raise FileFormatError(f"{path.name}: shapedirs has {held.num_betas} betas, {count} are asked for")
    body = _bare_body(held, path.name, count, dtype)
    check_stance(body)
    return BodyModel.from_arrays(
        name=body.name,
        tree=body.tree,
        v_template=body.v_template,
        faces=body.faces,
        shapedirs=body.shapedirs,
        J_regressor=body.J_regressor,
        lbs_weights=body.lbs_weights,
        landmarks=attach_landmarks(body),
    )


def _bare_body(held: SmplArrays, name: str, num_betas: int, dtype: torch.dtype) -> BodyModel:
    """Return the body without landmarks."""
    arrays = held.arrays

    def floats(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(array, dtype=np.float64)).to(dtype)  # a pickle's arrays are read-only

    return BodyModel.from_arrays(
        name=name,
        tree=MODELS[held.model],
        v_template=floats(arrays["v_template"]),
        faces=torch.from_numpy(arrays["f"].astype(np.int64)),
        shapedirs=floats(arrays["shapedirs"][..., :num_betas]),
        J_regressor=floats(arrays["J_regressor"]),
        lbs_weights=floats(arrays["weights"]),
    )


def check_stance(body: BodyModel) -> None:
    """Raise FileFormatError where the joints do not stand as SMPL's do."""
    height = _joint_height(body)
    if not MIN_HEIGHT <= height <= MAX_HEIGHT:
        raise FileFormatError(
            f"{body.name}: the joints are {height:.3g} high, expected {MIN_HEIGHT} to {MAX_HEIGHT} metres along Y; "
            "is the file in metres and Y up?"
        )
    place = dict(zip(body.tree.names, body.joints_template.tolist(), strict=True))
    if place["Head"][1] <= place["L_Ankle"][1] or place["L_Shoulder"][0] <= place["R_Shoulder"][0]:
        raise FileFormatError(f"{body.name}: the body must stand upright along +Y and have its left side at +X")


def _joint_height(body: BodyModel) -> float:
    """Return the height from the lowest foot to the head's joint, metres."""
    ends = [
        body.tree.index(name) for name in ("L_Foot", "R_Foot", "L_Ankle", "R_Ankle", "Head") if name in body.tree.names
    ]
    heights = body.joints_template[ends, 1]
    return float(heights.max() - heights.min())


def attach_landmarks(body: BodyModel) -> AttachedPoints:
    """Return the default body's landmarks, carried over as `load_smpl_body` says; those whose joint the body has."""
    default = load_default_body(dtype=body.v_template.dtype)
    names, carriers = default.points.names[default.tree.num_joints :], default.tree.names
    carried_by = dict(zip(default.points.names, default.points.joint_index.tolist(), strict=True))
    landmarks = default.points.select(tuple(name for name in names if carriers[carried_by[name]] in body.tree.names))
    joint = torch.tensor([body.tree.index(carriers[carried_by[name]]) for name in landmarks.names])
    offset = landmarks.rest - default.joints_template[landmarks.joint_index]
    rest = body.joints_template[joint] + offset * (_joint_height(body) / _joint_height(default))
    nearest = torch.cdist(rest, body.v_template).argmin(-1)
    at_joint = (offset.norm(dim=-1) < AT_JOINT)[:, None, None]
    directions = torch.where(at_joint, body.joints_shapedirs[joint], body.shapedirs[nearest])
    for number, name in enumerate(landmarks.names):
        if KNUCKLES.get(name) in body.tree.names:
            knuckle = body.tree.index(KNUCKLES[name])
            rest[number], directions[number] = body.joints_template[knuckle], body.joints_shapedirs[knuckle]
    return AttachedPoints(landmarks.names, joint, rest, directions)

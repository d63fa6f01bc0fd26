# SPDX-License-Identifier: Apache-2.0
"""A user's own body: an .npz in the layout of SMPL's model files, with the landmarks that the pipeline names.

SMPL's files are under a licence of their own and do not come with this package. Here: reading and checking such a file.
Imports: numpy, torch, ikol.errors, ikol.body.{array_archive, default_body, joint_tree, model, points}.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ikol.body.array_archive import read_arrays
from ikol.body.default_body import load_default_body
from ikol.body.joint_tree import JointTree
from ikol.body.model import BodyModel
from ikol.body.points import AttachedPoints
from ikol.errors import InputError

MAX_FILE_BYTES = 256 << 20  # SMPL with 300 betas and pose blend shapes in float64 has 90 MB
MAX_ARRAY_BYTES = 128 << 20  # unpacked, without the pose blend shapes; 300 betas in float64 take 50 MB

MIN_HEIGHT, MAX_HEIGHT = 0.3, 3.0  # metres from the lowest to the highest joint: infants to giants, but no centimetres
AT_JOINT = 1e-4  # metres; a landmark of the default body that is this near to its joint is the joint

_LAYOUT = {  # key: its axes; V vertices, F faces, B betas, J joints
    "v_template": ("V", 3),
    "shapedirs": ("V", 3, "B"),
    "J_regressor": ("J", "V"),
    "weights": ("V", "J"),
    "kintree_table": (2, "J"),
    "f": ("F", 3),
}


def load_smpl_npz(path: Path, num_betas: int = 10, dtype: torch.dtype = torch.float64) -> BodyModel:
    """Return the body of a file in the layout of SMPL's: 24 joints, Y up, facing +Z, metres.

    Pose blend shapes (`posedirs`) may be in the file and are not read. The file has no landmarks. Each is attached to
    the joint that carries it on the default body, at the default body's rest offset from that joint, scaled by the
    ratio of the two bodies' joint heights. It moves with the betas as the nearest vertex does, or as the joint where it
    lies at the joint. On a body of other proportions a landmark on the skin may be off by a few centimetres.

    Args:
        path: the .npz file.
        num_betas: how many shape directions to keep.
        dtype: floating-point type of the body's tensors.

    Raises:
        InputError: the file cannot be read, lacks an array, or an array has the wrong shape or impossible numbers.
    """
    arrays = read_arrays(_read(path), _LAYOUT, path.name, MAX_ARRAY_BYTES)
    default = load_default_body(dtype=dtype)
    _check_layout(arrays, path.name, num_betas, default.tree)

    def floats(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64)).to(dtype)

    body = BodyModel.from_arrays(
        name=path.name,
        tree=default.tree,
        v_template=floats(arrays["v_template"]),
        faces=torch.from_numpy(arrays["f"].astype(np.int64)),
        shapedirs=floats(arrays["shapedirs"][..., :num_betas]),
        J_regressor=floats(arrays["J_regressor"]),
        lbs_weights=floats(arrays["weights"]),
    )
    _check_stance(body)
    return BodyModel.from_arrays(
        name=body.name,
        tree=body.tree,
        v_template=body.v_template,
        faces=body.faces,
        shapedirs=body.shapedirs,
        J_regressor=body.J_regressor,
        lbs_weights=body.lbs_weights,
        landmarks=_attach_landmarks(body, default),
    )


def _read(path: Path) -> bytes:
    """Return the file's content, if it may be an .npz of this size."""
    if path.suffix.lower() == ".pkl":
        raise InputError(
            f"{path.name} is a pickle, which can run code and is not read; convert it to .npz once, with "
            "numpy.savez and the arrays " + ", ".join(_LAYOUT)
        )
    if not path.is_file():  # also no pipe, which could be waited for without end
        raise InputError(f"there is no body file {path}; name another file")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read the body file {path}: {error.strerror}; name another file") from error
    if len(data) > MAX_FILE_BYTES:
        raise InputError(f"{path.name} is larger than {MAX_FILE_BYTES >> 20} MiB; it is not a body in SMPL's layout")
    return data


def _check_layout(arrays: dict[str, np.ndarray], source: str, num_betas: int, tree: JointTree) -> None:
    """Raise InputError where an array is not of numbers, has another shape, or the tree is not SMPL's."""
    lengths: dict[str, int] = {"J": tree.num_joints}
    for key, axes in _LAYOUT.items():
        array = arrays[key]
        kinds = "iu" if key in ("kintree_table", "f") else "iuf"
        if array.dtype.kind not in kinds:
            wanted = "integers" if kinds == "iu" else "numbers"
            raise InputError(f"{source}: {key} has type {array.dtype}, expected {wanted}")
        if array.ndim != len(axes):
            raise InputError(f"{source}: {key} has shape {array.shape}, expected {len(axes)} axes: {axes}")
        expected = tuple(
            lengths.setdefault(axis, size) if isinstance(axis, str) else axis
            for axis, size in zip(axes, array.shape, strict=True)
        )
        if array.shape != expected:
            raise InputError(f"{source}: {key} has shape {array.shape}, expected {expected}")
        if array.size == 0:
            raise InputError(f"{source}: {key} is empty, it has shape {array.shape}")
    if lengths["B"] < num_betas:
        raise InputError(f"{source}: shapedirs has {lengths['B']} betas, at least {num_betas} are needed")
    # the root's parent is -1, in SMPL's own files as an unsigned number of 32 bits
    parents = tuple(-1 if parent in (-1, 2**32 - 1) else parent for parent in arrays["kintree_table"][0].tolist())
    if parents != tree.parents or arrays["kintree_table"][1].tolist() != list(range(tree.num_joints)):
        raise InputError(f"{source}: kintree_table is not the tree of SMPL's 24 joints; it has the parents {parents}")


def _check_stance(body: BodyModel) -> None:
    """Raise InputError where the joints do not stand as SMPL's do."""
    height = _joint_height(body)
    if not MIN_HEIGHT <= height <= MAX_HEIGHT:
        raise InputError(
            f"{body.name}: the joints are {height:.3g} high, expected {MIN_HEIGHT} to {MAX_HEIGHT} metres along Y; "
            "is the file in metres and Y up?"
        )
    place = dict(zip(body.tree.names, body.joints_template.tolist(), strict=True))
    if place["Head"][1] <= place["L_Ankle"][1] or place["L_Shoulder"][0] <= place["R_Shoulder"][0]:
        raise InputError(f"{body.name}: the body must stand upright along +Y and have its left side at +X")


def _joint_height(body: BodyModel) -> float:
    """Return the height from the lowest to the highest rest joint, metres."""
    heights = body.joints_template[:, 1]
    return float(heights.max() - heights.min())


def _attach_landmarks(body: BodyModel, default: BodyModel) -> AttachedPoints:
    """Return the default body's landmarks, carried over as `load_smpl_npz` says."""
    landmarks = default.points.select(default.points.names[default.tree.num_joints :])
    joint = landmarks.joint_index
    offset = landmarks.rest - default.joints_template[joint]
    rest = body.joints_template[joint] + offset * (_joint_height(body) / _joint_height(default))
    nearest = torch.cdist(rest, body.v_template).argmin(-1)
    at_joint = (offset.norm(dim=-1) < AT_JOINT)[:, None, None]
    directions = torch.where(at_joint, body.joints_shapedirs[joint], body.shapedirs[nearest])
    return AttachedPoints(landmarks.names, joint, rest, directions)

# SPDX-License-Identifier: Apache-2.0
"""AMASS's .npz: `poses` in one array, or a key for each part of the body; nothing in it is run.

Source: the AMASS data sets (https://amass.is.tue.mpg.de): SMPL-H files have `poses` (F, 156), `trans`, `betas`,
`gender`, `mocap_framerate`; SMPL-X files also `root_orient`, `pose_body`, `pose_hand`, `pose_jaw`, `pose_eye`,
`surface_model_type`, `mocap_frame_rate`. Z is up.
Imports: numpy, torch, ikol.body, ikol.exchange.{files, motion, npz_values}.
"""

from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from ikol.body.array_archive import array_names
from ikol.body.smpl_trees import MODELS, SMPL_TREE, SMPLH_TREE, SMPLX_TREE
from ikol.errors import FileFormatError
from ikol.exchange.files import write_bytes
from ikol.exchange.motion import MAX_FRAMES, Axes, Motion, RestPelvis, as_body_motion, rest_pelvis
from ikol.exchange.npz_values import npz_bytes, read_number, read_numbers, read_texts
from ikol.files import read_limited
from ikol.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat

MAX_FILE_BYTES: Final = 1 << 30
_RATES: Final = ("mocap_frame_rate", "mocap_framerate", "fps", "frameRate")
_DEFAULT_FPS: Final = 60.0  # what other readers take for a file without a rate
_BODY, _HANDS, _FACE = 22, 30, 3
_PARTS: Final = {"root_orient": 3, "pose_body": 63, "pose_jaw": 3, "pose_eye": 6, "pose_hand": 90}


def read_amass(path: Path, axes: Axes | None = None, pelvis: RestPelvis | None = None) -> Motion:
    """Return the motion of an AMASS file.

    Args:
        path: the .npz.
        axes: which way is up in it; None to see it from the motion.
        pelvis: where the pelvis of the body rests; None for that of SMPL's mean.

    Raises:
        FileFormatError: it cannot be read, or an array is missing or has the wrong shape.
    """
    data = read_limited(path, MAX_FILE_BYTES)
    present = array_names(data, path.name)
    arrays = {key: read_numbers(data, key, path.name) for key in ("trans", *_PARTS, "poses", "betas") if key in present}
    if "poses" not in arrays and not {"root_orient", "pose_body"} <= arrays.keys():
        raise FileFormatError(
            f"{path.name} has neither poses nor root_orient and pose_body; got {', '.join(sorted(present)[:30])}"
        )
    names, rotvec = _rotations(arrays, path.name)
    frames = len(rotvec)
    if not 0 < frames <= MAX_FRAMES:
        raise FileFormatError(f"{path.name} has {frames} frames, expected 1 to {MAX_FRAMES}")
    trans = arrays.get("trans", np.zeros((frames, 3)))
    if trans.shape != (frames, 3):
        raise FileFormatError(f"{path.name}: trans has shape {trans.shape}, expected ({frames}, 3)")
    betas = np.atleast_2d(arrays.get("betas", np.zeros(10)))
    if betas.ndim != 2 or len(betas) not in (1, frames) or betas.shape[1] > 400:
        raise FileFormatError(f"{path.name}: betas has shape {betas.shape}, expected one row of 400 numbers at most")
    motion = Motion(
        joint_names=names,
        local_rotmat=rotvec_to_rotmat(rotvec),
        transl=torch.from_numpy(trans),
        betas=torch.from_numpy(betas),
        fps=_rate(data, present, path.name),
        gender=_gender(data, present, path.name),
    )
    return motion.from_axes(axes or motion.likely_axes(), rest_pelvis(pelvis, motion.betas))


def _rotations(arrays: dict[str, np.ndarray], source: str) -> tuple[tuple[str, ...], Tensor]:
    """Return joint names, and axis-angles (F, J, 3)."""
    if "poses" in arrays:
        poses = arrays["poses"]
        trees = {3 * tree.num_joints: tree.names for tree in MODELS.values()} | {66: SMPL_TREE.names[:_BODY]}
        if poses.ndim != 2 or poses.shape[1] not in trees:
            raise FileFormatError(
                f"{source}: poses has shape {poses.shape}, expected (frames, 72) for SMPL, 156 for SMPL-H, 165 for "
                "SMPL-X"
            )
        return trees[poses.shape[1]], torch.from_numpy(poses).reshape(len(poses), poses.shape[1] // 3, 3)
    frames = len(arrays["root_orient"]) if arrays["root_orient"].ndim else 0
    for key, width in _PARTS.items():
        if key in arrays and arrays[key].shape != (frames, width):
            raise FileFormatError(f"{source}: {key} has shape {arrays[key].shape}, expected ({frames}, {width})")
    face = {"pose_jaw", "pose_eye"} & arrays.keys()
    tree = SMPLX_TREE if face else SMPLH_TREE if "pose_hand" in arrays else SMPL_TREE
    parts = [arrays["root_orient"], arrays["pose_body"]]
    parts += [arrays.get(key, np.zeros((frames, _PARTS[key]))) for key in ("pose_jaw", "pose_eye") if face]
    parts += [arrays.get("pose_hand", np.zeros((frames, 90)))] if tree is not SMPL_TREE else [np.zeros((frames, 6))]
    return tree.names, torch.from_numpy(np.concatenate(parts, 1)).reshape(frames, tree.num_joints, 3)


def _rate(data: bytes, present: tuple[str, ...], source: str) -> float:
    key = next((key for key in _RATES if key in present), None)
    return _DEFAULT_FPS if key is None else read_number(data, key, source)


def _gender(data: bytes, present: tuple[str, ...], source: str) -> str:
    if "gender" not in present:
        return "neutral"
    try:
        texts = read_texts(data, "gender", source)
    except FileFormatError:
        return "neutral"  # some files hold it as an object, which is not read
    return texts[0] if texts and texts[0] in ("male", "female") else "neutral"


def write_amass(path: Path, motion: Motion, axes: Axes = "z", pelvis: RestPelvis | None = None) -> None:
    """Write a motion with both families of keys, betas as the mean over frames.

    Args:
        path: the .npz.
        motion: of SMPL's joints, SMPL-H's or SMPL-X's.
        axes: which way is up in the file; AMASS's own files have Z up.
        pelvis: as of `read_amass`.
    """
    body = as_body_motion(motion, "an AMASS file").to_axes(axes, rest_pelvis(pelvis, motion.betas))
    names = {*body.joint_names}
    tree = SMPLX_TREE if "Jaw" in names else SMPLH_TREE if "L_Index1" in names else SMPL_TREE
    rotvec = rotmat_to_rotvec(body.on(tree).local_rotmat).numpy().reshape(body.num_frames, -1)
    arrays: dict[str, np.ndarray] = {
        "poses": rotvec,
        "root_orient": rotvec[:, :3],
        "pose_body": rotvec[:, 3 : 3 * _BODY],
        "trans": body.transl.numpy(),
        "betas": body.betas.mean(0).numpy(),
        "gender": np.array(body.gender),
        "mocap_frame_rate": np.array(body.fps),
        "mocap_framerate": np.array(body.fps),
    }
    if tree is not SMPL_TREE:
        arrays["pose_hand"] = rotvec[:, -3 * _HANDS :]
        arrays["surface_model_type"] = np.array("smplh" if tree is SMPLH_TREE else "smplx")
    if tree is SMPLX_TREE:
        face = rotvec[:, 3 * _BODY : 3 * (_BODY + _FACE)]
        arrays |= {"pose_jaw": face[:, :3], "pose_eye": face[:, 3:]}
    write_bytes(path, npz_bytes(arrays))

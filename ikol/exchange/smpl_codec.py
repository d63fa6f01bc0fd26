# SPDX-License-Identifier: Apache-2.0
"""Meshcapade's .smpl: an .npz whose keys the MIT-licensed package `smplcodec` defines. Nothing in it is run.

Source: smplcodec 2.3 (https://pypi.org/project/smplcodec): codecVersion, smplVersion, gender, shapeParameters,
frameCount, frameRate, bodyTranslation, bodyPose, headPose, leftHandPose, rightHandPose; numbers as int32 and float32.
Imports: numpy, torch, ikol.body, ikol.exchange.{files, motion, npz_values}.
"""

from pathlib import Path
from typing import Final

import numpy as np
import torch

from ikol.body.array_archive import array_names
from ikol.body.joint_tree import JointTree
from ikol.body.smpl_trees import SMPL_TREE, SMPLH_TREE, SMPLX_TREE
from ikol.errors import FileFormatError
from ikol.exchange.files import write_bytes
from ikol.exchange.motion import MAX_FRAMES, Axes, Motion, RestPelvis, as_body_motion, rest_pelvis
from ikol.exchange.npz_values import npz_bytes, read_integer, read_number, read_numbers
from ikol.files import read_limited
from ikol.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat

MAX_FILE_BYTES: Final = 1 << 30
CODEC_VERSION: Final = 2
_GENDERS: Final = ("neutral", "male", "female")
_DEFAULT_FPS: Final = 30.0  # a single pose has no rate
_PARTS: Final[
    dict[int, tuple[JointTree, dict[str, int]]]
] = {  # by smplVersion: joints of each key, in the file's order
    0: (SMPL_TREE, {"bodyPose": 24}),
    1: (SMPLH_TREE, {"bodyPose": 22, "leftHandPose": 15, "rightHandPose": 15}),
    2: (SMPLX_TREE, {"bodyPose": 22, "headPose": 3, "leftHandPose": 15, "rightHandPose": 15}),
    3: (SMPLX_TREE, {"bodyPose": 22, "headPose": 3, "leftHandPose": 15, "rightHandPose": 15}),
}


def read_smpl_codec(path: Path, axes: Axes | None = None, pelvis: RestPelvis | None = None) -> Motion:
    """Return the motion, or the one pose, of a .smpl file.

    Args:
        path: the file.
        axes: which way is up in it; None to see it from the motion.
        pelvis: where the pelvis of the body rests; None for that of SMPL's mean.

    Raises:
        FileFormatError: it cannot be read, is of another model, or an array is missing or has the wrong shape.
    """
    data, source = read_limited(path, MAX_FILE_BYTES), path.name
    present = array_names(data, source)
    version = read_integer(data, "smplVersion", source) if "smplVersion" in present else 2
    if version not in _PARTS:
        raise FileFormatError(
            f"{source}: smplVersion is {version}; 0 (SMPL), 1 (SMPL-H), 2 (SMPL-X), 3 (SUPR) are read"
        )
    tree, parts = _PARTS[version]
    frames = read_integer(data, "frameCount", source) if "frameCount" in present else 1
    if not 0 < frames <= MAX_FRAMES:
        raise FileFormatError(f"{source}: frameCount is {frames}, expected 1 to {MAX_FRAMES}")
    poses: list[np.ndarray] = []
    for key, joints in parts.items():
        pose = read_numbers(data, key, source) if key in present else np.zeros((frames, joints, 3))
        if pose.shape != (frames, joints, 3):
            raise FileFormatError(f"{source}: {key} has shape {pose.shape}, expected ({frames}, {joints}, 3)")
        poses.append(pose)
    transl = read_numbers(data, "bodyTranslation", source) if "bodyTranslation" in present else np.zeros((frames, 3))
    if transl.shape != (frames, 3):
        raise FileFormatError(f"{source}: bodyTranslation has shape {transl.shape}, expected ({frames}, 3)")
    betas = read_numbers(data, "shapeParameters", source) if "shapeParameters" in present else np.zeros(10)
    if betas.ndim != 1 or len(betas) > 400:
        raise FileFormatError(f"{source}: shapeParameters has shape {betas.shape}, expected 400 numbers at most")
    gender = read_integer(data, "gender", source) if "gender" in present else 0
    motion = Motion(
        joint_names=tree.names,
        local_rotmat=rotvec_to_rotmat(torch.from_numpy(np.concatenate(poses, 1))),
        transl=torch.from_numpy(transl),
        betas=torch.from_numpy(betas)[None],
        fps=read_number(data, "frameRate", source) if "frameRate" in present else _DEFAULT_FPS,
        gender=_GENDERS[gender] if gender in (0, 1, 2) else "neutral",
    )
    return motion.from_axes(axes or motion.likely_axes(), rest_pelvis(pelvis, motion.betas))


def write_smpl_codec(path: Path, motion: Motion, axes: Axes = "y", pelvis: RestPelvis | None = None) -> None:
    """Write a motion, betas as the mean over frames; the arguments are those of `write_amass`."""
    body = as_body_motion(motion, "a .smpl file").to_axes(axes, rest_pelvis(pelvis, motion.betas))
    names = {*body.joint_names}
    version = 2 if "Jaw" in names else 1 if "L_Index1" in names else 0
    tree, parts = _PARTS[version]
    rotvec = rotmat_to_rotvec(body.on(tree).local_rotmat).numpy()
    arrays: dict[str, np.ndarray] = {
        "codecVersion": np.array(CODEC_VERSION, np.int32),
        "smplVersion": np.array(version, np.int32),
        "gender": np.array(_GENDERS.index(body.gender), np.int32),
        "shapeParameters": body.betas.mean(0).numpy().astype(np.float32),
        "frameCount": np.array(body.num_frames, np.int32),
        "frameRate": np.array(body.fps, np.float32),
        "bodyTranslation": body.transl.numpy().astype(np.float32),
    }
    first = 0
    for key, joints in parts.items():
        arrays[key] = rotvec[:, first : first + joints].astype(np.float32)
        first += joints
    write_bytes(path, npz_bytes(arrays))

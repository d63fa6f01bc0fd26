# SPDX-License-Identifier: Apache-2.0
"""HybrIK's `res.pk`: what its demo writes of a video, a pickle of arrays over frames, read as data and never run.

Source: HybrIK's scripts/demo_video.py: pred_thetas (F, 216) rotation matrices of SMPL's 24 joints in the camera's axes,
pred_betas (F, 10), transl (F, 3) the pelvis in these axes, metres, and others that are not used here.
Imports: numpy, torch, ikol.body, ikol.restricted_pickle, ikol.exchange.{files, motion, pickle_writer}.
"""

from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from ikol.body.smpl_arrays import MAX_BETAS
from ikol.body.smpl_trees import SMPL_TREE
from ikol.errors import FileFormatError
from ikol.exchange.files import write_bytes
from ikol.exchange.motion import MAX_FRAMES, MAX_VALUES, Motion, RestPelvis, as_body_motion, rest_pelvis
from ikol.exchange.pickle_writer import pickled_arrays
from ikol.geometry.rotations import quat_to_rotmat
from ikol.restricted_pickle import PickleLimits, load_pickle, resolve_array

LIMITS: Final = PickleLimits(max_bytes=1 << 30, max_steps=20_000_000)  # an array for each key and frame; 40 seconds
_BETAS: Final = 10  # as HybrIK has them; `write_hybrik` keeps more
FPS: Final = 30.0  # the file does not say; its demo takes the video's, most often this
_MAX_ARRAY_BYTES: Final = 8 * MAX_VALUES


def read_hybrik(path: Path, pelvis: RestPelvis | None = None, fps: float = FPS) -> Motion:
    """Return the motion of a res.pk.

    Args:
        path: the file.
        pelvis: where the pelvis of the body rests; None for that of SMPL's mean.
        fps: frames a second, which the file does not say.

    Raises:
        FileFormatError: it cannot be read, names what is not allowed, or an array is missing or has the wrong shape.
    """
    held, source = load_pickle(path, LIMITS), path.name
    if not isinstance(held, dict) or "pred_thetas" not in held:
        got = ", ".join(sorted(str(key)[:30] for key in held)[:20]) if isinstance(held, dict) else type(held).__name__
        raise FileFormatError(f"{source} has no pred_thetas, as HybrIK writes; got {got}")

    def numbers(key: str) -> Tensor:
        array = resolve_array(held[key], key, source, _MAX_ARRAY_BYTES)
        if array.dtype.kind not in "iuf":
            raise FileFormatError(f"{source}: {key} has type {array.dtype}, expected numbers")
        return torch.from_numpy(array.astype(np.float64))

    thetas = numbers("pred_thetas")
    frames = len(thetas) if thetas.ndim else 0
    width = thetas.numel() // max(frames, 1)
    if not 0 < frames <= MAX_FRAMES or width not in (216, 96) or thetas.numel() != frames * width:
        raise FileFormatError(
            f"{source}: pred_thetas has shape {tuple(thetas.shape)}, expected (frames, 216): 24 rotation matrices each"
        )
    matrices = thetas.reshape(frames, 24, 3, 3) if width == 216 else quat_to_rotmat(thetas.reshape(frames, 24, 4))
    parts: dict[str, Tensor] = {}
    for key, least, most in (("transl", 3, 3), ("pred_betas", _BETAS, MAX_BETAS)):
        part = numbers(key) if key in held else torch.zeros(frames, least, dtype=torch.float64)
        axes = part.numel() // frames
        if part.numel() != frames * axes or not least <= axes <= most:
            raise FileFormatError(f"{source}: {key} has shape {tuple(part.shape)}, expected ({frames}, {least})")
        parts[key] = part.reshape(frames, axes)
    rest = rest_pelvis(pelvis, parts["pred_betas"])
    motion = Motion(
        joint_names=SMPL_TREE.names,
        local_rotmat=_orthonormal(matrices, source),
        transl=parts["transl"] - rest,
        betas=parts["pred_betas"],
        fps=fps,
    )
    return motion.from_axes("camera", rest)


def _orthonormal(matrices: Tensor, source: str) -> Tensor:
    """Return the rotations nearest to matrices that are rotations but for float32's rounding."""
    if not bool(torch.isfinite(matrices).all()):
        raise FileFormatError(f"{source}: pred_thetas holds infinite or undefined numbers")
    U, _, Vh = torch.linalg.svd(matrices)
    nearest = U @ Vh
    off = float((nearest - matrices).abs().max())
    if off > 0.01 or bool((torch.linalg.det(nearest) < 0).any()):
        raise FileFormatError(f"{source}: pred_thetas are no rotations, they are off by {off:.2g}")
    return nearest


def write_hybrik(path: Path, motion: Motion, pelvis: RestPelvis | None = None) -> None:
    """Write a motion with the keys that HybrIK's Blender add-on and `read_hybrik` use, and all its betas."""
    rest = rest_pelvis(pelvis, motion.betas)
    body = as_body_motion(motion, "a res.pk").on(SMPL_TREE).to_axes("camera", rest)
    frames = body.num_frames
    betas = torch.zeros(frames, max(_BETAS, body.betas.shape[1]), dtype=torch.float64)
    betas[:, : body.betas.shape[1]] = body.betas
    content = {
        "pred_thetas": body.local_rotmat.reshape(frames, 216),
        "pred_betas": betas,
        "transl": body.transl + rest,
        "pred_cam_root": body.transl + rest,
    }
    write_bytes(path, pickled_arrays({key: value.numpy().astype(np.float32) for key, value in content.items()}))

# SPDX-License-Identifier: Apache-2.0
"""What the loaders share: a list of samples as a data set, pictures in files, SMPL parameters as truth."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ikol.body.model import BodyModel
from ikol.body.smpl_trees import SMPL_TREE
from ikol.errors import FileFormatError, InputError
from ikol.evaluation.samples import EvaluationSample, Truth
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.pipeline import Intrinsics
from ikol.regressor import decode_image
from ikol.solver import Skeleton, SolveState

SMPL_JOINTS = SMPL_TREE.names
BOX_MARGIN = 0.1  # of the longer side of the box around the joints: flesh and head are outside them


@dataclass(frozen=True, eq=False)
class SampleList:
    """Samples that are made when they are asked for."""

    name: str
    scored: tuple[str, ...]
    origin: tuple[str, ...]
    makers: Sequence[Callable[[], EvaluationSample]]
    body: BodyModel | None = None

    def __len__(self) -> int:
        """How many there are."""
        return len(self.makers)

    def __iter__(self) -> Iterator[EvaluationSample]:
        """Make one after the other."""
        for make in self.makers:
            yield make()


def picture_reader(folder: Path, name: str) -> Callable[[], UInt8[np.ndarray, "height width 3"]]:
    """Return what reads a picture when it is wanted.

    Args:
        folder: that holds it.
        name: as the annotation gives it, maybe with folders.

    Raises:
        InputError: the picture is missing; when it is read.
        FileFormatError: the name leads out of the folder.
    """
    if "\0" in name or not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise FileFormatError(f"the picture {name!r} lies outside {folder}; is the annotation damaged?")
    return partial(_read_picture, folder / name)


def _read_picture(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    if not path.is_file():
        raise InputError(f"the picture {path} is missing; unpack the data set's pictures where its layout has them")
    return decode_image(path.read_bytes()).rgb


def lens(width: int, height: int, K: Float[np.ndarray, "3 3"]) -> Intrinsics:
    """Return the lens of an intrinsic matrix, pixels."""
    return Intrinsics(width, height, (float(K[0, 0]), float(K[1, 1])), (float(K[0, 2]), float(K[1, 2])), "given")


def joint_truth(
    names: tuple[str, ...],
    joints: Float[np.ndarray, "points 3"],
    *,
    camera_rotmat: Tensor | None = None,
    betas: Float[np.ndarray, "betas"] | None = None,
) -> Truth:
    """Return joints in camera axes, metres, as truth."""
    points = torch.from_numpy(joints).double()
    shape = None if betas is None else torch.from_numpy(betas).double()
    return Truth(names, points, points.isfinite().all(-1), camera_rotmat, shape)


def camera_rotmat(
    rotvec: Float[np.ndarray, "24 3"], R_camera_world: Float[np.ndarray, "3 3"]
) -> Float[Tensor, "24 3 3"]:
    """Return SMPL's local rotations, whose root's is relative to the world, with the root's relative to the camera."""
    local = rotvec_to_rotmat(torch.from_numpy(rotvec).double())
    return torch.cat((torch.from_numpy(R_camera_world).double() @ local[:1], local[1:]))


def posed_joints(
    body: BodyModel,
    rotvec: Float[np.ndarray, "24 3"],
    betas: Float[np.ndarray, "betas"],
    transl: Float[np.ndarray, "3"],
) -> Float[np.ndarray, "24 3"]:
    """Return SMPL's joints of parameters, metres, in the axes that the parameters are in."""
    state = SolveState(
        torch.from_numpy(transl).double(),
        rotvec_to_rotmat(torch.from_numpy(rotvec).double()),
        torch.from_numpy(betas).double(),
    )
    return Skeleton.from_body(body).pose(state).joints.numpy()


def box_around(joints: Float[np.ndarray, "points 3"], lens: Intrinsics) -> tuple[float, float, float, float]:
    """Return the box around joints on the picture, with a margin; camera axes, metres."""
    ahead = joints[joints[:, 2] > 0]
    if not len(ahead):
        raise InputError("the joints are behind the camera; is the truth in camera axes?")
    pixels = ahead[:, :2] / ahead[:, 2:] * lens.focal + lens.center
    low, high = pixels.min(0), pixels.max(0)
    margin = BOX_MARGIN * float((high - low).max()) + 1.0
    return float(low[0] - margin), float(low[1] - margin), float(high[0] + margin), float(high[1] + margin)


def is_in_picture(joints: Float[np.ndarray, "points 3"], lens: Intrinsics) -> bool:
    """Say whether at least half of the joints are before the camera and on the picture."""
    depth = np.maximum(joints[:, 2:], 1e-6)
    pixels = joints[:, :2] / depth * lens.focal + lens.center
    inside = (joints[:, 2] > 0) & ((pixels >= 0) & (pixels < (lens.width, lens.height))).all(-1)
    return bool(inside.mean() >= 0.5)

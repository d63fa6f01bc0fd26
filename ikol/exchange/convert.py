# SPDX-License-Identifier: Apache-2.0
"""One file to another: which format a file is, and what it takes to write it as another.

Imports: torch, ikol.body, ikol.errors, ikol.exchange.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from ikol.body.array_archive import array_names
from ikol.body.model import BodyModel
from ikol.errors import InputError
from ikol.exchange.amass import MAX_FILE_BYTES, read_amass, write_amass
from ikol.exchange.bvh import Rig, read_bvh, write_bvh
from ikol.exchange.c3d import read_c3d, write_c3d
from ikol.exchange.hybrik import read_hybrik, write_hybrik
from ikol.exchange.keypoint_json import KeypointFormat, read_keypoint_json, write_keypoint_json
from ikol.exchange.motion import Axes, Keypoints, Motion, RestPelvis
from ikol.exchange.points_file import read_points, write_points
from ikol.exchange.pose_file import read_pose_file
from ikol.exchange.smpl_codec import read_smpl_codec, write_smpl_codec
from ikol.exchange.trc import read_trc, write_trc
from ikol.files import read_limited

Format = Literal[
    "body",
    "pose",
    "amass",
    "smpl",
    "hybrik",
    "bvh",
    "trc",
    "c3d",
    "points",
    "openpose",
    "coco",
    "wholebody",
    "blazepose",
]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
_BY_SUFFIX: Final[dict[str, Format]] = {
    ".npz": "amass",
    ".smpl": "smpl",
    ".pk": "hybrik",
    ".pkl": "body",
    ".bvh": "bvh",
    ".trc": "trc",
    ".c3d": "c3d",
    ".json": "coco",
}
_BY_ARRAY: Final[dict[str, Format]] = {"v_template": "body", "local_quat": "pose", "points": "points"}
"""What an .npz is that has such an array; without any it is AMASS's."""
MOTION_FORMATS: Final[tuple[Format, ...]] = ("amass", "smpl", "hybrik", "bvh")
"""Those that a motion is written as."""
DEFAULT_NAME: Final = "default body"
_JSON: Final = get_args(KeypointFormat)


@dataclass(frozen=True)
class Settings:
    """What files do not say."""

    source_axes: Axes | None = None
    """Which way is up in what is read; None to see it."""
    target_axes: Axes | None = None
    """And in what is written; None for what the format's files mostly have."""
    body: BodyModel | None = None
    """Whose rest pose a motion is of: for .bvh, and where its pelvis rests; in float64."""
    person: int = 0
    size: tuple[int, int] | None = None
    fps: float | None = None
    scale: float | None = None


def format_by_suffix(path: Path, asked: Format | None = None) -> Format:
    """Return the format that a file of this name is to have, or what is asked.

    Raises:
        InputError: the suffix is none that is known.
    """
    form = asked or _BY_SUFFIX.get(path.suffix.lower())
    if form is None:
        raise InputError(
            f"{path.name}: {', '.join(_BY_SUFFIX)} are known; name the format, one of {', '.join(FORMATS)}"
        )
    return form


def format_of(path: Path, asked: Format | None = None) -> Format:
    """Return the format of a file that is to be read: by its suffix, and for .npz by what is in it.

    Raises:
        InputError: the suffix is none that is known.
    """
    if path.is_dir():
        return asked or "openpose"
    form = format_by_suffix(path, asked)
    if asked is None and form == "amass" and path.is_file():
        present = array_names(read_limited(path, MAX_FILE_BYTES), path.name)
        for key, found in _BY_ARRAY.items():
            if key in present:
                return found
    return form


def read_file(path: Path, form: Format, settings: Settings) -> Motion | Rig | Keypoints:
    """Return what a file holds.

    Raises:
        InputError: it cannot be read.
    """
    pelvis = _pelvis(settings)
    match form:
        case "amass":
            found: Motion | Rig | Keypoints = read_amass(path, settings.source_axes, pelvis)
        case "pose":
            found = read_pose_file(path, settings.person)
        case "smpl":
            found = read_smpl_codec(path, settings.source_axes, pelvis)
        case "hybrik":
            found = read_hybrik(path, pelvis)
        case "bvh":
            found = read_bvh(path, settings.scale)
        case "trc":
            found = read_trc(path, settings.source_axes)
        case "c3d":
            found = read_c3d(path, settings.source_axes)
        case "points":
            found = read_points(path)
        case "openpose" | "coco" | "wholebody" | "blazepose":
            found = read_keypoint_json(path, settings.person, settings.size)
        case "body":
            raise InputError(f"{path.name} is a body, not a motion; it is converted to .npz only")
    if settings.fps is None:
        return found
    if isinstance(found, Rig):
        return replace(found, motion=replace(found.motion, fps=settings.fps))
    return replace(found, fps=settings.fps)


def write_file(path: Path, content: Motion | Rig | Keypoints, form: Format, settings: Settings) -> None:
    """Write a file.

    Raises:
        InputError: the format cannot hold it.
    """
    if isinstance(content, Keypoints):
        match form:
            case "trc":
                write_trc(path, content)
            case "c3d":
                write_c3d(path, content)
            case "points":
                write_points(path, content)
            case "openpose" | "coco" | "wholebody" | "blazepose":
                if form == "openpose" and len(content.points) > 1:
                    raise InputError(
                        f"a file of OpenPose holds one frame, these are {len(content.points)}; write them as "
                        "coco, wholebody or blazepose"
                    )
                write_keypoint_json(path, content, form)
            case _:
                raise InputError(
                    f"points are written as trc, c3d, points or {', '.join(_JSON)}, not as {form}; solve them first"
                )
        return
    motion = content.motion if isinstance(content, Rig) else content
    axes, pelvis = settings.target_axes, _pelvis(settings)
    match form:
        case "amass":
            write_amass(path, motion, axes or "z", pelvis)
        case "smpl":
            write_smpl_codec(path, motion, axes or "y", pelvis)
        case "hybrik":
            write_hybrik(path, motion, pelvis)
        case "bvh":
            write_bvh(path, content if isinstance(content, Rig) else rig_of(motion, settings.body))
        case _:
            raise InputError(f"a motion is written as {', '.join(MOTION_FORMATS)}, not as {form}")


def rig_of(motion: Motion, body: BodyModel | None) -> Rig:
    """Return a motion with the bones of a body in its shape.

    Raises:
        InputError: no body is given.
    """
    if body is None:
        raise InputError("a .bvh file has bones of a length: say whose, with a body file")
    return Rig(body.tree, body.rest_joints(_shape(motion, body)), motion.on(body.tree))


def _shape(motion: Motion, body: BodyModel) -> Tensor:
    """Return the motion's betas as many as the body's; none on the default body, where SMPL's mean nothing."""
    if body.name == DEFAULT_NAME:
        return torch.zeros(body.num_betas, dtype=torch.float64)
    return _as_many(motion.betas.mean(0), body)


def _as_many(betas: Tensor, body: BodyModel) -> Tensor:
    """Return as many betas as a body has: the others are zero."""
    held = betas[: body.num_betas]
    return torch.cat([held, held.new_zeros(body.num_betas - len(held))])


def _pelvis(settings: Settings) -> RestPelvis | None:
    """Return where the body's pelvis rests; files are SMPL's, not the default body's, where no body is named."""
    body = settings.body
    if body is None or body.name == DEFAULT_NAME:
        return None
    return lambda betas: body.rest_joints(_as_many(betas, body))[0]

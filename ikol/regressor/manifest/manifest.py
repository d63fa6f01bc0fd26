# SPDX-License-Identifier: Apache-2.0
"""The manifest: a small file that says what a network's file is, what goes in and what comes out.

Read as data and checked; nothing of the network is loaded here. Imports: msgspec.
"""

import hashlib
import math
import re
import tomllib
from pathlib import Path, PurePosixPath
from typing import Literal

import msgspec

from ikol.errors import FileFormatError
from ikol.regressor.manifest.joint_sets import JointSet
from ikol.regressor.networks import NetworkConfig

Format = Literal["torchscript", "onnx", "state_dict", "exported_program"]
RUNS_CODE: tuple[Format, ...] = ("torchscript", "exported_program")
"""Formats that are programs: whoever loads one runs what its author wrote."""
MAX_MANIFEST_BYTES = 2**16
MAX_NETWORK_BYTES = 2**32  # NLF's largest file has 0.5 GB, RTMW3D's 0.4


class Input(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a network that looks at crops wants."""

    size: tuple[int, int] = (256, 256)
    """Rows and columns."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Taken from the values, which run from 0 to `maximum`, before `std` divides them; in the order of `channels`."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    maximum: float = 1.0
    """Of a pixel's value: 1 or 255."""
    channels: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    crop_scale: float = 1.25
    """How much larger the crop is than the person's box."""


class Outputs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where things are in the answer: a key of a dictionary, the name of an ONNX output, or a number ("0")."""

    joints2d: str = ""
    joints2d_kind: Literal["points", "heatmap", "simcc"] = "points"
    """Points (joints, 2 or more); maps (joints, rows, columns); or two distributions (joints, cells), of x in
    `joints2d` and of y in `joints2d_y`, as RTMPose has them."""
    joints2d_y: str = ""
    joints2d_space: Literal["crop", "crop_pixels"] = "crop_pixels"
    """Of points: 0 to 1 over the input, or its pixels."""
    joints3d: str = ""
    """(joints, 3), relative to whatever point."""
    conf: str = ""
    """(joints), 0 to 1. Maps and distributions have their own: the largest value."""
    twist: str = ""
    """Of SMPL's joints, or of those but the root: (23 or 24) radians, or (23 or 24, 2) as cosine and sine."""
    betas: str = ""
    smpl_rotmats: str = ""
    """SMPL's local rotations: (24, 3, 3), or (72) as rotation vectors. Their twists are used."""


class Sigma(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How wrong the network's answers typically are (standard deviations); the solver weighs them by it."""

    image: float = 0.02
    """Of the side of the crop."""
    plane: float = 0.04
    """Metres, of 3D joints along the picture."""
    depth: float = 0.07
    """Metres, of 3D joints along the line of sight. The default pair is about what networks with a mean joint error of
    75 mm on 3DPW have."""
    twist: float = 0.35
    """Radians."""
    betas: float = 0.7
    min_conf: float = 0.3
    """Joints with a lower confidence are left out."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See `docs/models/bring_your_own.md`."""

    name: str
    """For menus and messages."""
    format: Format
    file: str
    """Beside the manifest, or below its folder."""
    sha256: str
    call: Literal["forward", "detect_smpl_batched"] = "forward"
    """`forward`: one crop of a person; `detect_smpl_batched`: whole pictures, finds persons by itself, as NLF."""
    joint_set: JointSet = "smpl24"
    units: Literal["m", "cm", "mm"] = "m"
    axes: Literal["camera", "y_up"] = "camera"
    """Of 3D joints: x right, y down, z forward; or x right, y up, z towards the viewer."""
    betas_body: str = "smpl"
    """Whose betas they are; they are used on a body of this name only."""
    input: Input = Input()
    outputs: Outputs = Outputs()
    sigma: Sigma = Sigma()
    network: NetworkConfig | None = None
    """Of a state dict; None to tell from its tensors."""

    def __post_init__(self) -> None:
        _check(self)


def _check(manifest: Manifest) -> None:
    if not re.fullmatch(r"[0-9a-f]{64}", manifest.sha256):
        raise ValueError("sha256 must be 64 hexadecimal digits in lower case; `sha256sum FILE` prints them")
    path = PurePosixPath(manifest.file)
    if not manifest.file or path.is_absolute() or ".." in path.parts or "\\" in manifest.file or ":" in manifest.file:
        raise ValueError(f"file must lie beside the manifest or below its folder, got {manifest.file!r}")
    if not re.fullmatch(r"[^\x00-\x1f]{1,64}", manifest.name) or manifest.name in ("heavy", "full", "own"):
        raise ValueError(
            "name must have 1 to 64 characters in one line, and not be heavy, full or own, which are taken"
        )
    rows, columns = manifest.input.size
    if not (16 <= rows <= 4096 and 16 <= columns <= 4096) or not 0.1 <= manifest.input.crop_scale <= 10.0:
        raise ValueError("input.size must be 16 to 4096 pixels and crop_scale 0.1 to 10")
    numbers = (
        *manifest.input.mean,
        *manifest.input.std,
        manifest.input.maximum,
        *msgspec.structs.astuple(manifest.sigma),
    )
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError("input and sigma must hold finite numbers")
    if 0.0 in manifest.input.std or manifest.input.maximum <= 0:
        raise ValueError("input.std and input.maximum must not be zero")
    sigmas = (manifest.sigma.image, manifest.sigma.plane, manifest.sigma.depth, manifest.sigma.twist)
    if min(*sigmas, manifest.sigma.betas) <= 0:
        raise ValueError("sigma: standard deviations must be positive")
    if manifest.format == "state_dict":
        return
    outputs = manifest.outputs
    if manifest.call == "forward" and not (outputs.joints2d or outputs.joints3d):
        raise ValueError("outputs must name joints2d or joints3d; without either there is no pose to see")
    if outputs.joints2d_kind == "simcc" and not outputs.joints2d_y:
        raise ValueError("outputs.joints2d_y is needed with joints2d_kind = simcc")
    if manifest.call == "detect_smpl_batched" and manifest.format == "onnx":
        raise ValueError("call = detect_smpl_batched is for torchscript and exported_program")


def read_manifest(path: Path) -> Manifest:
    """Read a manifest, TOML or JSON by its suffix.

    Raises:
        FileFormatError: it cannot be read; what is wrong, and where, is in the message.
    """
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise FileFormatError(f"{path} is larger than {MAX_MANIFEST_BYTES >> 10} KB; is it a manifest?")
    data = path.read_bytes()
    try:
        if path.suffix == ".json":
            return msgspec.json.decode(data, type=Manifest)
        return msgspec.convert(tomllib.loads(data.decode()), Manifest)
    except (msgspec.MsgspecError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path} is no manifest of a network: {error}") from error


def read_network_file(manifest: Manifest, folder: Path) -> bytes:
    """Return the bytes of the network's file, which is the one that the manifest means.

    Raises:
        FileFormatError: it is too large, or another file.
    """
    path = folder / manifest.file
    # a link beside the manifest may lead anywhere, but then the hash decides
    size = path.stat().st_size
    if size > MAX_NETWORK_BYTES:
        raise FileFormatError(f"{path} has {size >> 20} MB; networks of at most {MAX_NETWORK_BYTES >> 20} MB are read")
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != manifest.sha256:
        raise FileFormatError(
            f"{path} has SHA-256 {found}, the manifest says {manifest.sha256}; it is another file than the one that "
            "the manifest was made for"
        )
    return data

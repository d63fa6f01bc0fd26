# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading 3D keypoints from a file for *Solve Keypoints*: `.npz` (no pickle) or `.json`.

Both hold `names` (K) and `points` (K, 3) in the SMPL world (metres, Y up, the person faces +Z), and optionally `sigma`
(K): the standard deviation of each point in metres. Names are joint names or landmark names.
"""

import io
import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from .errors import FileError
from .photo import read_limited
from .pose_conversion import as_vector
from .record import Keypoints3D

KEYPOINT_SUFFIXES = (".npz", ".json")

DEFAULT_SIGMA = 0.02
"""Metres, when the file says nothing: what good markers or a triangulation from several cameras give."""

MIN_POINTS = 4
"""Fewer points leave the direction in which the body faces open."""

MAX_POINTS = 512
MAX_ABSOLUTE_METRES = 100.0
"""Beyond it the file is in millimetres or centimetres, or is damaged: a body is posed about the origin."""

MIN_SIGMA = 1e-6
MAX_SIGMA = 1e6
"""Metres; the solver takes none outside of these."""

MAX_HEADER_BYTES = 4096
"""Of an array: numpy writes 128. Its header is parsed as Python, which long or deep ones bring down."""

_MAX_ERROR_TEXT = 200
"""Characters of a library's message that are shown: some quote the file."""

UNREADABLE = (
    zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError, SyntaxError, ValueError, TypeError, LookupError,
    ArithmeticError, RuntimeError, MemoryError, EOFError, OSError, AssertionError, SystemError, Warning,
)  # fmt: skip
"""What zipfile and numpy raise for a damaged or hostile file. A header is read by Python's own parser and numpy's
reader of types, hence so many; RecursionError and NotImplementedError are RuntimeErrors. A text with a character
beyond Unicode is a SystemError of numpy 1 and 2."""


class _JsonFile(Struct):
    names: list[str]
    points: list[tuple[float, float, float]]
    sigma: list[float] | None = None


def read_keypoints(path: Path) -> Keypoints3D:
    """Return the 3D keypoints of a file.

    Raises:
        FileError: The file cannot be read or does not hold what it should; the sentence says what.
    """
    data = read_limited(path)
    match path.suffix.lower():
        case ".json":
            names, points, sigma = _read_json(path, data)
        case ".npz":
            names, points, sigma = _read_npz(path, data)
        case _:
            raise FileError(f"{path.name} is neither .npz nor .json; save the keypoints in one of these formats")
    return _checked(path, names, points, sigma)


def _read_json(path: Path, data: bytes) -> tuple[Sequence[str], NDArray[np.float64], NDArray[np.float64] | None]:
    try:
        content = msgspec.json.decode(data, type=_JsonFile)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise FileError(
            f'{path.name} is not a keypoint file ({error}); expected {{"names": [...], "points": [[x, y, z], ...]}}'
        ) from error
    sigma = None if content.sigma is None else np.array(content.sigma, dtype=np.float64)
    return content.names, np.array(content.points, dtype=np.float64).reshape(-1, 3), sigma


def _read_npz(path: Path, data: bytes) -> tuple[Sequence[str], NDArray[np.float64], NDArray[np.float64] | None]:
    try:
        with warnings.catch_warnings(), zipfile.ZipFile(io.BytesIO(data)) as archive:
            warnings.simplefilter("error")  # of a header from Python 2 and of numbers that overflow
            return _arrays(path, *(_read_member(archive, name) for name in ("names", "points", "sigma")))
    except UNREADABLE as error:
        reason = str(error).partition("\n")[0][:_MAX_ERROR_TEXT] or type(error).__name__
        raise FileError(f"{path.name} is not a readable .npz file ({reason}); save it with numpy.savez") from error


def _arrays(
    path: Path, names: NDArray[Any] | None, points: NDArray[Any] | None, sigma: NDArray[Any] | None
) -> tuple[Sequence[str], NDArray[np.float64], NDArray[np.float64] | None]:
    """Return the arrays of an npz as texts and float64, or say which is of the wrong kind."""
    if names is None or points is None:
        raise FileError(f"{path.name} must hold the arrays names (K) and points (K, 3)")
    if names.ndim != 1 or names.dtype.kind != "U":
        raise FileError(f"names in {path.name} must be a list of texts, got {names.dtype} {names.shape}")
    if points.ndim != 2 or points.shape[1] != 3 or points.dtype.kind not in "fi":
        raise FileError(f"points in {path.name} must be numbers of shape (K, 3), got {points.dtype} {points.shape}")
    if sigma is not None and (sigma.ndim != 1 or sigma.dtype.kind not in "fi"):
        raise FileError(f"sigma in {path.name} must be numbers of shape (K), got {sigma.dtype} {sigma.shape}")
    texts = cast(list[str], names.tolist())
    return texts, points.astype(np.float64), None if sigma is None else sigma.astype(np.float64)


def _read_member(archive: zipfile.ZipFile, name: str) -> NDArray[Any] | None:
    """Return one array of an npz, or None when it has none of that name; never unpickles, never inflates much.

    A small npz can claim gigabytes: the header is read first and what it claims is checked.
    """
    if f"{name}.npy" not in archive.namelist():
        return None
    info = archive.getinfo(f"{name}.npy")
    if info.flag_bits & 1:
        raise ValueError(f"{name} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is compressed in a way that numpy does not use")
    with archive.open(info) as member:
        shape, _, dtype = _npy_header(member.read(MAX_HEADER_BYTES))
    if dtype.hasobject or math.prod(shape) > 4 * MAX_POINTS or dtype.itemsize > 4096:
        raise ValueError(f"{name} has shape {shape} and type {dtype}; at most {MAX_POINTS} points are read")
    with archive.open(info) as member:
        return np.lib.format.read_array(member, allow_pickle=False, max_header_size=MAX_HEADER_BYTES)


def _npy_header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    stream = io.BytesIO(header)
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(stream, max_header_size=MAX_HEADER_BYTES)


def _checked(
    path: Path, names: Sequence[str], points: NDArray[np.float64], sigma: NDArray[np.float64] | None
) -> Keypoints3D:
    """Return the arrays as evidence, or say what is wrong with them."""
    sigma = np.full(len(names), DEFAULT_SIGMA) if sigma is None else sigma
    if not len(names) == len(points) == len(sigma):
        raise FileError(f"{path.name} has {len(names)} names, {len(points)} points and {len(sigma)} sigmas")
    if not MIN_POINTS <= len(names) <= MAX_POINTS:
        raise FileError(f"{path.name} has {len(names)} points; between {MIN_POINTS} and {MAX_POINTS} are needed")
    if len(set(names)) != len(names):
        raise FileError(f"{path.name} names a point twice; every point may appear once")
    if np.abs(points).max(initial=0.0) > MAX_ABSOLUTE_METRES:
        raise FileError(
            f"points in {path.name} are more than {MAX_ABSOLUTE_METRES:g} m from the origin; they must be in metres"
        )
    if not ((sigma >= MIN_SIGMA) & (sigma <= MAX_SIGMA)).all():  # this way round it is true for NaN
        got = f"{sigma.min():g} to {sigma.max():g}"
        raise FileError(f"sigma in {path.name} must be between {MIN_SIGMA:g} and {MAX_SIGMA:g} metres, got {got}")
    try:
        return Keypoints3D(
            names=tuple(names),
            points=tuple(as_vector(point) for point in points),
            sigma=tuple(float(value) for value in sigma),
        )
    except ValueError as error:
        raise FileError(f"{path.name} cannot be used: {error}; names are joint or landmark names") from error

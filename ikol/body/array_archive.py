# SPDX-License-Identifier: Apache-2.0
"""Read arrays from an .npz of unknown origin without running its code and without letting it claim memory.

Here: the container. Not here: what the arrays mean. Imports: numpy, ikol.errors.
"""

import io
import math
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterable

import numpy as np

from ikol.errors import FileFormatError

_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)
# a header is read by Python's own parser and by numpy's reader of types
_BAD_HEADER = (ValueError, SyntaxError, TypeError, LookupError, tokenize.TokenError, RecursionError, SystemError)


def array_names(data: bytes, source: str) -> tuple[str, ...]:
    """Return the names of the arrays of an .npz.

    Raises:
        FileFormatError: not an .npz, or damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return tuple(name.removesuffix(".npy") for name in archive.namelist())
    except _DAMAGE as error:
        raise _unreadable(source, error) from error


def read_arrays(data: bytes, keys: Iterable[str], source: str, max_bytes: int) -> dict[str, np.ndarray]:
    """Return the named arrays of an .npz.

    `numpy.load(allow_pickle=False)` refuses pickles too, but it reserves what a member's header asks for before it has
    read a byte of it. Here the header must agree with the size of the member, and all members together stay below
    `max_bytes`.

    Args:
        data: the file's content.
        keys: the arrays to read; others are not touched.
        source: what to call the file in messages.
        max_bytes: the most that the named arrays may take, unpacked.

    Raises:
        FileFormatError: not an .npz, damaged, an array is missing, holds objects, or is larger than is allowed.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
            members = [f"{key}.npy" for key in keys]
            missing = [member.removesuffix(".npy") for member in members if member not in sizes]
            if missing:
                raise FileFormatError(
                    f"{source} has no array {', '.join(missing)}; got {', '.join(sorted(sizes)[:50])}"
                )
            total = sum(sizes[member] for member in members)
            if total > max_bytes:
                raise FileFormatError(f"{source} unpacks to {total} bytes, at most {max_bytes} are accepted")
            # reading a member stops at the size declared in the directory, so a lie there cannot exceed the sum above
            return {
                member.removesuffix(".npy"): _parse_array(archive.read(member), member, source) for member in members
            }
    except _DAMAGE as error:
        raise _unreadable(source, error) from error


def _unreadable(source: str, error: Exception) -> FileFormatError:
    return FileFormatError(f"{source} is not a readable .npz file, it may be truncated: {error}")


def _parse_array(member: bytes, name: str, source: str) -> np.ndarray:
    """Return the array in the content of one .npy member."""
    stream = io.BytesIO(member)
    try:
        with warnings.catch_warnings():
            # headers of Python 2, as in SMPL-H's files, are welcome
            warnings.filterwarnings("ignore", "Reading `.npy` or `.npz` file required additional header parsing")
            return _parse_stream(stream, len(member), name, source)
    except _BAD_HEADER as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{source}: {name} is not a .npy array: {error}") from error


def _parse_stream(stream: io.BytesIO, size: int, name: str, source: str) -> np.ndarray:
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise FileFormatError(
            f"{source}: {name} has .npy version {version}, only 1.0 is accepted; save it again with numpy"
        )
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject:
        raise FileFormatError(
            f"{source}: {name} holds pickled Python objects, which can run code; plain arrays are accepted"
        )
    expected, got = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if expected != got:
        raise FileFormatError(f"{source}: {name} announces {expected} bytes and holds {got}; the file is damaged")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)

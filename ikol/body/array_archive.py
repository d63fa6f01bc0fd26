# SPDX-License-Identifier: Apache-2.0
"""Read arrays from an .npz of unknown origin without running its code and without letting it claim memory.

Here: the container. Not here: what the arrays mean. Imports: numpy, ikol.errors.
"""

import io
import math
import zipfile
import zlib
from collections.abc import Iterable

import numpy as np

from ikol.errors import FileFormatError


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
                raise FileFormatError(f"{source} has no array {', '.join(missing)}; got {', '.join(sorted(sizes))}")
            total = sum(sizes[member] for member in members)
            if total > max_bytes:
                raise FileFormatError(f"{source} unpacks to {total} bytes, at most {max_bytes} are accepted")
            # reading a member stops at the size declared in the directory, so a lie there cannot exceed the sum above
            return {
                member.removesuffix(".npy"): _parse_array(archive.read(member), member, source) for member in members
            }
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise FileFormatError(f"{source} is not a readable .npz file, it may be truncated: {error}") from error


def _parse_array(member: bytes, name: str, source: str) -> np.ndarray:
    """Return the array in the content of one .npy member."""
    stream = io.BytesIO(member)
    try:
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
        expected, got = math.prod(shape) * dtype.itemsize, len(member) - stream.tell()
        if expected != got:
            raise FileFormatError(f"{source}: {name} announces {expected} bytes and holds {got}; the file is damaged")
        stream.seek(0)
        return np.lib.format.read_array(stream, allow_pickle=False)
    except (ValueError, SyntaxError, TypeError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{source}: {name} is not a .npy array: {error}") from error

# SPDX-License-Identifier: Apache-2.0
"""Files of strangers: never more in memory than is allowed. Imports: ikol.errors."""

from pathlib import Path

from ikol.errors import FileFormatError


def read_limited(path: Path, max_bytes: int, what: str = "file") -> bytes:
    """Return a file's content.

    Args:
        path: the file.
        max_bytes: the most that is read.
        what: it is, for messages.

    Raises:
        FileFormatError: there is no such file, it cannot be read, or it is larger than `max_bytes`.
    """
    if not path.is_file():  # also no pipe, which could be waited for without end
        raise FileFormatError(f"there is no {what} {path}; name another file")
    try:
        with path.open("rb") as file:
            # `read` sets aside what it is asked for: not the limit, which may be a gigabyte
            data = file.read(min(path.stat().st_size, max_bytes) + 1)
    except OSError as error:
        raise FileFormatError(f"cannot read the {what} {path}: {error.strerror}; name another file") from error
    if len(data) > max_bytes:
        raise FileFormatError(f"{path.name} is larger than {max_bytes >> 20} MiB, which is the most that is read")
    return data

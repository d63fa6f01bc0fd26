# SPDX-License-Identifier: Apache-2.0
"""Text files in, whole files out: never half a file. Imports: ikol.{errors, files}."""

import os
from pathlib import Path

from ikol.errors import FileFormatError
from ikol.files import read_limited


def read_text(path: Path, max_bytes: int) -> str:
    """Return a text file's content.

    Raises:
        FileFormatError: there is no such file, it is too large, or not UTF-8.
    """
    try:
        return read_limited(path, max_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path.name} is not a text file: {error.reason} at byte {error.start}") from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file; one that is there is replaced when the new one is complete."""
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)

# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a photograph as bytes: what may be sent to the solver, and how Blender must turn it to show it upright.

The solver decodes the picture and is the judge of it; here is only what can be said without decoding.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from .errors import FileError

MAX_FILE_BYTES = 64 * 2**20
"""Above it nothing is read: the largest frame that the solver takes, and more than any camera writes as JPEG."""

PHOTO_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

_ORIENTATION_TAG = 0x0112


@dataclass(frozen=True)
class Orientation:
    """How a stored picture must be turned to stand upright: mirrored left to right first, then turned clockwise."""

    quarter_turns: int = 0
    is_mirrored: bool = False

    @property
    def swaps_sides(self) -> bool:
        """Whether the upright picture is as wide as the stored one is high."""
        return self.quarter_turns % 2 == 1


@dataclass(frozen=True)
class Photo:
    """A picture file as it is on disk."""

    name: str
    data: bytes
    orientation: Orientation


# EXIF 2.3, table "Orientation": where row 0 and column 0 of the stored picture belong.
_ORIENTATIONS = {
    1: Orientation(0),
    2: Orientation(0, is_mirrored=True),
    3: Orientation(2),
    4: Orientation(2, is_mirrored=True),
    5: Orientation(3, is_mirrored=True),
    6: Orientation(1),
    7: Orientation(1, is_mirrored=True),
    8: Orientation(3),
}


def read_photo(path: Path) -> Photo:
    """Return the picture file at `path`.

    Raises:
        FileError: There is no such file, it is too large, or it is no JPEG, PNG or WebP file.
    """
    data = read_limited(path)
    if not _is_picture(data):
        raise FileError(f"{path.name} is not a JPEG, PNG or WebP picture; choose a photograph in one of these formats")
    return Photo(path.name, data, stored_orientation(data))


def read_limited(path: Path) -> bytes:
    """Return the bytes of a regular file of at most `MAX_FILE_BYTES`.

    Raises:
        FileError: It cannot be read, is no regular file, is empty, or is larger.
    """
    try:
        if not path.is_file():
            raise FileError(f"there is no file {path.name or path}; choose one that exists")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            limit = MAX_FILE_BYTES // 2**20
            raise FileError(f"{path.name} has {size / 2**20:.0f} MB, at most {limit} MB are read; save it smaller")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise FileError(f"{path.name} cannot be read: {error.strerror or error}") from error
    if not data:
        raise FileError(f"{path.name} is empty; choose another file")
    if len(data) > MAX_FILE_BYTES:
        raise FileError(f"{path.name} grew while it was read; try again")
    return data


def _is_picture(data: bytes) -> bool:
    is_webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    return is_webp or data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))


def stored_orientation(data: bytes) -> Orientation:
    """Return how a picture must be turned, by its EXIF block; upright without one and when it is damaged.

    Blender's own loader does not read the tag (seen in 4.2 to 5.2), the solver does: the picture behind the body has
    to be turned by hand.
    """
    try:
        if data.startswith(b"\xff\xd8"):
            tiff = _jpeg_exif(data)
        elif data.startswith(b"\x89PNG"):
            tiff = _chunk(data, 8, b"eXIf", ">I", is_name_first=False)
        else:
            tiff = _chunk(data, 12, b"EXIF", "<I", is_name_first=True)
        tag = _tiff_orientation(tiff.removeprefix(b"Exif\0\0"))
    except (struct.error, IndexError):
        return Orientation()
    return _ORIENTATIONS.get(tag, Orientation())


def _jpeg_exif(data: bytes) -> bytes:
    """Return the content of APP1/Exif: a segment before the pixels."""
    offset = 2
    while data[offset] == 0xFF and data[offset + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, offset + 2)
        body = data[offset + 4 : offset + 2 + length]
        if data[offset + 1] == 0xE1 and body.startswith(b"Exif\0\0"):
            return body
        offset += 2 + max(length, 2)
    return b""


def _chunk(data: bytes, offset: int, wanted: bytes, number: str, is_name_first: bool) -> bytes:
    """Return the content of a named chunk of a PNG (size, name, content, checksum) or WebP (name, size, content)."""
    name_offset, size_offset = (0, 4) if is_name_first else (4, 0)
    while offset + 8 <= len(data):
        name = data[offset + name_offset : offset + name_offset + 4]
        (size,) = struct.unpack_from(number, data, offset + size_offset)
        if name == wanted:
            return data[offset + 8 : offset + 8 + size]
        offset += 8 + (size + size % 2 if is_name_first else size + 4)
    return b""


def _tiff_orientation(tiff: bytes) -> int:
    order = "<" if tiff.startswith(b"II") else ">"
    (directory,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, directory)
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", tiff, entry)
        if tag == _ORIENTATION_TAG and kind == 3:  # SHORT, stored in the entry itself
            return struct.unpack_from(order + "H", tiff, entry + 8)[0]
    return 1

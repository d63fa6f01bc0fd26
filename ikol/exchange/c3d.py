# SPDX-License-Identifier: Apache-2.0
"""C3D: markers over frames of motion capture, in blocks of 512 bytes. An own reader of the markers only.

Own, because what is needed of it is small, every count in such a file is a stranger's, and a package more would have to
be installed with every server. Source: the C3D file format's user guide (https://www.c3d.org), chapters 3 to 6.
Imports: numpy, torch, ikol.exchange.{files, motion, spatial}.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from ikol.errors import FileFormatError, InputError
from ikol.exchange.files import write_bytes
from ikol.exchange.motion import MAX_FRAMES, MAX_VALUES, Axes, Keypoints
from ikol.exchange.spatial import keypoints_in_space
from ikol.files import read_limited

MAX_FILE_BYTES: Final = 1 << 30
MAX_MARKERS: Final = 5000
MAX_PARAMETERS: Final = 10_000
BLOCK: Final = 512
_INTEL, _DEC, _MIPS = 84, 85, 86  # who wrote the numbers
_CHARACTERS, _BYTES, _INTEGERS, _FLOATS = -1, 1, 2, 4
_LABELS: Final = ("LABELS", "LABELS2", "LABELS3", "LABELS4", "LABELS5")
_MAX_LABELS: Final = 255  # of one parameter: its counts are bytes
_LONGEST_LABEL: Final = 64


@dataclass(frozen=True)
class _Header:
    markers: int
    analog: int
    """Numbers of other sensors after the markers of each frame."""
    frames: int
    scale: float
    data_start: int
    fps: float


def read_c3d(path: Path, axes: Axes | None = None) -> Keypoints:
    """Return the markers of a file.

    Args:
        path: the file.
        axes: which way is up in it; None to see it from heads and feet, else +Z.

    Raises:
        FileFormatError: it cannot be read, is truncated, or its counts are impossible.
    """
    data, source = read_limited(path, MAX_FILE_BYTES), path.name
    if len(data) < 2 * BLOCK or data[1] != 0x50:
        raise FileFormatError(f"{source} is not a C3D file, it may be truncated")
    try:
        parameters, order = _parameters(data, source)
        header = _header(data, parameters, order, source)
        points = _points(data, header, order, source)
    except (struct.error, IndexError, ValueError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{source} is damaged or truncated: {error}") from error
    names = [name for key in _LABELS for name in _texts(parameters.get(f"POINT:{key}"))][: header.markers]
    names += [f"marker_{number}" for number in range(len(names), header.markers)]
    unit = "".join(_texts(parameters.get("POINT:UNITS")))
    return keypoints_in_space(names, points, header.fps, unit, axes, "z", source)


_Parameter = tuple[int, tuple[int, ...], bytes]  # type, sizes, content


def _parameters(data: bytes, source: str) -> tuple[dict[str, _Parameter], str]:
    """Return parameters by GROUP:NAME, and struct's sign for the byte order."""
    start = (data[0] - 1) * BLOCK
    processor = data[start + 3]
    if processor not in (_INTEL, _MIPS):
        written = "a DEC computer" if processor == _DEC else f"an unknown processor ({processor})"
        raise FileFormatError(f"{source} was written by {written}; save it again with another program")
    order = "<" if processor == _INTEL else ">"
    groups: dict[int, str] = {}
    found: list[tuple[int, str, _Parameter]] = []
    at = start + 4
    for _ in range(MAX_PARAMETERS):
        length, group = struct.unpack_from("bb", data, at)
        name = data[at + 2 : at + 2 + abs(length)].decode("latin1").upper().strip()
        at += 2 + abs(length)
        if not length:
            break
        (step,) = struct.unpack_from(order + "h", data, at)
        if group < 0:
            groups[-group] = name
        else:
            found.append((group, name, _content(data, at + 2)))
        if step <= 0:  # the last one says 0
            break
        at += step
    return {f"{groups.get(group, group)}:{name}": content for group, name, content in found}, order


def _content(data: bytes, at: int) -> _Parameter:
    kind, axes = struct.unpack_from("bB", data, at)
    sizes = tuple(data[at + 2 : at + 2 + axes])
    count = math.prod(sizes) * abs(kind)
    return kind, sizes, data[at + 2 + axes : at + 2 + axes + count]  # no longer than the file


def _texts(parameter: _Parameter | None) -> list[str]:
    if parameter is None or parameter[0] != _CHARACTERS or not parameter[1] or not parameter[1][0]:
        return []
    width, content = parameter[1][0], parameter[2]
    return [content[place : place + width].decode("latin1").strip() for place in range(0, len(content), width)]


def _number(parameter: _Parameter | None, order: str) -> float | None:
    """Return the one number of a parameter; whole numbers count from 0 to 65535."""
    if parameter is None or parameter[0] not in (_INTEGERS, _FLOATS) or len(parameter[2]) < parameter[0]:
        return None
    return float(struct.unpack_from(order + ("H" if parameter[0] == _INTEGERS else "f"), parameter[2])[0])


def _header(data: bytes, parameters: dict[str, _Parameter], order: str, source: str) -> _Header:
    markers, analog, first, last = struct.unpack_from(order + "HHHH", data, 2)
    scale, start, _, fps = struct.unpack_from(order + "fHHf", data, 12)
    rate = _number(parameters.get("POINT:RATE"), order)
    fps = rate if rate else fps
    real = 4 * markers * (4 if scale < 0 else 2) + analog * (4 if scale < 0 else 2)
    start_byte = (start - 1) * BLOCK
    frames = last - first + 1
    long = _number(parameters.get("POINT:FRAMES"), order)
    if last == 65535 and long and parameters["POINT:FRAMES"][0] == _FLOATS:
        frames = int(long)
    elif last == 65535 and real:
        held = (len(data) - start_byte) // real  # maybe more than the head can say
        frames = held if (held - frames) * real >= BLOCK else frames  # what fills the last block is no frame
    is_possible = 0 < markers <= MAX_MARKERS and 0 < frames <= MAX_FRAMES and math.isfinite(scale) and scale
    if not is_possible or not (0 < fps < math.inf) or 4 * markers * frames > MAX_VALUES:
        raise FileFormatError(f"{source} announces {frames} frames of {markers} markers, {fps:.6g} a second")
    held = len(data) - start_byte
    if start_byte < BLOCK or frames * real > held:
        raise FileFormatError(f"{source} announces {frames * real} bytes of markers and holds {max(held, 0)}")
    return _Header(markers, analog, frames, float(scale), start_byte, float(fps))


def _points(data: bytes, header: _Header, order: str, source: str) -> np.ndarray:
    """Return places (F, K, 3) in the file's units, NaN where a marker is missing."""
    kind = np.dtype(order + ("f4" if header.scale < 0 else "i2"))
    width = 4 * header.markers + header.analog
    numbers = np.frombuffer(data, kind, header.frames * width, header.data_start).reshape(header.frames, width)
    marked = numbers[:, : 4 * header.markers].reshape(header.frames, header.markers, 4).astype(np.float64)
    points = marked[..., :3] * (1.0 if header.scale < 0 else header.scale)
    points[marked[..., 3] < 0] = math.nan
    if np.isinf(points).any() or np.abs(np.nan_to_num(points)).max() > 1e9:
        raise FileFormatError(f"{source} holds places beyond a million kilometres; it is damaged")
    return points


def write_c3d(path: Path, keypoints: Keypoints) -> None:
    """Write markers as floats in millimetres, Z up, as capture systems do.

    Raises:
        InputError: they are points on a picture, or more than the format can count.
    """
    frames, markers = keypoints.confidence.shape
    if not keypoints.is_spatial:
        raise InputError("a C3D file holds points in space, these are on a picture; write them as .json")
    if frames > 65_535 or markers > _MAX_LABELS * len(_LABELS):
        raise InputError(
            f"a C3D file counts to 65535 frames and {_MAX_LABELS * len(_LABELS)} markers, got {frames}, {markers}"
        )
    labels = [name.encode("latin1", "replace")[:_LONGEST_LABEL].ljust(_LONGEST_LABEL) for name in keypoints.names]
    records = [
        _parameter("USED", _INTEGERS, (), struct.pack("<H", markers)),
        _parameter("FRAMES", _INTEGERS, (), struct.pack("<H", frames)),
        _parameter("SCALE", _FLOATS, (), struct.pack("<f", -1.0)),
        _parameter("RATE", _FLOATS, (), struct.pack("<f", keypoints.fps)),
        _parameter("UNITS", _CHARACTERS, (2,), b"mm"),
    ]
    for number, key in enumerate(_LABELS):
        some = labels[number * _MAX_LABELS : (number + 1) * _MAX_LABELS]
        if some:
            records.append(_parameter(key, _CHARACTERS, (_LONGEST_LABEL, len(some)), b"".join(some)))
    head = 4 + len(_group("POINT")) + sum(map(len, records)) + len(_parameter("DATA_START", _INTEGERS, (), bytes(2)))
    blocks = -(-(head + 2) // BLOCK)
    records.append(_parameter("DATA_START", _INTEGERS, (), struct.pack("<H", 2 + blocks)))
    content = bytes([1, 0x50, blocks & 0xFF, _INTEL]) + _group("POINT") + b"".join(records)
    header = struct.pack("<BBHHHHHfHHf", 2, 0x50, markers, 0, 1, frames, 0, -1.0, 2 + blocks, 0, keypoints.fps)
    x, y, z = (1000 * keypoints.points).unbind(-1)
    is_there = keypoints.confidence.numpy() > 0
    rows = np.stack((x.numpy(), -z.numpy(), y.numpy(), np.where(is_there, 0.0, -1.0)), -1).astype("<f4")
    body = rows.tobytes()
    padding = bytes(-len(body) % BLOCK)
    write_bytes(path, header.ljust(BLOCK, b"\0") + content.ljust(blocks * BLOCK, b"\0") + body + padding)


def _group(name: str) -> bytes:
    """Return the record of group 1."""
    return struct.pack("bb", len(name), -1) + name.encode() + struct.pack("<hB", 3, 0)


def _parameter(name: str, kind: int, sizes: tuple[int, ...], content: bytes) -> bytes:
    """Return the record of a parameter of group 1."""
    body = struct.pack("bB", kind, len(sizes)) + bytes(sizes) + content + b"\0"
    return struct.pack("bb", len(name), 1) + name.encode() + struct.pack("<h", 2 + len(body)) + body

# SPDX-License-Identifier: Apache-2.0
"""TRC: markers over frames as a table of text, of Motion Analysis, OpenSim and Pose2Sim. Y is up in most.

Imports: numpy, torch, ikol.exchange.{files, motion, spatial}.
"""

import io
import math
from pathlib import Path
from typing import Final

import numpy as np

from ikol.errors import FileFormatError, InputError
from ikol.exchange.files import read_text, write_bytes
from ikol.exchange.motion import MAX_FRAMES, MAX_VALUES, Axes, Keypoints
from ikol.exchange.spatial import keypoints_in_space

MAX_FILE_BYTES: Final = 256 << 20
MAX_MARKERS: Final = 5000
MAX_LINE: Final = 1 << 20  # characters; 5000 markers take 200 000
_NOT_A_FILE: Final = "is not a TRC file, it may be truncated"


def read_trc(path: Path, axes: Axes | None = None) -> Keypoints:
    """Return the markers of a file.

    Args:
        path: the file.
        axes: which way is up in it; None to see it from heads and feet, else +Y.

    Raises:
        FileFormatError: it cannot be read, is too large, or its table is not what its head says.
    """
    lines, source = io.StringIO(read_text(path, MAX_FILE_BYTES)), path.name
    head = [lines.readline(MAX_LINE) for _ in range(5)]
    if not head[0].startswith("PathFileType"):
        raise FileFormatError(f"{source} {_NOT_A_FILE}: it does not begin with PathFileType")
    settings = dict(zip(head[1].split(), head[2].split(), strict=False))
    try:
        fps, frames, unit = float(settings["DataRate"]), int(settings["NumFrames"]), settings["Units"]
    except (KeyError, ValueError) as error:
        raise FileFormatError(
            f"{source} {_NOT_A_FILE}: DataRate, NumFrames and Units are not where they belong"
        ) from error
    names = [name for name in head[3].rstrip("\r\n").split("\t")[2:] if name.strip()]
    if not 0 < len(names) <= MAX_MARKERS:
        raise FileFormatError(f"{source} names {len(names)} markers, expected 1 to {MAX_MARKERS}")
    if not 0 < frames <= MAX_FRAMES or frames * len(names) * 3 > MAX_VALUES or not 0 < fps < math.inf:
        raise FileFormatError(f"{source} announces {frames} frames of {len(names)} markers, {fps} a second")
    rows: list[np.ndarray] = []
    while line := lines.readline(MAX_LINE):
        if line.strip():
            rows.append(_row(line, len(names), source))
        if len(rows) > frames:
            break
    if len(rows) != frames:
        raise FileFormatError(f"{source} announces {frames} frames and holds {len(rows)}; it may be truncated")
    return keypoints_in_space(names, np.stack(rows).reshape(frames, -1, 3), fps, unit, axes, "y", source)


def _row(line: str, markers: int, source: str) -> np.ndarray:
    """Return the coordinates of a frame; NaN where there are none."""
    cells = line.rstrip("\r\n").split("\t")[2:]
    try:
        values = [float(cell) if cell.strip() else math.nan for cell in cells[: 3 * markers]]
    except ValueError as error:
        raise FileFormatError(f"{source}: a frame is not made of numbers: {str(error)[:80]}") from error
    if len([cell for cell in cells if cell.strip()]) > 3 * markers:
        raise FileFormatError(f"{source}: a frame has {len(cells)} numbers, {markers} markers have {3 * markers}")
    return np.array(values + [math.nan] * (3 * markers - len(values)))


def write_trc(path: Path, keypoints: Keypoints) -> None:
    """Write markers in millimetres, Y up; those that are missing are left empty.

    Raises:
        InputError: they are points on a picture, or a name holds a tab.
    """
    if not keypoints.is_spatial:
        raise InputError("a TRC file holds points in space, these are on a picture; write them as .json")
    if any(sign in name for name in keypoints.names for sign in "\t\r\n"):
        raise InputError("a marker's name in a TRC file has no tabs and no line breaks")
    frames, markers = keypoints.confidence.shape
    rate = f"{keypoints.fps:.9g}"
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{path.name}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{rate}\t{rate}\t{frames}\t{markers}\tmm\t{rate}\t1\t{frames}",
        "Frame#\tTime\t" + "\t\t\t".join(keypoints.names) + "\t\t",
        "\t\t" + "\t".join(f"X{number}\tY{number}\tZ{number}" for number in range(1, markers + 1)),
        "",
    ]
    for frame, (points, is_there) in enumerate(
        zip((1000 * keypoints.points).tolist(), (keypoints.confidence > 0).tolist(), strict=True)
    ):
        cells = [
            f"{value:.5f}" if there else "" for point, there in zip(points, is_there, strict=True) for value in point
        ]
        lines.append(f"{frame + 1}\t{frame / keypoints.fps:.6f}\t" + "\t".join(cells))
    write_bytes(path, ("\n".join(lines) + "\n").encode())

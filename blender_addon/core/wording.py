# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panel says of keypoints, cameras and the solver: names, numbers with units, whole lines.

Texts are English and looked up in a translation by the callable that is passed in; numbers are put in afterwards, so
that a translation is one entry and not one for each number.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np

from .handles import HANDLES
from .keypoints import KeypointState, effective_evidence, mute, shown_points, solo, target_pixel
from .pictures import edited_points
from .record import Keypoints2D, Keypoints3D, PhotoCamera, Record, Vector3
from .rig import ALL_JOINT_NAMES, LANDMARK_NAMES

Translate = Callable[[str], str]

FILM_WIDTH_MM = 36.0
"""Focal lengths are told as on a 36 mm film, the way photographers compare them."""

STATE_LABELS: dict[KeypointState, str] = {
    KeypointState.DETECTED: "Detected",
    KeypointState.DOUBTFUL: "Doubtful",
    KeypointState.EDITED: "Edited",
    KeypointState.LOCKED: "Locked",
    KeypointState.MUTED: "Muted",
}

REACHED_PIXELS = 5.0
"""A locked place on the picture counts as reached within this."""

FOCAL_SOURCES = {"exif": "from the photograph", "default": "assumed", "given": "set by hand"}

_SIDES = {"L": "Left", "R": "Right"}


def _joint_label(name: str) -> str:
    side, _, part = name.rpartition("_")
    words = re.sub(r"(\d)", r" \1", part)
    return f"{_SIDES[side]} {words} (joint)" if side else f"{words} (joint)"


POINT_LABELS: dict[str, str] = {
    **{name: _joint_label(name) for name in ALL_JOINT_NAMES},
    **{handle.point: f"{handle.label} (handle)" for handle in HANDLES},
    **{name: name.replace("_", " ").title() for name in LANDMARK_NAMES},
}
"""What a point of the body is called: *Left Wrist* is seen on a picture, *Left Hand (handle)* is a joint inside it."""


@dataclass(frozen=True)
class Residual:
    """How far the body is from where a keypoint belongs: on the picture in pixels, in space in metres.

    With a camera, metres of a point of the picture are those at its depth. None is not known.
    """

    pixels: float | None = None
    metres: float | None = None


def point_residual(record: Record, name: str) -> Residual:
    """Return how far the solved body is from the place that the evidence or the user gave to a point."""
    edit = record.edits.get(name)
    solved = record.solution.points.get(name)
    if edit is not None and edit.position is not None:
        return Residual(metres=None if solved is None else _distance(edit.position, solved))
    target, pixel = target_pixel(record, name), record.solution.pixels.get(name)
    if target is not None and pixel is not None:
        pixels = _distance(target, pixel)
        return Residual(pixels, _metres_at(record.camera, solved, pixels))
    for block in record.evidence:
        if isinstance(block, Keypoints3D) and name in block.names and solved is not None:
            return Residual(metres=_distance(block.points[block.names.index(name)], solved))
    return Residual()


def median_residual(record: Record) -> Residual:
    """Return the medians over all points that have a say."""
    found = [point_residual(record, name) for name in listed_points(record) if _has_say(record, name)]
    pixels = [residual.pixels for residual in found if residual.pixels is not None]
    metres = [residual.metres for residual in found if residual.metres is not None]
    return Residual(median(pixels) if pixels else None, median(metres) if metres else None)


def listed_points(record: Record) -> tuple[str, ...]:
    """Return the points that the panel lists: on the picture, of a file, edited by the user, and the handles."""
    names = dict.fromkeys(shown_points(record))
    for block in record.evidence:
        if isinstance(block, Keypoints3D):
            names.update(dict.fromkeys(block.names))
    names.update(dict.fromkeys((*edited_points(record), *(handle.point for handle in HANDLES))))
    return tuple(name for name in names if name not in record.edits or not record.edits[name].is_removed)


def point_tolerance(record: Record, name: str) -> Residual:
    """Return the tolerances (standard deviations) that a point has, or had if it were not muted; None: it has none."""
    heard = mute(solo(record, ()), (name,), is_muted=False)
    pixels = metres = None
    for block in effective_evidence(heard):
        if isinstance(block, Keypoints2D) and name in block.names:
            pixels = block.sigma[block.names.index(name)]
        elif isinstance(block, Keypoints3D) and name in block.names:
            metres = block.sigma[block.names.index(name)]
    return Residual(pixels, metres)


def residual_text(residual: Residual) -> str:
    """Return a residual with its units, such as `3.1 px, 1.2 cm`; empty when nothing is known."""
    parts: list[str] = []
    if residual.pixels is not None:
        parts.append(f"{residual.pixels:.1f} px")
    if residual.metres is not None:
        parts.append(f"{100 * residual.metres:.1f} cm")
    return ", ".join(parts)


def missed_locks(record: Record) -> dict[str, float]:
    """Return the locked points that the body cannot reach, with the metres that it lacks."""
    short = {
        name: metres
        for name, metres in record.solution.unreached.items()
        if name in record.edits and record.edits[name].is_locked
    }
    for name, edit in record.edits.items():
        if edit.is_locked and edit.pixel is not None and edit.position is None and edit.locked_at is None:
            missed = point_residual(record, name)
            if missed.metres is not None and (missed.pixels or 0.0) > REACHED_PIXELS:
                short[name] = missed.metres
    return short


def out_of_reach(record: Record, translate: Translate) -> tuple[str, ...]:
    """Return a line for each locked point that the body cannot reach, the farthest first."""
    short = missed_locks(record)
    template = translate("{point}: {distance:.1f} cm short")
    return tuple(
        template.format(point=translate(POINT_LABELS.get(name, name)), distance=100 * short[name])
        for name in sorted(short, key=lambda name: -short[name])
    )


def focal_text(camera: PhotoCamera, translate: Translate) -> str:
    """Return the focal length as photographers say it, and where it comes from."""
    equivalent = FILM_WIDTH_MM * camera.focal_x / max(camera.width, camera.height)
    return f"{equivalent:.0f} mm, {translate(FOCAL_SOURCES[camera.focal_source])}"


def count_text(number: int, one: str, many: str, translate: Translate) -> str:
    """Return `one` or `many` (with `{number}` in it) for a number."""
    return translate(one if number == 1 else many).format(number=number)


def refused_text(counts: Mapping[str, int]) -> str:
    """Return how many requests the solver has refused, by the wire's codes; empty for none.

    Not those that the user cancelled or a newer one replaced: that is how it should be.
    """
    expected = ("error.cancelled", "error.superseded")
    refused = {name: number for name, number in counts.items() if name.startswith("error.") and name not in expected}
    return ", ".join(f"{number} {name.partition('.')[2]}" for name, number in sorted(refused.items()))


def duration_text(seconds: float) -> str:
    """Return a time span as hours, minutes and seconds, such as `1:02:03` or `2:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _has_say(record: Record, name: str) -> bool:
    edit = record.edits.get(name)
    return (edit is None or not edit.is_muted) and (not record.solo or name in record.solo)


def _distance(one: Iterable[float], other: Iterable[float]) -> float:
    return float(np.linalg.norm(np.subtract(tuple(one), tuple(other))))


def _metres_at(camera: PhotoCamera | None, position: Vector3 | None, pixels: float) -> float | None:
    """Return how long `pixels` are at the depth of a point."""
    if camera is None or camera.rotation is None or camera.translation is None or position is None:
        return None
    depth = float(np.dot(camera.rotation[6:], position)) + camera.translation[2]
    return pixels * depth / camera.focal_x if depth > 0 else None

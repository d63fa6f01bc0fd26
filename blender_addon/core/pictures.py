# SPDX-License-Identifier: GPL-3.0-or-later
"""Several pictures of one pose, of which one at a time is shown, and edited as a single picture is.

What the user has placed on the others goes on to count (`keypoints.effective_evidence`).
"""

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from .pose_conversion import as_pixels, project
from .record import KeypointEdit, Keypoints2D, PhotoCamera, Record

_NONE = KeypointEdit()


def show_picture(record: Record, number: int, cameras: Sequence[PhotoCamera]) -> Record:
    """Return the record with another of its pictures to be looked at and edited; the pose stays.

    Args:
        record: Of a pose with several pictures.
        number: Of the picture, from 0.
        cameras: Of all pictures, where they stand now.
    """
    standing = zip(record.pictures, cameras, strict=True)
    pictures = tuple(replace(picture, camera=camera) for picture, camera in standing)
    now = replace(record.solution, camera=cameras[record.shown])
    found = as_shown(replace(record, pictures=pictures, solution=now), number)
    points = found.solution.points
    pixels = dict(zip(points, as_pixels(project(cameras[number], list(points.values()))), strict=True))
    return replace(found, solution=replace(found.solution, pixels=pixels))


def as_shown(record: Record, number: int) -> Record:
    """Return the record as it is while another of its pictures is shown, but for where that shows the solved body."""
    left, taken = record.pictures[record.shown], record.pictures[number]
    if left is taken:
        return record
    own = {name: KeypointEdit(pixel=edit.pixel, tolerance_px=edit.tolerance_px) for name, edit in record.edits.items()}
    camera = record.camera or left.camera
    left = replace(left, camera=camera, edits={name: edit for name, edit in own.items() if edit != _NONE})
    kept = {name: replace(edit, pixel=None, tolerance_px=None) for name, edit in record.edits.items()}
    for name, edit in taken.edits.items():
        kept[name] = replace(kept.get(name, _NONE), pixel=edit.pixel, tolerance_px=edit.tolerance_px)
    pictures = list(record.pictures)
    pictures[record.shown], pictures[number] = left, replace(taken, edits={})
    return replace(
        record,
        evidence=tuple(taken.keypoints if isinstance(block, Keypoints2D) else block for block in record.evidence),
        solution=replace(record.solution, camera=taken.camera, pixels={}),
        box=taken.box,
        edits={name: edit for name, edit in kept.items() if edit != _NONE},
        pictures=tuple(pictures),
        shown=number,
    )


def placed_elsewhere(record: Record) -> tuple[str, ...]:
    """Return the points that the user has placed on pictures that are not shown."""
    edits = (item for picture in record.pictures for item in picture.edits.items())
    return tuple(dict.fromkeys(name for name, edit in edits if edit.pixel is not None))


def edited_points(record: Record) -> tuple[str, ...]:
    """Return the points of which the user has said something, on any picture or in space."""
    return tuple(dict.fromkeys((*record.edits, *(name for picture in record.pictures for name in picture.edits))))


def forget_elsewhere(record: Record, names: Iterable[str]) -> Record:
    """Return the record without what the user said of points on pictures that are not shown."""
    dropped = set(names)
    if dropped.isdisjoint(name for picture in record.pictures for name in picture.edits):
        return record
    pictures = tuple(
        replace(picture, edits={name: edit for name, edit in picture.edits.items() if name not in dropped})
        for picture in record.pictures
    )
    return replace(record, pictures=pictures)

# SPDX-License-Identifier: GPL-3.0-or-later
"""The photograph in the 3D view: where its pixels are, which point the mouse means, where a drag puts points.

Region coordinates are those of Blender: pixels of the screen, from the bottom left of a region. Picture coordinates are
pixels of the photograph from its top left. Distances for the hand are in region pixels, so that they do not depend on
the zoom.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .keypoints import FOLLOWERS, TWINS, KeypointState, keypoint_state, move_pixels, shown_points, target_pixel
from .pose_conversion import NEAR, as_pixels, depths, project, ray
from .record import PhotoCamera, Record, Vector2
from .rig import ALL_JOINT_NAMES

PICK_RADIUS = 14.0
"""Region pixels at a resolution scale of 1: twice what is drawn, so that nobody has to aim."""

ADD_RADIUS = 45.0
"""Region pixels at a resolution scale of 1 from a double click to the joint that it means."""

CROWDED = 11.0
"""Region pixels at a resolution scale of 1: points nearer than that to a more important one are left out."""

PRECISE = 0.1
"""Part of the way that a point goes while Shift is held."""

SIGHT_PART, SIGHT_STEPS = (0.7, 1.5), 24
"""Of the way to the body, where lines of sight begin and end; and in how many pieces a lens may bend them."""

_MINOR = frozenset(name for names in FOLLOWERS.values() for name in names)


@dataclass(frozen=True)
class PhotoView:
    """Where the pixels of a picture are in a region."""

    origin: Vector2
    """Region coordinates of the picture's top left corner."""
    right: Vector2
    """Way in the region for one pixel to the right on the picture."""
    down: Vector2

    @classmethod
    def from_frame(cls, frame: Sequence[Vector2], camera: PhotoCamera) -> "PhotoView | None":
        """Return the view of a picture that is fitted into the camera's frame and centred, as Blender draws it.

        Args:
            frame: Region coordinates of the frame's corners: top left, top right, bottom left.
            camera: The picture's size, and by its focal lengths the shape of its pixels.

        Returns:
            None when the frame has no area: the view is edge on, or so far zoomed out that nothing is seen.
        """
        corner, across, along = frame
        side = (across[0] - corner[0], across[1] - corner[1])
        fall = (along[0] - corner[0], along[1] - corner[1])
        width, height = math.hypot(*side), math.hypot(*fall)
        if not min(width, height) > 1.0:  # also when a corner is not a number
            return None
        stretch = camera.focal_x / camera.focal_y
        scale = min(width / camera.width, height / (camera.height * stretch))
        right = (side[0] / width * scale, side[1] / width * scale)
        down = (fall[0] / height * scale * stretch, fall[1] / height * scale * stretch)
        origin = tuple(
            corner[i] + 0.5 * (side[i] + fall[i]) - 0.5 * (right[i] * camera.width + down[i] * camera.height)
            for i in (0, 1)
        )
        return cls((origin[0], origin[1]), right, down)

    def to_region(self, pixel: Vector2) -> Vector2:
        """Return where a pixel of the picture is in the region."""
        return (
            self.origin[0] + pixel[0] * self.right[0] + pixel[1] * self.down[0],
            self.origin[1] + pixel[0] * self.right[1] + pixel[1] * self.down[1],
        )

    def to_picture(self, at: Vector2) -> Vector2:
        """Return the pixel of the picture that is at a place in the region."""
        return self.offset_to_picture((at[0] - self.origin[0], at[1] - self.origin[1]))

    def offset_to_picture(self, offset: Vector2) -> Vector2:
        """Return a way in the region as a way on the picture."""
        (a, b), (c, d) = self.right, self.down
        area = a * d - b * c
        return ((offset[0] * d - offset[1] * c) / area, (offset[1] * a - offset[0] * b) / area)


@dataclass(frozen=True)
class PhotoPoint:
    """One point as it is shown: where the evidence has it, where the body has it, and how it is coloured."""

    name: str
    pixel: Vector2
    solved: Vector2 | None
    state: KeypointState

    @property
    def is_minor(self) -> bool:
        """Whether it goes along with another one: fingers, toes, what is in a face."""
        return self.name in _MINOR


def photo_points(record: Record) -> tuple[PhotoPoint, ...]:
    """Return what is shown over the photograph of a record."""
    points: list[PhotoPoint] = []
    for name in shown_points(record):
        pixel = target_pixel(record, name)
        if pixel is not None:
            points.append(PhotoPoint(name, pixel, record.solution.pixels.get(name), keypoint_state(record, name)))
    return tuple(points)


def sight_lines(record: Record, name: str) -> list[tuple[Vector2, ...]]:
    """Return where a point can be on the picture that is shown, by each other picture on which the user has placed it.

    That is the other camera's line of sight; both pictures are met only on it.
    """
    lines: list[tuple[Vector2, ...]] = []
    solved = record.solution.points.get(name)
    for picture in record.pictures:
        edit = picture.edits.get(name)
        if solved is None or edit is None or edit.pixel is None or record.camera is None:
            continue
        eye, direction = ray(picture.camera, edit.pixel)
        ways = np.linspace(*SIGHT_PART, SIGHT_STEPS) * np.linalg.norm(np.array(solved) - eye)
        places = eye + ways[:, None] * direction
        lines.append(as_pixels(project(record.camera, places[depths(record.camera, places) > NEAR])))
    return lines


def uncrowded(points: Iterable[PhotoPoint], view: PhotoView, scale: float, kept: Iterable[str]) -> list[PhotoPoint]:
    """Return the points without minor ones that would lie on top of others: the face of someone far away.

    Args:
        points: All that could be shown.
        view: Where they are.
        scale: Blender's resolution scale.
        kept: Points that are shown all the same, as those that are selected.
    """
    always = set(kept)
    shown: list[PhotoPoint] = []
    places: list[Vector2] = []
    for point in sorted(points, key=lambda point: point.is_minor):
        at = view.to_region(point.pixel)
        is_plain = point.is_minor and point.name not in always and point.state in _PLAIN_STATES
        if is_plain and any(math.dist(at, place) < CROWDED * scale for place in places):
            continue
        shown.append(point)
        places.append(at)
    return shown


_PLAIN_STATES = (KeypointState.DETECTED, KeypointState.DOUBTFUL)


def nearest_point(points: Iterable[PhotoPoint], view: PhotoView, at: Vector2, radius: float) -> str | None:
    """Return the point nearest to a place in the region, None when none is within the radius (region pixels)."""
    return _nearest({point.name: point.pixel for point in points}, view, at, radius)


def points_in_box(points: Iterable[PhotoPoint], view: PhotoView, first: Vector2, second: Vector2) -> tuple[str, ...]:
    """Return the points within a box that is spanned by two corners in the region."""
    (left, right), (low, high) = (sorted(pair) for pair in zip(first, second, strict=True))

    def is_inside(pixel: Vector2) -> bool:
        x, y = view.to_region(pixel)
        return left <= x <= right and low <= y <= high

    return tuple(point.name for point in points if is_inside(point.pixel))


def point_to_add(record: Record, view: PhotoView, at: Vector2, radius: float) -> str | None:
    """Return which point a double click at a place of the region adds, None when no joint is within the radius.

    A landmark that was removed comes back before the joint at the same place; a joint whose landmark is shown is not
    offered, since both would speak of the same place.
    """
    spoken_of = set(shown_points(record))
    places: dict[str, Vector2] = {}
    for name, edit in record.edits.items():
        # the solver is not asked for a point that was removed: the place where it was detected stands in for it
        pixel = record.solution.pixels.get(name) or target_pixel(record, name)
        if edit.is_removed and pixel is not None:
            places[name] = pixel
    spoken_of.update(places)
    for name in ALL_JOINT_NAMES:
        pixel = record.solution.pixels.get(name)
        if pixel is not None and name not in spoken_of and TWINS.get(name) not in spoken_of:
            places[name] = pixel
    return _nearest(places, view, at, radius)


def _nearest(places: Mapping[str, Vector2], view: PhotoView, at: Vector2, radius: float) -> str | None:
    distances = {name: math.dist(view.to_region(pixel), at) for name, pixel in places.items()}
    name = min(distances, key=distances.__getitem__, default=None)
    return name if name is not None and distances[name] <= radius else None


def nudged(record: Record, names: Iterable[str], step: Vector2) -> Record:
    """Return the record with points moved by some pixels of the picture (x to the right, y down)."""
    pixels: dict[str, Vector2] = {}
    for name in names:
        pixel = target_pixel(record, name)
        if pixel is not None:
            pixels[name] = (pixel[0] + step[0], pixel[1] + step[1])
    return move_pixels(record, pixels)


class PointDrag:
    """Points that follow the mouse. Invariant: all have gone the same way on the picture."""

    def __init__(self, pixels: Mapping[str, Vector2], at: Vector2) -> None:
        self._start = dict(pixels)
        self._offset = (0.0, 0.0)
        self._at = at

    def move(self, view: PhotoView, at: Vector2, is_precise: bool = False) -> dict[str, Vector2]:
        """Take the mouse to a place of the region and return where the points are on the picture."""
        factor = PRECISE if is_precise else 1.0
        dx, dy = view.offset_to_picture((at[0] - self._at[0], at[1] - self._at[1]))
        self._offset = (self._offset[0] + factor * dx, self._offset[1] + factor * dy)
        self._at = at
        return {name: (x + self._offset[0], y + self._offset[1]) for name, (x, y) in self._start.items()}

# SPDX-License-Identifier: GPL-3.0-or-later
"""The persons that were found on a photograph: stored with its camera, drawn over it, picked by a click.

Boxes are x0, y0, x1, y1 in pixels of the picture; region coordinates are Blender's, from the bottom left.
"""

from collections.abc import Iterable
from functools import lru_cache

import msgspec
from msgspec import Struct

from .errors import EvidenceError
from .photo_view import PhotoView
from .record import Evidence, PhotoCamera, Vector2
from .wording import Translate

Box = tuple[float, float, float, float]

PEOPLE_VERSION = 1

MIN_BOX = 24.0
"""Pixels of the picture along the longer side: in a smaller box nobody is seen, the mouse has slipped."""

DOUBT_REASONS = {
    "small": "the person is very small",
    "upside_down": "the person is upside down",
    "cut_off": "less than half of the body is in the picture",
    "hidden": "much of the body is hidden",
    "crowded": "persons overlap",
    "swapped": "left and right may be swapped",
    "unsteady": "the network is not sure of what it sees",
    "disagreeing": "the pictures may show different moments",
}
DOUBT_HELP = "Drag the keypoints, or draw a box around the person"
MOMENT_HELP = "Choose pictures of one moment"

UNKNOWN_REASON = "the solver is not sure"
"""Of a newer solver's reasons."""


class FoundPerson(Struct, frozen=True):
    """One person on the photograph, who may be posed or not yet."""

    evidence: tuple[Evidence, ...]
    confidence: dict[str, float]
    score: float
    box: Box
    doubts: tuple[str, ...] = ()
    body: str = ""
    """Name of the armature that was posed as this person; empty before."""


class People(Struct, frozen=True):
    """Who was found on a photograph."""

    source: str
    """Name of the picture file."""
    path: str
    """Where the picture file is, for a closer look into a box."""
    camera: PhotoCamera
    """The picture's lens; placed when the scene's camera has taken the picture."""
    persons: tuple[FoundPerson, ...]
    is_placed: bool = False
    """Whether the Blender camera stands where the photograph was taken; the first pose tells, or the user's camera."""
    version: int = PEOPLE_VERSION


def encode_people(people: People) -> str:
    """Return the persons as JSON, ready to be stored in a custom property."""
    return msgspec.json.encode(people).decode("utf-8")


@lru_cache(maxsize=4)  # each redraw asks
def decode_people(text: str) -> People:
    """Return the persons stored as `text`; the same object for the same text.

    Raises:
        EvidenceError: The text holds none, or some of a newer add-on.
    """
    try:
        people = msgspec.json.decode(text, type=People)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise EvidenceError(f"the persons stored with this camera cannot be read ({error}); find them again") from error
    if people.version > PEOPLE_VERSION:
        raise EvidenceError("the persons stored with this camera were found by a newer IKOL add-on; find them again")
    return people


def person_at(people: People, view: PhotoView, at: Vector2) -> int | None:
    """Return whose box is at a place of the region: of several the smallest, who stands before the others."""
    x, y = view.to_picture(at)
    inside = [
        number
        for number, person in enumerate(people.persons)
        if person.box[0] <= x <= person.box[2] and person.box[1] <= y <= person.box[3]
    ]
    return min(inside, key=lambda number: _area(people.persons[number].box), default=None)


def box_between(people: People, view: PhotoView, first: Vector2, second: Vector2) -> Box | None:
    """Return the box of the picture between two places of the region, None when it is too small to be meant."""
    corners = [view.to_picture(first), view.to_picture(second)]
    width, height = people.camera.width, people.camera.height
    left, right = sorted(min(max(x, 0.0), float(width)) for x, _ in corners)
    top, bottom = sorted(min(max(y, 0.0), float(height)) for _, y in corners)
    if max(right - left, bottom - top) < MIN_BOX or min(right - left, bottom - top) < 1.0:
        return None
    return (left, top, right, bottom)


def posed_as(people: People, number: int, body: str) -> People:
    """Return the persons with one of them posed as an armature."""
    changed = msgspec.structs.replace(people.persons[number], body=body)
    persons = (*people.persons[:number], changed, *people.persons[number + 1 :])
    return msgspec.structs.replace(people, persons=persons)


def doubt_text(doubts: Iterable[str], translate: Translate) -> str:
    """Return why a pose is doubtful, as one line; empty without doubts."""
    reasons = list(dict.fromkeys(DOUBT_REASONS.get(doubt, UNKNOWN_REASON) for doubt in doubts))
    if not reasons:
        return ""
    return translate("The pose is doubtful: {reasons}").format(reasons=", ".join(map(translate, reasons)))


def doubt_help(doubts: Iterable[str], translate: Translate) -> str:
    """Return what a user can do about doubts, as a sentence or two."""
    reasons = set(doubts)
    helps = [MOMENT_HELP] * ("disagreeing" in reasons) + [DOUBT_HELP] * bool(reasons - {"disagreeing"})
    return ". ".join(map(translate, helps))


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])

# SPDX-License-Identifier: GPL-3.0-or-later
"""Boxes around the persons of a photograph: whom a click would pose, who is posed, whose pose would be doubtful."""

from itertools import pairwise

import bpy

from ..core.errors import AddonError
from ..core.people import FoundPerson, doubt_text
from ..core.photo_shapes import Color, Shapes
from ..core.record import Vector2
from .people_scene import STATE, PeopleScene, is_people_tool_active, people_scene
from .photo_overlay import DARK, PADDING, WHITE, draw_shapes, draw_text, text_size
from .text import iface

# Pixels at a resolution scale of 1.
LINE = 2.0
DASH = 6.0

FREE: Color = (1.0, 0.80, 0.20, 1.0)
DOUBTFUL: Color = (0.95, 0.45, 0.10, 1.0)
POSED: Color = (0.35, 0.75, 1.0, 0.8)
DRAWN: Color = (1.0, 1.0, 1.0, 0.12)
HOVERED: Color = (1.0, 1.0, 1.0, 0.14)


def draw() -> None:
    """Draw over the region of the context; nothing where no photograph with persons is seen."""
    context = bpy.context
    is_used = is_people_tool_active(context)
    if not context.scene.ikol.show_people or not context.space_data.overlay.show_overlays:
        return
    try:
        seen = people_scene(context)
    except AddonError:  # there is nothing to draw on
        return
    shapes = Shapes()
    labels: list[tuple[str, Vector2]] = []
    for number, person in enumerate(seen.people.persons):
        # a box around a body that is edited would only be in the way
        if person.body and not is_used:
            continue
        is_hovered = is_used and number == STATE.hovered
        labels.append(_add_person(shapes, seen, person, number, is_hovered))
    if STATE.box is not None:
        shapes.box(*STATE.box, DRAWN)
        _add_frame(shapes, *STATE.box, WHITE, seen.scale)
    draw_shapes(shapes)
    for text, place in labels:
        draw_text(text, place, seen.scale)


def person_label(person: FoundPerson, number: int) -> str:
    """Return what is written at a box: the number, whether it is posed, and why it may be doubtful."""
    parts = [str(number + 1), iface("Posed") if person.body else "", doubt_text(person.doubts, iface)]
    return "  ·  ".join(part for part in parts if part)


def _add_person(
    shapes: Shapes, seen: PeopleScene, person: FoundPerson, number: int, is_hovered: bool
) -> tuple[str, Vector2]:
    """Add the box of a person, and return its label with its place."""
    x0, y0, x1, y1 = person.box
    low, high = seen.view.to_region((x0, y1)), seen.view.to_region((x1, y0))
    color = POSED if person.body else DOUBTFUL if person.doubts else FREE
    if is_hovered:
        shapes.box(low, high, HOVERED)
    _add_frame(shapes, low, high, color, seen.scale * (1.5 if is_hovered else 1.0), is_dashed=bool(person.doubts))
    text = person_label(person, number) if is_hovered or not person.doubts else f"{number + 1} ?"
    padding = PADDING * seen.scale
    width, height = text_size(text, seen.scale)
    left, bottom = low[0], high[1] + padding
    shapes.box((left, bottom), (left + width + 2 * padding, bottom + height + 2 * padding), (*DARK[:3], 0.75))
    return text, (left + padding, bottom + padding)


def _add_frame(
    shapes: Shapes, low: Vector2, high: Vector2, color: Color, scale: float, *, is_dashed: bool = False
) -> None:
    corners = (low, (high[0], low[1]), high, (low[0], high[1]), low)
    for start, end in pairwise(corners):
        shapes.line(start, end, 2.2 * LINE * scale, (*DARK[:3], 0.5))
        if is_dashed:
            shapes.dashes(start, end, DASH * scale, LINE * scale, color)
        else:
            shapes.line(start, end, LINE * scale, color)


class _Holder:
    handle: object = None


def register() -> None:
    """Draw from now on; in background mode nothing is ever drawn."""
    if not bpy.app.background:
        _Holder.handle = bpy.types.SpaceView3D.draw_handler_add(draw, (), "WINDOW", "POST_PIXEL")


def unregister() -> None:
    """Draw no more."""
    STATE.hovered = STATE.box = None
    if _Holder.handle is not None:
        bpy.types.SpaceView3D.draw_handler_remove(_Holder.handle, "WINDOW")
        _Holder.handle = None

# SPDX-License-Identifier: GPL-3.0-or-later
"""The keypoints over the photograph: discs, dashed lines to where the body has them, a label at the mouse.

Drawn after the 3D view in pixels of the region, so that sizes do not depend on the zoom. One list of triangles in one
call: builtin shaders for points and lines differ from Blender 4.2 to 5.
"""

import math
from itertools import pairwise

import blf
import bpy
import gpu
from gpu_extras.batch import batch_for_shader

from ..core.errors import AddonError
from ..core.keypoints import STATE_COLORS, KeypointState
from ..core.photo_shapes import Color, Shapes
from ..core.photo_view import PhotoPoint, sight_lines
from ..core.record import Vector2
from ..core.wording import POINT_LABELS, point_residual, residual_text
from .photo_scene import STATE, PhotoScene, is_tool_active, photo_scene
from .selection import active_point, selected_points
from .text import iface

# Pixels at a resolution scale of 1.
RADIUS = 5.0
MINOR_RADIUS = 3.5
ACTIVE_GROWTH = 1.5
OUTLINE = 1.5
LINE_WIDTH = 2.0
DASH = 5.0
SOLVED_RADIUS = 2.5
FONT_SIZE = 12.0
PADDING = 5.0

DARK: Color = (0.02, 0.02, 0.02, 0.85)
WHITE: Color = (1.0, 1.0, 1.0, 1.0)
SHADE: Color = (0.02, 0.02, 0.02, 0.45)
BOX: Color = (1.0, 1.0, 1.0, 0.12)

LIGHTER = 0.4
"""Part of the way to white from a point's colour to that of its line, which is thin and lies over a grey body."""

FONT = 0
"""Blender's own."""


def draw() -> None:
    """Draw over the region of the context; nothing where no photograph with points is seen."""
    context = bpy.context
    space = context.space_data
    is_used = is_tool_active(context)
    if not (is_used or context.scene.ikol.show_points) or not space.overlay.show_overlays:
        return
    try:
        seen = photo_scene(context)
    except AddonError:  # there is nothing to draw on; the tool and the panel say why
        return
    if not is_used and not seen.armature.visible_get(view_layer=context.view_layer):
        return
    points = seen.points()
    shapes = Shapes()
    label = _labelled(seen, points, is_used)
    if label is not None:
        _add_sight_lines(shapes, seen, label)
    _add_points(shapes, context, seen, points)
    if STATE.box is not None:
        _add_box(shapes, STATE.box)
    text = "" if label is None else _label_text(seen, label)
    place = None if label is None else _add_label(shapes, context.region, seen, label, text)
    draw_shapes(shapes)
    if place is not None:
        draw_text(text, place, seen.scale)


def _add_points(shapes: Shapes, context: bpy.types.Context, seen: PhotoScene, points: list[PhotoPoint]) -> None:
    if context.scene.ikol.show_residuals:
        for point in points:
            _add_residual(shapes, seen, point)
    chosen, active = set(selected_points(seen.armature)), active_point(seen.armature)
    for point in sorted(points, key=lambda point: (point.name in chosen, point.name == active)):
        center = seen.view.to_region(point.pixel)
        radius = _radius(point, active) * seen.scale
        edge = OUTLINE * seen.scale
        is_chosen = point.name in chosen or point.name == active
        if is_chosen or point.name == STATE.hovered:
            shapes.disc(center, radius + 2.2 * edge, DARK)
            shapes.disc(center, radius + 1.4 * edge, WHITE if is_chosen else (*WHITE[:3], 0.7))
        else:
            shapes.disc(center, radius + edge, DARK)
        shapes.disc(center, radius, STATE_COLORS[point.state])
        if point.state is KeypointState.LOCKED:  # told by more than a colour
            shapes.disc(center, 0.4 * radius, DARK)


def _add_sight_lines(shapes: Shapes, seen: PhotoScene, point: PhotoPoint) -> None:
    """Add the lines on which a point is where the user has placed it on other pictures."""
    for line in sight_lines(seen.record, point.name):
        for start, end in pairwise(map(seen.view.to_region, line)):
            shapes.line(start, end, 2.5 * LINE_WIDTH * seen.scale, SHADE)
            shapes.line(start, end, LINE_WIDTH * seen.scale, _light(KeypointState.EDITED))


def _radius(point: PhotoPoint, active: str) -> float:
    return (MINOR_RADIUS if point.is_minor else RADIUS) + (ACTIVE_GROWTH if point.name == active else 0.0)


def _add_residual(shapes: Shapes, seen: PhotoScene, point: PhotoPoint) -> None:
    """Add the line from where a point belongs to where the body has it, unless the point itself would cover it."""
    if point.solved is None or point.state is KeypointState.MUTED:
        return
    start, end = seen.view.to_region(point.pixel), seen.view.to_region(point.solved)
    if math.dist(start, end) < (RADIUS + OUTLINE + SOLVED_RADIUS + DASH) * seen.scale:
        return
    width = LINE_WIDTH * seen.scale
    shapes.line(start, end, 2.5 * width, SHADE)
    shapes.dashes(start, end, DASH * seen.scale, width, _light(point.state))
    shapes.disc(end, (SOLVED_RADIUS + 0.7 * OUTLINE) * seen.scale, DARK)
    shapes.disc(end, SOLVED_RADIUS * seen.scale, WHITE)


def _light(state: KeypointState) -> Color:
    r, g, b, alpha = STATE_COLORS[state]
    return (r + LIGHTER * (1 - r), g + LIGHTER * (1 - g), b + LIGHTER * (1 - b), alpha)


def _add_box(shapes: Shapes, box: tuple[Vector2, Vector2]) -> None:
    (x1, y1), (x2, y2) = box
    shapes.box((x1, y1), (x2, y2), BOX)
    corners = ((x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1))
    for start, end in pairwise(corners):
        shapes.line(start, end, 2.5, SHADE)
        shapes.dashes(start, end, DASH, 1.0, WHITE)


def _labelled(seen: PhotoScene, points: list[PhotoPoint], is_used: bool) -> PhotoPoint | None:
    """Return the point that gets a label: that under the mouse, else the active one."""
    by_name = {point.name: point for point in points}
    hovered = by_name.get(STATE.hovered) if is_used else None
    return hovered or by_name.get(active_point(seen.armature))


def _label_text(seen: PhotoScene, point: PhotoPoint) -> str:
    parts = [iface(POINT_LABELS[point.name]), residual_text(point_residual(seen.record, point.name))]
    if point.state is not KeypointState.DETECTED:
        parts.insert(1, iface(point.state.value.capitalize()))
    return "  ·  ".join(part for part in parts if part)


def _add_label(
    shapes: Shapes, region: "bpy.types.Region", seen: PhotoScene, point: PhotoPoint, text: str
) -> Vector2 | None:
    """Add the label's background and return where its text begins: beside the point, within the region."""
    width, height = text_size(text, seen.scale)
    padding = PADDING * seen.scale
    away = (RADIUS + ACTIVE_GROWTH + 3 * OUTLINE) * seen.scale + padding
    x, y = seen.view.to_region(point.pixel)
    if not (0 <= x <= region.width and 0 <= y <= region.height):
        return None
    left = x + away if x + away + width + padding < region.width else x - away - width
    above = point.solved is None or seen.view.to_region(point.solved)[1] <= y  # not over the line to where the body is
    low = y + away - padding if above else y - away - height + padding
    low = min(max(low, padding), region.height - height - padding)
    shapes.box((left - padding, low - padding), (left + width + padding, low + height + padding), (*DARK[:3], 0.75))
    return left, low


def text_size(text: str, scale: float) -> Vector2:
    """Return width of a text, and the height of any, in pixels of the region."""
    blf.size(FONT, FONT_SIZE * scale)
    width, _ = blf.dimensions(FONT, text)
    return width, blf.dimensions(FONT, "Xg")[1]


def draw_shapes(shapes: Shapes) -> None:
    """Draw all at once."""
    positions, colors = shapes.triangles()
    shader = gpu.shader.from_builtin("SMOOTH_COLOR")
    batch = batch_for_shader(shader, "TRIS", {"pos": positions.astype("float32"), "color": colors.astype("float32")})
    gpu.state.blend_set("ALPHA")
    batch.draw(shader)
    gpu.state.blend_set("NONE")


def draw_text(text: str, place: Vector2, scale: float) -> None:
    """Write a text whose lower left corner is at a place of the region."""
    blf.size(FONT, FONT_SIZE * scale)
    blf.color(FONT, *WHITE)
    blf.position(FONT, *place, 0.0)
    blf.draw(FONT, text)


class _Holder:
    handle: object = None


def register() -> None:
    """Draw from now on; in background mode nothing is ever drawn."""
    if not bpy.app.background:
        _Holder.handle = bpy.types.SpaceView3D.draw_handler_add(draw, (), "WINDOW", "POST_PIXEL")


def unregister() -> None:
    """Draw no more."""
    if _Holder.handle is not None:
        bpy.types.SpaceView3D.draw_handler_remove(_Holder.handle, "WINDOW")
        _Holder.handle = None

# SPDX-License-Identifier: GPL-3.0-or-later
"""Which handles the user has placed, locked or muted: a coloured square on each, over the 3D view.

Blender draws empties in the theme's colour, whatever their own is. Handles that nobody has touched get no mark.
"""

import bpy
import gpu
from bpy_extras.view3d_utils import location_3d_to_region_2d
from gpu_extras.batch import batch_for_shader

from ..core.keypoints import STATE_COLORS, KeypointState
from ..core.photo_shapes import Color, Shapes
from .bodies import handle_body

# Pixels at a resolution scale of 1: half a side, and the edge around it.
HALF_SIDE = 3.5
EDGE = 1.5

DARK: Color = (0.02, 0.02, 0.02, 0.85)
SAME = 1e-3
"""Colours of objects are float32."""


def draw() -> None:
    """Draw over the region of the context."""
    context = bpy.context
    if not context.space_data.overlay.show_overlays:
        return
    shapes = Shapes()
    scale = context.preferences.system.ui_scale or 1.0
    for thing in context.visible_objects:
        if thing.type != "EMPTY" or handle_body(thing) is None:
            continue
        state = _state(thing)
        place = location_3d_to_region_2d(context.region, context.region_data, thing.matrix_world.translation)
        if state is KeypointState.DETECTED or place is None:
            continue
        _square(shapes, (place.x, place.y), (HALF_SIDE + EDGE) * scale, DARK)
        _square(shapes, (place.x, place.y), HALF_SIDE * scale, STATE_COLORS[state])
        if state is KeypointState.LOCKED:  # told by more than a colour
            _square(shapes, (place.x, place.y), 0.4 * HALF_SIDE * scale, DARK)
    positions, colors = shapes.triangles()
    if len(positions):
        shader = gpu.shader.from_builtin("SMOOTH_COLOR")
        corners = {"pos": positions.astype("float32"), "color": colors.astype("float32")}
        gpu.state.blend_set("ALPHA")
        batch_for_shader(shader, "TRIS", corners).draw(shader)
        gpu.state.blend_set("NONE")


def _state(thing: bpy.types.Object) -> KeypointState:
    """Return the state that a handle was coloured by, which spares reading the record at every redraw."""
    color = tuple(thing.color)
    for state, known in STATE_COLORS.items():
        if all(abs(a - b) < SAME for a, b in zip(color, known, strict=True)):
            return state
    return KeypointState.DETECTED


def _square(shapes: Shapes, center: tuple[float, float], half: float, color: Color) -> None:
    x, y = center
    shapes.box((x - half, y - half), (x + half, y + half), color)


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

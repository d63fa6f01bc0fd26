# SPDX-License-Identifier: GPL-3.0-or-later
"""Icons of the states of a keypoint: dots in the colours that the photograph's overlay has."""

import math

import bpy
import bpy.utils.previews

from ..core.keypoints import STATE_COLORS, KeypointState

SIZE = 32
"""Pixels of an icon: what Blender draws at twice the resolution scale."""

RADIUS = 0.36
"""In parts of the icon's width."""


class _Holder:
    previews: "bpy.utils.previews.ImagePreviewCollection | None" = None


def icon(state: KeypointState) -> int:
    """Return the number of the icon of a state."""
    previews = _Holder.previews
    return previews[state.value].icon_id if previews is not None else 0


def dot(color: tuple[float, float, float, float]) -> list[float]:
    """Return the pixels of a round dot with a soft edge: RGBA from the bottom left, premultiplied as Blender has it."""
    pixels: list[float] = []
    for y in range(SIZE):
        for x in range(SIZE):
            distance = math.hypot(x + 0.5 - SIZE / 2, y + 0.5 - SIZE / 2)
            alpha = color[3] * min(max(RADIUS * SIZE - distance + 0.5, 0.0), 1.0)
            pixels += (*(alpha * channel for channel in color[:3]), alpha)
    return pixels


def register() -> None:
    """Make the icons."""
    _Holder.previews = bpy.utils.previews.new()
    for state, color in STATE_COLORS.items():
        preview = _Holder.previews.new(state.value)
        preview.icon_size = (SIZE, SIZE)
        preview.icon_pixels_float = dot(color)


def unregister() -> None:
    """Free the icons."""
    if _Holder.previews is not None:
        bpy.utils.previews.remove(_Holder.previews)
        _Holder.previews = None

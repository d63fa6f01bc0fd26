# SPDX-License-Identifier: GPL-3.0-or-later
"""The keypoint below the mouse: marked, named, and what can be done with it in the status bar."""

import bpy

from ..core.errors import AddonError
from .photo_drag import mouse, point_at
from .photo_scene import STATE, is_tool_active, photo_scene, redraw
from .text import iface

HINT = (
    "Drag: move keypoint   ·   Right click or X: remove   ·   Shift click: extend   ·   Arrow keys: nudge by a pixel, "
    "with Shift by ten   ·   H: mute   ·   Ctrl L: lock"
)

WATCH_SECONDS = 0.5


class IKOL_OT_hover_points(bpy.types.Operator):
    """Follow the mouse: the point below it is marked and named."""

    bl_idname = "ikol.hover_points"
    bl_label = "Mark Keypoint"
    bl_description = "Mark the keypoint below the mouse"
    bl_options = {"INTERNAL"}

    def invoke(self, context: bpy.types.Context, event: "bpy.types.Event") -> set[str]:
        """Mark it; the event goes on."""
        try:
            hovered = point_at(photo_scene(context), mouse(event)) or ""
        except AddonError:
            hovered = ""
        if hovered != STATE.hovered:
            STATE.hovered = hovered
            context.workspace.status_text_set(iface(HINT) if hovered else None)
            redraw(context)
            if hovered and not bpy.app.timers.is_registered(_watch):
                bpy.app.timers.register(_watch, first_interval=WATCH_SECONDS)
        return {"PASS_THROUGH"}


def _watch() -> float | None:
    """Take the hint away when another tool was taken by a key: the mouse then tells this one nothing any more."""
    if not STATE.hovered:
        return None
    for window in bpy.context.window_manager.windows:
        with bpy.context.temp_override(window=window):
            if is_tool_active(bpy.context):
                return WATCH_SECONDS
    forget()
    return None


def forget() -> None:
    """Mark no point any more."""
    if STATE.hovered:
        STATE.hovered = ""
        for window in bpy.context.window_manager.windows:
            window.workspace.status_text_set(None)


def unregister() -> None:
    """End the watch."""
    if bpy.app.timers.is_registered(_watch):
        bpy.app.timers.unregister(_watch)
    forget()

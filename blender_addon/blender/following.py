# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows by itself: the bones after the sliders of the shape, the pose correctives after the rotations.

Handlers see a change, whoever made it: a drag, the user's hand, keys. Correctives are values, which a handler may set;
bones are moved in edit mode, which only a timer may enter. No drivers: SMPL has 207 correctives, SMPL-X 486.
"""

import bpy
from bpy.app.handlers import persistent

from ..core.errors import AddonError
from ..core.rig import SKIN_PROPERTY
from .armature import find_mesh, match_bones
from .bodies import check_bones, find_bodies, read_record
from .correctives import set_by_bones

FOLLOW_SECONDS = 1 / 60
"""Between a change of the shape and the bones' move; that takes 1 ms."""

_MODES = ("OBJECT", "POSE")
"""Modes that may be left for a moment without the user noticing."""


@persistent
def _after_update(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph) -> None:
    """Look at what was computed anew."""
    is_shape = False
    for update in depsgraph.updates:
        thing = update.id
        if isinstance(thing, bpy.types.Key):
            is_shape = True
        elif isinstance(thing, bpy.types.Object) and thing.type == "ARMATURE" and SKIN_PROPERTY in thing:
            set_by_bones(thing.original, thing)
    if is_shape and not bpy.app.background and not bpy.app.timers.is_registered(_tick) and find_bodies(scene):
        bpy.app.timers.register(_tick, first_interval=FOLLOW_SECONDS)


@persistent
def _after_frame(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph) -> None:
    """Set the correctives of a new frame, also of one that is rendered."""
    for armature in scene.objects:
        if armature.type == "ARMATURE" and SKIN_PROPERTY in armature:
            set_by_bones(armature, armature.evaluated_get(depsgraph))


@persistent
def _after_undo(*_: object) -> None:
    """Have a look at all bodies: a step may have been made between a slider and the bones."""
    if not bpy.app.background and not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=FOLLOW_SECONDS)


def catch_up(context: bpy.types.Context) -> None:
    """Move the bones of all bodies of the scene to the joints of their shapes."""
    for armature in find_bodies(context.scene):
        if armature.library is not None or armature.override_library is not None or find_mesh(armature) is None:
            continue
        try:
            check_bones(armature)
            match_bones(context, armature, read_record(armature).solution.pose.betas)
        except AddonError:  # it was made with another body, or lacks bones; whoever poses it says so
            continue


def _tick() -> float | None:
    context, windows = bpy.context, bpy.context.window_manager.windows
    active = context.view_layer.objects.active
    is_elsewhere = active is not None and active.mode not in _MODES
    if is_elsewhere or any(window.screen.is_animation_playing for window in windows):
        return None  # bones that do not fit are moved by the next change, drag or solve
    if windows:
        with context.temp_override(window=context.window or windows[0]):
            catch_up(bpy.context)
    return None


_HANDLERS = (
    ("depsgraph_update_post", _after_update),
    ("frame_change_post", _after_frame),
    ("undo_post", _after_undo),
    ("redo_post", _after_undo),
)


def register() -> None:
    """Follow from now on."""
    for name, handler in _HANDLERS:
        getattr(bpy.app.handlers, name).append(handler)


def unregister() -> None:
    """Take timer and handlers back."""
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    for name, handler in _HANDLERS:
        handlers = getattr(bpy.app.handlers, name)
        if handler in handlers:
            handlers.remove(handler)

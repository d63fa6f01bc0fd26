# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows by itself: the bones after the sliders of the shape, the pose correctives after the rotations.

Handlers see a change, whoever made it: a drag, the user's hand, keys. Correctives are values, which a handler may set;
bones are moved in edit mode, which only a timer may enter. No drivers: SMPL has 207 correctives, SMPL-X 486.
"""

import bpy
import numpy as np
from bpy.app.handlers import persistent

from ..core.body import corrective_values
from ..core.errors import AddonError
from ..core.rig import SKIN_PROPERTY, corrective_name
from .armature import find_mesh, match_bones
from .bodies import check_bones, find_bodies, read_record
from .posing import body_tree

FOLLOW_SECONDS = 1 / 60
"""Between a change of the shape and the bones' move; that takes 1 ms."""

CORRECTIVE_TOLERANCE = 1e-6
"""Of a value, below which nothing is written: writing has the mesh computed anew."""

_MODES = ("OBJECT", "POSE")
"""Modes that may be left for a moment without the user noticing."""


def set_correctives(armature: bpy.types.Object, evaluated: bpy.types.Object) -> bool:
    """Set the pose correctives of a body to what its bones do, constraints included. Whether they changed.

    Args:
        armature: The body; its mesh must have correctives.
        evaluated: The same as the dependency graph has computed it.
    """
    mesh = armature.get(SKIN_PROPERTY)
    if not isinstance(mesh, bpy.types.Object) or mesh.type != "MESH" or mesh.data.shape_keys is None:
        return False
    blocks, bones = mesh.data.shape_keys.key_blocks, evaluated.pose.bones
    tree, first = body_tree(armature), blocks.find(corrective_name(0))
    rows = [bones.find(name) for name in tree.names]
    count = 9 * (len(rows) - 1)
    if first < 0 or min(rows) < 0 or first + count > len(blocks):
        return False
    matrices = np.empty(16 * len(bones), dtype=np.float32)
    bones.foreach_get("matrix", matrices)
    axes = matrices.reshape(-1, 4, 4)[rows, :3, :3].transpose(0, 2, 1).astype(np.float64)  # Blender's are transposed
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    values = np.empty(len(blocks), dtype=np.float32)
    blocks.foreach_get("value", values)
    wanted = corrective_values(axes, tree)
    if np.abs(values[first : first + count] - wanted).max() <= CORRECTIVE_TOLERANCE:
        return False
    values[first : first + count] = wanted
    blocks.foreach_set("value", values)
    mesh.data.shape_keys.update_tag()
    return True


@persistent
def _after_update(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph) -> None:
    """Look at what was computed anew."""
    is_shape = False
    for update in depsgraph.updates:
        thing = update.id
        if isinstance(thing, bpy.types.Key):
            is_shape = True
        elif isinstance(thing, bpy.types.Object) and thing.type == "ARMATURE" and SKIN_PROPERTY in thing:
            set_correctives(thing.original, thing)
    if is_shape and not bpy.app.background and not bpy.app.timers.is_registered(_tick) and find_bodies(scene):
        bpy.app.timers.register(_tick, first_interval=FOLLOW_SECONDS)


@persistent
def _after_frame(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph) -> None:
    """Set the correctives of a new frame, also of one that is rendered."""
    for armature in scene.objects:
        if armature.type == "ARMATURE" and SKIN_PROPERTY in armature:
            set_correctives(armature, armature.evaluated_get(depsgraph))


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

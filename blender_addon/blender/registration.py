# SPDX-License-Identifier: GPL-3.0-or-later
"""Registering with Blender and taking it all back: in order, in reverse order, and completely when a part fails."""

import bpy

from . import runtime
from .panel import IKOL_PT_body, IKOL_PT_main, IKOL_PT_solver
from .pose_operators import (
    IKOL_FH_photo,
    IKOL_OT_pick_image,
    IKOL_OT_pick_keypoints,
    IKOL_OT_pose_from_image,
    IKOL_OT_resolve,
    IKOL_OT_solve_keypoints,
)
from .preferences import IKOL_Preferences
from .process_operators import (
    IKOL_OT_cancel,
    IKOL_OT_check_python,
    IKOL_OT_open_log,
    IKOL_OT_open_preferences,
    IKOL_OT_start_solver,
    IKOL_OT_stop_solver,
)
from .settings import IKOL_PG_body, IKOL_PG_settings

CLASSES = (
    IKOL_PG_settings,
    IKOL_PG_body,
    IKOL_Preferences,
    IKOL_OT_start_solver,
    IKOL_OT_stop_solver,
    IKOL_OT_cancel,
    IKOL_OT_open_log,
    IKOL_OT_open_preferences,
    IKOL_OT_check_python,
    IKOL_OT_pose_from_image,
    IKOL_OT_resolve,
    IKOL_OT_solve_keypoints,
    IKOL_OT_pick_image,
    IKOL_OT_pick_keypoints,
    IKOL_FH_photo,
    IKOL_PT_main,
    IKOL_PT_body,
    IKOL_PT_solver,
)


def register() -> None:
    """Register classes, scene settings, timer and handler."""
    registered: list[type] = []
    try:
        for registrable in CLASSES:
            bpy.utils.register_class(registrable)
            registered.append(registrable)
        bpy.types.Scene.ikol = bpy.props.PointerProperty(type=IKOL_PG_settings)
        bpy.types.Object.ikol = bpy.props.PointerProperty(type=IKOL_PG_body)
        runtime.start()
        runtime.get().configure()
    except BaseException:
        _take_back(registered)
        raise


def unregister() -> None:
    """Take everything back; the solver process ends."""
    _take_back(list(CLASSES))


def _take_back(registered: list[type]) -> None:
    runtime.stop()
    for owner in (bpy.types.Object, bpy.types.Scene):
        if hasattr(owner, "ikol"):
            del owner.ikol
    for registrable in reversed(registered):
        bpy.utils.unregister_class(registrable)

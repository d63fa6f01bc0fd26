# SPDX-License-Identifier: GPL-3.0-or-later
"""Registering with Blender and taking it all back: in order, in reverse order, and completely when a part fails."""

import bpy

from . import (
    alternatives,
    following,
    handle_overlay,
    insight,
    insight_overlay,
    keymaps,
    keypoint_properties,
    live_edit,
    live_handles,
    menus,
    panel_icons,
    people_tool,
    photo_tool,
    rig_properties,
    runtime,
    shape_properties,
    solve_operator,
    translations,
)
from .alternatives import IKOL_OT_alternatives, IKOL_OT_choose_alternative
from .export_convert import IKOL_OT_export_keypoints
from .export_operators import IKOL_OT_export, IKOL_OT_export_rig
from .import_operators import IKOL_FH_motion, IKOL_OT_import_motion, IKOL_OT_pick_motion
from .insight import IKOL_OT_explain, IKOL_OT_next_keypoint
from .install_operators import (
    IKOL_OT_allow_online,
    IKOL_OT_cancel_install,
    IKOL_OT_install_cuda,
    IKOL_OT_install_from_disk,
    IKOL_OT_install_solver,
    IKOL_OT_open_install_log,
    IKOL_OT_repair_solver,
    IKOL_OT_uninstall_solver,
    IKOL_OT_verify_solver,
)
from .key_operators import IKOL_OT_key_pose, IKOL_OT_show_handles, IKOL_OT_solve_range
from .keypoint_operators import (
    IKOL_OT_apply_preset,
    IKOL_OT_lock_points,
    IKOL_OT_mute_points,
    IKOL_OT_remove_points,
    IKOL_OT_reset_points,
    IKOL_OT_restore_points,
    IKOL_OT_solo_points,
    IKOL_OT_toggle_point,
)
from .keypoint_properties import IKOL_PG_point, IKOL_PG_window
from .menus import IKOL_MT_add, IKOL_MT_body, IKOL_MT_parts, IKOL_MT_pie, IKOL_MT_presets
from .panel import IKOL_PT_main
from .panel_body import IKOL_PT_body, IKOL_PT_shape
from .panel_keypoints import IKOL_PT_keypoints, IKOL_PT_legend, IKOL_UL_points
from .panel_picture import IKOL_PT_picture
from .panel_rig import IKOL_PT_rig, IKOL_PT_rig_bones, IKOL_PT_rig_fingers
from .panel_server import IKOL_PT_server
from .panel_solve import IKOL_PT_solve
from .part_operators import IKOL_OT_solve_part
from .people_operators import IKOL_OT_box_person, IKOL_OT_find_people, IKOL_OT_pose_person
from .people_tool import IKOL_OT_choose_people, IKOL_OT_hover_people
from .photo_drag import IKOL_OT_drag_point
from .photo_edits import IKOL_OT_add_point, IKOL_OT_nudge_points, IKOL_OT_remove_photo_points
from .photo_hover import IKOL_OT_hover_points
from .photo_select import IKOL_OT_select_all_points, IKOL_OT_select_point, IKOL_OT_select_points_box
from .photo_tool import IKOL_OT_edit_photo
from .pose_asset import IKOL_OT_save_pose
from .pose_operators import (
    IKOL_FH_photo,
    IKOL_OT_pick_image,
    IKOL_OT_pick_keypoints,
    IKOL_OT_pick_people,
    IKOL_OT_pose_from_image,
    IKOL_OT_resolve,
    IKOL_OT_solve_keypoints,
)
from .preferences import IKOL_Preferences
from .process_operators import (
    IKOL_OT_cancel,
    IKOL_OT_check_python,
    IKOL_OT_copy_report,
    IKOL_OT_dismiss,
    IKOL_OT_open_log,
    IKOL_OT_open_preferences,
    IKOL_OT_restart_solver,
    IKOL_OT_start_solver,
    IKOL_OT_stop_solver,
)
from .rig_operators import (
    IKOL_OT_find_rig_bones,
    IKOL_OT_load_rig_preset,
    IKOL_OT_pick_rig_image,
    IKOL_OT_pose_rig,
    IKOL_OT_pose_rig_from_image,
    IKOL_OT_save_rig_preset,
    IKOL_OT_show_rig_source,
)
from .rig_properties import IKOL_PG_rig, IKOL_PG_rig_joint
from .settings import IKOL_PG_body, IKOL_PG_settings
from .shape_properties import IKOL_PG_shape
from .view_operators import IKOL_OT_look_through, IKOL_OT_show_picture
from .views_operators import IKOL_OT_pick_images, IKOL_OT_pose_from_images

CLASSES = (
    IKOL_PG_settings,
    IKOL_PG_body,
    IKOL_PG_point,
    IKOL_PG_window,
    IKOL_PG_shape,
    IKOL_PG_rig_joint,
    IKOL_PG_rig,
    IKOL_Preferences,
    IKOL_OT_start_solver,
    IKOL_OT_stop_solver,
    IKOL_OT_restart_solver,
    IKOL_OT_cancel,
    IKOL_OT_dismiss,
    IKOL_OT_copy_report,
    IKOL_OT_open_log,
    IKOL_OT_open_preferences,
    IKOL_OT_check_python,
    IKOL_OT_install_solver,
    IKOL_OT_install_cuda,
    IKOL_OT_install_from_disk,
    IKOL_OT_verify_solver,
    IKOL_OT_repair_solver,
    IKOL_OT_uninstall_solver,
    IKOL_OT_cancel_install,
    IKOL_OT_open_install_log,
    IKOL_OT_allow_online,
    IKOL_OT_pose_from_image,
    IKOL_OT_resolve,
    IKOL_OT_solve_keypoints,
    IKOL_OT_pick_image,
    IKOL_OT_pick_keypoints,
    IKOL_OT_pose_from_images,
    IKOL_OT_pick_images,
    IKOL_OT_find_people,
    IKOL_OT_pick_people,
    IKOL_OT_pose_person,
    IKOL_OT_box_person,
    IKOL_OT_choose_people,
    IKOL_OT_hover_people,
    IKOL_FH_photo,
    IKOL_OT_look_through,
    IKOL_OT_show_picture,
    IKOL_OT_key_pose,
    IKOL_OT_show_handles,
    IKOL_OT_solve_range,
    IKOL_OT_export,
    IKOL_OT_export_keypoints,
    IKOL_OT_export_rig,
    IKOL_OT_save_pose,
    IKOL_OT_import_motion,
    IKOL_OT_pick_motion,
    IKOL_FH_motion,
    IKOL_OT_solve_part,
    IKOL_OT_lock_points,
    IKOL_OT_mute_points,
    IKOL_OT_solo_points,
    IKOL_OT_remove_points,
    IKOL_OT_reset_points,
    IKOL_OT_restore_points,
    IKOL_OT_toggle_point,
    IKOL_OT_apply_preset,
    IKOL_UL_points,
    IKOL_OT_edit_photo,
    IKOL_OT_drag_point,
    IKOL_OT_hover_points,
    IKOL_OT_add_point,
    IKOL_OT_nudge_points,
    IKOL_OT_remove_photo_points,
    IKOL_OT_select_point,
    IKOL_OT_select_all_points,
    IKOL_OT_select_points_box,
    IKOL_OT_alternatives,
    IKOL_OT_choose_alternative,
    IKOL_OT_explain,
    IKOL_OT_next_keypoint,
    IKOL_OT_find_rig_bones,
    IKOL_OT_save_rig_preset,
    IKOL_OT_load_rig_preset,
    IKOL_OT_pose_rig,
    IKOL_OT_pick_rig_image,
    IKOL_OT_pose_rig_from_image,
    IKOL_OT_show_rig_source,
    IKOL_MT_parts,
    IKOL_MT_presets,
    IKOL_MT_body,
    IKOL_MT_add,
    IKOL_MT_pie,
    IKOL_PT_main,
    IKOL_PT_picture,
    IKOL_PT_keypoints,
    IKOL_PT_legend,
    IKOL_PT_solve,
    IKOL_PT_body,
    IKOL_PT_shape,
    IKOL_PT_rig,
    IKOL_PT_rig_bones,
    IKOL_PT_rig_fingers,
    IKOL_PT_server,
)

MODULES = (
    translations,
    rig_properties,
    keypoint_properties,
    shape_properties,
    live_edit,
    solve_operator,
    panel_icons,
    menus,
    keymaps,
    photo_tool,
    people_tool,
    live_handles,
    handle_overlay,
    alternatives,
    insight,
    insight_overlay,
    following,
)
"""With a `register` and an `unregister` of their own, which may be called when only a part was registered."""


def register() -> None:
    """Register classes, scene settings, timer and handler."""
    registered: list[type] = []
    try:
        for registrable in CLASSES:
            bpy.utils.register_class(registrable)
            registered.append(registrable)
        bpy.types.Scene.ikol = bpy.props.PointerProperty(type=IKOL_PG_settings)
        bpy.types.Object.ikol = bpy.props.PointerProperty(type=IKOL_PG_body)
        for module in MODULES:
            module.register()
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
    for module in reversed(MODULES):
        module.unregister()
    for owner in (bpy.types.Object, bpy.types.Scene):
        if hasattr(owner, "ikol"):
            del owner.ikol
    for registrable in reversed(registered):
        bpy.utils.unregister_class(registrable)

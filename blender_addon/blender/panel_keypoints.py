# SPDX-License-Identifier: GPL-3.0-or-later
"""The sub-panel *Keypoints*: the list with states and residuals, tolerance of the selected ones, locks and presets."""

import bpy

from ..core.errors import AddonError
from ..core.keypoints import keypoint_state
from ..core.record import Record
from ..core.wording import (
    POINT_LABELS,
    STATE_LABELS,
    Residual,
    count_text,
    listed_points,
    missed_locks,
    point_residual,
    residual_text,
)
from . import live_edit
from .bodies import find_body
from .keypoint_operators import is_locked, is_muted
from .keypoint_properties import LISTED, active_tolerance, chosen_points
from .panel_icons import icon
from .panel_parts import SidebarPanel, SubPanel, draw_body_or_hint
from .text import draw_sentence, iface, sidebar_width

ROWS = 8
RESIDUAL_SHARE = 0.68
"""Where in a line the residual begins."""


def _record(context: bpy.types.Context) -> Record | None:
    armature = find_body(context)
    try:
        return None if armature is None else live_edit.newest_record(armature)
    except AddonError:
        return None


class IKOL_UL_points(bpy.types.UIList):
    """The keypoints of the active body."""

    bl_idname = "IKOL_UL_points"

    def draw_item(
        self,
        context: bpy.types.Context,
        layout: bpy.types.UILayout,
        _data: object,
        item: bpy.types.PropertyGroup,
        _icon: int,
        _active_data: object,
        _active_name: str,
    ) -> None:
        """Draw one keypoint: state, name, residual, switches."""
        record, point = _record(context), item.point
        if record is None:
            return
        row = layout.row(align=True)
        residual = point_residual(record, point)
        # one unit is enough in a narrow list; the selected point is told with both below it
        text = residual_text(Residual(residual.pixels) if residual.pixels is not None else residual)
        name = row.split(factor=RESIDUAL_SHARE) if text else row
        name.label(text=iface(POINT_LABELS[point]), icon_value=icon(keypoint_state(record, point)), translate=False)
        if text:
            name.label(text=text, translate=False)
        for action, is_on, icons in (
            ("MUTE", is_muted(record, point), ("HIDE_ON", "HIDE_OFF")),
            ("LOCK", is_locked(record, point), ("LOCKED", "UNLOCKED")),
        ):
            switch = row.operator("ikol.toggle_point", text="", icon=icons[0 if is_on else 1], emboss=False)
            switch.point, switch.action = point, action

    def filter_items(
        self, context: bpy.types.Context, data: bpy.types.AnyType, _name: str
    ) -> tuple[list[int], list[int]]:
        """Show the points that the body has and the search names; return flags and the place of each."""
        record = _record(context)
        listed = () if record is None else listed_points(record)
        wanted = self.filter_name.casefold()
        shown = {name for name in listed if wanted in iface(POINT_LABELS[name]).casefold()}
        flags = [self.bitflag_filter_item if name in shown else 0 for name in LISTED]
        if record is None or not data.sort_by_residual:
            return flags, []
        order = sorted(range(len(LISTED)), key=lambda index: -_size(record, LISTED[index]))
        places = [0] * len(LISTED)
        for place, index in enumerate(order):
            places[index] = place
        return flags, places


def _size(record: Record, point: str) -> float:
    """Return the residual for sorting: metres where they are known, else pixels as if at a hundredth of that."""
    residual = point_residual(record, point)
    return residual.metres if residual.metres is not None else 0.01 * (residual.pixels or 0.0)


class IKOL_PT_keypoints(SubPanel, bpy.types.Panel):
    """The keypoints of the active body, what they weigh, which are locked."""

    bl_label = "Keypoints"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the panel."""
        layout = self.layout
        armature, _ = draw_body_or_hint(layout, context)
        if armature is None:
            return
        properties = context.window_manager.ikol
        layout.template_list("IKOL_UL_points", "", properties, "points", properties, "index", rows=ROWS)
        row = layout.row(align=True)  # below the list and not beside it: the names need the width
        row.prop(properties, "sort_by_residual", text="", icon="SORT_DESC")
        row.operator("ikol.restore_points", text="", icon="RECOVER_LAST")
        row.menu("IKOL_MT_presets", text=iface("Presets"), icon="PRESET")
        self._draw_selected(context, armature)

    def _draw_selected(self, context: bpy.types.Context, armature: bpy.types.Object) -> None:
        layout, record = self.layout, _record(context)
        selected = chosen_points(context, armature)
        if record is None or not selected:
            draw_sentence(layout, iface("Select a keypoint to weigh or lock it"), sidebar_width(context), icon="INFO")
            return
        point = selected[0]
        if len(selected) > 1:
            title = count_text(len(selected), "{number} keypoint", "{number} keypoints", iface)
        else:
            title = iface(POINT_LABELS[point])
        state = keypoint_state(record, point)
        layout.label(text=f"{title}: {iface(STATE_LABELS[state])}", icon_value=icon(state), translate=False)
        residual = residual_text(point_residual(record, point))
        if residual:
            layout.label(text=iface("Off by {residual}", residual=residual), translate=False)
        tolerance = active_tolerance()
        column = layout.column(align=True)
        column.enabled = not is_locked(record, point)
        properties = context.window_manager.ikol
        if tolerance.pixels is not None:
            column.prop(properties, "tolerance_px", slider=True)
        if tolerance.metres is not None:
            column.prop(properties, "tolerance_cm", slider=True)
        if is_locked(record, point):
            is_met = point not in missed_locks(record)
            text = iface(
                "Locked: met exactly, without tolerance"
                if is_met
                else "Locked out of reach: the body comes as near as it can"
            )
            draw_sentence(layout, text, sidebar_width(context))
        row = layout.row(align=True)
        has_lock = all(is_locked(record, name) for name in selected)
        has_mute = all(is_muted(record, name) for name in selected)
        row.operator("ikol.lock_points", text=iface("Unlock" if has_lock else "Lock"), icon="LOCKED", depress=has_lock)
        row.operator("ikol.mute_points", text=iface("Unmute" if has_mute else "Mute"), icon="HIDE_ON", depress=has_mute)
        row.operator("ikol.solo_points", text="Solo", icon="SOLO_ON", depress=set(record.solo) == set(selected))
        row = layout.row(align=True)
        row.operator("ikol.reset_points", text="Reset", icon="LOOP_BACK")
        row.operator("ikol.remove_points", text="Remove", icon="X")


class IKOL_PT_legend(SidebarPanel, bpy.types.Panel):
    """What the colours of keypoints mean."""

    bl_label = "Colours"
    bl_parent_id = "IKOL_PT_keypoints"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, _context: bpy.types.Context) -> None:
        """Draw the panel."""
        grid = self.layout.grid_flow(columns=2, even_columns=True, align=True)
        for state, label in STATE_LABELS.items():
            grid.label(text=iface(label), icon_value=icon(state), translate=False)

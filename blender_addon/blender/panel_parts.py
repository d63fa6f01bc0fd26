# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panels share: where they are, rows of names and values, what is drawn without a body."""

from collections.abc import Iterable

import bpy

from ..core.errors import AddonError
from ..core.record import Record
from ..core.solver_state import Button
from . import runtime
from .bodies import find_body, read_record
from .text import CONTEXT, draw_sentence, iface, sidebar_width

NO_BODY = "Drop a photograph into the 3D view, or select a body"


class SidebarPanel:
    """A panel of the sidebar tab *IKOL*."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "IKOL"
    bl_translation_context = CONTEXT


class SubPanel(SidebarPanel):
    """A panel inside the main one."""

    bl_parent_id = "IKOL_PT_main"


def draw_button(layout: bpy.types.UILayout, button: Button, scale: float = 1.0) -> None:
    """Draw the button that belongs to a state or a fix."""
    row = layout.row()
    row.scale_y = scale
    row.enabled = button.is_enabled
    row.operator(button.operator, text=button.label, icon=button.icon)


def draw_rows(layout: bpy.types.UILayout, rows: Iterable[tuple[str, str]]) -> None:
    """Draw names (translated) with their values (as they are) in two columns."""
    split = layout.split(factor=0.42)
    names, values = split.column(align=True), split.column(align=True)
    names.alignment = "RIGHT"
    for name, value in rows:
        names.label(text=iface(name), translate=False)
        values.label(text=value, translate=False)


def draw_body_or_hint(
    layout: bpy.types.UILayout, context: bpy.types.Context
) -> tuple[bpy.types.Object, Record] | tuple[None, None]:
    """Return the body that the panel is about and its record; draw why there is none otherwise."""
    armature = find_body(context)
    if armature is None:
        draw_sentence(layout, iface(NO_BODY), sidebar_width(context))
        return None, None
    try:
        return armature, read_record(armature)
    except AddonError as error:
        draw_sentence(layout, runtime.sentence(error), sidebar_width(context), icon="ERROR")
        return None, None

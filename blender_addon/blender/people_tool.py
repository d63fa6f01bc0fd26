# SPDX-License-Identifier: GPL-3.0-or-later
"""The tool *Photo Persons*: a click poses a person of the photograph, a dragged box one who was not found."""

import bpy

from ..core.errors import AddonError
from ..core.people import person_at
from . import people_overlay
from .camera import look_through
from .people_operators import take_tool
from .people_scene import STATE, TOOL, has_people, people_scene
from .photo_drag import mouse
from .photo_scene import redraw
from .text import iface

HINT = "Click: pose this person   ·   Drag: a box around somebody who was not found"

KEYMAP = (
    ("ikol.pose_person", {"type": "LEFTMOUSE", "value": "CLICK"}, None),
    ("ikol.box_person", {"type": "LEFTMOUSE", "value": "CLICK_DRAG"}, None),
    ("ikol.hover_people", {"type": "MOUSEMOVE", "value": "ANY"}, None),
)


class IKOL_OT_hover_people(bpy.types.Operator):
    """Follow the mouse: the box below it is marked."""

    bl_idname = "ikol.hover_people"
    bl_label = "Mark Person"
    bl_description = "Mark the person below the mouse"
    bl_options = {"INTERNAL"}

    def invoke(self, context: bpy.types.Context, event: "bpy.types.Event") -> set[str]:
        """Mark the box; the event goes on."""
        try:
            seen = people_scene(context)
            hovered = person_at(seen.people, seen.view, mouse(event))
        except AddonError:
            hovered = None
        if hovered != STATE.hovered:
            STATE.hovered = hovered
            redraw(context)
        return {"PASS_THROUGH"}


class IKOL_OT_choose_people(bpy.types.Operator):
    """The command *Choose Persons*."""

    bl_idname = "ikol.choose_people"
    bl_label = "Choose Persons"
    bl_description = "Look at the photograph and take the tool that poses the persons who are clicked"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a photograph on which persons were looked for."""
        if not has_people(context.scene.camera):
            cls.poll_message_set(iface("Use Find Persons, or set Persons to Choose and take a picture"))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Look through the camera and take the tool."""
        if context.mode != "OBJECT":
            bpy.ops.object.mode_set(mode="OBJECT")
        context.scene.ikol.show_people = True
        look_through(context)
        take_tool(context)
        redraw(context)
        return {"FINISHED"}


class PeopleTool(bpy.types.WorkSpaceTool):
    """The tool in object mode."""

    bl_space_type = "VIEW_3D"
    bl_context_mode = "OBJECT"
    bl_idname = TOOL
    bl_label = "Photo Persons"
    bl_description = (
        "Pose persons of the photograph.\n"
        "\u2022 Click: make a body of the person.\n"
        "\u2022 Drag: a box around somebody who was not found"
    )
    bl_icon = "ops.generic.select_box"
    bl_cursor = "CROSSHAIR"
    bl_widget = None
    bl_keymap = KEYMAP

    @staticmethod
    def draw_settings(context: bpy.types.Context, layout: bpy.types.UILayout, _tool: object) -> None:
        """Draw the tool's settings in the header and the sidebar."""
        layout.label(text=iface(HINT), translate=False)
        layout.prop(context.scene.ikol, "show_people")
        layout.prop(context.scene.ikol, "target")


def register() -> None:
    """Put the tool into the toolbar and draw the boxes from now on."""
    bpy.utils.register_tool(PeopleTool, after={"ikol.photo_points"})
    people_overlay.register()


def unregister() -> None:
    """Take both back; what was never registered is no error."""
    people_overlay.unregister()
    if hasattr(PeopleTool, "_bl_tool"):  # Blender's own mark of a registered one
        bpy.utils.unregister_tool(PeopleTool)

# SPDX-License-Identifier: Apache-2.0
"""Story without the extension: does the window open, draw, and take mouse, keys and a dropped file? Checks the driver.

Run it with --photos FOLDER; the first photograph of the folder is dropped.
"""

import os
import sys
from pathlib import Path

import bpy

sys.path.insert(0, os.environ["IKOL_WINDOW_DRIVER"])
from driver import Driver, Wait
from file_manager import FileManager


class WM_OT_plain_story_button(bpy.types.Operator):
    """Counts its clicks."""

    bl_idname = "wm.plain_story_button"
    bl_label = "Count This Click"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add one."""
        context.scene["plain_story_clicks"] = context.scene.get("plain_story_clicks", 0) + 1
        return {"FINISHED"}


class VIEW3D_PT_plain_story(bpy.types.Panel):
    """A panel with one button, some way below its top."""

    bl_label = "Plain Story"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Plain"

    def draw(self, context: bpy.types.Context) -> None:
        """Lay out the button."""
        self.layout.label(text="A label above the button")
        self.layout.operator("wm.plain_story_button")


def empties() -> list[str]:
    """Names of the empties in the scene."""
    return [thing.name for thing in bpy.data.objects if thing.type == "EMPTY"]


def story(driver: Driver) -> Wait:
    """Move the default cube by keys, undo it, find a button by its operator."""
    driver.check("Blender has a window", not bpy.app.background, bpy.app.version_string)
    bpy.utils.register_class(WM_OT_plain_story_button)
    bpy.utils.register_class(VIEW3D_PT_plain_story)
    yield 2.0  # the first drawing compiles shaders
    driver.reset_pause()
    yield from driver.hover_viewport()
    yield from driver.press_key("g")
    yield from driver.press_key("x")
    yield from driver.press_key("1")
    yield from driver.press_key("Return")
    cube = bpy.data.objects["Cube"]
    driver.check("keys move the cube", abs(cube.location.x - 1.0) < 1e-6, tuple(cube.location))
    yield from driver.press_key("ctrl+z")
    cube = bpy.data.objects["Cube"]
    driver.check("one undo brings it back", abs(cube.location.x) < 1e-6, tuple(cube.location))
    driver.answered("the window answered all the time")
    yield from driver.picture("window")

    yield from driver.open_sidebar("Plain")
    pressed = yield from driver.press_button("wm.plain_story_button", driver.region("UI"))
    driver.check("a button of the sidebar is found by its operator", pressed)
    driver.check("clicking it runs the operator once", bpy.context.scene.get("plain_story_clicks") == 1)
    yield from driver.picture("sidebar")

    pictures = Path.home() / "Pictures"
    if driver.real and pictures.is_dir():
        files = FileManager(driver, pictures)
        opened = yield from files.open()
        driver.check("a file manager opens beside Blender", opened)
        left, top, width, height = driver.box(driver.area())
        first = min(path.name for path in pictures.glob("*.jpg"))
        yield from files.drag(first, left + width // 4, top + height // 2, "dragging")
        yield from driver.wait_until(empties, 5.0)
        driver.check("a file dropped from it becomes an image", len(empties()) == 1, empties())
        files.close()

    with driver.context():
        bpy.ops.screen.userpref_show("INVOKE_DEFAULT")
    yield 1.5
    bpy.context.preferences.active_section = "SYSTEM"
    yield from driver.picture("preferences")
    bpy.context.preferences.edit.undo_steps = 77
    place = yield from driver.find_button("77", driver.region("WINDOW", "PREFERENCES"), across=0.65)
    driver.check("a field in a second window is found by its value", place, place)
    if place is not None:
        yield from driver.click(*place, clicks=2)
        yield from driver.press_key("ctrl+a")
        driver.input.write("55")
        yield from driver.press_key("Return")
    driver.check(
        "typing changes it", bpy.context.preferences.edit.undo_steps == 55, bpy.context.preferences.edit.undo_steps
    )


driver = Driver()
driver.play(story)

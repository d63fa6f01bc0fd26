# SPDX-License-Identifier: Apache-2.0
"""A photograph is dragged from a file manager into the 3D view; Blender asks what to do with it; the character appears.

The solver is not started before: the drop does it. Takes one argument, the photograph's name in ~/Pictures.
"""

import os
import sys

import bpy

sys.path.insert(0, os.environ["IKOL_WINDOW_DRIVER"])
from driver import SETTLE, Driver, Wait, story_arguments
from file_manager import FileManager
from ikol_user import PICTURES, POSE_SECONDS, START_SECONDS, User, bodies, is_camera_view, job

PHOTO = (story_arguments() or ["back_leg_raised.jpg"])[0]


def story(driver: Driver) -> Wait:
    """Drag, choose, wait, look."""
    user = User(driver)
    yield 2.0
    yield from user.open_panel()
    yield from user.name_solver()
    files = FileManager(driver, PICTURES)
    opened = yield from files.open()
    driver.check("a file manager is open beside Blender", opened)
    left, top, width, height = driver.box(driver.area())
    x, y = left + width // 4, top + height // 3
    yield from files.drag(PHOTO, x, y, "1_dragging")
    files.close()
    yield from driver.picture("2_chooser")
    # Both entries are within reach of the pointer, ours right below it.
    yield from driver.click(x, y - 5)
    began = yield from driver.wait_until(lambda: job() is not None, 5)
    driver.check("the command runs, and starts the solver by itself", began)
    yield 2.0
    yield from driver.picture("3_progress")
    yield from driver.wait_until(lambda: job() is None, START_SECONDS + POSE_SECONDS)
    yield SETTLE
    driver.check("a body stands in the scene", bodies(), [body.name for body in bodies()])
    driver.check("the 3D view looks through the camera", is_camera_view(driver))
    backgrounds = bpy.context.scene.camera.data.background_images
    driver.check("the dropped photograph is behind the body", [b.image.name for b in backgrounds] == [PHOTO])
    yield from driver.picture("4_posed")
    yield from driver.hover_viewport()
    yield from driver.press_key("ctrl+z")
    left_over = sorted(thing.name for thing in bpy.data.objects)
    driver.check("one undo takes it all back", left_over == ["Camera", "Cube", "Light"], left_over)


driver = Driver()
driver.play(story)

# SPDX-License-Identifier: Apache-2.0
"""The first five minutes of a new user: name the solver's Python, start the solver, choose a photograph, get the pose.

Everything is done with mouse and keyboard, except that the file browser is sent to the folder. Takes one argument, the
photograph's name in ~/Pictures.
"""

import os
import sys
import time

import bpy

sys.path.insert(0, os.environ["IKOL_WINDOW_DRIVER"])
from driver import MAX_PAUSE, SETTLE, Driver, Wait, story_arguments
from ikol_user import (
    PACKAGE,
    PICTURES,
    POSE_SECONDS,
    SOLVER_PYTHON,
    User,
    bodies,
    is_camera_view,
    job,
    keyed_frames,
    phase,
    preferences,
    result_of,
    solver_state,
)

PHOTO = (story_arguments() or ["front_step.jpg"])[0]
# Median over the keypoints of a 1080 x 1920 photograph; a hand is about 40 px wide on it.
MAX_REPROJECTION_PX = 20.0
# Blender's own thread makes mesh, shape keys and keys in about half a second; the rest is the software renderer, which
# compiles the shaders of a new Blender for some seconds once.
MAX_BUILDING_PAUSE = 2.0
# How far the progress bar is when its picture is taken.
PROGRESS = 0.1


def name_the_python(driver: Driver, user: User) -> Wait:
    """From a panel that knows no solver to preferences that were checked."""
    driver.check("a fresh install says that the solver is not set up", phase() == "not_installed", phase())
    yield from driver.picture("1_not_set_up")
    pressed = yield from user.press("ikol.open_preferences")
    yield 1.5
    driver.check("a button opens the preferences", pressed and len(bpy.context.window_manager.windows) == 2)
    page = driver.region("WINDOW", "PREFERENCES")
    check_button = yield from driver.find_button("ikol.check_python", page, across=0.7)
    if not driver.check("the page of the extension is shown with the field for the Python", check_button):
        yield from driver.picture("2_preferences")
        yield from user.name_solver()
        return
    x, y = check_button
    yield from driver.click(x - 60, y - 20, clicks=2)  # the field is the line above
    yield from driver.press_key("ctrl+a")
    driver.input.write(str(SOLVER_PYTHON))
    yield from driver.press_key("Return")
    driver.check("the path is typed", preferences().solver_python == str(SOLVER_PYTHON), preferences().solver_python)
    yield from driver.click(x, y)
    result = sys.modules[f"{PACKAGE}.blender.runtime"].get()
    yield from driver.wait_until(lambda: result.check_result not in ("", "Checking"), 30)
    driver.check("Check says what it found", result.check_result, result.check_result)
    yield from driver.picture("2_preferences")
    driver.input.key("alt+F4")
    yield 1.0
    driver.check("the preferences window closes", len(bpy.context.window_manager.windows) == 1)


def start(driver: Driver, user: User) -> Wait:
    """The big button, until the panel says ready."""
    driver.check("now the solver is stopped", phase() == "stopped", phase())
    driver.reset_pause()
    began = time.monotonic()
    pressed = yield from user.press("ikol.start_solver")
    driver.check("the big button starts the solver", pressed and phase() in ("starting", "running"), phase())
    yield from driver.picture("3_starting")
    ready = yield from driver.wait_until(lambda: solver_state().is_ready, 60)
    driver.check("the solver is ready", ready, f"{time.monotonic() - began:.1f} s, {phase()}, {solver_state().device}")
    driver.answered("the window answered while the solver started")
    yield SETTLE
    yield from driver.picture("4_ready")


def choose(driver: Driver, user: User) -> Wait:
    """The big button again, the file browser, the progress, the result."""
    pressed = yield from user.press("ikol.pick_image")
    driver.check("the big button opens the file browser", pressed)
    driver.reset_pause(lambda: job() is not None)
    chosen = yield from user.choose_file(PICTURES / PHOTO, "5_file_browser")
    driver.check("a photograph is chosen", chosen, PHOTO)
    began = time.monotonic()
    started = yield from driver.wait_until(lambda: job() is not None or bodies(), 5)
    driver.check("the command runs", started)
    driver.longest_pause = 0.0  # the file browser's opening and closing is Blender's own
    yield from driver.wait_until(lambda: job() is None or job().fraction > PROGRESS, 5)
    yield 0.15
    driver.snap("6_progress")
    yield from driver.wait_until(lambda: job() is None, POSE_SECONDS)
    seconds, waiting = time.monotonic() - began, driver.longest_pause_while
    driver.check(
        "the window answered while the photograph was read", waiting < MAX_PAUSE, f"longest pause {waiting:.2f} s"
    )
    yield SETTLE
    driver.check("a body stands in the scene", len(bodies()) >= 1, f"{len(bodies())} after {seconds:.1f} s")
    built = driver.longest_pause
    driver.check("building and drawing it did not take long", built < MAX_BUILDING_PAUSE, f"{built:.2f} s")
    yield from driver.picture("7_posed")


def look(driver: Driver) -> Wait:
    """What the scene holds now."""
    armature = bodies()[0]
    driver.check("the 3D view looks through the camera", is_camera_view(driver))
    backgrounds = bpy.context.scene.camera.data.background_images
    driver.check("the photograph is behind the body", [b.image.name for b in backgrounds] == [PHOTO])
    frames = keyed_frames(armature)
    driver.check("the pose is keyed on the current frame", frames == {float(bpy.context.scene.frame_current)}, frames)
    error = result_of(armature).reprojection_px
    driver.check("joints meet the keypoints of the photograph", 0 <= error < MAX_REPROJECTION_PX, f"{error:.1f} px")
    yield SETTLE


def undo(driver: Driver) -> Wait:
    """One Ctrl+Z takes all of it back, one Ctrl+Shift+Z brings it again."""
    count = len(bodies())
    yield from driver.hover_viewport()
    yield from driver.press_key("ctrl+z")
    left = sorted(thing.name for thing in bpy.data.objects)
    driver.check("one undo takes it all back", left == ["Camera", "Cube", "Light"], left)
    yield from driver.picture("8_undone")
    yield from driver.press_key("ctrl+shift+z")
    driver.check("one redo brings it again", len(bodies()) == count)


def story(driver: Driver) -> Wait:
    """Play the chapters."""
    user = User(driver)
    yield 2.0
    driver.check("the extension is enabled", PACKAGE in bpy.context.preferences.addons)
    yield from user.open_panel()
    driver.check("the sidebar has its tab", driver.region("UI").active_panel_category == "IKOL")
    yield from name_the_python(driver, user)
    yield from start(driver, user)
    yield from choose(driver, user)
    if bodies():
        yield from look(driver)
        yield from undo(driver)


driver = Driver()
driver.play(story)

# SPDX-License-Identifier: Apache-2.0
"""Exports that the solver's Python writes: from the panel's buttons through the file browser to a file, and Esc."""

import json
import os
import sys
from pathlib import Path

import bpy

sys.path.insert(0, os.environ["IKOL_WINDOW_DRIVER"])
from driver import SETTLE, Driver, Wait
from ikol_user import PICTURES, User, notice

WRITE_SECONDS = 30.0  # the solver's Python starts anew for each file, on two busy cores
FOLDER = Path.home() / "written"


def write(driver: Driver, user: User, button: str, form: str, picture: str) -> Wait:
    """Press a button of the panel, choose the format in the browser, and confirm."""
    pressed = yield from user.press(button)
    driver.check(f"{button} is in the panel", pressed)
    yield 2.0
    space = driver.area("FILE_BROWSER").spaces.active
    space.params.directory = str(FOLDER).encode()
    space.active_operator.form = form
    space.show_region_tool_props = True
    yield 1.0
    yield from driver.picture(picture)
    place = yield from driver.find_button("file.execute", driver.region("EXECUTE", "FILE_BROWSER"), across=0.93)
    driver.check("the browser has a button that writes", place is not None)
    driver.input.press()
    yield 0.08
    driver.input.release()
    yield 0.3


def story(driver: Driver) -> Wait:
    """Pose, write keypoints and a motion, give up a third file."""
    user = User(driver)
    FOLDER.mkdir()
    yield 2.0
    yield from user.open_panel()
    yield from user.name_solver()
    yield from user.start_solver()
    posed = yield from user.pose_photograph(PICTURES / "front_step.jpg")
    if not driver.check("the photograph is posed", posed):
        return
    yield from driver.picture("1_panel")
    yield from write(driver, user, "ikol.export_keypoints(", "OPENPOSE", "2_keypoints")
    path = FOLDER / "IKOL Body_keypoints.json"
    yield from driver.wait_until(path.is_file, WRITE_SECONDS)
    people = json.loads(path.read_text())["people"] if path.is_file() else []
    driver.check("the keypoints are written", len(people) == 1, [found.name for found in FOLDER.iterdir()])
    yield SETTLE
    yield from write(driver, user, "ikol.export(", "SMPL_CODEC", "3_motion")
    yield from driver.wait_until((FOLDER / "IKOL Body.smpl").is_file, WRITE_SECONDS)
    written = sorted(found.name for found in FOLDER.iterdir())
    driver.check("the motion is written, and nothing else", written == ["IKOL Body.smpl", path.name], written)
    yield SETTLE
    yield from write(driver, user, "ikol.export(", "TRC", "4_markers")
    yield 0.3  # drawn
    driver.snap("5_writing")
    driver.input.key("Escape")
    yield 4.0
    driver.check("Esc gives up: there is no file", not (FOLDER / "IKOL Body.trc").exists(), notice())
    driver.check("no error is shown", not notice(), notice())
    with driver.context():
        bpy.ops.wm.call_menu(name="TOPBAR_MT_file_export")
    yield SETTLE
    yield from driver.picture("6_menu")


driver = Driver()
driver.play(story)

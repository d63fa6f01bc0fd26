# SPDX-License-Identifier: Apache-2.0
"""A network that `ikol train` has left: named in the preferences, it poses a photograph, and its keypoints are dragged.

Before that a file that is no network, which must not keep the solver from starting. Takes one argument, the folder of
the training.
"""

import math
import os
import sys
from pathlib import Path

import bpy

sys.path.insert(0, os.environ["IKOL_WINDOW_DRIVER"])
from driver import SETTLE, Driver, Wait, story_arguments
from ikol_user import PICTURES, User, bodies, notice, phase, preferences, solver_state
from photo_user import MAX_MISS, drag, miss, pixel, record

TRAINING = Path(story_arguments()[0])
PHOTO = PICTURES / "front_step.jpg"
BROKEN = Path.home() / "broken.safetensors"
POINT, BONE = "left_wrist", "L_Wrist"
# A keypoint that the default network has not.
OWN = "Spine2"
# Pixels of the photograph that the point is dragged out and up.
DRAG = (60.0, -60.0)
# To the foot of the extension's page.
WHEEL_DOWN, SCROLLS = 5, 20


def name_a_broken_one(driver: Driver, user: User) -> Wait:
    """A file that is no network: the solver starts, and says what is wrong when the network is asked for."""
    BROKEN.write_bytes(b"no weights")
    preferences().own_network = str(BROKEN)
    preferences().model = "own"
    yield SETTLE
    seconds = yield from user.start_solver()
    driver.check("a solver with a broken network starts", seconds < float("inf"), f"{seconds:.1f} s, {phase()}")
    posed = yield from user.pose_photograph(PHOTO)
    said = f"{notice()} {solver_state().message}"
    driver.check("asked for it, it says what is wrong", not posed and BROKEN.name in said, said)
    yield from driver.picture("1_broken")
    preferences().model = "heavy"
    posed = yield from user.pose_photograph(PHOTO)
    driver.check("the default network poses the photograph", posed, notice())
    yield from driver.picture("2_default")
    yield from driver.hover_viewport()
    yield from driver.press_key("ctrl+z")


def name_the_training(driver: Driver, user: User) -> Wait:
    """The preferences, the field, the menu of networks; with the mouse and the keyboard."""
    pressed = yield from user.press("ikol.open_preferences")
    if not pressed:
        with driver.context():
            bpy.ops.ikol.open_preferences()
    yield 1.5
    page = driver.region("WINDOW", "PREFERENCES")
    left, top, width, height = driver.box(page)
    driver.input.move(left + width // 2, top + height // 2)
    for _ in range(SCROLLS):
        driver.input.press(WHEEL_DOWN)
        driver.input.release(WHEEL_DOWN)
        yield 0.1
    yield SETTLE
    field = yield from driver.find_button(BROKEN.name, page, across=0.7)
    if driver.check("the field shows the network that is named", field):
        x, y = field
        yield from driver.click(x, y, clicks=2)
        yield from driver.press_key("ctrl+a")
        driver.input.write(str(TRAINING))
        yield from driver.press_key("Return")
        yield from driver.click(x, y - 20)  # the menu of networks is the line above
        yield from driver.press_key("o")
    driver.check("the folder is typed", preferences().own_network == str(TRAINING), preferences().own_network)
    driver.check("the own network is chosen", preferences().model == "own", preferences().model)
    yield from driver.picture("3_preferences")
    driver.input.key("alt+F4")
    yield 1.0


def edit(driver: Driver) -> Wait:
    """One of the network's keypoints, dragged over the photograph."""
    with driver.context():
        bpy.ops.ikol.edit_photo()
    yield SETTLE
    start = pixel(POINT)
    hand = bodies()[0].pose.bones[BONE].head.copy()
    yield from drag(driver, start, DRAG, "5_dragging")
    moved = math.dist(pixel(POINT), start)
    driver.check("the point goes as far as the mouse", abs(moved - math.hypot(*DRAG)) < 3.0, f"{moved:.1f} px")
    driver.check("the joint follows", miss(POINT) < MAX_MISS, f"{miss(POINT):.2f} px off")
    went = (bodies()[0].pose.bones[BONE].head - hand).length
    driver.check("the bone has moved", went > 0.02, f"{went:.3f} m")
    yield from driver.picture("6_dragged")
    yield from driver.press_key("ctrl+z")
    driver.check("one undo takes the drag back", math.dist(pixel(POINT), start) < 0.01 and not record().edits)


def story(driver: Driver) -> Wait:
    """Play the chapters."""
    user = User(driver)
    yield 2.0
    yield from user.open_panel()
    yield from user.name_solver()
    yield from name_a_broken_one(driver, user)
    yield from name_the_training(driver, user)
    posed = yield from user.pose_photograph(PHOTO)
    yield from driver.picture("4_posed")
    if not driver.check("the trained network poses the photograph", posed and preferences().model == "own", notice()):
        return
    names = sorted({name for block in record().evidence for name in block.names if hasattr(block, "points")})
    driver.check("its evidence is of its own keypoints", OWN in names, names)
    yield from edit(driver)


driver = Driver()
driver.play(story)

# SPDX-License-Identifier: Apache-2.0
"""A file that is saved and opened again knows its evidence; a second photograph keys the same body on another frame.

Also here what a user may do while a command runs: open a new file, delete the body that is solved again.
"""

import os
import sys
from pathlib import Path

import bpy

sys.path.insert(0, os.environ["IKOL_WINDOW_DRIVER"])
from driver import SETTLE, Driver, Wait
from ikol_user import PICTURES, POSE_SECONDS, User, bodies, job, keyed_frames, notice, phase, result_of

FIRST, SECOND = "front_step.jpg", "person_standing.jpg"
SECOND_FRAME = 20
FILE = Path.home() / "pose.blend"
# Solving the same evidence again from its own solution may creep on by what the solver calls converged.
MAX_CREEP = 0.01


def wrist() -> tuple[float, ...]:
    """Where the left wrist of the first body is, in metres."""
    armature = bodies()[0]
    return tuple(armature.matrix_world @ armature.pose.bones["L_Wrist"].head)


def distance(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Metres between two places."""
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5


def save_and_open(driver: Driver, user: User) -> Wait:
    """Save, open, Re-solve without having moved anything."""
    before, error = wrist(), result_of(bodies()[0]).reprojection_px
    bpy.ops.wm.save_as_mainfile(filepath=str(FILE))
    bpy.ops.wm.open_mainfile(filepath=str(FILE))
    yield 2.0
    driver.check("the body is there after opening the file", len(bodies()) == 1)
    driver.check("its evidence too", abs(result_of(bodies()[0]).reprojection_px - error) < 1e-6, f"{error:.1f} px")
    yield from user.open_panel()
    pressed = yield from user.press("ikol.resolve")
    yield from driver.wait_until(lambda: job() is None, POSE_SECONDS)
    yield SETTLE
    driver.check("Re-solve runs on it", pressed and not notice(), notice())
    crept = distance(wrist(), before)
    driver.check("and leaves a pose as it was when nothing was moved", crept < MAX_CREEP, f"{crept * 1000:.1f} mm")


def second_frame(driver: Driver, user: User) -> Wait:
    """Another photograph for the same body, 20 frames later."""
    bpy.context.scene.frame_set(SECOND_FRAME)
    bpy.context.scene.ikol.target = "ACTIVE"
    bpy.context.view_layer.objects.active = bodies()[0]
    yield from user.pose_photograph(PICTURES / SECOND)
    driver.check("the second photograph makes no second body", len(bodies()) == 1 and not notice(), notice())
    frames = keyed_frames(bodies()[0])
    driver.check("both poses are keyed", frames == {1.0, float(SECOND_FRAME)}, frames)
    names = [image.image.name for image in bpy.context.scene.camera.data.background_images]
    driver.check("the camera shows the second photograph", names == [SECOND], names)
    yield from driver.picture("1_second_frame")


def while_it_runs(driver: Driver, user: User) -> Wait:
    """Delete what is being solved; open a new file in the middle."""
    user.begin(lambda: bpy.ops.ikol.resolve("INVOKE_DEFAULT"))
    bpy.data.objects.remove(bodies()[0])
    yield from driver.wait_until(lambda: job() is None, POSE_SECONDS)
    yield SETTLE
    driver.check("deleting the body meanwhile gives a sentence", "gone" in notice(), notice())
    bpy.context.scene.ikol.target = "NEW"
    user.begin_photograph(PICTURES / FIRST)
    yield 0.2
    running = job() is not None
    bpy.ops.wm.read_homefile()
    yield 2.0
    driver.check("a new file ends the command", running and job() is None and not bodies(), len(bodies()))
    driver.check("and the solver goes on", phase() == "running" and not notice(), notice() or phase())
    posed = yield from user.pose_photograph(PICTURES / FIRST)
    driver.check("the next photograph is posed", posed, notice())


def story(driver: Driver) -> Wait:
    """Play the chapters."""
    user = User(driver)
    yield 2.0
    yield from user.open_panel()
    yield from user.name_solver()
    posed = yield from user.pose_photograph(PICTURES / FIRST)
    if not driver.check("the photograph is posed", posed, notice()):
        return
    yield from save_and_open(driver, user)
    yield from second_frame(driver, user)
    yield from while_it_runs(driver, user)


driver = Driver()
driver.play(story)

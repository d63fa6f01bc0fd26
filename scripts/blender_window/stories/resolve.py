# SPDX-License-Identifier: Apache-2.0
"""The second half of the job: a hand is pulled up with the mouse, and Re-solve keeps it there and the rest in place.

Here the command; the body that follows while the mouse moves is in handle_drag. Also here: Esc gives up a running
command, and one undo takes the re-solve back.
"""

import os
import sys

import bpy
from bpy_extras.view3d_utils import location_3d_to_region_2d
from mathutils import Vector

sys.path.insert(0, os.environ["IKOL_WINDOW_DRIVER"])
from driver import SETTLE, Driver, Wait, story_arguments
from ikol_user import PICTURES, POSE_SECONDS, User, bodies, job, keyed_frames, notice, phase

PHOTO = (story_arguments() or ["front_step.jpg"])[0]
KEYPOINT = "IKOL Left Hand"
BONE = "L_Wrist"
FAR_BONES = ("L_Ankle", "R_Ankle", "Pelvis", "R_Wrist")
# Screen pixels that the wrist is pulled up and out: about 25 cm on the person in the picture.
PULL = (45, -70)
# The solver weighs a placed keypoint with a centimetre against the picture's rows; what it may miss, and what the far
# end of the body may give way, in metres.
MAX_MISS = 0.05
MAX_SIDE_EFFECT = 0.03
# Completing the step is the same solve from another start.
MAX_CREEP = 0.001


def bone_head(name: str) -> Vector:
    """Where a bone's joint is in the scene, in metres."""
    armature = bodies()[0]
    return armature.matrix_world @ armature.pose.bones[name].head


def on_screen(driver: Driver, position: Vector) -> tuple[int, int]:
    """The pixel at which the 3D view shows a position."""
    region = driver.region()
    left, top, _, height = driver.box(region)
    at = location_3d_to_region_2d(region, driver.area().spaces.active.region_3d, position)
    return left + round(at.x), top + height - 1 - round(at.y)


def pull(driver: Driver) -> Wait:
    """Click the handle, press G, move the mouse, click."""
    thing = bpy.data.objects[KEYPOINT]
    start = thing.matrix_world.translation.copy()
    x, y = on_screen(driver, start)
    yield from driver.click(x, y)
    active = bpy.context.view_layer.objects.active
    if active != thing:  # a bone of the armature lies at the same pixel
        for other in list(bpy.context.selected_objects):
            other.select_set(False)
        thing.select_set(True)
        bpy.context.view_layer.objects.active = thing
        yield SETTLE
    yield from driver.press_key("g")
    for step in (1, 2, 3, 4):
        driver.input.move(x + PULL[0] * step // 4, y + PULL[1] * step // 4)
        yield 0.2
    driver.input.press()
    yield 0.1
    driver.input.release()
    yield SETTLE
    moved = (bpy.data.objects[KEYPOINT].matrix_world.translation - start).length
    driver.check("it follows the mouse", moved > 0.1, f"{moved:.2f} m")


def resolve(driver: Driver, user: User) -> Wait:
    """Re-solve and compare."""
    far = {name: bone_head(name).copy() for name in FAR_BONES}
    before = bone_head(BONE).copy()
    target = bpy.data.objects[KEYPOINT].matrix_world.translation.copy()
    yield from driver.picture("2_keypoint_moved")
    user.begin(lambda: bpy.ops.ikol.resolve("INVOKE_DEFAULT"))
    yield from driver.wait_until(lambda: job() is None, POSE_SECONDS)
    yield 1.0
    missed = (bone_head(BONE) - target).length
    detail = f"{(before - target).length:.3f} m before, {missed:.3f} m after"
    driver.check("the wrist is where it was put", missed < MAX_MISS, detail)
    worst = max((bone_head(name) - place).length for name, place in far.items())
    driver.check("feet, hips and the other hand stay", worst < MAX_SIDE_EFFECT, f"at most {worst:.3f} m")
    frames = keyed_frames(bodies()[0])
    driver.check("the new pose is keyed on the same frame", frames == {float(bpy.context.scene.frame_current)}, frames)
    yield from driver.picture("3_resolved")
    yield from driver.hover_viewport()
    yield from driver.press_key("ctrl+z")
    yield 2.0  # a step that Blender made before the drag's last answer is completed
    bpy.context.view_layer.update()  # matrices of what undo brought back are not computed until it is drawn
    back = (bone_head(BONE) - before).length
    driver.check("one undo takes the re-solve back, not the move", back < MAX_CREEP, f"{back:.4f} m")
    kept = (bpy.data.objects[KEYPOINT].matrix_world.translation - target).length
    driver.check("the handle stays where it was put", kept < 1e-4, f"{kept:.4f} m")


def give_up(driver: Driver, user: User) -> Wait:
    """Esc while a photograph is looked at."""
    count = len(bodies())
    yield from driver.hover_viewport()
    user.begin_photograph(PICTURES / PHOTO)
    yield 0.3
    running = job() is not None
    driver.input.key("Escape")
    ended = yield from driver.wait_until(lambda: job() is None, 2.0)
    driver.check("Esc ends the command at once", running and ended)
    yield 3.0
    driver.check("nothing was made", len(bodies()) == count, len(bodies()))
    driver.check("no error is shown, the solver goes on", not notice() and phase() == "running", notice() or phase())
    yield from driver.picture("4_cancelled")


def story(driver: Driver) -> Wait:
    """Pose, pull, re-solve, undo, give up."""
    user = User(driver)
    yield 2.0
    yield from user.open_panel()
    yield from user.name_solver()
    seconds = yield from user.start_solver()
    driver.check("the solver is ready", seconds < float("inf"), f"{seconds:.1f} s")
    posed = yield from user.pose_photograph(PICTURES / PHOTO)
    if not driver.check("the photograph is posed", posed):
        return
    yield from driver.picture("1_posed")
    yield from pull(driver)
    yield from resolve(driver, user)
    yield from give_up(driver, user)


driver = Driver()
driver.play(story)

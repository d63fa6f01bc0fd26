# SPDX-License-Identifier: Apache-2.0
"""Handles in 3D with a real mouse: G, R, Esc, undo, redo, a locked foot, a frozen and a killed solver, save and reopen.

Takes one argument, the photograph's name in ~/Pictures.
"""

import os
import signal
import sys
from pathlib import Path

import bpy
from bpy_extras.view3d_utils import location_3d_to_region_2d
from mathutils import Vector

sys.path.insert(0, os.environ["IKOL_WINDOW_DRIVER"])
from driver import SETTLE, Driver, Wait, story_arguments
from ikol_user import PACKAGE, PICTURES, User, bodies, notice, phase

PHOTO = (story_arguments() or ["front_step.jpg"])[0]
FILE = Path.home() / "drag.blend"
STEPS = 8
# A placed handle has a standard deviation of 5 mm and competes with the picture.
MAX_MISS = 0.03
# A locked point is exact: what is left are Blender's float32 matrices along the chain.
MAX_SLIP = 0.001
# A redraw takes 0.3 s here, so that "while the mouse moves" means after a few of them.
FOLLOW_SECONDS = 3.0


def part(name: str) -> object:
    """A module of the extension."""
    return sys.modules[f"{PACKAGE}.{name}"]


def head(bone: str) -> Vector:
    """Where a joint is in the scene, in metres."""
    bpy.context.view_layer.update()
    armature = bodies()[0]
    return armature.matrix_world @ armature.pose.bones[bone].head


def handle(label: str) -> bpy.types.Object:
    """The handle of that name."""
    return bpy.data.objects[f"IKOL {label}"]


def place(label: str) -> Vector:
    """Where a handle is, in metres."""
    bpy.context.view_layer.update()
    return handle(label).matrix_world.translation.copy()


def edits() -> dict[str, object]:
    """What the user said of points."""
    return part("blender.bodies").read_record(bodies()[0]).edits


def is_quiet() -> bool:
    """Whether no handle is dragged and no late answer is waited for."""
    watch, living = part("blender.live_handles").watch(), part("blender.runtime").get()
    return not (watch._drags or watch._touched or watch._unfinished or living.late_drag)


def on_screen(driver: Driver, position: Vector) -> tuple[int, int]:
    """The pixel at which the 3D view shows a position."""
    region = driver.region()
    left, top, _, height = driver.box(region)
    at = location_3d_to_region_2d(region, driver.area().spaces.active.region_3d, position)
    return left + round(at.x), top + height - 1 - round(at.y)


def select(driver: Driver, label: str) -> Wait:
    """Click a handle; where another one lies over it, choose it as a script does."""
    yield from driver.click(*on_screen(driver, place(label)))
    active = bpy.context.view_layer.objects.active
    print("clicked", active and active.name, flush=True)
    if active != handle(label):
        for other in list(bpy.context.selected_objects):
            other.select_set(False)
        handle(label).select_set(True)
        bpy.context.view_layer.objects.active = handle(label)
        yield SETTLE


def grab(driver: Driver, label: str, way: tuple[int, int], key: str = "g") -> Wait:
    """Press G (or R) over a handle and move the mouse, without letting go."""
    x, y = on_screen(driver, place(label))
    if key == "r":
        x += 60
    driver.input.move(x, y)
    yield 0.3
    driver.input.key(key)
    yield 0.3
    for step in range(1, STEPS + 1):
        driver.input.move(x + way[0] * step // STEPS, y + way[1] * step // STEPS)
        yield 0.15


def let_go(driver: Driver) -> Wait:
    """Click, and wait until the last answer is there."""
    driver.input.press()
    yield 0.08
    driver.input.release()
    yield SETTLE
    yield from driver.wait_until(is_quiet, 10.0)
    yield SETTLE


def pull_hand(driver: Driver) -> Wait:
    """The body follows while the mouse moves; one undo, one redo."""
    before, start, first = head("L_Wrist").copy(), place("Left Hand"), dict(edits())
    yield from select(driver, "Left Hand")
    points = part("blender.selection").selected_points(bodies()[0])
    driver.check("the panel speaks of the handle that was clicked", points == ("L_Wrist",), points)
    driver.reset_pause()
    yield from grab(driver, "Left Hand", (50, -90))
    followed = yield from driver.wait_until(
        lambda: (head("L_Wrist") - place("Left Hand")).length < MAX_MISS, FOLLOW_SECONDS
    )
    tool = part("blender.live_handles").tool_runs(bpy.context)
    gap = (head("L_Wrist") - place("Left Hand")).length
    driver.check("the arm follows while the mouse button is not yet pressed", followed and tool, f"{gap:.3f} m, {tool}")
    driver.snap("2_while_dragging")
    yield from let_go(driver)
    driver.answered("the window answers all the time")
    moved, miss = (place("Left Hand") - start).length, (head("L_Wrist") - place("Left Hand")).length
    driver.check(
        "the hand is where it was put", moved > 0.1 and miss < MAX_MISS, f"moved {moved:.2f}, off {miss:.3f} m"
    )
    after, target = head("L_Wrist").copy(), place("Left Hand")
    yield from driver.picture("3_hand_moved")
    yield from driver.hover_viewport()
    yield from driver.press_key("ctrl+z")
    yield 0.5
    same = (head("L_Wrist") - before).length < 1e-4 and (place("Left Hand") - start).length < 1e-4
    driver.check(
        "one undo restores pose, handle and evidence", same and edits() == first, (head("L_Wrist") - before).length
    )
    yield from driver.picture("4_undone")
    yield from driver.hover_viewport()
    yield from driver.press_key("ctrl+shift+z")
    yield from driver.wait_until(is_quiet, 10.0)
    yield SETTLE
    back = max((head("L_Wrist") - after).length, (place("Left Hand") - target).length)
    driver.check("redo brings all three back", back < 0.002 and "L_Wrist" in edits(), f"{back * 1000:.2f} mm")


def give_up(driver: Driver) -> Wait:
    """Esc during G."""
    before, start, first = head("L_Wrist").copy(), place("Left Hand"), dict(edits())
    yield from select(driver, "Left Hand")
    yield from grab(driver, "Left Hand", (-60, 60))
    yield 1.0
    went = (head("L_Wrist") - before).length
    yield from driver.press_key("Escape")
    yield from driver.wait_until(is_quiet, 10.0)
    yield SETTLE
    back = max((head("L_Wrist") - before).length, (place("Left Hand") - start).length)
    driver.check(
        "Esc puts everything back", went > 0.03 and back < 1e-4 and edits() == first, f"{went:.2f}, {back:.5f} m"
    )


def pull_hips(driver: Driver, user: User) -> Wait:
    """A locked foot stays while the hips are pulled."""
    yield from select(driver, "Left Foot")
    user.begin(bpy.ops.ikol.lock_points)
    yield from driver.wait_until(lambda: "L_Ankle" in edits() and edits()["L_Ankle"].is_locked, 10.0)
    yield 1.0
    target = place("Left Foot")
    hips = head("Pelvis").copy()
    yield from select(driver, "Hips")
    yield from grab(driver, "Hips", (40, 40))
    yield from let_go(driver)
    slip, went = (head("L_Ankle") - target).length, (head("Pelvis") - hips).length
    driver.check("the locked foot stays within a millimetre", slip < MAX_SLIP, f"{slip * 1000:.2f} mm")
    driver.check("the hips went", went > 0.03, f"{went:.3f} m")
    yield from driver.picture("5_hips_pulled")


def turn_hand(driver: Driver) -> Wait:
    """R over the right hand's handle turns the hand."""
    yield from select(driver, "Right Hand")
    bone = bodies()[0].pose.bones["R_Wrist"]
    before = bone.matrix.to_quaternion()
    yield from grab(driver, "Right Hand", (-50, 50), key="r")
    yield from let_go(driver)
    angle = before.rotation_difference(bodies()[0].pose.bones["R_Wrist"].matrix.to_quaternion()).angle
    edit = edits().get("R_Wrist")
    driver.check("turning the handle turns the hand", angle > 0.1 and edit is not None and edit.orientation, angle)
    yield from driver.picture("6_hand_turned")


def trouble(driver: Driver) -> Wait:
    """The solver is frozen, then killed, in the middle of drags: the window goes on, the body arrives later."""
    solver = part("blender.runtime").get().solver
    yield from select(driver, "Right Hand")
    driver.reset_pause()
    yield from grab(driver, "Right Hand", (-10, -15))
    os.kill(solver.pid, signal.SIGSTOP)
    x, y = on_screen(driver, place("Right Hand"))
    for step in range(6):
        driver.input.move(x - 3 * step, y - 5 * step)
        yield 0.25
    driver.answered("a frozen solver does not freeze the window")
    os.kill(solver.pid, signal.SIGCONT)
    arrived = yield from driver.wait_until(lambda: (head("R_Wrist") - place("Right Hand")).length < MAX_MISS, 10.0)
    driver.check("the drag goes on when it is back", arrived, f"{(head('R_Wrist') - place('Right Hand')).length:.3f} m")
    os.kill(solver.pid, signal.SIGKILL)
    driver.reset_pause()
    for step in range(6):
        driver.input.move(x - 15 + 2 * step, y - 25 + 3 * step)
        yield 0.25
    yield from let_go(driver)
    arrived = yield from driver.wait_until(
        lambda: is_quiet() and (head("R_Wrist") - place("Right Hand")).length < MAX_MISS, 40.0
    )
    gap = (head("R_Wrist") - place("Right Hand")).length
    driver.check("also after the solver was killed", arrived, f"{gap:.3f} m {phase()} {notice()}")
    driver.answered("the window answers all the time")


def reopen(driver: Driver) -> Wait:
    """Save, open, drag again."""
    bpy.ops.wm.save_as_mainfile(filepath=str(FILE))
    bpy.ops.wm.open_mainfile(filepath=str(FILE))
    yield 2.0
    yield from select(driver, "Left Hand")
    before = head("L_Wrist").copy()
    yield from grab(driver, "Left Hand", (-15, 30))
    yield from let_go(driver)
    miss, went = (head("L_Wrist") - place("Left Hand")).length, (head("L_Wrist") - before).length
    driver.check("an opened file is dragged on", went > 0.02 and miss < MAX_MISS, f"went {went:.3f}, off {miss:.3f} m")
    yield from driver.picture("7_reopened")


def story(driver: Driver) -> Wait:
    """Play the chapters."""
    user = User(driver)
    yield 2.0
    yield from user.open_panel()
    yield from user.name_solver()
    posed = yield from user.pose_photograph(PICTURES / PHOTO)
    if not driver.check("the photograph is posed", posed, notice()):
        return
    yield 1.0
    yield from driver.picture("1_posed")
    yield from pull_hand(driver)
    yield from give_up(driver)
    yield from pull_hips(driver, user)
    yield from turn_hand(driver)
    yield from trouble(driver)
    yield from reopen(driver)


driver = Driver()
driver.play(story)

# SPDX-License-Identifier: Apache-2.0
"""The tool over the photograph with a real mouse: drag, click, remove, add, nudge, box, undo, a frozen solver.

Takes one argument, the photograph's name in ~/Pictures.
"""

import math
import os
import signal
import sys
from collections.abc import Callable

import bpy

sys.path.insert(0, os.environ["IKOL_WINDOW_DRIVER"])
from driver import SETTLE, Driver, Wait, story_arguments
from ikol_user import PICTURES, User, bodies, phase
from photo_user import ANSWER_SECONDS, MAX_MISS, STEPS, drag, is_quiet, miss, on_screen, part, pixel, record, selected

PHOTO = (story_arguments() or ["front_step.jpg"])[0]
POINT = "left_wrist"
OTHER = "right_elbow"
# Pixels of the photograph that the point is dragged up and out.
DRAG = (42.0, -42.0)


def double_click(driver: Driver, place: tuple[int, int], has_worked: Callable[[], bool]) -> Wait:
    """Click twice until it counts: on a busy machine the redraw between two clicks makes them single ones."""
    for _ in range(3):
        yield from driver.click(*place, clicks=2)
        if (yield from driver.wait_until(lambda: has_worked() and is_quiet(), ANSWER_SECONDS)):
            break


def prepare(driver: Driver, user: User) -> Wait:
    """A posed photograph and the tool, by one click in the panel."""
    # Blender measures a double click from redraw to redraw, and the software renderer takes half a second for one.
    bpy.context.preferences.inputs.mouse_double_click_time = 1000
    yield from user.open_panel()
    yield from user.name_solver()
    yield from user.start_solver()
    yield from user.pose_photograph(PICTURES / PHOTO)
    with driver.context():
        bpy.ops.view3d.view_persportho()  # away from the camera, so that the click has something to do
        bpy.ops.ikol.edit_photo()
    yield SETTLE
    with driver.context():
        driver.check("one click leads to camera and tool", part("blender.photo_scene").is_tool_active(bpy.context))
    yield from driver.picture("1_tool")


def drag_one(driver: Driver) -> Wait:
    """A wrist by 60 pixels; undo and redo."""
    start = pixel(POINT)
    driver.input.move(*on_screen(driver, start))
    yield 2 * SETTLE
    hovered = part("blender.photo_scene").STATE.hovered
    driver.check("the point under the mouse is marked", hovered == POINT, hovered)
    yield from driver.picture("2_hover")
    hand = bodies()[0].pose.bones["L_Wrist"].head.copy()
    yield from drag(driver, start, DRAG, "3_dragging")
    moved = math.dist(pixel(POINT), start)
    driver.check("the point goes as far as the mouse", abs(moved - math.hypot(*DRAG)) < 3.0, f"{moved:.1f} px")
    driver.check("the joint follows", miss(POINT) < MAX_MISS, f"{miss(POINT):.2f} px off")
    went = (bodies()[0].pose.bones["L_Wrist"].head - hand).length
    driver.check("the bone has moved", went > 0.02, f"{went:.3f} m")
    live = part("blender.runtime").get().solver.live
    latency = f"{live.latency_ms:.0f} ms from question to answer, p95 {live.latency_p95_ms:.0f} ms, drawing in between"
    driver.check("answers came in the drag", live.latency_ms > 0, latency)
    yield from driver.picture("4_dragged")
    yield from driver.press_key("ctrl+z")
    driver.check("one undo takes the drag back", math.dist(pixel(POINT), start) < 0.01 and not record().edits)
    bpy.context.view_layer.update()
    back = (bodies()[0].pose.bones["L_Wrist"].head - hand).length
    driver.check("with the pose", back < 1e-4, f"{back:.5f} m")
    yield from driver.press_key("ctrl+shift+z")
    kept = POINT in record().edits and miss(POINT) < MAX_MISS
    driver.check("one redo brings it again", kept, f"{miss(POINT):.2f} px")


def escape(driver: Driver) -> Wait:
    """Esc in the middle."""
    start = pixel(OTHER)
    driver.input.move(*on_screen(driver, start))
    yield 0.4
    driver.input.press()
    for step in (10, 20, 30, 40):
        yield 0.1
        driver.input.move(*on_screen(driver, (start[0] + step, start[1])))
    yield 0.3
    driver.input.key("Escape")
    yield 0.2
    driver.input.release()
    yield SETTLE
    driver.check("Esc gives the drag up", is_quiet() and OTHER not in record().edits, sorted(record().edits))


def remove_and_add(driver: Driver) -> Wait:
    """Right click, double click, X."""
    place = on_screen(driver, pixel(OTHER))
    yield from driver.click(*place, button=3)
    yield from driver.wait_until(lambda: OTHER in record().edits and is_quiet(), ANSWER_SECONDS)
    edit = record().edits.get(OTHER)
    driver.check("a right click removes the point", edit is not None and edit.is_removed, edit)
    yield from driver.picture("5_removed")
    yield from double_click(driver, place, lambda: not record().edits[OTHER].is_removed)
    edit = record().edits.get(OTHER)
    driver.check("a double click brings it back", edit is not None and not edit.is_removed and edit.pixel, edit)
    yield from driver.press_key("x")
    yield from driver.wait_until(lambda: record().edits[OTHER].is_removed and is_quiet(), ANSWER_SECONDS)
    driver.check("X removes the selected point, not the body", record().edits[OTHER].is_removed and bodies())
    yield from driver.press_key("ctrl+z")
    yield from driver.wait_until(lambda: not record().edits[OTHER].is_removed, ANSWER_SECONDS)
    driver.check("undo brings it back", not record().edits[OTHER].is_removed, sorted(record().edits))
    neck = record().solution.pixels["Neck"]
    yield from double_click(driver, on_screen(driver, (neck[0] + 3, neck[1] - 3)), lambda: "Neck" in record().edits)
    driver.check("a double click adds a joint", "Neck" in record().edits, sorted(record().edits))
    yield from driver.picture("6_added")


def nudge(driver: Driver) -> Wait:
    """Five pixels to the right and ten down; one undo."""
    start = pixel(POINT)
    yield from driver.click(*on_screen(driver, start))
    driver.check("a click selects", selected() == (POINT,), selected())
    frame = bpy.context.scene.frame_current
    for chord in ("Right",) * 5 + ("shift+Down",):
        driver.input.key(chord)
        yield 0.15
    yield 1.0
    yield from driver.wait_until(is_quiet, ANSWER_SECONDS)
    way = tuple(round(a - b, 2) for a, b in zip(pixel(POINT), start, strict=True))
    driver.check("arrow keys nudge by pixels", way == (5.0, 10.0) and bpy.context.scene.frame_current == frame, way)
    yield from driver.press_key("ctrl+z")
    driver.check("one undo takes the nudges back", math.dist(pixel(POINT), start) < 0.01, pixel(POINT))


def box(driver: Driver) -> Wait:
    """A box around the left leg, dragged together."""
    leg = ("left_knee", "left_ankle", "left_foot_index")
    places = [pixel(name) for name in leg]
    low = tuple(min(place[i] for place in places) - 40 for i in (0, 1))
    high = tuple(max(place[i] for place in places) + 40 for i in (0, 1))
    yield from drag(driver, low, (high[0] - low[0], high[1] - low[1]), "7_box")
    driver.check("a box selects what is in it", set(leg) <= set(selected()), selected())
    before = {name: pixel(name) for name in selected()}
    yield from drag(driver, before["left_ankle"], (30.0, -20.0), "8_several")
    ways = [math.dist(pixel(name), before[name]) for name in before]
    driver.check("all selected points are dragged", max(ways) - min(ways) < 0.01 and ways[0] > 25, ways)
    yield from driver.press_key("ctrl+z")
    driver.check("one undo takes them back", math.dist(pixel("left_knee"), before["left_knee"]) < 0.01)
    yield from driver.press_key("a")
    driver.check("A selects all", len(selected()) > 12, len(selected()))
    yield from driver.press_key("alt+a")
    driver.check("Alt A selects none", not selected(), selected())


def frozen(driver: Driver) -> Wait:
    """The solver is stopped in the middle of a drag, and goes on later."""
    scene, solver = part("blender.photo_scene"), part("blender.runtime").get().solver
    start = pixel(POINT)
    driver.input.move(*on_screen(driver, start))
    yield 0.4
    driver.input.press()
    yield 0.2
    os.kill(solver.pid, signal.SIGSTOP)
    for step in range(1, STEPS + 1):
        yield 0.15
        driver.input.move(*on_screen(driver, (start[0] - 3.5 * step, start[1] + 3.5 * step)))
    yield 1.0
    went = math.dist(part("core.keypoints").target_pixel(scene.newest_record(bodies()[0]), POINT), start)
    driver.check("the point moves on while the solver is frozen", went > 50, f"{went:.1f} px")
    yield from driver.picture("9_frozen")
    driver.input.release()
    kept = yield from driver.wait_until(lambda: math.dist(pixel(POINT), start) > 50, ANSWER_SECONDS)
    driver.check("the edit is kept", kept)
    os.kill(solver.pid, signal.SIGCONT)
    yield from driver.wait_until(lambda: miss(POINT) < MAX_MISS, 10.0)
    driver.check("the body follows when the solver is back", miss(POINT) < MAX_MISS, f"{miss(POINT):.2f} px off")
    yield SETTLE


def pose_mode(driver: Driver) -> Wait:
    """The same tool in pose mode, on a screen of twice the resolution."""
    with driver.context():
        bpy.ops.object.mode_set(mode="POSE")
        bpy.ops.ikol.edit_photo()
    driver.area().spaces.active.show_region_ui = False  # at that size it would lie over the body
    bpy.context.preferences.view.ui_scale = 2.0
    yield 2 * SETTLE
    start = pixel("nose")
    yield from drag(driver, start, (25.0, 10.0), "10_pose_mode_twice_as_large")
    moved = math.dist(pixel("nose"), start)
    driver.check("it drags in pose mode", moved > 15 and miss("nose") < MAX_MISS, f"{moved:.1f}, {miss('nose'):.2f} px")
    bpy.context.preferences.view.ui_scale = 1.0
    yield SETTLE


def story(driver: Driver) -> Wait:
    """Play the chapters."""
    user = User(driver)
    yield 2.0
    yield from prepare(driver, user)
    if not driver.check("a body stands in the scene", bodies(), phase()):
        return
    yield from drag_one(driver)
    yield from escape(driver)
    yield from remove_and_add(driver)
    yield from nudge(driver)
    yield from box(driver)
    yield from frozen(driver)
    yield from pose_mode(driver)


driver = Driver()
driver.play(story)

# SPDX-License-Identifier: Apache-2.0
"""The film of the README: keypoints dragged over the photograph, then a handle in space; the body follows.

Takes one argument, the photograph's name in ~/Pictures.
"""

import math
import os
import sys
import time

import bpy
from bpy_extras.view3d_utils import location_3d_to_region_2d
from mathutils import Vector

sys.path.insert(0, os.environ["IKOL_WINDOW_DRIVER"])
from driver import SETTLE, Driver, Wait, story_arguments
from ikol_user import PACKAGE, PICTURES, User, bodies

PHOTO = (story_arguments() or ["front_step.jpg"])[0]
ZOOM, OFFSET = 12.0, (0.0, 0.16)
WIDTH = 640  # of the film
FILM_SECONDS = 20.0
MOVE_SECONDS = 0.12
PAUSE = 0.5
MAX_MISS_PX = 12.0  # in the middle of a drag the body is at most an answer behind

Way = list[tuple[float, float]]


def part(name: str) -> object:
    """A module of the extension."""
    return sys.modules[f"{PACKAGE}.{name}"]


def record() -> object:
    """What is stored on the body."""
    return part("blender.bodies").read_record(bodies()[0])


def photo_to_screen(driver: Driver, at: tuple[float, float]) -> tuple[int, int]:
    """Where a pixel of the photograph is on the screen."""
    with driver.context():
        x, y = part("blender.photo_scene").photo_scene(bpy.context).view.to_region(at)
    left, top, _, height = driver.box(driver.region())
    return left + round(x), top + height - 1 - round(y)


def scene_to_screen(driver: Driver, position: Vector) -> tuple[int, int]:
    """Where a position of the scene is on the screen."""
    region = driver.region()
    left, top, _, height = driver.box(region)
    at = location_3d_to_region_2d(region, driver.area().spaces.active.region_3d, position)
    return left + round(at.x), top + height - 1 - round(at.y)


def arc(center: tuple[float, float], radius: tuple[float, float], turns: float, seconds: float) -> Way:
    """A way that begins and ends slowly, along an ellipse that passes through `center`."""
    count = round(seconds / MOVE_SECONDS)
    way: Way = []
    for step in range(1, count + 1):
        share = step / count
        eased = share * share * (3 - 2 * share)
        angle = 2 * math.pi * turns * eased
        way.append((center[0] + radius[0] * math.sin(angle), center[1] - radius[1] * (1 - math.cos(angle)) / 2))
    return way


def follow(driver: Driver, way: Way) -> Wait:
    """Move the pointer along screen pixels, at an even pace."""
    begin = time.monotonic()
    for step, (x, y) in enumerate(way):
        driver.input.move(round(x), round(y))
        yield max(0.0, begin + (step + 1) * MOVE_SECONDS - time.monotonic())


def drag_point(driver: Driver, name: str, radius: tuple[float, float], turns: float, seconds: float) -> Wait:
    """Drag a keypoint over the photograph."""
    start = photo_to_screen(driver, part("core.keypoints").target_pixel(record(), name))
    driver.input.move(*start)
    yield PAUSE
    driver.input.press()
    yield 0.1
    yield from follow(driver, arc(start, radius, turns, seconds))
    yield 0.3
    driver.input.release()
    yield 1.0
    missed = math.dist(part("core.keypoints").target_pixel(record(), name), record().solution.pixels[name])
    driver.check(f"the body has followed {name}", missed < MAX_MISS_PX, f"{missed:.1f} px off")


def drag_handle(driver: Driver, label: str, way: tuple[int, int], seconds: float) -> Wait:
    """Select a handle, press G, move, click."""
    thing = bpy.data.objects[f"IKOL {label}"]
    for other in list(bpy.context.selected_objects):
        other.select_set(False)
    thing.select_set(True)
    bpy.context.view_layer.objects.active = thing
    yield PAUSE
    before = thing.matrix_world.translation.copy()
    start = scene_to_screen(driver, before)
    driver.input.move(*start)
    yield 0.3
    driver.input.key("g")
    yield 0.3
    yield from follow(driver, arc(start, way, 0.5, seconds))
    yield 0.4
    driver.input.press()
    yield 0.1
    driver.input.release()
    yield 1.0
    moved = (bpy.data.objects[f"IKOL {label}"].matrix_world.translation - before).length
    driver.check(f"the handle {label} was moved", moved > 0.1, f"{moved:.2f} m")


def story(driver: Driver) -> Wait:
    """Pose, then film."""
    user = User(driver)
    yield 2.0
    yield from user.open_panel()
    yield from user.name_solver()
    yield from user.start_solver()
    posed = yield from user.pose_photograph(PICTURES / PHOTO)
    if not driver.check("the photograph is posed", posed):
        return
    bpy.context.preferences.system.viewport_aa = "OFF"  # the software renderer draws twice as fast
    space = driver.area().spaces.active
    space.show_region_ui = False
    with driver.context():
        bpy.ops.screen.screen_full_area()
    yield SETTLE
    space = driver.area().spaces.active
    with driver.context():
        bpy.ops.ikol.edit_photo()
    space.region_3d.view_camera_zoom = ZOOM
    space.region_3d.view_camera_offset = OFFSET
    yield 2 * SETTLE
    yield from driver.picture("1_tool")
    driver.film("drag")
    yield PAUSE
    yield from drag_point(driver, "left_wrist", (90, 220), 1.5, 6.0)
    yield from drag_point(driver, "right_ankle", (-70, 90), 1.0, 4.0)
    with driver.context():
        bpy.ops.wm.tool_set_by_id(name="builtin.select_box")
        bpy.ops.view3d.view_persportho()
        bpy.ops.view3d.view_selected()
        bpy.ops.view3d.view_orbit(angle=0.7, type="ORBITLEFT")
    yield SETTLE
    yield from drag_handle(driver, "Right Hand", (-60, 200), 4.0)
    yield PAUSE
    left, top, width, height = driver.box(driver.region())
    speed = driver.cut("drag", (left + 60, top + 30, width - 60, height - 30), WIDTH, FILM_SECONDS)
    print(f"the film runs {speed:.1f} times as fast as it was taken", flush=True)
    size = (driver.out / "drag.gif").stat().st_size
    driver.check("the film is small enough for a page", size < 6_000_000, f"{size / 1e6:.1f} MB")
    yield from driver.picture("2_end")


driver = Driver()
driver.play(story)

# SPDX-License-Identifier: Apache-2.0
"""Photographs of one pose from several sides: chosen together in the file browser, then dropped together.

Looks through each of the cameras that were made, drags a wrist on the first photograph and on the second, without the
first camera too, and undoes it all. Takes one argument, the folder of the photographs,
with nothing else in it.
"""

import math
import os
import sys
from collections.abc import Generator
from pathlib import Path

import bpy

sys.path.insert(0, os.environ["IKOL_WINDOW_DRIVER"])
from driver import SETTLE, Driver, Wait, story_arguments
from file_manager import FileManager
from ikol_user import POSE_SECONDS, User, bodies, is_camera_view, job, notice, result_of
from photo_user import MAX_MISS, drag, miss, part, pixel, record

FOLDER = Path(story_arguments()[0])
POINT = "left_wrist"
# Pixels of the first photograph that the point is dragged.
FIRST_DRAG = (0.0, -60.0)
# On the second it is dragged to where it is after coming that much nearer to the first's camera, as a share of the way:
# the first one's place is on that line alone.
NEARER = 0.03
PHOTOS = sorted(path for path in FOLDER.iterdir() if path.suffix.lower() in (".png", ".jpg"))


def cameras() -> list[bpy.types.Object]:
    """The cameras that the extension made, the first picture's first."""
    made = [thing for thing in bpy.data.objects if thing.type == "CAMERA" and thing.name.startswith("IKOL")]
    return sorted(made, key=lambda camera: camera.name)


def choose_all(driver: Driver) -> Generator[float, None, bool]:
    """Select all files in the open file browser and confirm; say whether it could be done."""
    browser = driver.area("FILE_BROWSER")
    parameters = browser.spaces.active.params
    parameters.directory = str(FOLDER).encode()
    parameters.display_type = "THUMBNAIL"
    yield 2.5  # thumbnails
    left, top, width, height = driver.box(driver.region("WINDOW", "FILE_BROWSER"))
    driver.input.move(left + width - 40, top + height - 40)
    yield SETTLE
    yield from driver.press_key("a")
    yield SETTLE
    yield from driver.picture("1_file_browser")
    place = yield from driver.find_button("file.execute", driver.region("EXECUTE", "FILE_BROWSER"), across=0.93)
    if place is None:
        return False
    driver.input.press()
    yield 0.08
    driver.input.release()
    yield 0.1
    return True


def look_around(driver: Driver, first: int) -> Wait:
    """A picture through each camera."""
    for number, camera in enumerate(cameras()):
        bpy.context.scene.camera = camera
        yield 2 * SETTLE
        shown = [each.image.name for each in camera.data.background_images]
        driver.check(f"camera {number} shows its photograph", shown == [PHOTOS[number].name], shown)
        yield from driver.picture(f"{first + number}_camera_{number}")


def press_picture(driver: Driver, user: User, number: int) -> Wait:
    """Choose a photograph in the panel."""
    pressed = yield from user.press(f"ikol.show_picture(number={number})")
    yield 2 * SETTLE
    driver.check(f"the panel leads to photograph {number}", pressed and record().shown == number, notice())
    driver.check("the 3D view looks through its camera", bpy.context.scene.camera == cameras()[number])


def missed_on(number: int, at: tuple[float, float]) -> float:
    """Pixels from a place on a photograph to where its camera sees the point now."""
    seen = part("core.pose_conversion").project(record().pictures[number].camera, [record().solution.points[POINT]])
    return math.dist(at, seen[0])


def seen_nearer() -> tuple[float, float]:
    """Where the second photograph sees the point after it has come nearer to the first's camera."""
    at, eye = record().solution.points[POINT], part("core.common_ground").camera_place(record().pictures[0].camera)
    nearer = [here + NEARER * (there - here) for here, there in zip(at, eye, strict=True)]
    return part("core.pose_conversion").project(record().camera, [nearer])[0]


def drag_on_two(driver: Driver, user: User) -> Wait:
    """Drag a wrist on the first photograph, then on the second: the body meets both."""
    yield from press_picture(driver, user, 0)
    with driver.context():
        bpy.ops.ikol.edit_photo()
    yield SETTLE
    yield from drag(driver, pixel(POINT), FIRST_DRAG, "11_drag_on_first")
    first = pixel(POINT)
    driver.check("the body follows on the first photograph", miss(POINT) < MAX_MISS, round(miss(POINT), 1))
    yield from press_picture(driver, user, 1)
    yield from driver.picture("12_second")
    start, end = pixel(POINT), seen_nearer()
    yield from drag(driver, start, (end[0] - start[0], end[1] - start[1]), "13_drag_on_second")
    driver.check("the body follows on the second photograph", miss(POINT) < MAX_MISS, round(miss(POINT), 1))
    kept = missed_on(0, first)
    driver.check("what was placed on the first one still holds", kept < 3 * MAX_MISS, round(kept, 1))
    yield from driver.picture("14_both")
    bpy.data.objects.remove(cameras()[0])
    with driver.context():
        bpy.ops.ed.undo_push(message="camera deleted")
    yield from driver.hover_viewport()
    for _ in range(4):  # the camera, the second drag, the second photograph, the first drag
        yield from driver.press_key("ctrl+z")
        yield 2 * SETTLE
    driver.check("undo leads back to the first photograph", record().shown == 0)
    driver.check("and to its keypoint", not record().edits, sorted(record().edits))


def story(driver: Driver) -> Wait:
    """Choose, look, edit, undo, drop."""
    user = User(driver)
    yield 2.0
    yield from user.open_panel()
    yield from user.name_solver()
    yield from user.start_solver()
    pressed = yield from user.press("ikol.pick_images")
    driver.check("the panel has the button", pressed)
    yield 1.5
    chosen = yield from choose_all(driver)
    driver.check("all photographs are chosen", chosen)
    driver.reset_pause()  # opening and closing the file browser is Blender's own work
    yield 1.5
    yield from driver.picture("2_progress")
    yield from driver.wait_until(lambda: job() is None, len(PHOTOS) * POSE_SECONDS)
    yield 2 * SETTLE
    driver.check("one body stands in the scene", len(bodies()) == 1, notice())
    driver.check("there is a camera for each photograph", len(cameras()) == len(PHOTOS), len(cameras()))
    driver.check("the 3D view looks through the first", is_camera_view(driver))
    if not bodies():
        return
    driver.check("the keypoints are met", 0 <= result_of(bodies()[0]).reprojection_px < 20.0)
    yield from look_around(driver, 3)
    yield from drag_on_two(driver, user)
    yield from driver.hover_viewport()
    for _ in range(2):  # the first photograph in the panel, and the body
        yield from driver.press_key("ctrl+z")
        yield SETTLE
    left_over = sorted(thing.name for thing in bpy.data.objects)
    driver.check("one undo takes it all back", left_over == ["Camera", "Cube", "Light"], left_over)

    files = FileManager(driver, FOLDER)
    opened = yield from files.open()
    driver.check("a file manager is open beside Blender", opened)
    left, top, width, height = driver.box(driver.area())
    x, y = left + width // 4, top + height // 3
    yield from files.drag(PHOTOS[0].name, x, y, "20_dragging", with_others=True)
    files.close()
    yield from driver.picture("21_chooser")
    yield from driver.click(x, y - 5)  # our entry, right below the pointer
    yield 1.5
    yield from driver.picture("22_what_they_show")
    yield from driver.press_key("Return")
    yield from driver.wait_until(lambda: job() is not None, 5)
    yield from driver.wait_until(lambda: job() is None, len(PHOTOS) * POSE_SECONDS)
    yield 2 * SETTLE
    made = (len(bodies()), len(cameras()))
    driver.check("photographs that are dropped together are one pose", made == (1, len(PHOTOS)), (made, notice()))
    yield from driver.picture("23_dropped")


driver = Driver()
driver.play(story)

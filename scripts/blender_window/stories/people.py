# SPDX-License-Identifier: Apache-2.0
"""Several persons on one photograph with a real mouse: all are marked, a click poses one, a box one who was missed.

The photograph is composed of the sample photographs: two persons near, one very far.
"""

import os
import sys
import tempfile
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, os.environ["IKOL_WINDOW_DRIVER"])
from driver import SETTLE, Driver, Wait
from ikol_user import PACKAGE, PICTURES, POSE_SECONDS, User, bodies, job, notice, phase

SIZE = (1600, 1000)
# Name, the part with the person (left, top, right, bottom), height of the part on the composition, its top left corner.
PARTS = (
    ("front_step.jpg", (300, 380, 860, 1180), 800, (80, 120)),
    ("back_leg_raised.jpg", (180, 380, 960, 1280), 820, (860, 130)),
    ("person_standing.jpg", (150, 70, 330, 400), 74, (700, 420)),
)
FAR_BOX = (690, 405, 755, 505)  # around the far person, with some room
STEPS = 10
SEARCH_SECONDS = 240.0  # 110 windows on a busy core


def compose() -> Path:
    """Write the photograph and return where."""
    width, height = SIZE
    canvas = np.ones((height, width, 4), np.float32)
    canvas[..., :3] = np.linspace(0.75, 0.45, height, dtype=np.float32)[:, None, None]
    for name, (left, top, right, bottom), tall, (x, y) in PARTS:
        source = bpy.data.images.load(str(PICTURES / name))
        pixels = np.empty(len(source.pixels), np.float32)
        source.pixels.foreach_get(pixels)
        picture = pixels.reshape(source.size[1], source.size[0], 4)[::-1][top:bottom, left:right]
        wide = round(tall * (right - left) / (bottom - top))
        rows = np.linspace(0, picture.shape[0] - 1, tall).round().astype(int)
        columns = np.linspace(0, picture.shape[1] - 1, wide).round().astype(int)
        canvas[y : y + tall, x : x + wide] = picture[rows][:, columns]
        bpy.data.images.remove(source)
    image = bpy.data.images.new("group", width, height)
    image.pixels.foreach_set(np.ascontiguousarray(canvas[::-1]).ravel())
    path = Path(tempfile.mkdtemp()) / "group.png"
    image.filepath_raw, image.file_format = str(path), "PNG"
    image.save()
    bpy.data.images.remove(image)
    return path


def part(name: str) -> object:
    """A module of the extension."""
    return sys.modules[f"{PACKAGE}.{name}"]


def people() -> object:
    """Who is stored with the scene's camera."""
    return part("blender.people_scene").read_people(bpy.context.scene.camera)


def on_screen(driver: Driver, at: tuple[float, float]) -> tuple[int, int]:
    """Where a pixel of the photograph is on the screen."""
    with driver.context():
        x, y = part("blender.people_scene").people_scene(bpy.context).view.to_region(at)
    left, top, _, height = driver.box(driver.region())
    return left + round(x), top + height - 1 - round(y)


def middle(number: int) -> tuple[float, float]:
    """The middle of a person's box."""
    x0, y0, x1, y1 = people().persons[number].box
    return (0.5 * (x0 + x1), 0.5 * (y0 + y1))


def find(driver: Driver, user: User, path: Path) -> Wait:
    """Everybody is marked."""
    bpy.context.scene.ikol.persons = "CHOOSE"
    user.begin_photograph(path)
    yield 2.0
    yield from driver.picture("1_searching")
    yield from driver.wait_until(
        lambda: job() is None and "ikol_people" in (bpy.context.scene.camera or {}), SEARCH_SECONDS
    )
    yield 2 * SETTLE
    found = people().persons if "ikol_people" in bpy.context.scene.camera else ()
    driver.check("the two near persons are marked, nobody is posed", len(found) >= 2 and not bodies(), len(found))
    with driver.context():
        active = part("blender.people_scene").is_people_tool_active(bpy.context)
    driver.check("the tool that picks persons is taken", active)
    yield from driver.picture("2_marked")


def click_second(driver: Driver) -> Wait:
    """The second person becomes a body."""
    at = on_screen(driver, middle(1))
    driver.input.move(*at)
    yield 2 * SETTLE
    driver.check("the box under the mouse is marked", part("blender.people_scene").STATE.hovered == 1)
    yield from driver.picture("3_hover")
    yield from driver.click(*at)
    yield from driver.wait_until(lambda: bodies() and job() is None, POSE_SECONDS)
    yield 2 * SETTLE
    posed = [person.body for person in people().persons]
    driver.check("a click poses the person, and no other", len(bodies()) == 1 and bool(posed[1]), posed)
    driver.check("nothing went wrong", not notice(), notice())
    yield from driver.picture("4_posed")


def undo(driver: Driver) -> Wait:
    """One step back and forth."""
    yield from driver.hover_viewport()
    yield from driver.press_key("ctrl+z")
    yield 2 * SETTLE
    is_undone = not bodies() and not any(person.body for person in people().persons)
    driver.check("undo takes the body back", is_undone, len(bodies()))
    yield from driver.press_key("ctrl+shift+z")
    yield 2 * SETTLE
    driver.check("redo brings it again", len(bodies()) == 1, len(bodies()))


def draw_box(driver: Driver) -> Wait:
    """A rectangle around the far person: given up once, then drawn."""
    start, end = on_screen(driver, FAR_BOX[:2]), on_screen(driver, FAR_BOX[2:])
    before = len(people().persons)
    for is_kept in (False, True):
        driver.input.move(*start)
        yield 0.4
        driver.input.press()
        for step in range(1, STEPS + 1):
            yield 0.1
            driver.input.move(*(round(start[i] + (end[i] - start[i]) * step / STEPS) for i in (0, 1)))
        yield 0.6
        if is_kept:
            driver.snap("5_box")
        else:
            yield from driver.press_key("Escape")
        driver.input.release()
        yield 2 * SETTLE
        if not is_kept:
            driver.check("Esc gives the box up", job() is None and len(bodies()) == 1, phase())
    yield from driver.wait_until(lambda: job() is None and (len(bodies()) == 2 or notice()), POSE_SECONDS)
    yield 2 * SETTLE
    driver.check("a box finds who was missed", len(bodies()) == 2, notice())
    driver.check("the person joins the others", len(people().persons) == before + 1, len(people().persons))
    if len(bodies()) == 2:
        doubts = part("blender.bodies").read_record(bpy.context.view_layer.objects.active).doubts
        driver.check("a very small person is doubtful", "small" in doubts, doubts)
    yield from driver.picture("6_all")


def story(driver: Driver) -> Wait:
    """Play the chapters."""
    user = User(driver)
    yield 2.0
    yield from user.open_panel()
    yield from user.name_solver()
    yield from user.start_solver()
    yield from find(driver, user, compose())
    if len(people().persons) < 2:
        return
    yield from click_second(driver)
    yield from undo(driver)
    yield from draw_box(driver)


driver = Driver()
driver.play(story)

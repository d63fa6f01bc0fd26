# SPDX-License-Identifier: Apache-2.0
"""What a user does with the points over the photograph, and what a tester asks of them afterwards."""

import math
import sys

import bpy

from driver import SETTLE, Driver, Wait
from ikol_user import PACKAGE, bodies

# What a solved joint may miss after a drag, in pixels of the photograph.
MAX_MISS = 5.0
STEPS = 12
# The solver's answer, the undo step and a redraw, on two busy cores.
ANSWER_SECONDS = 5.0


def part(name: str) -> object:
    """A module of the extension."""
    return sys.modules[f"{PACKAGE}.{name}"]


def record() -> object:
    """What is stored on the body."""
    return part("blender.bodies").read_record(bodies()[0])


def pixel(name: str) -> tuple[float, float]:
    """Where the evidence has a point on the photograph."""
    return part("core.keypoints").target_pixel(record(), name)


def miss(name: str) -> float:
    """Pixels from there to where the body has it."""
    return math.dist(pixel(name), record().solution.pixels[name])


def selected() -> tuple[str, ...]:
    """The selected points."""
    return part("blender.selection").selected_points(bodies()[0])


def on_screen(driver: Driver, at: tuple[float, float]) -> tuple[int, int]:
    """Where a pixel of the photograph is on the screen."""
    with driver.context():
        x, y = part("blender.photo_scene").photo_scene(bpy.context).view.to_region(at)
    left, top, _, height = driver.box(driver.region())
    return left + round(x), top + height - 1 - round(y)


def is_quiet() -> bool:
    """Whether no edit is under way."""
    return part("blender.live_edit")._Holder.edit is None and part("blender.photo_scene").STATE.dragged is None


def drag(driver: Driver, start: tuple[float, float], way: tuple[float, float], snap: str = "") -> Wait:
    """Press at a pixel of the photograph, go a way on it, release, wait for the answer."""
    driver.input.move(*on_screen(driver, start))
    yield 0.4
    driver.input.press()
    for step in range(1, STEPS + 1):
        yield 0.08
        driver.input.move(*on_screen(driver, tuple(start[i] + way[i] * step / STEPS for i in (0, 1))))
    yield 0.6
    if snap:
        driver.snap(snap)
    driver.input.release()
    yield 0.3
    yield from driver.wait_until(is_quiet, ANSWER_SECONDS)
    yield SETTLE

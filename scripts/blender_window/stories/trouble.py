# SPDX-License-Identifier: Apache-2.0
"""What the user sees when something is wrong, and whether the next request works after it.

Files that are no photographs, nobody on them, a Python without the solver, a solver that dies in the middle.
"""

import os
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import bpy

sys.path.insert(0, os.environ["IKOL_WINDOW_DRIVER"])
from driver import SETTLE, Driver, Wait, story_arguments
from ikol_user import PACKAGE, PICTURES, POSE_SECONDS, User, bodies, job, notice, phase, preferences, solver_state

PHOTO = (story_arguments() or ["front_step.jpg"])[0]
FOLDER = Path.home() / "Trouble"
HUGE_SIDE = 20_000


def write_files() -> dict[str, Path]:
    """Make the files that cause trouble."""
    FOLDER.mkdir(exist_ok=True)
    text, cut, empty, huge = (FOLDER / name for name in ("notes.jpg", "cut_off.jpg", "wall.png", "huge.png"))
    text.write_text("this is not a photograph\n")
    photo = (PICTURES / PHOTO).read_bytes()
    cut.write_bytes(photo[: len(photo) // 3])
    subprocess.run(
        ["convert", "-size", "800x600", "gradient:#8aa-#443", "-blur", "0x3", str(empty)], check=True, timeout=60
    )
    _write_huge_png(huge)
    return {"a text file": text, "a truncated photograph": cut, "nobody on it": empty, "a huge picture": huge}


def _write_huge_png(path: Path) -> None:
    """A valid picture of 400 million black pixels in 50 kB, one bit each."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", HUGE_SIDE, HUGE_SIDE, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((1 + HUGE_SIDE // 8) * HUGE_SIDE), 9)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


def bad_files(driver: Driver, user: User) -> Wait:
    """Each file gives a sentence in the panel and no body."""
    for number, (name, path) in enumerate(write_files().items(), start=1):
        count = len(bodies())
        posed = yield from user.pick_photograph(path)
        driver.check(f"{name}: no body is made", not posed and len(bodies()) == count)
        driver.check(f"{name}: a sentence says why", len(notice()) > 20 and "Traceback" not in notice(), notice())
        driver.answered(f"{name}: the window answered")
        driver.check(f"{name}: the solver goes on", phase() == "running", phase())
        yield from driver.picture(f"{number}_{path.stem}")


def death(driver: Driver, user: User) -> Wait:
    """The solver's process is killed while it looks at a photograph."""
    pids = solver_pids()
    user.begin_photograph(PICTURES / PHOTO)
    yield 0.4
    running = job() is not None
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    noticed = yield from driver.wait_until(lambda: phase() == "starting", 10.0)
    driver.check("a killed solver is noticed and started again", running and noticed, phase())
    driver.check("the panel says so in a sentence", solver_state().message, solver_state().message)
    driver.snap("5_killed")
    count = len(bodies())
    ended = yield from driver.wait_until(lambda: job() is None, 60.0)
    yield SETTLE
    driver.check("the photograph is posed all the same, once", ended and len(bodies()) == count + 1, len(bodies()))


def solver_pids() -> list[int]:
    """Processes of the solver in this run's own process namespace."""
    found = subprocess.run(["pgrep", "-f", "solver_server"], check=False, capture_output=True, text=True, timeout=10)
    return [int(pid) for pid in found.stdout.split()]


def wrong_python(driver: Driver, user: User) -> Wait:
    """A Python that exists but has no solver, then a path that does not exist."""
    for name, path in (("without the solver", "/usr/bin/python3"), ("that does not exist", "/nonexistent/python")):
        preferences().solver_python = path
        yield SETTLE
        user.begin_photograph(PICTURES / PHOTO)
        yield from driver.wait_until(lambda: job() is None, 20.0)
        yield SETTLE
        said = notice() or solver_state().message
        driver.check(f"a Python {name} gives a sentence", len(said) > 20 and "Traceback" not in said, said)
        yield from driver.picture(f"6_python_{'missing' if 'not' in name else 'without_solver'}")
    yield from user.name_solver()


def disable(driver: Driver) -> Wait:
    """Switching the extension off leaves nothing behind; switched on again it works."""
    bpy.ops.preferences.addon_disable(module=PACKAGE)
    gone = yield from driver.wait_until(lambda: not solver_pids(), 5.0)
    driver.check("switching the extension off ends the solver", gone, solver_pids())
    left = [name for name in dir(bpy.types) if name.startswith("IKOL_")]
    driver.check("and takes its panels and commands away", not left, left)
    bpy.ops.preferences.addon_enable(module=PACKAGE)
    yield SETTLE
    driver.check("it can be switched on again", hasattr(bpy.types, "IKOL_PT_main"))


def story(driver: Driver) -> Wait:
    """Play the chapters; a good photograph comes last."""
    user = User(driver)
    yield 2.0
    yield from user.open_panel()
    yield from user.name_solver()
    seconds = yield from user.start_solver()
    driver.check("the solver is ready", seconds < float("inf"), f"{seconds:.1f} s")
    yield from bad_files(driver, user)
    yield from death(driver, user)
    yield from wrong_python(driver, user)
    yield from disable(driver)
    yield from user.name_solver()  # Blender forgets the preferences of what is switched off
    posed = yield from user.pose_photograph(PICTURES / PHOTO)
    yield from driver.wait_until(lambda: job() is None, POSE_SECONDS)
    driver.check("after all that a photograph is posed", posed, notice())
    driver.check("and the extension is still enabled", PACKAGE in bpy.context.preferences.addons)
    yield from driver.picture("7_posed_after_all")


driver = Driver()
driver.play(story)

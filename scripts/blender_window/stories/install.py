# SPDX-License-Identifier: Apache-2.0
"""From a Blender without the extension to the first posed photograph, with the buttons of the sidebar only.

    scripts/blender_window/check install

The zip is installed as Blender does when it is dropped into the window. The installation is cancelled in the middle and
goes on; then files are damaged, repaired, and all is removed. It needs the package index: where that cannot be reached,
the story ends with the sentence and its button. Seconds are printed by part: looking for buttons takes the tester's
time, which a user does not need.
"""

import os
import sys
import time
from pathlib import Path

import bpy

sys.path.insert(0, os.environ["IKOL_WINDOW_DRIVER"])
from driver import SETTLE, Driver, Wait, story_arguments
from ikol_user import PACKAGE, PICTURES, User, bodies, phase, preferences, solver_state

ZIP, PHOTO = (*story_arguments(), "front_step.jpg")[:2]
CANCEL_AT = 0.35
"""Of the way, when it is cancelled: in the middle of the fetching."""
INSTALL_SECONDS = 900.0
READY_SECONDS = 120.0


def part(name: str) -> object:
    """A module of the extension; read to know when to go on, never changed."""
    return sys.modules[f"{PACKAGE}.{name}"]


def living() -> object:
    """What the extension keeps while it is enabled."""
    return part("blender.runtime").get()


def folder() -> Path:
    """Where the solver is installed."""
    return part("blender.installation").folders().root


def fetched() -> int:
    """Bytes of the wheels that are there, whole."""
    return sum(path.stat().st_size for path in (folder() / "wheels").glob("*.whl"))


def add_zip(driver: Driver) -> None:
    """Install the extension as the window does after a zip was dropped and its dialog was confirmed."""
    began = time.monotonic()
    with driver.context():
        bpy.ops.extensions.package_install_files(filepath=ZIP, repo="user_default", enable_on_install=True)
    driver.clicks += 2  # the drop, and OK
    driver.check("the zip is installed", PACKAGE in sys.modules, f"{time.monotonic() - began:.1f} s")


def go_online(driver: Driver, user: User) -> Wait:
    """Blender's default is offline: the button says so and becomes the one that allows it."""
    pressed = yield from user.press("ikol.install_solver")
    driver.check("the sidebar has the button that installs", pressed)
    driver.check("offline nothing begins, and the panel says why", living().installation.error, solver_state().message)
    yield from driver.hover_viewport()  # the report that popped up goes when the pointer leaves it
    yield from driver.picture("2_offline")
    pressed = yield from user.press("ikol.allow_online")
    driver.check("the big button allows it", pressed and bpy.app.online_access)


def install(driver: Driver, user: User) -> Wait:
    """Begin, cancel in the middle, go on to the end; stop where the packages cannot be had."""
    began = time.monotonic()
    yield from user.press("ikol.install_solver")
    driver.check("the state is installing", phase() == "installing", phase() + ": " + solver_state().message)
    yield from driver.picture("3_begun")
    driver.reset_pause()
    yield from driver.wait_until(
        lambda: phase() != "installing" or solver_state().fraction > CANCEL_AT, INSTALL_SECONDS
    )
    driver.answered("the window answered while it was fetched")
    first = time.monotonic() - began
    if not driver.check("it gets on", phase() == "installing", solver_state().message):
        yield from driver.picture("4_failed")
        return False
    yield from driver.picture("4_fetching")
    count = driver.clicks
    pressed = yield from user.press("ikol.cancel_install")
    there = fetched()
    driver.check("it is cancelled", pressed and phase() == "not_installed", phase())
    driver.check("what was fetched whole is kept", there > 0, f"{there / 1e6:.0f} MB")
    yield from driver.picture("5_cancelled")
    driver.clicks = count  # a user who does not cancel does not click
    left = part("blender.installation").sizes(preferences().variant)[1]
    pressed = yield from user.press("ikol.install_solver")
    driver.clicks = count
    again = time.monotonic()
    driver.check("it goes on with what is missing", living().installation._runner.progress.bytes_total == left, left)
    driver.reset_pause()
    installing = driver.wait_until(
        lambda: "installing" in solver_state().work or phase() != "installing", INSTALL_SECONDS
    )
    yield from installing
    yield from driver.picture("6_installing")
    yield from driver.wait_until(lambda: phase() != "installing", INSTALL_SECONDS)
    driver.answered("the window answered until the end")
    second = time.monotonic() - again
    done = driver.check("it is installed", living().installation.error is None, living().installation.error or "")
    driver.check("seconds of the installation", True, f"{first:.0f} to the cancellation, {second:.0f} from there")
    return done


def damage(driver: Driver, user: User) -> Wait:
    """Change a byte of one package and delete a file of another; only these two are fetched and installed again."""
    installed = part("blender.installation").find_installed()
    packages = part("blender.installation").folders().packages(installed.environment, False, installed.python)
    changed, gone = packages / "msgspec" / "__init__.py", packages / "tqdm" / "std.py"
    changed.write_bytes(changed.read_bytes() + b"#")
    gone.unlink()
    began = time.monotonic()
    user.begin(bpy.ops.ikol.repair_solver)
    yield SETTLE
    yield from driver.picture("9_repairing")
    yield from driver.wait_until(lambda: not living().installation.is_running, INSTALL_SECONDS)
    seconds = time.monotonic() - began
    said = living().installation.result or str(living().installation.error)
    driver.check("only what was damaged is repaired", said == "Repaired msgspec, tqdm", f"{said}, {seconds:.0f} s")
    fetching = [line for line in part("blender.installation").log_path().read_text().splitlines() if "fetching" in line]
    driver.check("and only that is fetched", fetching == ["[fetching 2 packages]"], fetching)
    driver.check("the solver can be started", phase() == "stopped", phase())


def story(driver: Driver) -> Wait:
    """Play it."""
    opened = time.monotonic()
    user = User(driver)
    add_zip(driver)
    yield from user.open_panel()
    driver.clicks += 2  # the key N and the tab, which the driver sets without the mouse
    driver.check("a fresh install says that there is no solver", phase() == "not_installed", phase())
    yield from driver.picture("1_fresh")
    yield from go_online(driver, user)
    done = yield from install(driver, user)
    if not done:
        return
    began = time.monotonic()
    driver.check("the solver starts by itself", phase() in {"starting", "running"}, phase())
    ready = yield from driver.wait_until(lambda: solver_state().is_ready, READY_SECONDS)
    driver.check("it is ready", ready, f"{time.monotonic() - began:.1f} s, {solver_state().device}")
    yield from driver.picture("7_ready")
    began = time.monotonic()
    clicks = driver.clicks + 3  # the button, the file, and the file browser's button; looking for the file takes more
    posed = yield from user.pick_photograph(PICTURES / PHOTO)
    driver.check("the first photograph is posed", posed and bodies(), f"{time.monotonic() - began:.1f} s")
    driver.check("from the open window to there", True, f"{time.monotonic() - opened:.0f} s, {clicks} clicks")
    yield from driver.picture("8_posed")
    yield from damage(driver, user)
    user.begin(bpy.ops.ikol.uninstall_solver)
    gone = yield from driver.wait_until(lambda: not living().installation.is_running, 300.0)
    left = [path.name for path in folder().iterdir() if path.name not in {"tmp", "requirements.txt"}]
    driver.check("uninstalled, nothing is left", gone and not left and phase() == "not_installed", left)
    yield from driver.picture("10_removed")


Driver().play(story)

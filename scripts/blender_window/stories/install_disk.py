# SPDX-License-Identifier: Apache-2.0
"""Without any network: an offline bundle, an update that fails and is taken back, and one that works.

    scripts/build_offline_bundle.py 3.13-linux-x64-cuda --output FOLDER
    IKOL_BUNDLE=FOLDER scripts/blender_window/check install_disk

The bundle is chosen in the file browser, as after a press of *Install from Disk*. That the installed solver is another
version than the add-on's is pretended, in the file that says what is installed. The update is tried with the beginning
of the bundle first: what was installed has to go on as if nothing had been.
"""

import json
import os
import sys
import time
from pathlib import Path

import bpy

sys.path.insert(0, os.environ["IKOL_WINDOW_DRIVER"])
from driver import Driver, Wait, story_arguments
from ikol_user import PACKAGE, PICTURES, User, bodies, phase, solver_state

BUNDLE = Path(story_arguments()[0])
INSTALL_SECONDS = 600.0
READY_SECONDS = 120.0


def part(name: str) -> object:
    """A module of the extension; read to know when to go on, never changed."""
    return sys.modules[f"{PACKAGE}.{name}"]


def installed() -> object:
    """What works here."""
    return part("blender.installation").find_installed()


def pretend_other_version() -> None:
    """Let the file that says what is installed name another wheel."""
    record = part("blender.installation").folders().installed
    said = json.loads(record.read_bytes())
    said["wheel_sha256"] = "0" * 64
    record.write_text(json.dumps(said))


def from_disk(driver: Driver, user: User, bundle: Path, picture: str) -> Wait:
    """Choose a bundle in the file browser, and wait for the end."""
    began = time.monotonic()
    user.begin(lambda: bpy.ops.ikol.install_from_disk("INVOKE_DEFAULT"))
    chosen = yield from user.choose_file(bundle)
    driver.check(f"{picture}: the bundle can be chosen", chosen, bundle.name)
    yield from driver.wait_until(lambda: phase() == "installing", 10.0)
    yield from driver.hover_viewport()
    yield from driver.picture(f"{picture}_begun")
    yield from driver.wait_until(lambda: phase() != "installing", INSTALL_SECONDS)
    yield from driver.hover_viewport()
    yield from driver.picture(f"{picture}_ended")
    return time.monotonic() - began


def becomes_ready(driver: Driver, name: str) -> Wait:
    """Wait for the solver."""
    began = time.monotonic()
    ready = yield from driver.wait_until(lambda: solver_state().is_ready, READY_SECONDS)
    driver.check(name, ready, f"{time.monotonic() - began:.1f} s; {solver_state().message}")


def story(driver: Driver) -> Wait:
    """Play it."""
    user = User(driver)
    yield from user.open_panel()
    driver.check("Blender may not go online", not bpy.app.online_access)
    seconds = yield from from_disk(driver, user, BUNDLE, "1_install")
    driver.check("it is installed without a network", installed() is not None, f"{seconds:.0f} s")
    yield from becomes_ready(driver, "the solver starts by itself")
    posed = yield from user.pick_photograph(PICTURES / "front_step.jpg")
    driver.check("a photograph is posed", posed and bodies())
    yield from driver.picture("2_posed")

    pretend_other_version()
    old = installed()
    driver.check("it is another version than the add-on's", part("blender.installation").is_outdated(old))
    cut = Path.home() / "cut.zip"
    with BUNDLE.open("rb") as file:
        cut.write_bytes(file.read(10_000_000))
    yield from from_disk(driver, user, cut, "3_failed_update")
    driver.check(
        "a bundle that was cut off is refused with a sentence",
        "Traceback" not in solver_state().message,
        solver_state().message,
    )
    driver.check("what was installed is still what works", installed() == old, old.environment)
    yield from user.press("ikol.start_solver")
    yield from becomes_ready(driver, "and it starts")

    seconds = yield from from_disk(driver, user, BUNDLE, "4_update")
    new = installed()
    driver.check("the update works", not part("blender.installation").is_outdated(new), f"{seconds:.0f} s")
    driver.check(
        "in the other environment", new.environment != old.environment, f"{old.environment} -> {new.environment}"
    )
    yield from becomes_ready(driver, "the new one starts by itself")
    posed = yield from user.pick_photograph(PICTURES / "front_step.jpg")
    driver.check("a second photograph is posed", posed and len(bodies()) == 2, len(bodies()))
    yield from driver.picture("5_updated")


Driver().play(story)

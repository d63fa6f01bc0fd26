# SPDX-License-Identifier: Apache-2.0
"""Everything that can go wrong with an installation, as far as it can be provoked: a sentence and a button for each.

Provoked: a full disk, no network, a proxy that is not there, a system that trusts nobody's certificates, a folder that
cannot be written, a file that is no bundle, a set that does not exist, a Python that is none. Pretended: that paths are
limited, which they are in Windows only. An antivirus program cannot be had here; what it leaves behind, a
file that must not be written, is the read-only folder.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bpy

sys.path.insert(0, os.environ["IKOL_WINDOW_DRIVER"])
from driver import SETTLE, Driver, Wait
from ikol_user import PACKAGE, User, phase, preferences, solver_state

FAIL_SECONDS = 90.0
CLOSED_PORT = "http://127.0.0.1:9"
UNKNOWN_HOST = "https://index.invalid/simple"


def part(name: str) -> object:
    """A module of the extension."""
    return sys.modules[f"{PACKAGE}.{name}"]


def folder() -> Path:
    """Where the solver is installed."""
    return part("blender.installation").folders().root


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    """What the user's system says of the network."""
    before = dict(os.environ)
    os.environ.update(variables)
    yield
    os.environ.clear()
    os.environ.update(before)


@contextlib.contextmanager
def mounted(place: Path, *options: str) -> Iterator[None]:
    """Another disk in a folder; this run has mounts of its own."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(place)], check=True, timeout=10)
    yield
    subprocess.run(["umount", "--lazy", str(place)], check=True, timeout=10)


@contextlib.contextmanager
def limited_paths(letters: int) -> Iterator[None]:
    """A system that limits paths."""
    installation = part("blender.installation")
    limit, root = installation.path_limit, installation.folders
    where = root()
    installation.path_limit, installation.folders = (lambda: letters), lambda: where
    yield
    installation.path_limit, installation.folders = limit, root


def fail(driver: Driver, user: User, name: str, sentence: str, button: str) -> Wait:
    """Press *Install Solver*, wait for the failure; its sentence and its button have to be in the sidebar."""
    user.begin(bpy.ops.ikol.install_solver)
    yield from show(driver, name, sentence, button)


def show(driver: Driver, name: str, sentence: str, button: str) -> Wait:
    """Wait until nothing is installed any more, and look at the sidebar."""
    yield SETTLE
    yield from driver.wait_until(lambda: phase() != "installing", FAIL_SECONDS)
    said = solver_state().message
    driver.check(f"{name}: a sentence says why", sentence in said and "Traceback" not in said, said)
    yield from driver.hover_viewport()  # the report that popped up goes when the pointer leaves it
    yield from driver.picture(name)
    place = yield from driver.find_button(button, driver.region("UI"))
    driver.check(f"{name}: the big button helps", place, button)


def story(driver: Driver) -> Wait:
    """One trouble after the other."""
    user = User(driver)
    yield from user.open_panel()
    bpy.context.preferences.system.use_online_access = False
    yield from fail(driver, user, "1_offline", "may not go online", "ikol.allow_online")
    bpy.context.preferences.system.use_online_access = True
    with mounted(folder(), "-o", "size=200m"):
        yield from fail(driver, user, "2_no_space", "the disk has 0.2 GB free", "ikol.install_solver")
    with environment(HTTPS_PROXY=CLOSED_PORT, HTTP_PROXY=CLOSED_PORT):
        yield from fail(driver, user, "3_proxy", "the proxy 127.0.0.1 cannot be reached", "ikol.install_from_disk")
    with environment(PIP_INDEX_URL=UNKNOWN_HOST):
        yield from fail(driver, user, "4_no_network", "the package index cannot be reached", "ikol.install_solver")
    with mounted(Path("/etc/ssl/certs")):  # a system that trusts nobody
        yield from fail(driver, user, "5_certificate", "could not prove who it is", "ikol.install_from_disk")
    with mounted(folder() / "wheels", "-r"):
        yield from fail(driver, user, "6_not_writable", "refused to write a file", "ikol.install_solver")
    with limited_paths(60):
        yield from fail(driver, user, "7_path", "and Windows takes 60", "ikol.open_preferences")
    preferences().variant = "cpu"
    if part("blender.installation").has_nvidia() or sys.version_info[:2] == (3, 11):
        yield from fail(driver, user, "8_no_set", "no PyTorch for the processor alone", "ikol.install_cuda")
    else:
        yield from fail(driver, user, "8_no_set", "has PyTorch for CUDA only", "ikol.install_cuda")
    preferences().variant = "auto"
    bundle = Path.home() / "bundle.zip"
    bundle.write_text("no zip at all")
    user.begin(lambda: bpy.ops.ikol.install_from_disk(filepath=str(bundle)))
    yield from show(driver, "9_no_bundle", "no offline bundle", "ikol.install_from_disk")
    preferences().solver_python = "/nowhere/python"
    yield from show(driver, "10_wrong_python", "there is no Python at /nowhere/python", "ikol.open_preferences")


Driver().play(story)

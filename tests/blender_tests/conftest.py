# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests inside Blender: the built zip is installed as a user would, against a fake or the real solver.

Without bpy (the default run in .venv) nothing here is collected: scripts/test_blender runs these tests.
"""

import importlib.util
import json
import os
import shutil
import struct
import sys
import tempfile
import time
import zlib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

HAS_BPY = importlib.util.find_spec("bpy") is not None
collect_ignore_glob = [] if HAS_BPY else ["test_*.py"]

ROOT = Path(__file__).resolve().parents[2]
MODULE = "bl_ext.user_default.ikol"

if HAS_BPY:
    # before bpy is imported: the user's own configuration is not ours to touch
    os.environ["BLENDER_USER_RESOURCES"] = tempfile.mkdtemp(prefix="ikol-blender-")
    import bpy


def pytest_sessionfinish(session, exitstatus):
    session.config.ikol_exit_status = int(exitstatus)


def pytest_unconfigure(config):
    status = getattr(config, "ikol_exit_status", None)
    if HAS_BPY:
        shutil.rmtree(os.environ["BLENDER_USER_RESOURCES"], ignore_errors=True)
    if HAS_BPY and status is not None and os.environ.get("HARD_EXIT"):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.blender)


@pytest.fixture(scope="session")
def extension():
    """The add-on's package, installed from the built zip and enabled."""
    archives = sorted((ROOT / "dist").glob("ikol-*.zip"))
    assert archives, "build the zip first: .venv/bin/python scripts/build_addon.py"
    result = bpy.ops.extensions.package_install_files(
        filepath=str(archives[-1]), repo="user_default", enable_on_install=True
    )
    assert result == {"FINISHED"}
    assert MODULE in bpy.context.preferences.addons
    yield sys.modules[MODULE]
    bpy.ops.preferences.addon_disable(module=MODULE)


@pytest.fixture(scope="session")
def part(extension):
    """Gives a module of the installed add-on by its name below the package."""

    def find(name: str) -> ModuleType:
        return importlib.import_module(f"{MODULE}.{name}")

    return find


@pytest.fixture
def scene(extension):
    """An empty file and its scene; the solver is stopped before and after."""
    runtime = importlib.import_module(f"{MODULE}.blender.runtime")
    runtime.get().solver.close()
    bpy.ops.wm.read_homefile(use_empty=True)  # read_factory_settings would disable the extension
    yield bpy.context.scene
    runtime.get().solver.close()


@pytest.fixture
def preferences(scene):
    yield bpy.context.preferences.addons[MODULE].preferences
    chosen = bpy.context.preferences.addons[MODULE].preferences  # new ones when the test disabled the add-on
    chosen.solver_python = ""
    chosen.device, chosen.model = "auto", "heavy"


@pytest.fixture
def solver(preferences, tmp_path, monkeypatch):
    """The fake solver, named in the preferences; `behave` sets how it behaves, `requests` gives what it was asked."""
    from solver_wrapper import make_solver_python

    preferences.solver_python = str(make_solver_python(tmp_path))
    log = tmp_path / "requests.jsonl"
    monkeypatch.setenv("IKOL_FAKE_LOG", str(log))

    def behave(mode="", persons=1, seconds=0.2):
        monkeypatch.setenv("IKOL_FAKE_MODE", mode)
        monkeypatch.setenv("IKOL_FAKE_PERSONS", str(persons))
        monkeypatch.setenv("IKOL_FAKE_SECONDS", str(seconds))

    def requests(kind):
        lines = log.read_text(encoding="utf-8").splitlines()
        return [entry for entry in map(json.loads, lines) if entry["kind"] == kind]

    behave()
    return SimpleNamespace(behave=behave, requests=requests)


@pytest.fixture
def cancel_after(part, monkeypatch):
    """Presses Cancel between two looks at the solver, on Blender's own thread as a user does.

    `cancel_after(seconds, fraction)` counts from when the job that runs then has got so far.
    """
    runtime = part("blender.runtime")

    def arm(seconds=0.0, fraction=0.0):
        pump, since = runtime.Runtime.pump, []

        def pump_and_cancel(living):
            pump(living)
            job = living.solver.job
            if job is not None and job.fraction >= fraction and living.solver.state.phase.value == "busy":
                since.append(time.monotonic())
                if since[-1] - since[0] >= seconds:
                    living.solver.cancel()

        monkeypatch.setattr(runtime.Runtime, "pump", pump_and_cancel)
        return lambda: monkeypatch.setattr(runtime.Runtime, "pump", pump)

    return arm


def make_png(path: Path, width: int, height: int) -> Path:
    """Write a grey PNG without any library."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = (b"\0" + b"\x80" * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    signature = b"\x89PNG\r\n\x1a\n"
    path.write_bytes(signature + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    return path


@pytest.fixture(name="make_png")
def make_png_fixture():
    """Writes a grey PNG of given size."""
    return make_png


@pytest.fixture
def photo(tmp_path):
    """A portrait picture of 300 x 400 pixels."""
    return make_png(tmp_path / "photo.png", 300, 400)


@pytest.fixture
def body(solver, photo):
    """The armature after Pose from Image with the fake solver."""
    assert bpy.ops.ikol.pose_from_image(filepath=str(photo)) == {"FINISHED"}
    return bpy.context.view_layer.objects.active

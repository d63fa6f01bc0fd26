# SPDX-License-Identifier: Apache-2.0
"""Installing, enabling and disabling the built zip."""

import os
import sys
import time
from pathlib import Path

import bpy
import pytest

MODULE = "bl_ext.user_default.ikol"


def is_alive(pid):
    """Whether the process runs; one that has ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def own_handlers():
    """All handlers of the add-on, whatever they wait for."""
    lists = (getattr(bpy.app.handlers, name) for name in dir(bpy.app.handlers))
    handlers = (handler for found in lists if isinstance(found, list) for handler in found)
    return [handler for handler in handlers if handler.__module__.startswith(MODULE)]


def test_the_wheels_of_the_zip_are_used(extension):
    import msgspec
    import zmq

    folder = os.environ["BLENDER_USER_RESOURCES"]
    assert zmq.__file__.startswith(folder)
    assert msgspec.__file__.startswith(folder)
    assert zmq.has("curve")


def test_disabling_leaves_nothing_and_it_can_be_enabled_again_twice(extension, part):
    runtime = part("blender.runtime")
    for _ in range(2):
        assert own_handlers()
        tick = runtime.tick
        bpy.ops.preferences.addon_disable(module=MODULE)
        assert not hasattr(bpy.types.Scene, "ikol")
        assert not bpy.app.timers.is_registered(tick)
        assert not own_handlers()
        assert not hasattr(bpy.types.WindowManager, "ikol")
        assert not hasattr(bpy.types, "IKOL_PT_main")
        assert not hasattr(bpy.types, "IKOL_OT_resolve")
        bpy.ops.preferences.addon_enable(module=MODULE)
        runtime = sys.modules[f"{MODULE}.blender.runtime"]
        assert hasattr(bpy.types.Scene, "ikol")
        assert bpy.app.timers.is_registered(runtime.tick)
        assert hasattr(bpy.types, "IKOL_PT_main")


def test_disabling_ends_the_solver_process(solver):
    bpy.ops.ikol.start_solver()
    pid = sys.modules[f"{MODULE}.blender.runtime"].get().solver.pid
    assert is_alive(pid)
    bpy.ops.preferences.addon_disable(module=MODULE)
    is_gone = not is_alive(pid)
    bpy.ops.preferences.addon_enable(module=MODULE)
    assert is_gone


def test_a_failing_registration_takes_back_what_it_did(extension, part, monkeypatch):
    registration, runtime = part("blender.registration"), part("blender.runtime")
    bpy.ops.preferences.addon_disable(module=MODULE)
    with monkeypatch.context() as patched:
        patched.setattr(runtime.Runtime, "configure", lambda _self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            registration.register()
    assert not hasattr(bpy.types.Scene, "ikol")
    assert not hasattr(bpy.types, "IKOL_PT_main")
    assert not bpy.app.timers.is_registered(runtime.tick)
    bpy.ops.preferences.addon_enable(module=MODULE)


def test_the_panel_is_in_the_ikol_tab(extension):
    assert bpy.types.IKOL_PT_main.bl_category == "IKOL"
    assert bpy.types.IKOL_PT_main.bl_space_type == "VIEW_3D"


def test_pictures_can_be_dropped_into_the_3d_view_only(extension):
    from types import SimpleNamespace

    handler = bpy.types.IKOL_FH_photo
    assert handler.bl_file_extensions == ".png;.jpg;.jpeg;.webp"
    assert handler.bl_import_operator == "ikol.pose_from_image"
    assert handler.poll_drop(SimpleNamespace(area=SimpleNamespace(type="VIEW_3D")))
    assert not handler.poll_drop(SimpleNamespace(area=SimpleNamespace(type="IMAGE_EDITOR")))


def test_stopping_ends_the_process_without_waiting_for_it(solver, part):
    bpy.ops.ikol.start_solver()
    living = part("blender.runtime").get()
    pid = living.solver.pid
    begin = time.monotonic()
    bpy.ops.ikol.stop_solver()
    assert time.monotonic() - begin < 0.5  # it only closes pipes; generous for a loaded machine
    while living.solver.needs_pump and time.monotonic() - begin < 10:
        living.pump()
        time.sleep(0.01)
    assert not is_alive(pid)
    assert living.solver.state.phase.value == "stopped"


def test_the_check_names_what_the_python_lacks(preferences, part):
    preferences.solver_python = sys.executable  # Blender's Python has no torch
    assert bpy.ops.ikol.check_python() == {"FINISHED"}
    result = part("blender.runtime").get().check_result
    assert "torch" in result
    assert "pip install ikol" in result


def test_an_enabled_add_on_without_a_python_is_not_installed(preferences, part):
    preferences.solver_python = ""
    state = part("blender.runtime").get().solver.state
    assert state.phase.value == "not_installed"
    preferences.solver_python = "/nowhere/python"
    state = part("blender.runtime").get().solver.state
    assert state.message == "there is no Python at /nowhere/python; correct the preferences"

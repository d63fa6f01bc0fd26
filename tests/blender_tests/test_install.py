# SPDX-License-Identifier: Apache-2.0
"""Installing the solver from inside Blender: what the preferences say and do, and a whole installation."""

import shutil
import sys
import time
from types import SimpleNamespace

import bpy
import pytest

MODULE = "bl_ext.user_default.ikol"


class Layout:
    """Takes every layout call and remembers texts and commands."""

    def __init__(self, seen=None):
        self.seen = seen or SimpleNamespace(texts=[], operators=[], progress=[])

    def label(self, text="", **_options):
        self.seen.texts.append(text)

    def operator(self, name, text="", **_options):
        module, _, command = name.partition(".")
        getattr(getattr(bpy.ops, module), command).get_rna_type()  # KeyError for a command that is not there
        self.seen.operators.append((name, text))

    def progress(self, factor, text, **_options):
        self.seen.progress.append(factor)

    def prop(self, data, name, **_options):
        assert name in data.bl_rna.properties

    def _child(self, *_arguments, **_options):
        return Layout(self.seen)

    row = column = box = _child


@pytest.fixture
def box(preferences, part):
    """Draws the box; before and after nothing is installed, and Blender may go online."""
    installation, operators = part("blender.installation"), part("blender.install_operators")

    def clear():
        part("blender.runtime").get().installation.cancel()
        part("blender.runtime").get().installation.__init__()
        shutil.rmtree(installation.folders().root)

    def draw():
        layout = Layout()
        operators.draw(layout, bpy.context.preferences.addons[MODULE].preferences)
        return layout.seen

    clear()
    was_online = bpy.context.preferences.system.use_online_access
    bpy.context.preferences.system.use_online_access = True
    preferences.variant = "cpu"
    yield draw
    clear()
    preferences.variant, preferences.package_index = "auto", ""
    bpy.context.preferences.system.use_online_access = was_online


def wait(part, seconds, until=lambda living: False):
    living = part("blender.runtime").get()
    deadline = time.monotonic() + seconds
    while living.installation.is_running and not until(living) and time.monotonic() < deadline:
        living.pump()
        time.sleep(0.02)
    return living


def test_the_size_is_told_before_anything_is_fetched(box):
    seen = box()
    assert "The solver is not installed" in seen.texts
    assert ("ikol.install_solver", "Install Solver") in seen.operators
    told = " ".join(seen.texts)
    if "PyTorch for CUDA only" not in told:  # a Python without wheels for the processor
        assert "MB to fetch" in told
        assert "GB of free space" in told


def test_offline_means_offline(box, part, preferences):
    preferences.variant = "cuda"
    bpy.context.preferences.system.use_online_access = False
    with pytest.raises(RuntimeError, match="Blender may not go online"):
        bpy.ops.ikol.install_solver()
    assert ("ikol.allow_online", "Allow Online Access") in box().operators
    assert {"ikol.copy_report", "ikol.open_install_log"} <= {name for name, _ in box().operators}
    assert bpy.ops.ikol.allow_online() == {"FINISHED"}
    assert bpy.app.online_access


def test_an_index_has_to_be_an_address(box, preferences):
    preferences.variant, preferences.package_index = "cuda", "--trusted-host=x"
    with pytest.raises(RuntimeError, match="has to begin with https://"):
        bpy.ops.ikol.install_solver()


def test_a_bundle_that_is_not_there_is_told(box, preferences):
    preferences.variant = "cuda"
    with pytest.raises(RuntimeError, match="There is no file"):
        bpy.ops.ikol.install_from_disk(filepath="/nowhere/bundle.zip")


def test_failed_update_is_told_beside_the_solver_that_works_on(box, part, preferences, tmp_path):
    (tmp_path / "cut.zip").write_bytes(b"PK")
    preferences.variant = "cuda"
    preferences.solver_python = sys.executable
    living = part("blender.runtime").get()
    try:
        assert bpy.ops.ikol.install_from_disk(filepath=str(tmp_path / "cut.zip")) == {"FINISHED"}
        wait(part, 60)
        assert living.solver.state.phase.value == "stopped"
        assert "no offline bundle" in str(living.notice)
        assert living.notice is living.installation.error
    except RuntimeError as error:
        pytest.skip(str(error))  # no room for CUDA here
    finally:
        living.notice = None
        preferences.solver_python = ""


def test_cancelling_shows_that_it_can_be_continued(box, part, preferences):
    preferences.variant = "cuda"
    try:
        assert bpy.ops.ikol.install_solver() == {"FINISHED"}
    except RuntimeError as error:
        pytest.skip(str(error))  # no room for CUDA here
    state = part("blender.runtime").get().solver.state
    assert (state.phase.value, bool(state.work)) == ("installing", True)
    with pytest.raises(RuntimeError, match="An installation runs|poll"):
        bpy.ops.ikol.start_solver()
    seen = box()
    assert seen.operators == [("ikol.cancel_install", "")]
    assert seen.progress
    with pytest.raises(RuntimeError, match="An installation runs|poll"):
        bpy.ops.ikol.install_solver()
    assert bpy.ops.ikol.cancel_install() == {"FINISHED"}
    state = part("blender.runtime").get().solver.state
    assert (state.phase.value, state.is_incomplete) == ("not_installed", True)
    assert "The installation is incomplete" in box().texts
    assert ("ikol.install_solver", "Continue Installation") in box().operators


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_one_button_installs_a_solver_that_works(box, part):
    try:
        bpy.ops.ikol.install_solver()
    except RuntimeError as error:
        pytest.skip(str(error))
    living = wait(part, 380)
    if living.installation.error is not None and living.installation.error.fix.name in {"INSTALL", "OPEN_PREFERENCES"}:
        pytest.skip(f"the packages cannot be had here: {living.installation.error}")
    assert living.installation.error is None
    assert living.installation.result == "The solver is installed and works"
    assert living.solver.state.phase.value in {"starting", "running"}  # the user waits for it
    assert "The solver is installed, for CPU" in box().texts
    deadline = time.monotonic() + 60
    while not living.solver.state.is_ready and time.monotonic() < deadline:
        living.pump()
        time.sleep(0.02)
    assert living.solver.state.is_ready
    living.solver.close()
    installed = part("blender.installation").find_installed()
    packages = part("blender.installation").folders().packages(installed.environment, False, installed.python)
    (packages / "tqdm" / "std.py").unlink()
    assert bpy.ops.ikol.repair_solver() == {"FINISHED"}
    assert living.solver.state.phase.value == "installing"
    assert wait(part, 200).installation.result == "Repaired tqdm"
    assert bpy.ops.ikol.uninstall_solver() == {"FINISHED"}
    assert wait(part, 60).solver.state.phase.value == "not_installed"
    assert part("blender.installation").find_installed() is None

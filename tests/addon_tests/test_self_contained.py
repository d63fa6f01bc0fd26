# SPDX-License-Identifier: Apache-2.0
"""The add-on's folder works where nothing else of the project is: as in Blender, under Blender's name for it."""

import subprocess
import sys
from pathlib import Path

ADDON = Path(__file__).resolve().parents[2] / "blender_addon"

SCRIPT = """
import importlib.util, sys
folder = sys.argv[1]

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "ikol", "solver_server", "blender_addon", "bpy", "mathutils"}:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
for name in ("bl_ext", "bl_ext.user_default"):
    sys.modules[name] = type(sys)(name)
    sys.modules[name].__path__ = []
spec = importlib.util.spec_from_file_location(
    "bl_ext.user_default.ikol", folder + "/__init__.py", submodule_search_locations=[folder])
addon = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = addon
spec.loader.exec_module(addon)

from bl_ext.user_default.ikol._vendor import solver_protocol as wire
from bl_ext.user_default.ikol.client import python_check, solver
from bl_ext.user_default.ikol.core import keypoint_files, photo

parts = wire.encode(wire.Hello(1, wire.PROTOCOL_VERSION, "test"))
assert wire.decode_request(parts)[0].client == "test"
assert callable(addon.register) and callable(addon.unregister)
solver.Solver().pump()
print("works")
"""


def test_the_folder_needs_neither_torch_nor_the_rest_of_the_project_nor_bpy():
    result = subprocess.run(
        [sys.executable, "-I", "-c", SCRIPT, str(ADDON)], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "works"


def test_no_file_of_the_add_on_imports_pickle_or_evaluates_text():
    forbidden = ("import pickle", "eval(", "exec(", "allow_pickle=True", "shell=True", "0.0.0.0", "recv_pyobj")
    for path in ADDON.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        found = [word for word in forbidden if word in text]
        assert not found, f"{path.name}: {found}"

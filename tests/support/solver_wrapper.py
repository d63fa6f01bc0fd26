# SPDX-License-Identifier: Apache-2.0
"""A file that looks like the solver's Python to the add-on, but runs the fake solver whatever it is asked to run."""

import sys
from pathlib import Path

SUPPORT = Path(__file__).resolve().parent
ROOT = SUPPORT.parents[1]
VENV_PYTHON = ROOT / ".venv" / "bin" / "python"


def make_solver_python(folder: Path) -> Path:
    """Write the wrapper and return its path. Only where there is a shell; the tests run on Linux and macOS."""
    assert sys.platform != "win32"
    wrapper = folder / "solver-python"
    search = f"{ROOT}:{SUPPORT}"
    script = f"""#!/bin/sh
exec env PYTHONPATH='{search}' '{VENV_PYTHON}' '{SUPPORT / "fake_solver.py"}' "$@"
"""
    wrapper.write_text(script, encoding="utf-8")
    wrapper.chmod(0o755)
    return wrapper

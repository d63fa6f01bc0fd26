# SPDX-License-Identifier: GPL-3.0-or-later
"""Does the Python named in the preferences have what the solver needs? Asked in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from ..core.errors import Fix, SolverError
from .process import SOLVER_MODULE, clean_environment

REQUIRED_MODULES = ("torch", "numpy", "PIL", "zmq", "msgspec", "safetensors", "jaxtyping", "ikol", SOLVER_MODULE)
MIN_PYTHON = (3, 11)

# find_spec looks without importing: importing torch takes seconds.
_SCRIPT = """
import importlib.util, json, sys
missing = [name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]
print(json.dumps({"version": list(sys.version_info[:3]), "missing": missing}))
"""


class PythonReport(Struct, frozen=True):
    """What a Python interpreter says of itself."""

    version: tuple[int, int, int]
    missing: tuple[str, ...]


def find_problem(python: str) -> SolverError | None:
    """Return what is wrong with the path of the solver's Python, looking at the path only."""
    if not python:
        return SolverError(
            "the solver is not installed; install it, or name a Python in the preferences that has it",
            Fix.INSTALL,
        )
    path = Path(python)
    if not path.is_file():
        return SolverError(f"there is no Python at {python}; correct the preferences", Fix.OPEN_PREFERENCES)
    if sys.platform != "win32" and not os.access(path, os.X_OK):
        return SolverError(f"{python} cannot be run; correct the preferences", Fix.OPEN_PREFERENCES)
    return None


class PythonCheck:
    """A running check; `poll` until it gives a sentence."""

    def __init__(self, python: str) -> None:
        """Start the check.

        Raises:
            SolverError: The path names nothing that can be run.
        """
        problem = find_problem(python)
        if problem is not None:
            raise problem
        self._python = python
        try:
            self._process = subprocess.Popen(
                [python, "-I", "-c", _SCRIPT, *REQUIRED_MODULES],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=clean_environment(dict(os.environ)),
                creationflags=subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0,
            )
        except OSError as error:
            raise SolverError(
                f"{python} cannot be run: {error.strerror or error}; name another Python", Fix.OPEN_PREFERENCES
            ) from error

    def poll(self) -> str | None:
        """Return the good news as a sentence once it is there, None until then.

        Raises:
            SolverError: Something is missing; the sentence says what.
        """
        if self._process.poll() is None:
            return None
        output, _ = self._process.communicate()
        try:
            report = msgspec.json.decode(output, type=PythonReport)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise SolverError(
                f"{self._python} is not a Python interpreter; name another one", Fix.OPEN_PREFERENCES
            ) from (error)
        return judge(self._python, report)

    def kill(self) -> None:
        """Give the check up."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


def judge(python: str, report: PythonReport) -> str:
    """Return a sentence when the Python has everything.

    Raises:
        SolverError: It is too old or lacks modules.
    """
    version = ".".join(map(str, report.version))
    if report.version[:2] < MIN_PYTHON:
        needed = ".".join(map(str, MIN_PYTHON))
        raise SolverError(f"this is Python {version}, the solver needs {needed} or newer", Fix.OPEN_PREFERENCES)
    if report.missing:
        names = ", ".join(report.missing)
        raise SolverError(
            f"Python {version} lacks {names}; install the solver with: {python} -m pip install ikol",
            Fix.OPEN_PREFERENCES,
        )
    return f"Python {version} has everything that the solver needs"

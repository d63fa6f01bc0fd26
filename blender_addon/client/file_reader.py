# SPDX-License-Identifier: GPL-3.0-or-later
"""Other programs' files, read by the solver's Python in a process of its own: `ikol convert` and `ikol solve`.

A file of somebody else is read where it can do no harm to Blender, by one reader for the command line and the add-on.
Nothing here ever waits.
"""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import Fix, SolverError
from ..core.motion_file import POINT_SUFFIXES
from .process import clean_environment

_PROGRAM = "import sys; from ikol.cli import main; sys.exit(main(sys.argv[1:]))"

MAX_ERROR_BYTES = 65536


@dataclass(frozen=True)
class ReadCall:
    """Which file is read, and what it does not say itself."""

    path: Path
    """A file, or the folder of OpenPose's files."""
    body: str = ""
    """Path of the user's own body file; empty for the default body."""
    up: str = ""
    """y, z or camera; empty to see it."""
    person: int = 0
    size: tuple[int, int] | None = None
    """Width and height of the picture in pixels."""
    fps: float | None = None

    @property
    def is_solved(self) -> bool:
        """Whether the file holds points, to which a body is solved."""
        return self.path.is_dir() or self.path.suffix.lower() in POINT_SUFFIXES


def read_command(python: str, call: ReadCall, out: Path) -> list[str]:
    """Return the command that reads a file and writes its motion."""
    command = [python, "-I", "-c", _PROGRAM]
    if call.is_solved:
        command += ["solve", "--keypoints", str(call.path), "--out", str(out)]
        command += ["--skeleton", call.body] if call.body else []
    else:
        command += ["convert", str(call.path), str(out), "--to", "smpl"]
        command += ["--body", call.body] if call.body else []
    command += ["--up", call.up] if call.up else []
    command += ["--person", str(call.person)]
    command += [] if call.size is None else ["--size", f"{call.size[0]}x{call.size[1]}"]
    command += [] if call.fps is None else ["--fps", f"{call.fps:g}"]
    return command


class FileReader:
    """One file that is being read. `poll` until it gives the motion's path; `close` in any case."""

    def __init__(self, python: str, call: ReadCall) -> None:
        """Start the process.

        Raises:
            SolverError: There is no Python of the solver, or it cannot be run.
        """
        if not python:
            raise SolverError(
                "files of other programs are read by a solver on this computer, and a shared one is in use; install a "
                "solver in the preferences",
                Fix.OPEN_PREFERENCES,
            )
        self._folder = tempfile.TemporaryDirectory(prefix="ikol-")
        self._out = Path(self._folder.name) / "motion.smpl"
        self._name = call.path.name
        errors = Path(self._folder.name) / "errors.txt"
        creation_flags = subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0
        try:
            with errors.open("wb") as log:
                self._process = subprocess.Popen(
                    read_command(python, call, self._out),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    env=clean_environment(dict(os.environ)),
                    creationflags=creation_flags,
                )
        except OSError as error:
            self._folder.cleanup()
            raise SolverError(
                f"the solver's Python {python} cannot be started: {error.strerror or error}", Fix.OPEN_PREFERENCES
            ) from error

    def poll(self) -> Path | None:
        """Return the path of the motion once it is read, None until then.

        Raises:
            SolverError: The file cannot be read, with the reader's own sentence.
        """
        status = self._process.poll()
        if status is None:
            return None
        if status == 0 and self._out.is_file():
            return self._out
        text = (Path(self._folder.name) / "errors.txt").read_bytes()[-MAX_ERROR_BYTES:].decode("utf-8", "replace")
        lines = [line for line in text.splitlines() if line.strip()]
        last = lines[-1].strip().removeprefix("error: ") if lines else f"its reader ended with status {status}"
        raise SolverError(f"{self._name} cannot be read: {last[:600]}")

    def close(self) -> None:
        """End the process where it still runs, and remove what it wrote."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(timeout=5.0)
        self._folder.cleanup()

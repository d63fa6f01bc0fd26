# SPDX-License-Identifier: GPL-3.0-or-later
"""Other programs' files, read and written by the solver's Python in a process of its own: `ikol convert`, `ikol solve`.

A file of somebody else is read where it can do no harm to Blender, by one reader for the command line and the add-on;
and written by the one writer that there is. Nothing here ever waits.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
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


class FileProcess:
    """A command on one file in the solver's Python. `poll` until it gives what it wrote; `close` in any case."""

    what = ""
    """What cannot be done without it, in the plural, and by what."""
    failure = ""
    """What is said of the file when it fails."""

    def __init__(self, python: str, name: str, out_name: str, command: Callable[[Path], Sequence[str]]) -> None:
        """Start the process.

        Args:
            python: Of the solver; empty where there is none on this computer.
            name: Of the user's file, for sentences.
            out_name: Of the file that the command writes, in a folder of its own.
            command: The command that writes a path.

        Raises:
            SolverError: There is no Python of the solver, or it cannot be run.
        """
        if not python:
            raise SolverError(
                f"{self.what} a solver on this computer, and a shared one is in use; install a solver in the "
                "preferences",
                Fix.OPEN_PREFERENCES,
            )
        self._folder = tempfile.TemporaryDirectory(prefix="ikol-")
        self._out = Path(self._folder.name) / out_name
        self._name = name
        errors = Path(self._folder.name) / "errors.txt"
        creation_flags = subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0
        try:
            with errors.open("wb") as log:
                self._process = subprocess.Popen(
                    command(self._out),
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
        """Return the path of what was written once it is there, None until then.

        Raises:
            SolverError: The command failed, with its own sentence.
        """
        status = self._process.poll()
        if status is None:
            return None
        if status == 0 and self._out.is_file():
            return self._out
        text = (Path(self._folder.name) / "errors.txt").read_bytes()[-MAX_ERROR_BYTES:].decode("utf-8", "replace")
        lines = [line for line in text.splitlines() if line.strip()]
        last = lines[-1].strip().removeprefix("error: ") if lines else f"the command ended with status {status}"
        raise SolverError(f"{self._name} {self.failure}: {last[:600]}")

    def close(self) -> None:
        """End the process where it still runs, and remove what it wrote."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(timeout=5.0)
        self._folder.cleanup()


class FileReader(FileProcess):
    """One file that is being read: `poll` gives the path of its motion."""

    what = "files of other programs are read by"
    failure = "cannot be read"

    def __init__(self, python: str, call: ReadCall) -> None:
        """Start the process; what it raises is that of `FileProcess`."""
        super().__init__(python, call.path.name, "motion.smpl", lambda out: read_command(python, call, out))


@dataclass(frozen=True)
class WriteCall:
    """What the add-on has written with all its digits, and what becomes of it."""

    source: Path
    """An AMASS .npz with Z up, or named points (ikol.exchange.points_file)."""
    target: Path
    """The user's file."""
    form: str
    """As `ikol convert` calls it."""
    body: str = ""
    """As of `ReadCall`."""


def write_command(python: str, call: WriteCall, out: Path) -> list[str]:
    """Return the command that writes a file."""
    command = [python, "-I", "-c", _PROGRAM, "convert", str(call.source), str(out), "--to", call.form]
    command += ["--up", "z"]  # of motions; points say themselves that Y is
    return command + (["--body", call.body] if call.body else [])


class FileWriter(FileProcess):
    """One file that is being written: `poll` gives the path of the whole file, whose place is the caller's business."""

    what = "files of other programs are written by"
    failure = "could not be written"

    def __init__(self, python: str, call: WriteCall) -> None:
        """Start the process; what it raises is that of `FileProcess`."""
        super().__init__(python, call.target.name, call.target.name, lambda out: write_command(python, call, out))

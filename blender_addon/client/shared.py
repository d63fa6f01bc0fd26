# SPDX-License-Identifier: GPL-3.0-or-later
"""A solver that somebody else has started for several clients: found by its file, entered with a key of our own.

To the client it looks like a process of its own, except that it is neither started nor ended here.
"""

import sys
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from ..core.errors import Fix, SolverError
from .process import Handshake, ServerProcess, SolverConfig, SolverProcess

MAX_FILE_BYTES = 65536
T = TypeVar("T")


class _KeyFile(Struct, frozen=True):
    public_key: str
    secret_key: str


class SharedServer:
    """A solver that runs already: a `SolverProcess`.

    Raises:
        SolverError: A file is missing, is no such file, or a secret can be read by others.
    """

    def __init__(self, listen_file: Path, key_file: Path) -> None:
        if sys.platform != "win32" and _mode(key_file) & 0o077:
            raise SolverError(
                f"the key {key_file} can be read by others; run: chmod go= {key_file}", Fix.OPEN_PREFERENCES
            )
        key = _read(key_file, _KeyFile, "a key made with ikol serve --make-key")
        self.public_key = key.public_key.encode()
        self.secret_key = key.secret_key.encode()
        self._handshake = _read(listen_file, Handshake, "the file of a shared solver")
        self.exit_code: int | None = None
        """0 when we have parted from it."""

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self._handshake.pid

    def poll_handshake(self) -> Handshake:
        """Return what its file says."""
        return self._handshake

    def drain(self) -> None:
        """Do nothing: it does not print to us."""

    def exit_error(self) -> SolverError:
        """Return why it ended, which nobody knows here."""
        return SolverError("the shared solver is gone", Fix.START)

    def stop(self) -> None:
        """Part from it; it goes on for the others."""
        self.exit_code = 0

    def kill(self) -> None:
        """Part from it."""
        self.stop()

    def release(self, seconds: float) -> None:
        """Part from it."""
        self.stop()


def launch(config: SolverConfig) -> SolverProcess:
    """Start a solver, or find the shared one if the preferences name it.

    Raises:
        SolverError: It cannot be started, or not be found.
    """
    if config.listen_file:
        return SharedServer(Path(config.listen_file), Path(config.key_file))
    return ServerProcess(config)


def find_shared_problem(listen_file: str, key_file: str) -> SolverError | None:
    """Return what is wrong with the files of a shared solver, looking at the paths only."""
    if not key_file:
        text = "a shared solver needs a key: make one with ikol serve --make-key and name it in the preferences"
        return SolverError(text, Fix.OPEN_PREFERENCES)
    for path in (key_file, listen_file):
        if not Path(path).is_file():
            return SolverError(f"there is no file {path}; does the shared solver run?", Fix.OPEN_PREFERENCES)
    return None


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError as error:
        raise SolverError(f"{path} cannot be read ({error.strerror or error})", Fix.OPEN_PREFERENCES) from error


def _read(path: Path, kind: type[T], what: str) -> T:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_FILE_BYTES), type=kind)
    except OSError as error:
        text = f"{path} cannot be read ({error.strerror or error}); does the shared solver run?"
        raise SolverError(text, Fix.OPEN_PREFERENCES) from error
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise SolverError(f"{path} is not {what}", Fix.OPEN_PREFERENCES) from error

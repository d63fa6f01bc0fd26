# SPDX-License-Identifier: GPL-3.0-or-later
"""The solver process: started with another Python, told a key, watched, stopped. Nothing here ever waits.

Keys: the process gets this client's public key over stdin and answers with its own on stdout; neither is a secret and
neither touches the disk. Its stdin stays open: at its end the process exits, so that none outlives Blender.
"""

import logging
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import msgspec
import zmq
from msgspec import Struct

from .._vendor.solver_protocol import PROTOCOL_VERSION
from ..core.errors import UPDATE_CODE, Fix, SolverError, refusal

SOLVER_MODULE = "solver_server"
MAX_HANDSHAKE_BYTES = 65536
LOG_TAIL_BYTES = 8192
KEPT_LOGS = 8
"""Logs of earlier runs that are kept, for a report of what went wrong yesterday."""

logger = logging.getLogger(__name__)

_INHERITED_LIBRARY_PATHS = ("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES")
"""Blender may set these for its own libraries; torch in another Python must not load them."""


@dataclass(frozen=True)
class SolverConfig:
    """How to start the solver; from the add-on's preferences."""

    python: str
    """Path of the Python interpreter that has torch and the solver."""
    device: str
    """auto, cpu or cuda."""
    log_path: Path
    """Where the process writes what it has to say; the previous log is kept beside it."""
    body: str = ""
    """Path of the user's own body file; empty for the default body."""
    listen_file: str = ""
    """Path of the file of a shared solver, which is then used instead of an own one; empty for an own one."""
    key_file: str = ""
    """Path of this client's key for the shared solver."""
    own_network: str = ""
    """Path of a manifest or weights of the user's own network; empty for none."""
    is_network_trusted: bool = False
    """Whether a network that is a program may be loaded."""


class Handshake(Struct, frozen=True):
    """What the solver says of itself on the first line of its stdout."""

    port: int
    server_key: str
    pid: int
    protocol: tuple[int, int]
    session: str


class _Refusal(Struct, frozen=True):
    code: str
    message: str


class _FirstLine(Struct, frozen=True):
    error: _Refusal | None = None


def clean_environment(environment: dict[str, str]) -> dict[str, str]:
    """Return the environment without what would make the solver's Python load Blender's modules and libraries."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith("PYTHON") and name not in _INHERITED_LIBRARY_PATHS
    }


class SolverProcess(Protocol):
    """What the client needs of a solver: its own process, or one that is shared."""

    @property
    def public_key(self) -> bytes:
        """This client's public CURVE key."""
        ...

    @property
    def secret_key(self) -> bytes:
        """This client's secret CURVE key."""
        ...

    @property
    def exit_code(self) -> int | None:
        """How it ended, None while it runs."""
        ...

    @property
    def pid(self) -> int:
        """The id of the process."""
        ...

    def poll_handshake(self) -> Handshake | None:
        """Return where it listens once that is known."""
        ...

    def drain(self) -> None:
        """Throw away what it prints."""
        ...

    def exit_error(self) -> SolverError:
        """Return why it ended."""
        ...

    def stop(self) -> None:
        """End it, or part from it, without waiting."""
        ...

    def kill(self) -> None:
        """End it, or part from it, at once."""
        ...

    def release(self, seconds: float) -> None:
        """End it, or part from it, waiting at most this long."""
        ...


class ServerProcess:
    """A running solver. Made by `start`; `stop` and `kill` end it."""

    def __init__(self, config: SolverConfig) -> None:
        """Start the process.

        Raises:
            SolverError: There is no such Python, or it cannot be run.
        """
        public, self._secret_key = zmq.curve_keypair()
        self.public_key = public
        self._log_path = config.log_path
        self._buffer = b""
        self._process = _launch(config)
        hello = {"client_key": public.decode("ascii"), "protocol": PROTOCOL_VERSION}
        self._write_line(msgspec.json.encode(hello))

    @property
    def secret_key(self) -> bytes:
        """This client's secret CURVE key; it lives in memory only."""
        return self._secret_key

    @property
    def exit_code(self) -> int | None:
        """How the process ended, None while it runs."""
        return self._process.poll()

    @property
    def pid(self) -> int:
        """The id of the process, for messages and tests."""
        return self._process.pid

    def poll_handshake(self) -> Handshake | None:
        """Return the solver's first line once it is there, None until then.

        Raises:
            SolverError: The process ended or said that it cannot run.
        """
        self._buffer += read_available(_pipe(self._process.stdout))
        line, newline, _ = self._buffer.partition(b"\n")
        if not newline:
            if len(self._buffer) > MAX_HANDSHAKE_BYTES:
                raise SolverError("the solver's Python prints something else than the solver does", Fix.OPEN_LOG)
            if self.exit_code is not None:
                raise self.exit_error()
            return None
        return _parse_first_line(line)

    def drain(self) -> None:
        """Throw away what the process prints after its first line, lest the pipe fill up."""
        read_available(_pipe(self._process.stdout))

    def exit_error(self) -> SolverError:
        """Return why the process ended, as far as its log tells."""
        return explain_exit(self.exit_code, read_tail(self._log_path))

    def stop(self) -> None:
        """Close its stdin: the solver exits within two seconds. Does not wait."""
        stdin = self._process.stdin
        if stdin is not None and not stdin.closed:
            try:
                stdin.close()
            except OSError:  # it is gone already, and what was unsent with it
                return

    def kill(self) -> None:
        """End it at once."""
        if self.exit_code is None:
            self._process.kill()

    def release(self, seconds: float) -> None:
        """Wait at most this long for the end, then kill; for Blender's exit, when nobody will look again."""
        self.stop()
        deadline = time.monotonic() + seconds
        while self.exit_code is None and time.monotonic() < deadline:
            time.sleep(0.01)
        self.kill()
        self._process.wait(timeout=5.0)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _write_line(self, line: bytes) -> None:
        stdin = _pipe(self._process.stdin)
        try:
            stdin.write(line + b"\n")
            stdin.flush()
        except OSError:  # it ended at once; exit_error has the reason
            return


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # Popen was asked for it
    return pipe


def solver_command(config: SolverConfig) -> list[str]:
    """Return the command that starts the solver."""
    # stderr leads to the same file, for what Python says before the solver runs; the solver keeps it from growing
    log_options = ["--log", str(config.log_path)]
    command = [config.python, "-I", "-m", SOLVER_MODULE, "--device", config.device, *log_options]
    if config.body:
        command += ["--body", config.body]
    if config.own_network:
        command += ["--model-manifest", config.own_network]
        command += ["--trust-models"] if config.is_network_trusted else []
    return command


def _launch(config: SolverConfig) -> "subprocess.Popen[bytes]":
    command = solver_command(config)
    creation_flags = 0
    if sys.platform == "win32":
        creation_flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    try:
        config.log_path.parent.mkdir(parents=True, exist_ok=True)
        if config.log_path.exists():
            config.log_path.replace(config.log_path.with_suffix(".old.log"))
        with config.log_path.open("wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=clean_environment(dict(os.environ)),
                cwd=config.log_path.parent,
                creationflags=creation_flags,
                start_new_session=sys.platform != "win32",  # Ctrl+C in Blender's terminal is not for the solver
            )
    except OSError as error:
        raise SolverError(
            f"the solver's Python {config.python} cannot be started: {error.strerror or error}; "
            "name another one in the preferences",
            Fix.OPEN_PREFERENCES,
        ) from error
    if sys.platform != "win32":
        os.set_blocking(_pipe(process.stdout).fileno(), False)
    return process


def read_available(pipe: IO[bytes]) -> bytes:
    """Return what lies in a pipe without waiting for more."""
    descriptor = pipe.fileno()
    if sys.platform == "win32":
        size = _windows_pipe_size(descriptor)
        return os.read(descriptor, size) if size else b""
    try:
        return os.read(descriptor, MAX_HANDSHAKE_BYTES)
    except BlockingIOError:
        return b""


def _windows_pipe_size(descriptor: int) -> int:
    """Return how many bytes can be read at once; Python has non-blocking pipes on Windows only since 3.12."""
    if sys.platform != "win32":
        return 0
    import ctypes  # noqa: PLC0415 - the rest is there on Windows only
    import msvcrt  # noqa: PLC0415
    from ctypes import wintypes  # noqa: PLC0415

    available = wintypes.DWORD()
    handle = msvcrt.get_osfhandle(descriptor)
    is_open = ctypes.windll.kernel32.PeekNamedPipe(handle, None, 0, None, ctypes.byref(available), None)
    return int(available.value) if is_open else 0


def _parse_first_line(line: bytes) -> Handshake:
    try:
        refused = msgspec.json.decode(line, type=_FirstLine).error
        if refused is None:
            return msgspec.json.decode(line, type=Handshake)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise SolverError("the solver's Python prints something else than the solver does", Fix.OPEN_LOG) from error
    raise refusal(refused.code, refused.message)


def read_tail(path: Path) -> str:
    """Return the end of a log, empty when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def prune_logs(folder: Path, pattern: str, keep: int = KEPT_LOGS) -> None:
    """Delete all but the newest logs; one that is in use or is not ours to delete stays."""
    try:
        logs = sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime)
        for path in logs[: max(0, len(logs) - keep)]:
            path.unlink()
    except OSError as error:
        logger.info("old logs stay: %s", error)


def explain_exit(exit_code: int | None, log: str) -> SolverError:
    """Return a sentence for the end of a solver process, by the last words in its log."""
    for line in reversed(log.splitlines()):
        if "No module named" in line:
            module = line.rpartition("No module named")[2].strip(" '\"")
            return SolverError(
                f"the solver's Python lacks the module {module}; install ikol into it or name another Python",
                Fix.OPEN_PREFERENCES,
            )
        if "unrecognized arguments" in line or "Unrecognized options" in line:
            text = "the solver is of another version than the add-on; update both"
            return SolverError(text, Fix.OPEN_PREFERENCES, UPDATE_CODE)
    reason = f"by signal {-exit_code}" if exit_code is not None and exit_code < 0 else f"with code {exit_code}"
    return SolverError(f"the solver ended unexpectedly {reason}", Fix.START)

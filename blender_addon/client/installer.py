# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the steps of an installation, one process after the other, looked after by a timer. Nothing here ever waits.

What the processes print goes to a log file, which is also what is read to know how far they are: a pipe that nobody
empties would stop them.
"""

import contextlib
import hashlib
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

import msgspec

from ..core.errors import Fix, InstallError
from ..core.install_failures import explain_failure, is_spoilt
from ..core.install_paths import check_path
from ..core.install_plan import (
    Folders,
    Installed,
    Order,
    Step,
    StepKind,
    check_space,
    decode_lock,
    make_steps,
    needed_bytes,
    remove_step,
    verify_step,
    whole_wheels,
)
from ..core.install_progress import Progress, progress_text
from ..core.install_repair import check_step, damaged_wheels, repair_result, repair_steps
from .process import clean_environment

logger = logging.getLogger(__name__)

MAX_OUTPUT = 16384
"""Letters at the end of a step's output that are searched for a cause."""


class Outcome(Enum):
    """How far an installer is."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Payload:
    """What the add-on brings along for an installation."""

    folder: Path

    @property
    def lock(self) -> Path:
        """The list of wheels."""
        return self.folder / "solver_lock.json"

    @property
    def wheel(self) -> Path | None:
        """The project's wheel; None in an add-on that was not built."""
        return next(iter(sorted(self.folder.glob("ikol-*.whl"))), None)

    @property
    def pip(self) -> Path | None:
        """The wheel of pip."""
        return next(iter(sorted(self.folder.glob("pip-*.whl"))), None)


def read_installed(folders: Folders, is_windows: bool = sys.platform == "win32") -> Installed | None:
    """Return which environment works; None when there is none, or its Python is gone."""
    try:
        installed = msgspec.json.decode(folders.installed.read_bytes(), type=Installed)
    except (OSError, msgspec.MsgspecError, UnicodeError):
        return None
    return installed if folders.python(installed.environment, is_windows).is_file() else None


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def present_wheels(order_lock: Path, folders: Folders, wheel_set: str) -> tuple[str, ...]:
    """Return which wheels of a set were fetched before."""
    lock = decode_lock(order_lock.read_bytes())
    return whole_wheels(lock, wheel_set, _sizes(folders.wheels))


class StepRunner:
    """Runs steps in order. `poll` until the outcome is not RUNNING any more."""

    def __init__(self, steps: tuple[Step, ...], folders: Folders, log: Path) -> None:
        """Start the first step.

        Raises:
            InstallError: The user's folder cannot be written.
        """
        self.progress = Progress(steps)
        self.outcome = Outcome.RUNNING
        self.error: InstallError | None = None
        self.on_verified: Callable[[], None] = lambda: None
        """Called when the solver has been tried out; an OSError fails the installation."""
        self.on_checked: Callable[[str], tuple[Step, ...]] = lambda output: ()
        """Called with what a CHECK step printed; gives the steps that follow from it. An InstallError ends it."""
        self.result = ""
        """What came of it, where that is only known at its end."""
        self._is_adopted = False
        self._folders = folders
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._read = 0
        self._unfinished = b""
        self._output = ""
        try:
            folders.root.mkdir(parents=True, exist_ok=True)
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_bytes(b"")
        except OSError as error:
            raise InstallError(f"{error.filename} cannot be written: {error.strerror}", Fix.INSTALL) from error
        self._start()

    @property
    def text(self) -> str:
        """Where it is, for the user."""
        return progress_text(self.progress)

    def poll(self) -> Outcome:
        """Do what is due."""
        if self.outcome is not Outcome.RUNNING or self._process is None:
            return self.outcome
        exit_code = self._process.poll()
        self._read_log()
        if exit_code is None:
            return self.outcome
        self._process = None
        self._end_step(exit_code)
        return self.outcome

    def cancel(self) -> None:
        """Give it up; what was fetched whole is kept."""
        if self.outcome is Outcome.RUNNING:
            self._kill()
            self.outcome = Outcome.CANCELLED

    def _start(self) -> None:
        step = self.progress.step
        self._output = ""
        environment = clean_environment(dict(os.environ)) | dict.fromkeys(
            ("TMPDIR", "TEMP", "TMP"), str(self._folders.temporary)
        )
        try:
            if step.kind is not StepKind.REMOVE:
                self._folders.temporary.mkdir(parents=True, exist_ok=True)
            if step.requirements:
                self._folders.requirements.write_text(step.requirements, encoding="utf-8")
            with self._log.open("ab") as log:
                log.write(f"[{step.text}]\n".encode())
                log.flush()
                self._read = log.tell()
                self._process = subprocess.Popen(
                    step.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    cwd=self._folders.root,
                    start_new_session=sys.platform != "win32",
                    creationflags=subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0,
                )
        except OSError as error:
            self._fail(explain_failure(step, 1, str(error)))

    def _read_log(self) -> None:
        with self._log.open("rb") as log:
            log.seek(self._read)
            chunk = log.read()
        self._read += len(chunk)
        *lines, self._unfinished = (self._unfinished + chunk).split(b"\n")
        for line in lines:
            self.progress.feed(line.decode("utf-8", "replace").strip())
        self._output = (self._output + chunk.decode("utf-8", "replace"))[-MAX_OUTPUT:]

    def _end_step(self, exit_code: int) -> None:
        step = self.progress.step
        if exit_code != 0 and not self._is_adopted:
            self._fail(explain_failure(step, exit_code, self._output, _proxies()))
            return
        try:
            if step.kind is StepKind.CHECK:
                self.progress.extend(self.on_checked(self._output))
            if step.kind is StepKind.VERIFY:
                self.on_verified()
                self._is_adopted = True  # what is left to do is to clean up; the next installation does it otherwise
        except OSError as error:
            self._fail(explain_failure(step, 1, str(error)))
            return
        except InstallError as error:
            self._fail(error)
            return
        self.progress.advance()
        if self.progress.index < len(self.progress.steps):
            self._start()
        else:
            self.outcome = Outcome.DONE

    def _fail(self, error: InstallError) -> None:
        self.error = error
        self.outcome = Outcome.FAILED
        if is_spoilt(self._output):  # pip does not say which one, and fetches it again only if it is not there
            shutil.rmtree(self._folders.wheels, ignore_errors=True)

    def _kill(self) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)  # it leads a group of its own
        process.wait(timeout=5.0)


def begin_install(order: Order, log: Path, path_limit: int | None = None) -> StepRunner:
    """Start an installation.

    Args:
        order: What is installed.
        log: Where the steps write.
        path_limit: Letters of the longest path that the system takes; None where that is no question.

    Raises:
        InstallError: There is no room, a path would be too long, or the user's folder cannot be written.
    """
    folders = order.folders
    if path_limit is not None:
        check_path(folders.root, order.lock.longest.get(order.wheel_set, 0), path_limit)
    present = whole_wheels(order.lock, order.wheel_set, _sizes(folders.wheels))
    try:
        folders.root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folders.root).free
        check_space(free, needed_bytes(order.lock, order.wheel_set, present, order.wheel.stat().st_size))
        folders.incomplete.write_text(order.wheel_set, encoding="utf-8")
    except OSError as error:
        raise InstallError(f"{error.filename} cannot be written: {error.strerror}", Fix.INSTALL) from error
    runner = StepRunner(make_steps(order, present), folders, log)
    runner.on_verified = lambda: _adopt(order)
    return runner


def begin_verify(folders: Folders, installed: Installed, log: Path) -> StepRunner:
    """Try the installed solver out.

    Raises:
        InstallError: The user's folder cannot be written.
    """
    python = folders.python(installed.environment, sys.platform == "win32")
    return StepRunner((verify_step(str(python), installed.variant),), folders, log)


def begin_repair(order: Order, installed: Installed, is_online: bool, log: Path) -> StepRunner:
    """Compare every installed file with its hash, and fetch and install the packages again that are damaged.

    Args:
        order: What was installed, with the environment that it is in.
        installed: What is installed.
        is_online: Whether anything may be fetched.
        log: Where the steps write.

    Raises:
        InstallError: The user's folder cannot be written.
    """

    def follow(output: str) -> tuple[Step, ...]:
        damaged = damaged_wheels(order, output)
        if not is_online and set(damaged) - {order.wheel.name}:
            names = ", ".join(name.partition("-")[0] for name in damaged)
            raise InstallError(f"damaged: {names}; Blender may not go online to fetch them again", Fix.ALLOW_ONLINE)
        runner.result = repair_result(damaged)
        if damaged:
            order.folders.incomplete.write_text(order.wheel_set, encoding="utf-8")
        return repair_steps(order, damaged, whole_wheels(order.lock, order.wheel_set, _sizes(order.folders.wheels)))

    runner = StepRunner((check_step(order, installed.python),), order.folders, log)
    runner.on_checked = follow
    runner.on_verified = lambda: order.folders.incomplete.unlink(missing_ok=True)
    return runner


def begin_uninstall(folders: Folders, base_python: str, log: Path) -> StepRunner:
    """Remove everything that was installed; from this moment on nothing counts as installed.

    Raises:
        InstallError: The folder cannot be written.
    """
    try:
        folders.installed.unlink(missing_ok=True)
        folders.incomplete.unlink(missing_ok=True)
        folders.requirements.unlink(missing_ok=True)
    except OSError as error:
        raise InstallError(f"{error.filename} cannot be removed: {error.strerror}", Fix.INSTALL) from error
    paths = (folders.root / "a", folders.root / "b", folders.wheels, folders.temporary)
    return StepRunner((remove_step(base_python, paths, "removing the solver"),), folders, log)


def _adopt(order: Order) -> None:
    """Name the new environment as the one that works, at once and wholly; the old one can go."""
    folders = order.folders
    version = order.wheel_set.partition("-")[0]
    installed = Installed(order.environment, order.wheel_sha256, order.variant, version)
    temporary = folders.installed.with_suffix(".new")
    temporary.write_bytes(msgspec.json.encode(installed))
    temporary.replace(folders.installed)
    folders.incomplete.unlink(missing_ok=True)
    folders.requirements.unlink(missing_ok=True)


def _proxies() -> set[str]:
    """Return the hosts of the proxies that the environment or the system's settings name."""
    hosts: set[str | None] = set()
    for scheme, url in getproxies().items():
        if scheme == "no":  # hosts that are reached without one
            continue
        with contextlib.suppress(ValueError):  # what is no URL, such as half of an IPv6 address
            hosts.add(urlsplit(url if "//" in url else f"//{url}").hostname)
    return {host for host in hosts if host}


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.glob("*.whl")}

# SPDX-License-Identifier: GPL-3.0-or-later
"""The installation of the solver as this Blender sees it: where, from what, for which machine, and the one that runs.

Everything lies in the user's folder of this extension, in Windows in a shorter one where paths would be too long there;
what is needed for it came in the extension's zip.
"""

import functools
import os
import platform
import shutil
import sys
from pathlib import Path

import bpy

from ..client import installer
from ..client.installer import Outcome, Payload, StepRunner
from ..core.errors import Fix, InstallError
from ..core.install_paths import WINDOWS_LIMIT, choose_root
from ..core.install_plan import (
    Folders,
    Installed,
    Lock,
    Order,
    decode_lock,
    download_bytes,
    needed_bytes,
    other_environment,
    platform_name,
)
from ..core.install_sets import choose_set
from .identity import BASE_PACKAGE

CANCELLED = "Cancelled; what was fetched is kept for the next time"
PAYLOAD = Payload(Path(__file__).parents[1] / "solver")
INDEX_SCHEMES = ("https://", "file://")


class Installation:
    """The installation that runs in this Blender, if one does, and what came of the last one."""

    def __init__(self) -> None:
        self._runner: StepRunner | None = None
        self.error: InstallError | None = None
        """What the last one failed with."""
        self.result = ""
        """What the last one did."""
        self.starts_solver = False
        """Whether the user waits for the solver that is installed."""
        self.is_exclusive = False
        """Whether the solver is down meanwhile: it is so but for a look at what is installed."""
        self._success = ""

    @property
    def is_running(self) -> bool:
        """Whether one runs."""
        return self._runner is not None

    @property
    def text(self) -> str:
        """Where it is, empty when none runs."""
        return "" if self._runner is None else self._runner.text

    @property
    def fraction(self) -> float:
        """How far it is, from 0 to 1."""
        return 0.0 if self._runner is None else self._runner.progress.fraction

    def begin(self, runner: StepRunner, success: str, is_exclusive: bool = True, starts_solver: bool = False) -> None:
        """Look after a runner from now on; `success` is shown when it has done its work and says nothing itself."""
        self._runner, self._success = runner, success
        self.is_exclusive, self.starts_solver = is_exclusive, starts_solver
        self.error, self.result = None, ""

    def pump(self) -> bool:
        """Do what is due; return whether it has just ended."""
        runner = self._runner
        if runner is None or runner.poll() is Outcome.RUNNING:
            return False
        self._runner = None
        self.error = runner.error
        self.result = (runner.result or self._success) if runner.outcome is Outcome.DONE else ""
        self.starts_solver &= runner.outcome is Outcome.DONE
        return True

    def cancel(self) -> None:
        """Give up the one that runs."""
        if self._runner is not None:
            self._runner.cancel()
            self._runner = None
            self.result = CANCELLED
            self.starts_solver = False


def folders() -> Folders:
    """Return where the solver is installed."""
    own = Path(bpy.utils.extension_path_user(BASE_PACKAGE, path="solver", create=True))
    limit = path_limit()
    if limit is None:
        return Folders(own)
    short = Path(os.environ.get("LOCALAPPDATA", own)) / "ikol" / ".".join(map(str, bpy.app.version[:2]))
    try:
        longest = max(read_lock().longest.values(), default=0)
    except InstallError:  # nothing can be installed from here; what is in the folder counts all the same
        longest = 0
    return Folders(choose_root((own, short), longest, limit))


@functools.cache
def path_limit() -> int | None:
    """Return how many letters a path may have; None where that is no question: not Windows, or long paths allowed."""
    if sys.platform != "win32":
        return None
    import winreg

    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SYSTEM\CurrentControlSet\Control\FileSystem") as key:
            is_allowed = winreg.QueryValueEx(key, "LongPathsEnabled")[0] == 1
    except OSError:
        is_allowed = False
    return None if is_allowed else WINDOWS_LIMIT


def is_incomplete() -> bool:
    """Return whether an installation was begun and not ended."""
    return folders().incomplete.is_file()


def log_path() -> Path:
    """Return where the log of the last installation is."""
    return Path(bpy.utils.extension_path_user(BASE_PACKAGE, path="log", create=True)) / "install.log"


def find_installed() -> Installed | None:
    """Return which solver is installed here."""
    return installer.read_installed(folders())


def installed_python() -> str:
    """Return the path of the installed solver's Python, empty when there is none."""
    installed = find_installed()
    if installed is None:
        return ""
    return str(folders().python(installed.environment, sys.platform == "win32"))


def is_outdated(installed: Installed) -> bool:
    """Return whether the add-on brings another solver than the one that is installed."""
    wheel = PAYLOAD.wheel
    return wheel is not None and _hash(wheel) != installed.wheel_sha256


@functools.cache
def has_nvidia() -> bool:
    """Return whether this machine has the driver of an NVIDIA graphics card; its tool comes with it."""
    return shutil.which("nvidia-smi") is not None


@functools.cache
def read_lock() -> Lock:
    """Return which wheels belong to the solver.

    Raises:
        InstallError: The add-on does not bring them along.
    """
    try:
        return decode_lock(PAYLOAD.lock.read_bytes())
    except OSError as error:
        text = "this add-on was not built with the solver; name a Python that has it in the preferences"
        raise InstallError(text, Fix.OPEN_PREFERENCES) from error


def set_here(variant: str) -> str:
    """Return the set of wheels for this machine; `variant` is cpu, cuda or auto.

    Raises:
        InstallError: There is none.
    """
    system = platform_name(platform.system(), platform.machine())
    return choose_set(read_lock(), sys.version_info[:2], system, variant, has_nvidia())


def sizes(variant: str) -> tuple[str, int, int]:
    """Return the variant that is installed, how much is still to be fetched, and how much room it takes, in bytes.

    Raises:
        InstallError: There is no such installation for this machine.
    """
    lock, wheel_set = read_lock(), set_here(variant)
    present = installer.present_wheels(PAYLOAD.lock, folders(), wheel_set)
    wheel = PAYLOAD.wheel
    needed = needed_bytes(lock, wheel_set, present, 0 if wheel is None else wheel.stat().st_size)
    return wheel_set.rpartition("-")[2], download_bytes(lock, wheel_set, present), needed


def make_order(variant: str, index: str, bundle: Path | None = None) -> Order:
    """Return what is to be installed.

    Raises:
        InstallError: Nothing fits this machine, or Blender may not go online.
    """
    lock, wheel_set = read_lock(), set_here(variant)
    wheel, pip = PAYLOAD.wheel, PAYLOAD.pip
    if wheel is None or pip is None:
        raise InstallError("this add-on was not built with the solver; name a Python that has it in the preferences")
    if bundle is None:
        if not bpy.app.online_access:
            raise InstallError(
                "Blender may not go online; allow it in its preferences, or install from disk", Fix.ALLOW_ONLINE
            )
        if index and not index.startswith(INDEX_SCHEMES):
            raise InstallError(
                "the package index has to begin with https://; correct it in the preferences", Fix.OPEN_PREFERENCES
            )
    elif not bundle.is_file():
        raise InstallError(f"there is no file {bundle}", Fix.INSTALL_FROM_DISK)
    return Order(
        base_python=sys.executable,
        is_windows=sys.platform == "win32",
        folders=folders(),
        environment=other_environment(find_installed()),
        lock=lock,
        wheel_set=wheel_set,
        wheel=wheel,
        wheel_sha256=_hash(wheel),
        pip=pip,
        index=index,
        bundle=bundle,
    )


def make_repair_order(installed: Installed) -> Order:
    """Return what was installed, where it is, to be repaired.

    Raises:
        InstallError: The add-on has another list of packages by now.
    """
    wheel, pip = PAYLOAD.wheel, PAYLOAD.pip
    if wheel is None or pip is None or is_outdated(installed):
        raise InstallError("the add-on brings another solver than the one that is installed; update it", Fix.INSTALL)
    return Order(
        base_python=sys.executable,
        is_windows=sys.platform == "win32",
        folders=folders(),
        environment=installed.environment,
        lock=read_lock(),
        wheel_set=set_here(installed.variant),
        wheel=wheel,
        wheel_sha256=_hash(wheel),
        pip=pip,
        index=package_index(),
    )


def package_index() -> str:
    """Return the further package index that the preferences name, empty for none."""
    return bpy.context.preferences.addons[BASE_PACKAGE].preferences.package_index.strip()


@functools.cache
def _hash(path: Path) -> str:
    return installer.hash_file(path)

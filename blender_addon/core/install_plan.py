# SPDX-License-Identifier: GPL-3.0-or-later
"""How the solver is installed: the wheels of a machine, the steps with their commands.

An installation never touches the one that works: it fills an environment beside it, tries it out, and only then names
it in `installed.json`. What was fetched stays until then: an installation that was cut off goes on with the wheels that
are missing. Within a wheel pip goes on by itself when the connection is cut, not when it is cancelled: that costs one
wheel at most, 527 MB for CUDA, 192 MB for the processor. Nothing here runs or reads anything; `client.installer` does.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import msgspec
from msgspec import Struct

from .errors import Fix, InstallError

BIG_WHEEL = 20_000_000
"""Bytes from which a wheel is fetched on its own: then a cut costs no other one."""

UNPACKED = {"cpu": 4.1, "cuda": 1.9}
"""Bytes that a byte of wheels needs when unpacked, by what torch is built for: torch 2.13 made 865 of 228 MB for the
processor and 4847 of 2767 for CUDA."""

# without -B Python would leave compiled files in the folder of the extension
_PYTHON_OPTIONS = ("-I", "-B", "-u")

_REMOVE = """
import os, shutil, sys
for path in sys.argv[1:]:
    if os.path.isdir(path):
        shutil.rmtree(path)
"""

# Names come from the lock, not from the archive: a bundle cannot write anywhere else.
_UNPACK = """
import pathlib, shutil, sys, zipfile
folder = pathlib.Path(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
with zipfile.ZipFile(sys.argv[1]) as bundle:
    missing = set(sys.argv[3:]) - set(bundle.namelist())
    if missing:
        sys.exit("the bundle lacks " + ", ".join(sorted(missing)))
    for name in sys.argv[3:]:
        with bundle.open(name) as source, open(folder / name, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
"""

# It loads the weights, compares their hashes and solves a pose whose answer is known.
_VERIFY = """
import sys
from solver_server.service import make_service
print("the self-test is passed on", make_service(sys.argv[1], 0).device)
"""


class Lock(Struct, frozen=True):
    """The file solver_lock.json: file names of wheels by set, hash and bytes by file name, and the wheel of pip."""

    pip: str
    sets: dict[str, list[str]]
    wheels: dict[str, tuple[str, int]]
    longest: dict[str, int] = {}
    """Letters of the longest path below site-packages, by set, where the system limits paths: Windows."""


class Installed(Struct, frozen=True):
    """The file installed.json: which environment is the one that works."""

    environment: str
    """Name of its folder."""
    wheel_sha256: str
    """Of the project's wheel that is in there: another one in the add-on means that an update is due."""
    variant: str
    python: str
    """The version of Python that it was made with."""


class StepKind(Enum):
    """What a step does."""

    REMOVE = "remove"
    UNPACK = "unpack"
    ENVIRONMENT = "environment"
    DOWNLOAD = "download"
    INSTALL = "install"
    CHECK = "check"
    VERIFY = "verify"


@dataclass(frozen=True)
class Step:
    """One command, run as a process of its own."""

    kind: StepKind
    text: str
    """What the user reads while it runs."""
    command: tuple[str, ...]
    size: int = 0
    """Bytes that it fetches at most."""
    weight: int = 1_000_000
    """How long it takes, in bytes of a download that takes as long."""
    requirements: str = ""
    """Text of the requirements file that the command reads."""


@dataclass(frozen=True)
class Folders:
    """Where things are below one folder of the user. Names are short: Windows cuts paths off at 260 letters."""

    root: Path

    @property
    def wheels(self) -> Path:
        """What was fetched."""
        return self.root / "wheels"

    @property
    def temporary(self) -> Path:
        """What pip fetches at the moment; the system's own folder for that may be small."""
        return self.root / "tmp"

    @property
    def requirements(self) -> Path:
        """The requirements file of the step that runs."""
        return self.root / "requirements.txt"

    @property
    def incomplete(self) -> Path:
        """Is there from the first step until the installation has been tried out."""
        return self.root / "incomplete"

    @property
    def installed(self) -> Path:
        """Names the environment that works."""
        return self.root / "installed.json"

    def python(self, environment: str, is_windows: bool) -> Path:
        """Return the path of an environment's Python."""
        folder = self.root / environment
        return folder / "Scripts" / "python.exe" if is_windows else folder / "bin" / "python"

    def packages(self, environment: str, is_windows: bool, version: str) -> Path:
        """Return where an environment's packages are, for a version of Python such as 3.11."""
        folder = self.root / environment
        return folder / ("Lib" if is_windows else f"lib/python{version}") / "site-packages"


@dataclass(frozen=True)
class Order:
    """What is to be installed, and with what."""

    base_python: str
    """Blender's own Python; it makes the environment."""
    is_windows: bool
    folders: Folders
    environment: str
    """Name of the new environment's folder."""
    lock: Lock
    wheel_set: str
    """Name of the set in the lock."""
    wheel: Path
    """The project's wheel in the add-on."""
    wheel_sha256: str
    pip: Path
    """pip's wheel in the add-on: it runs without being installed."""
    index: str = ""
    """One more package index, for the torch that the usual one does not have."""
    bundle: Path | None = None
    """An offline bundle with the wheels, instead of the package index."""

    @property
    def variant(self) -> str:
        """Return cpu or cuda."""
        return self.wheel_set.rpartition("-")[2]


def decode_lock(content: bytes) -> Lock:
    """Read the lock.

    Raises:
        InstallError: It cannot be read.
    """
    try:
        return msgspec.json.decode(content, type=Lock)
    except (msgspec.MsgspecError, UnicodeError) as error:
        text = "the add-on's list of packages cannot be read; install the add-on again"
        raise InstallError(text) from error


def set_name(python: tuple[int, int], platform: str, variant: str) -> str:
    """Return the name that a set of wheels has in the lock."""
    return f"{python[0]}.{python[1]}-{platform}-{variant}"


def platform_name(system: str, machine: str) -> str:
    """Return a system as the lock spells it, from what `platform.system` and `platform.machine` say."""
    systems = {"linux": "linux", "windows": "windows", "darwin": "macos"}
    machines = {"x86_64": "x64", "amd64": "x64", "arm64": "arm64", "aarch64": "arm64"}
    return f"{systems.get(system.lower(), system.lower())}-{machines.get(machine.lower(), machine.lower())}"


def find_variants(lock: Lock, python: tuple[int, int], platform: str) -> tuple[str, ...]:
    """Return for what torch can be installed on a machine, most modest first; empty when nothing fits."""
    return tuple(variant for variant in UNPACKED if set_name(python, platform, variant) in lock.sets)


def download_bytes(lock: Lock, wheel_set: str, present: Iterable[str] = ()) -> int:
    """Return how much is still to be fetched."""
    there = set(present)
    return sum(lock.wheels[name][1] for name in lock.sets[wheel_set] if name not in there)


def needed_bytes(lock: Lock, wheel_set: str, present: Iterable[str], wheel_size: int) -> int:
    """Return how much room has to be free: what is fetched, the biggest of it twice, and everything unpacked."""
    there = set(present)
    sizes = [lock.wheels[name][1] for name in lock.sets[wheel_set]]
    missing = [lock.wheels[name][1] for name in lock.sets[wheel_set] if name not in there]
    return (
        sum(missing)
        + max(missing, default=0)
        + round(UNPACKED[wheel_set.rpartition("-")[2]] * sum(sizes))
        + 2 * wheel_size
    )


def check_space(free: int, needed: int) -> None:
    """Compare what is free with what is needed, in bytes.

    Raises:
        InstallError: There is not enough.
    """
    if free < needed:
        text = f"the disk has {free / 1e9:.1f} GB free and the installation needs {needed / 1e9:.1f} GB; make room"
        raise InstallError(text, Fix.INSTALL)


def other_environment(current: Installed | None) -> str:
    """Return the name for a new environment, beside the one that works."""
    return "b" if current is not None and current.environment == "a" else "a"


def make_steps(order: Order, present: Iterable[str]) -> tuple[Step, ...]:
    """Return the steps of an installation.

    Args:
        order: What is to be installed.
        present: File names of the wheels that were fetched before, whole.
    """
    missing = [name for name in order.lock.sets[order.wheel_set] if name not in set(present)]
    leftovers = (order.folders.root / order.environment, order.folders.temporary)
    environment = str(order.folders.root / order.environment)
    make = (order.base_python, *_PYTHON_OPTIONS, "-m", "venv", "--without-pip", environment)
    steps = [
        remove_step(order.base_python, leftovers),
        Step(StepKind.ENVIRONMENT, "making a Python environment", make),
    ]
    if order.bundle is not None and missing:
        unpack = (order.base_python, *_PYTHON_OPTIONS, "-c", _UNPACK, str(order.bundle), str(order.folders.wheels))
        text = "reading the offline bundle"
        steps.append(Step(StepKind.UNPACK, text, (*unpack, *missing), weight=_size(order, missing) // 4))
    else:
        steps += download_steps(order, missing)
    other = order.folders.root / ("a" if order.environment == "b" else "b")
    rest = (other, order.folders.wheels, order.folders.temporary)
    last = remove_step(order.base_python, rest, "removing what is not needed any more")
    return (*steps, install_step(order), verify_step(str(_python(order)), order.variant), last)


def download_steps(order: Order, names: list[str]) -> tuple[Step, ...]:
    """Return the steps that fetch wheels, small ones together and big ones alone."""
    small = [name for name in names if order.lock.wheels[name][1] < BIG_WHEEL]
    groups = [small] if small else []
    groups += [[name] for name in names if name not in small]
    return tuple(_download_step(order, group) for group in groups)


def remove_step(
    python: str, paths: Iterable[Path], text: str = "removing what is left of an earlier installation"
) -> Step:
    """Return the step that deletes folders; none of them has to be there."""
    command = (python, *_PYTHON_OPTIONS, "-c", _REMOVE, *map(str, paths))
    return Step(StepKind.REMOVE, text, command)


def verify_step(python: str, variant: str) -> Step:
    """Return the step that tries an installation out."""
    device = "cpu" if variant == "cpu" else "auto"
    command = (python, *_PYTHON_OPTIONS[:1], "-c", _VERIFY, device)
    return Step(StepKind.VERIFY, "trying the solver out", command, weight=60_000_000)


def _download_step(order: Order, names: list[str]) -> Step:
    what = names[0].partition("-")[0] if len(names) == 1 else f"{len(names)} packages"
    options = ["--dest", str(order.folders.wheels), "--progress-bar", "raw", "--no-cache-dir", "--retries", "3"]
    options += ["--resume-retries", "10", "--timeout", "30"]
    options += ["--extra-index-url", order.index] if order.index else []
    size = _size(order, names)
    return Step(
        StepKind.DOWNLOAD,
        f"fetching {what}",
        (*_pip(order, "download"), *options, "-r", str(order.folders.requirements)),
        size,
        size,
        _requirements(order.lock, names),
    )


def install_step(order: Order, names: Iterable[str] | None = None, with_project: bool = True) -> Step:
    """Return the step that installs fetched wheels over what is there: all of the set, or those named."""
    names = order.lock.sets[order.wheel_set] if names is None else list(names)
    lines = _requirements(order.lock, names)
    if with_project:
        lines += f"{order.wheel.as_uri()} --hash=sha256:{order.wheel_sha256}\n"
    # not uninstalled before: pip cannot do that where the list of a package's files is what is damaged
    options = ("--no-index", "--find-links", str(order.folders.wheels), "--no-compile", "--no-cache-dir")
    command = (*_pip(order, "install"), *options, "--ignore-installed", "-r", str(order.folders.requirements))
    number = len(names) + with_project
    return Step(
        StepKind.INSTALL,
        f"installing {number} packages" if number > 1 else "installing a package",
        command,
        weight=_size(order, names) // 3,
        requirements=lines,
    )


def _python(order: Order) -> Path:
    return order.folders.python(order.environment, order.is_windows)


def _pip(order: Order, command: str) -> tuple[str, ...]:
    """Return how to run pip out of its wheel, with the new environment's Python."""
    options = ("--no-input", "--disable-pip-version-check", "--no-deps", "--require-hashes", "--only-binary=:all:")
    return (str(_python(order)), *_PYTHON_OPTIONS, str(order.pip / "pip"), command, *options)


def _size(order: Order, names: Iterable[str]) -> int:
    return sum(order.lock.wheels[name][1] for name in names)


def _requirements(lock: Lock, names: Iterable[str]) -> str:
    """Return the lines of a requirements file: `===` compares versions as texts, with what stands behind a plus."""
    lines = ""
    for file_name in names:
        name, version = file_name.split("-")[:2]
        lines += f"{name}==={version} --hash=sha256:{lock.wheels[file_name][0]}\n"
    return lines


def whole_wheels(lock: Lock, wheel_set: str, sizes: Mapping[str, int]) -> tuple[str, ...]:
    """Return which wheels of a set are there with all their bytes; pip compares their hashes later."""
    return tuple(name for name in lock.sets[wheel_set] if sizes.get(name) == lock.wheels[name][1])

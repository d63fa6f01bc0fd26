# SPDX-License-Identifier: GPL-3.0-or-later
"""Repairing an installation: every file is compared with the hash in its package's list, as pip wrote it.

Only damaged packages are fetched and installed again. Nothing here runs or reads anything; `client.installer` does.
"""

import re
from pathlib import Path

from .install_plan import Order, Step, StepKind, download_steps, install_step, remove_step, verify_step

# Runs in Blender's Python: that of the environment may be what is damaged. A package without its list is damaged too.
_CHECK = """
import base64, csv, hashlib, pathlib, re, sys

def plain(name):
    return re.sub("[-_.]+", "-", name).lower()

def is_whole(folder):
    with open(folder / "RECORD", encoding="utf-8", newline="") as lines:
        for path, digest, _ in csv.reader(lines):
            if digest:
                kind, _, wanted = digest.partition("=")
                with open(site / path, "rb") as file:
                    found = hashlib.file_digest(file, kind).digest()
                if base64.urlsafe_b64encode(found).decode().rstrip("=") != wanted:
                    return False
    return True

site = pathlib.Path(sys.argv[1])
done, total = 0, sum(map(int, sys.argv[3::2]))
folders = {plain(folder.name): folder for folder in site.glob("*.dist-info")}
for name, size in zip(sys.argv[2::2], sys.argv[3::2]):
    try:
        is_damaged = not is_whole(folders[plain(name) + "-dist-info"])
    except (OSError, KeyError, ValueError, csv.Error):
        is_damaged = True
    if is_damaged:
        print("Damaged", name, flush=True)
    done += int(size)
    print(f"Progress {done} of {total}", flush=True)
"""

_DAMAGED = re.compile(r"^Damaged (\S+)\s*$", re.MULTILINE)


def check_step(order: Order, python_version: str) -> Step:
    """Return the step that looks for damaged packages in the order's environment."""
    packages = order.folders.packages(order.environment, order.is_windows, python_version)
    weights = {name: order.lock.wheels[name][1] // 4 for name in order.lock.sets[order.wheel_set]}
    weights[order.wheel.name] = 0
    arguments = (text for name, weight in weights.items() for text in (package_of(name), str(weight)))
    command = (order.base_python, "-I", "-B", "-c", _CHECK, str(packages), *arguments)
    return Step(StepKind.CHECK, "comparing every file with its hash", command, weight=sum(weights.values()))


def package_of(wheel: str) -> str:
    """Return name and version of a wheel, as its list of files is named."""
    return "-".join(wheel.split("-")[:2])


def damaged_wheels(order: Order, output: str) -> tuple[str, ...]:
    """Return the wheels of the packages that the check found damaged; the project's own may be among them."""
    damaged = set(_DAMAGED.findall(output))
    return tuple(name for name in (*order.lock.sets[order.wheel_set], order.wheel.name) if package_of(name) in damaged)


def repair_steps(order: Order, damaged: tuple[str, ...], present: tuple[str, ...]) -> tuple[Step, ...]:
    """Return the steps that fetch and install the damaged packages, and in any case try the solver out.

    Args:
        order: What is installed.
        damaged: Their wheels.
        present: File names of wheels that were fetched before, whole.
    """
    python = str(order.folders.python(order.environment, order.is_windows))
    verify = verify_step(python, order.variant)
    if not damaged:
        return (verify,)
    others = [name for name in damaged if name != order.wheel.name]
    fetch = download_steps(order, [name for name in others if name not in present])
    install = install_step(order, others, with_project=order.wheel.name in damaged)
    rest: tuple[Path, ...] = (order.folders.wheels, order.folders.temporary)
    return (*fetch, install, verify, remove_step(order.base_python, rest, "removing what is not needed any more"))


def repair_result(damaged: tuple[str, ...]) -> str:
    """Return what was repaired, as a sentence without a full stop."""
    if not damaged:
        return "Nothing is damaged, and the solver works"
    return "Repaired " + ", ".join(name.partition("-")[0] for name in damaged)

# SPDX-License-Identifier: Apache-2.0
"""Write blender_addon/solver_lock.json: the exact wheels, with hashes and sizes, of the solver that Blender installs.

    scripts/lock_solver.py          after a change of constraints.txt or of the dependencies in pyproject.toml

A set of wheels for every Python that Blender ships with, every system, and the processor or CUDA; for Linux also for
the Pythons of distributions that build Blender with their own. Everything comes from pip's reports on its configured
index (PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS may add the CPU-only torch for Linux); what is downloaded are sizes, and
for Windows the lists of files, as paths are limited there. A set that the index cannot provide is left out and named:
the add-on then does not offer it. Runs on Linux: pip judges the markers of dependencies by the system that it runs on.
"""

import io
import json
import re
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "blender_addon" / "solver_lock.json"

PYTHONS = ("3.11", "3.13")
LINUX_PYTHONS = ("3.12", "3.14")
PLATFORMS = {
    # a wheel of an older manylinux fits too, but pip takes only those that are named
    "linux-x64": [f"manylinux_2_{minor}_x86_64" for minor in range(28, 11, -1)] + ["manylinux2014_x86_64"],
    "windows-x64": ["win_amd64"],
    "macos-arm64": ["macosx_14_0_arm64"],  # pip knows that older ones fit as well; torch asks for 14
}
ONLY_CUDA = ("nvidia", "triton", "cuda")
ONLY_WINDOWS = ("colorama",)
"""What tqdm needs there; the markers of the rest say the same on all systems but for CUDA."""


def main() -> int:
    wheels: dict[str, list[Any]] = {}
    sets: dict[str, list[str]] = {}
    longest: dict[str, int] = {}
    pip = report(["pip", "--no-deps"], PYTHONS[0], ["any"])
    (pip_name,) = keep(pip, wheels)
    for python in (*PYTHONS, *LINUX_PYTHONS):
        linux = PLATFORMS["linux-x64"]
        names = {item["metadata"]["name"].lower(): item["metadata"]["version"] for item in resolve(python, linux)}
        plain = {name: version for name, version in names.items() if not name.startswith(ONLY_CUDA)}
        variants = {
            ("linux-x64", "cuda"): names,
            ("linux-x64", "cpu"): {**plain, "torch": names["torch"] + "+cpu"},
            ("windows-x64", "cpu"): {**plain, **dict.fromkeys(ONLY_WINDOWS, "")},
            ("macos-arm64", "cpu"): plain,
        }
        for (platform, variant), versions in variants.items():
            if python in LINUX_PYTHONS and platform != "linux-x64":
                continue
            key = f"{python}-{platform}-{variant}"
            pins = [f"{name}==={version}" if version else name for name, version in versions.items()]
            try:
                items = report(["--no-deps", *pins], python, PLATFORMS[platform])
                sets[key] = keep(items, wheels)
                if platform.startswith("windows"):
                    longest[key] = max(longest_path(item["download_info"]["url"]) for item in items)
            except RuntimeError as error:
                print(f"left out {key}: {error}", file=sys.stderr)
                continue
            print(f"{key}: {len(sets[key])} wheels, {sum(wheels[name][1] for name in sets[key]) / 1e6:.0f} MB")
    used = {pip_name, *(name for files in sets.values() for name in files)}
    lock = {"pip": pip_name, "sets": sets, "longest": longest, "wheels": {name: wheels[name] for name in sorted(used)}}
    LOCK.write_text(json.dumps(lock, indent=1) + "\n", encoding="utf-8")
    return 0


def resolve(python: str, platforms: list[str]) -> list[dict[str, Any]]:
    """Give what the project needs at run time, in the versions of constraints.txt, with torch for CUDA."""
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    (torch,) = re.findall(r"^torch==(.+)$", constraints, re.MULTILINE)
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(constraints.replace(f"torch=={torch}\n", ""))
        file.flush()
        # `===` compares texts: `==2.13.0` would also take 2.13.0+cpu
        return report([f"torch==={torch}", *needed, "-c", file.name], python, platforms)


def report(arguments: list[str], python: str, platforms: list[str]) -> list[dict[str, Any]]:
    """Give pip's list of what it would install for another Python and system."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        command += ["--report", str(path), "--target", folder, "--only-binary=:all:", "--python-version", python]
        command += ["--implementation", "cp", *(f"--platform={name}" for name in platforms), *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise RuntimeError(result.stderr.strip().rpartition("\n")[2])
        return json.loads(path.read_text(encoding="utf-8"))["install"]


def keep(items: list[dict[str, Any]], wheels: dict[str, list[Any]]) -> list[str]:
    """Note hash and size of each wheel; give their file names, sorted."""
    names = []
    for item in items:
        url = item["download_info"]["url"]
        name = unquote(urlparse(url).path.rpartition("/")[2])
        if name not in wheels:
            wheels[name] = [item["download_info"]["archive_info"]["hashes"]["sha256"], size_of(url)]
        names.append(name)
    return sorted(names)


def size_of(url: str) -> int:
    """Give the size of a file on the index in bytes."""
    if url.startswith("file:"):
        return Path(unquote(urlparse(url).path)).stat().st_size
    with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=60) as answer:
        return int(answer.headers["Content-Length"])


class RemoteFile(io.RawIOBase):
    """A file on the index of which only those parts are fetched that are read: the list of files at a wheel's end."""

    def __init__(self, url: str) -> None:
        self._url, self._size, self._at = url, size_of(url), 0

    def seekable(self) -> bool:
        """Say that it can be read from anywhere."""
        return True

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def tell(self) -> int:
        """Give where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set where the next read begins."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Fetch some bytes."""
        end = self._size if size < 0 else min(self._at + size, self._size)
        if end <= self._at:
            return b""
        request = urllib.request.Request(self._url, headers={"Range": f"bytes={self._at}-{end - 1}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            content = answer.read()
        if answer.status != 206:  # the whole file, as some indexes answer for small ones
            content = content[self._at : end]
        self._at = end
        return content


def longest_path(url: str) -> int:
    """Give the number of letters of the longest path that a wheel puts below site-packages."""
    with zipfile.ZipFile(RemoteFile(url)) as wheel:  # type: ignore[arg-type] - it has what zipfile uses
        return max(len(name) for name in wheel.namelist())


if __name__ == "__main__":
    sys.exit(main())

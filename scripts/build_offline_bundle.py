# SPDX-License-Identifier: Apache-2.0
"""Make the zip that *Install from Disk* takes where there is no network.

    scripts/build_offline_bundle.py                                for Blender 4.2 to 5.0 on this system, processor
    scripts/build_offline_bundle.py 3.13-windows-x64-cpu           for another set of blender_addon/solver_lock.json
    scripts/build_offline_bundle.py --list                         the sets, with their sizes

The zip has the wheels of the set as they are on the package index, fetched by pip and compared with the hashes of the
lock. The project's own wheel and pip are in the extension; both zips together are all that the other computer needs.
"""

import argparse
import hashlib
import json
import platform
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from build_addon import SOLVER_LOCK, ZIP_TIME, read_manifest

ROOT = Path(__file__).resolve().parents[1]
SYSTEMS = {"Linux": "linux-x64", "Windows": "windows-x64", "Darwin": "macos-arm64"}


def main() -> int:
    lock = json.loads(SOLVER_LOCK.read_text(encoding="utf-8"))
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = f"3.11-{SYSTEMS.get(platform.system(), 'linux-x64')}-cpu"
    arguments.add_argument("set", nargs="?", default=default, choices=sorted(lock["sets"]), metavar="SET")
    arguments.add_argument("--list", action="store_true", help="print the sets and their sizes")
    arguments.add_argument("--index", help="one more package index for pip, for the CPU-only torch under Linux")
    arguments.add_argument("--output", type=Path, default=ROOT / "dist", help="folder for the zip (default: dist)")
    options = arguments.parse_args()
    if options.list:
        for name, files in sorted(lock["sets"].items()):
            print(f"{name:24} {sum(lock['wheels'][file][1] for file in files) / 1e6:6.0f} MB")
        return 0
    path = options.output / f"ikol-solver-{read_manifest()['version']}-{options.set}.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        fetch(lock, options.set, options.index, Path(folder))
        write_bundle(lock, options.set, Path(folder), path)
    print(path)
    return 0


def fetch(lock: dict[str, dict[str, list[str]]], name: str, index: str | None, folder: Path) -> None:
    """Fetch the wheels of a set, for whatever system: each is asked for by its own tags."""
    for file in lock["sets"][name]:
        package, version = file.split("-")[:2]
        python, abi, tags = file.removesuffix(".whl").rsplit("-", 3)[1:]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary=:all:", "--dest", str(folder), "--python-version", name.partition("-")[0]]
        command += ["--implementation", "py" if python.startswith("py") else "cp", "--abi", abi]
        command += [f"--platform={tag}" for tag in tags.split(".")]
        command += ["--extra-index-url", index] if index else []
        result = subprocess.run([*command, f"{package}==={version}"], capture_output=True, text=True, check=False)
        if result.returncode != 0:
            sys.exit(f"{file} could not be fetched:\n{result.stderr.strip()}")


def write_bundle(lock: dict[str, dict[str, list[str]]], name: str, folder: Path, path: Path) -> None:
    """Put the wheels into the zip, each compared with the lock; wheels are packed already."""
    unfinished = path.with_suffix(".part")
    with zipfile.ZipFile(unfinished, "w") as archive:
        for file in sorted(lock["sets"][name]):
            with (folder / file).open("rb") as wheel:
                digest = hashlib.file_digest(wheel, "sha256").hexdigest()
            if digest != lock["wheels"][file][0]:
                sys.exit(f"{file} is not the file of solver_lock.json (SHA-256 {digest})")
            entry = zipfile.ZipInfo(file, ZIP_TIME)
            entry.external_attr = 0o644 << 16
            with (folder / file).open("rb") as wheel, archive.open(entry, "w", force_zip64=True) as target:
                while block := wheel.read(1 << 20):
                    target.write(block)
    unfinished.replace(path)


if __name__ == "__main__":
    sys.exit(main())

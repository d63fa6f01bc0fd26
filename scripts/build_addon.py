# SPDX-License-Identifier: Apache-2.0
"""Build the Blender extension: `build_addon.py [--output DIR] [--update-lock]`; prints the path of the zip.

Into the zip go the add-on's folder, the default body, the wheels of pyzmq and msgspec for every Python and platform
that Blender ships with, and below solver/ what it installs the solver with: the project's own wheel, pip's, and the
list of all others (scripts/lock_solver.py). The bundled wheels of others are unmodified files of the package index:
fetched once with pip in the versions of constraints.txt, kept in .cache/wheels, and compared with the hashes in
blender_addon/wheels.lock each time.

The same sources give the same bytes. The zip is written here and not by Blender's own tool, which stores times of
files; that tool, which comes with the `bpy` wheel, judges the result where there is one below .venv/blender.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "blender_addon"
LOCK = SOURCE / "wheels.lock"
SOLVER_LOCK = SOURCE / "solver_lock.json"
WHEEL_CACHE = ROOT / ".cache" / "wheels"
BODY_DATA = ROOT / "ikol" / "body" / "data"

PACKAGES = ("pyzmq", "msgspec")

# Blender 4.2 to 5.0 has Python 3.11, 5.1 and later 3.13; Linux distributions build Blender with their own Python.
PLATFORMS = ("manylinux_2_28_x86_64", "win_amd64", "macosx_11_0_arm64", "macosx_10_15_x86_64")
TARGETS = (
    *(("3.11", platform) for platform in PLATFORMS),
    *(("3.13", platform) for platform in PLATFORMS),
    ("3.12", PLATFORMS[0]),
    ("3.14", PLATFORMS[0]),
)

# Blender's tool accepts any tag and any licence; these are from Blender's manual, "Extension tags".
KNOWN_TAGS = {
    "3D View", "Add Curve", "Add Mesh", "Animation", "Bake", "Camera", "Compositing", "Development", "Game Engine",
    "Geometry Nodes", "Grease Pencil", "Import-Export", "Lighting", "Material", "Mesh", "Modeling", "Node", "Object",
    "Paint", "Pipeline", "Physics", "Render", "Rigging", "Scene", "Sculpt", "Sequencer", "System", "Text Editor",
    "Tracking", "User Interface", "UV",
}  # fmt: skip
MAX_PERMISSION_LENGTH = 64

ZIP_TIME = (2026, 1, 1, 0, 0, 0)  # any fixed time: the files' own differ from checkout to checkout
KEPT_BUILDS = 3  # wheels of the project: enough for a branch and what it is compared with
SOURCE_DATE = 1767225600  # the same, in seconds since 1970
WHEELS_LINE = re.compile(r"^wheels = \[\].*$", re.MULTILINE)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--output", type=Path, default=ROOT / "dist", help="folder for the zip (default: dist)")
    arguments.add_argument("--update-lock", action="store_true", help="fetch the wheels anew and write wheels.lock")
    options = arguments.parse_args()
    if options.update_lock:
        update_lock()
    manifest = read_manifest()
    wheels = fetch_wheels()
    path = options.output / f"{manifest['id']}-{manifest['version']}.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_zip(path, collect_files(wheels))
    check_zip(path)
    validate_with_blender(path)
    print(path)
    return 0


def pinned_versions() -> dict[str, str]:
    """Give the versions of the bundled packages, from the one place where they are pinned."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))
    return {package: pinned[package].split()[0] for package in PACKAGES}


def read_manifest() -> dict[str, object]:
    """Read the manifest and check in it what Blender's own tool lets pass."""
    manifest = tomllib.loads((SOURCE / "blender_manifest.toml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    problems = []
    if manifest["version"] != project["version"]:
        problems.append(f"version {manifest['version']} differs from pyproject.toml's {project['version']}")
    problems += [f"unknown tag {tag}" for tag in manifest["tags"] if tag not in KNOWN_TAGS]
    problems += [f"licence {name} lacks SPDX:" for name in manifest["license"] if not name.startswith("SPDX:")]
    problems += [
        f"permission {name}: more than {MAX_PERMISSION_LENGTH} letters or a full stop"
        for name, reason in manifest["permissions"].items()
        if len(reason) > MAX_PERMISSION_LENGTH or reason.endswith(".")
    ]
    if problems:
        sys.exit("blender_manifest.toml: " + "; ".join(problems))
    return manifest


def read_lock() -> dict[str, str]:
    """Give the SHA-256 of every bundled wheel by file name."""
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, name in (line.split() for line in lines if line and not line.startswith("#"))}


def fetch_wheels() -> list[Path]:
    """Give the wheels of the lock, from the cache or from the package index; each is the file of the lock."""
    lock, versions = read_lock(), pinned_versions()
    for name in lock:
        package, version = name.split("-")[:2]
        if versions.get(package) != version:
            sys.exit(f"wheels.lock has {name}, constraints.txt another version; run build_addon.py --update-lock")
    paths = [WHEEL_CACHE / name for name in sorted(lock)]
    if not all(path.exists() for path in paths):
        download()
    for path in paths:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != lock[path.name]:
            sys.exit(f"{path} is not the file of wheels.lock (SHA-256 {digest}); delete it and build again")
    return paths


def download() -> None:
    """Fetch the wheels of all targets into the cache."""
    requirements = [f"{package}=={version}" for package, version in pinned_versions().items()]

    def fetch(target: tuple[str, str]) -> str:
        python, platform = target
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
        command += ["--platform", platform, "--dest", str(WHEEL_CACHE), *requirements]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        return "" if result.returncode == 0 else f"Python {python}, {platform}: {result.stderr.strip()}"

    print("fetching wheels for", ", ".join(requirements), file=sys.stderr)
    with ThreadPoolExecutor(4) as pool:
        failures = [text for text in pool.map(fetch, TARGETS) if text]
    if failures:
        sys.exit("wheels could not be fetched:\n" + "\n".join(failures))


def update_lock() -> None:
    """Fetch the pinned versions into an empty cache and write down what came."""
    for old in WHEEL_CACHE.glob("*.whl"):
        old.unlink()
    download()
    wheels = sorted(WHEEL_CACHE.glob("*.whl"))
    lines = [f"{hashlib.sha256(wheel.read_bytes()).hexdigest()}  {wheel.name}" for wheel in wheels]
    header = "# SHA-256 of the wheels in the extension; written by scripts/build_addon.py --update-lock\n"
    LOCK.write_text(header + "\n".join(lines) + "\n", encoding="utf-8")


def collect_files(wheels: list[Path]) -> dict[str, bytes]:
    """Give everything that goes into the zip: name and bytes."""
    files = {
        path.relative_to(SOURCE).as_posix(): path.read_bytes()
        for path in SOURCE.rglob("*.py")
        if "__pycache__" not in path.parts
    }
    listed = "".join(f'  "./wheels/{wheel.name}",\n' for wheel in wheels)
    manifest, count = WHEELS_LINE.subn(f"wheels = [\n{listed}]", (SOURCE / "blender_manifest.toml").read_text("utf-8"))
    if count != 1:
        sys.exit("blender_manifest.toml must have one line `wheels = []`")
    files["blender_manifest.toml"] = manifest.encode("utf-8")
    files["LICENSE"] = (SOURCE / "LICENSE").read_bytes()
    files["_vendor/LICENSE"] = (ROOT / "LICENSE").read_bytes()
    files["data/default_body.npz"] = (BODY_DATA / "default_body.npz").read_bytes()
    files["data/LICENSE"] = (BODY_DATA / "LICENSE").read_bytes()
    files.update({f"wheels/{wheel.name}": wheel.read_bytes() for wheel in wheels})
    files.update({f"solver/{path.name}": path.read_bytes() for path in solver_files()})
    return files


def solver_files() -> list[Path]:
    """Give what the add-on installs the solver with: the project's wheel, pip's wheel, the lock of all others."""
    return [build_project(), fetch_pip(), SOLVER_LOCK]


def build_project() -> Path:
    """Build the project's wheel from a clean copy of its sources, unless the same was built before."""
    paths = [path for name in ("ikol", "solver_server") for path in sorted((ROOT / name).rglob("*")) if is_source(path)]
    paths += [ROOT / name for name in ("pyproject.toml", "README.md", "LICENSE")]
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.relative_to(ROOT).as_posix()} {path.stat().st_size}\n".encode() + path.read_bytes())
    folder = ROOT / ".cache" / "project_wheel" / digest.hexdigest()[:16]
    if not list(folder.glob("*.whl")):
        builds = sorted(folder.parent.glob("*"), key=lambda path: path.stat().st_mtime)
        for old in builds[:-KEPT_BUILDS]:
            shutil.rmtree(old, ignore_errors=True)
        with tempfile.TemporaryDirectory() as copy:
            for path in paths:
                target = Path(copy) / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
                target.chmod(0o644)
            # a finished wheel is moved into place: another build may look for it
            options = ("--no-deps", "--no-build-isolation", "--wheel-dir", f"{copy}/out")
            run_pip("the project's wheel could not be built", "wheel", *options, copy)
            folder.mkdir(parents=True, exist_ok=True)
            for wheel in (Path(copy) / "out").glob("*.whl"):
                shutil.copyfile(wheel, folder / "unfinished")
                (folder / "unfinished").replace(folder / wheel.name)
    return next(folder.glob("*.whl"))


def is_source(path: Path) -> bool:
    """Tell whether a file belongs to the project."""
    return path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"


def fetch_pip() -> Path:
    """Give the wheel of pip that the solver's lock names."""
    lock = json.loads(SOLVER_LOCK.read_text(encoding="utf-8"))
    name, version = lock["pip"].split("-")[:2]
    path = WHEEL_CACHE.parent / "pip_wheel" / lock["pip"]
    if not path.exists():
        options = ("--no-deps", "--only-binary=:all:", "--dest", str(path.parent))
        run_pip("wheels could not be fetched", "download", *options, f"{name}=={version}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != lock["wheels"][lock["pip"]][0]:
        sys.exit(f"{path} is not the file of solver_lock.json (SHA-256 {digest}); delete it and build again")
    return path


def run_pip(failure: str, command: str, *arguments: str) -> None:
    """Run pip; files that it packs get a fixed time. `failure` says what it means that it does not work."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(SOURCE_DATE)}
    line = [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check", *arguments]
    result = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    if result.returncode != 0:
        sys.exit(f"{failure}:\n{result.stderr.strip()}")


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    """Write the zip: sorted names, one fixed time, nothing compressed twice."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, ZIP_TIME)
            entry.external_attr = 0o644 << 16
            is_packed = name.endswith((".whl", ".npz"))
            entry.compress_type = zipfile.ZIP_STORED if is_packed else zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[name])


def check_zip(path: Path) -> None:
    """Check what has to be in the zip and what must not."""
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        manifest = tomllib.loads(archive.read("blender_manifest.toml").decode("utf-8"))
    needed = {"__init__.py", "LICENSE", "data/default_body.npz", "data/LICENSE", "_vendor/solver_protocol/__init__.py"}
    needed |= {wheel.removeprefix("./") for wheel in manifest["wheels"]}
    missing = needed - names
    strangers = {name for name in names if "__pycache__" in name or name.endswith((".pyc", ".lock"))}
    if missing or strangers:
        sys.exit(f"{path.name}: missing {sorted(missing)}, unwanted {sorted(strangers)}")


def validate_with_blender(path: Path) -> None:
    """Let Blender's own tool judge the zip, where a `bpy` wheel brought one along."""
    blenders = ROOT / ".venv" / "blender"
    tools = sorted(blenders.glob("*/lib/python*/site-packages/bpy/*/scripts/addons_core/bl_pkg/cli/blender_ext.py"))
    if not tools:
        print("no Blender below .venv/blender: not validated with Blender's own tool", file=sys.stderr)
        return
    command = [sys.executable, str(tools[-1]), "validate", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"Blender's tool refuses {path.name}:\n{result.stdout}{result.stderr}")


if __name__ == "__main__":
    sys.exit(main())

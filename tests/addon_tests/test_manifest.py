# SPDX-License-Identifier: Apache-2.0
"""The manifest, and the zip that scripts/build_addon.py makes of it."""

import hashlib
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = tomllib.loads((ROOT / "blender_addon" / "blender_manifest.toml").read_text(encoding="utf-8"))


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert MANIFEST["version"] == project["version"]


def test_identity_and_oldest_blender():
    assert MANIFEST["id"] == "ikol"
    assert MANIFEST["blender_version_min"] == "4.2.13"
    assert "Blender" not in MANIFEST["name"]  # its makers do not want it in the names of extensions


def test_the_licence_is_the_gpl_and_is_there():
    assert MANIFEST["license"][0] == "SPDX:GPL-3.0-or-later"
    text = (ROOT / "blender_addon" / "LICENSE").read_text(encoding="utf-8")
    assert "GNU GENERAL PUBLIC LICENSE" in text
    assert "Version 3" in text


def test_permissions_are_named_with_a_short_reason():
    assert MANIFEST["permissions"].keys() == {"network", "files"}
    assert all(len(reason) <= 64 and not reason.endswith(".") for reason in MANIFEST["permissions"].values())


def test_every_file_of_the_add_on_names_its_licence():
    for path in (ROOT / "blender_addon").rglob("*.py"):
        first = path.read_text(encoding="utf-8").splitlines()[:2]
        assert any(line.startswith("# SPDX-License-Identifier: ") for line in first), path


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The zip, built twice."""
    folders = [tmp_path_factory.mktemp("dist") for _ in range(2)]
    for folder in folders:
        command = [sys.executable, str(ROOT / "scripts" / "build_addon.py"), "--output", str(folder)]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
        if "wheels could not be fetched" in result.stderr:
            pytest.skip("the wheels are not in the cache and cannot be fetched here")
        assert result.returncode == 0, result.stderr
    return [folder / f"ikol-{MANIFEST['version']}.zip" for folder in folders]


def test_the_same_sources_give_the_same_bytes(archives):
    first, second = (hashlib.sha256(path.read_bytes()).hexdigest() for path in archives)
    assert first == second


def test_the_zip_has_wheels_for_every_python_and_platform(archives):
    with zipfile.ZipFile(archives[0]) as archive:
        manifest = tomllib.loads(archive.read("blender_manifest.toml").decode("utf-8"))
        names = set(archive.namelist())
    assert {wheel.removeprefix("./") for wheel in manifest["wheels"]} <= names
    for python, abi in (("cp311", "cp311"), ("cp313", "cp312-abi3")):
        for platform in ("manylinux", "win_amd64", "macosx"):
            assert any(f"msgspec-0.22.0-{python}-" in name and platform in name for name in names), (python, platform)
            assert any(f"pyzmq-27.3.0-{abi}" in name and platform in name for name in names), (python, platform)


def test_the_zip_has_the_body_with_its_licence_and_no_strangers(archives):
    with zipfile.ZipFile(archives[0]) as archive:
        names = archive.namelist()
        body = archive.read("data/default_body.npz")
    assert body == (ROOT / "ikol" / "body" / "data" / "default_body.npz").read_bytes()
    assert {"LICENSE", "data/LICENSE", "_vendor/LICENSE", "__init__.py"} <= set(names)
    assert not [name for name in names if "__pycache__" in name or "test" in name]
    assert names == sorted(names)

# SPDX-License-Identifier: Apache-2.0
"""The look for damage runs for real, on small packages with true lists of hashes."""

import base64
import hashlib
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from blender_addon.core.install_plan import Folders, Lock, Order, StepKind
from blender_addon.core.install_progress import Progress
from blender_addon.core.install_repair import check_step, damaged_wheels, repair_result, repair_steps

SET = "3.11-linux-x64-cpu"
WHEELS = ("one-1.0-py3-none-any.whl", "Two_b-2.0-py3-none-any.whl", "three-3-py3-none-any.whl")
PROJECT = "ikol-9-py3-none-any.whl"


def record(files):
    lines = []
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        lines.append(f'"{path}",sha256={digest},{len(content)}')
    return "\n".join(lines)


@pytest.fixture
def order(tmp_path):
    """Four packages as pip writes them, in an environment that nothing is wrong with."""
    folders = Folders(tmp_path / "solver")
    packages = folders.packages("a", False, "3.11")
    for wheel in (*WHEELS, PROJECT):
        name, version = wheel.split("-")[:2]
        files = {f"{name}/__init__.py": name.encode(), f"{name}/a, b.py": b"", f"../../../bin/{name}": b"#!"}
        for path, content in files.items():
            (packages / path).parent.mkdir(parents=True, exist_ok=True)
            (packages / path).write_bytes(content)
        # as setuptools and pip disagree about letters and dashes in this name
        info = packages / f"{name.lower().replace('_', '-')}-{version}.dist-info"
        info.mkdir()
        (info / "RECORD").write_text(record(files) + f"\n{info.name}/RECORD,,\n{name}/x.pyc,,\n", encoding="utf-8")
    lock = Lock("pip", {SET: list(WHEELS)}, dict.fromkeys(WHEELS, ("aa", 30000000)))
    wheel = tmp_path / PROJECT
    return Order(sys.executable, False, folders, "a", lock, SET, wheel, "ff", tmp_path / "pip.whl")


def output(order):
    command = check_step(order, "3.11").command
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def look(order):
    return damaged_wheels(order, output(order))


def site(order) -> Path:
    return order.folders.packages("a", False, "3.11")


def test_what_is_whole_is_not_damaged(order):
    (site(order) / "one" / "extra.pyc").write_bytes(b"Python's own")
    assert look(order) == ()


def test_the_look_says_how_far_it_is(order):
    progress = Progress((check_step(order, "3.11"), *repair_steps(order, (), ())))
    seen = []
    for line in output(order).splitlines():
        progress.feed(line)
        seen.append(progress.fraction)
    assert len(seen) == 4
    assert seen == sorted(seen)
    share = progress.step.weight / sum(step.weight for step in progress.steps)
    assert seen[-1] == share > seen[0] > 0
    assert progress.bytes_done == 0  # nothing was fetched


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda at: (at / "one/__init__.py").write_bytes(b"onf"), id="a changed byte"),
        pytest.param(lambda at: (at / "one/__init__.py").unlink(), id="a missing file"),
        pytest.param(lambda at: (at / "one/a, b.py").write_bytes(b"x"), id="a longer file"),
        pytest.param(lambda at: (at / "../../../bin/one").unlink(), id="a missing command"),
        pytest.param(lambda at: (at / "one-1.0.dist-info/RECORD").write_bytes(b"\xff\xfe"), id="an unreadable list"),
        pytest.param(lambda at: (at / "one-1.0.dist-info/RECORD").write_text("a,md99=b,1"), id="an unknown hash"),
        pytest.param(lambda at: (at / "one-1.0.dist-info/RECORD").unlink(), id="a missing list"),
        pytest.param(lambda at: shutil.rmtree(at / "one-1.0.dist-info"), id="no trace of it"),
        pytest.param(lambda at: (at / "one-1.0.dist-info").rename(at / "one-1.1.dist-info"), id="another version"),
    ],
)
def test_damage_is_found_in_the_package_that_has_it(order, spoil):
    spoil(site(order))
    assert look(order) == (WHEELS[0],)


def test_names_are_compared_as_packaging_does(order):
    (site(order) / "Two_b" / "__init__.py").unlink()
    (site(order) / "ikol" / "__init__.py").unlink()
    assert look(order) == (WHEELS[1], PROJECT)


def test_only_what_is_damaged_is_fetched_and_installed(order):
    steps = repair_steps(order, (WHEELS[0], WHEELS[2], PROJECT), (WHEELS[2],))
    assert [step.kind for step in steps] == [
        StepKind.DOWNLOAD, StepKind.INSTALL, StepKind.VERIFY, StepKind.REMOVE,
    ]  # fmt: skip
    assert steps[0].requirements == "one===1.0 --hash=sha256:aa\n"
    assert steps[0].size == 30_000_000
    assert steps[1].requirements.split()[::2] == ["one===1.0", "three===3", order.wheel.as_uri()]
    assert "--ignore-installed" in steps[1].command
    assert str(order.folders.root / "a") not in steps[-1].command  # the environment stays


def test_the_project_alone_needs_no_network(order):
    steps = repair_steps(order, (PROJECT,), ())
    assert [step.kind for step in steps] == [StepKind.INSTALL, StepKind.VERIFY, StepKind.REMOVE]
    assert steps[0].text == "installing a package"


def test_where_nothing_is_damaged_the_solver_is_tried_out_all_the_same(order):
    assert [step.kind for step in repair_steps(order, (), ())] == [StepKind.VERIFY]
    assert repair_result(()) == "Nothing is damaged, and the solver works"
    assert repair_result((WHEELS[0], PROJECT)) == "Repaired one, ikol"


def test_windows_has_its_packages_elsewhere(order):
    command = check_step(replace(order, is_windows=True), "3.11").command
    assert any(Path(part) == order.folders.root / "a" / "Lib" / "site-packages" for part in command)

# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace
from pathlib import Path

import pytest

from blender_addon.core import install_plan
from blender_addon.core.errors import Fix, InstallError
from blender_addon.core.install_plan import (
    Folders,
    Installed,
    Lock,
    Order,
    StepKind,
    check_space,
    decode_lock,
    make_steps,
)
from blender_addon.core.install_progress import Progress, progress_text

ROOT = Path(__file__).resolve().parents[3]
COMMITTED = (ROOT / "blender_addon" / "solver_lock.json").read_bytes()
SET = "3.11-linux-x64-cpu"
BIG = "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"
LOCK = Lock(
    "pip-26.3-py3-none-any.whl",
    {SET: ["a-1-py3-none-any.whl", "b_c-2.0-py3-none-any.whl", BIG]},
    {"a-1-py3-none-any.whl": ("aa", 10), "b_c-2.0-py3-none-any.whl": ("bb", 20), BIG: ("cc", 190_000_000)},
)
ORDER = Order(
    "/blender/python",
    False,
    Folders(Path("/user/solver")),
    "a",
    LOCK,
    SET,
    Path("/x/ikol-1.whl"),
    "ff",
    Path("/x/p.whl"),
)


def test_small_wheels_come_together_and_big_ones_alone():
    downloads = [step for step in make_steps(ORDER, ()) if step.kind is StepKind.DOWNLOAD]
    assert [step.size for step in downloads] == [30, 190_000_000]
    assert downloads[0].requirements == "a===1 --hash=sha256:aa\nb_c===2.0 --hash=sha256:bb\n"
    assert downloads[1].text == "fetching torch"


def test_what_was_fetched_is_not_fetched_again():
    kinds = [step.kind for step in make_steps(ORDER, LOCK.sets[SET])]
    assert StepKind.DOWNLOAD not in kinds
    steps = make_steps(ORDER, (BIG,))
    assert [step.size for step in steps if step.kind is StepKind.DOWNLOAD] == [30]


def test_every_package_is_installed_by_its_hash_and_without_the_index():
    (step,) = [step for step in make_steps(ORDER, ()) if step.kind is StepKind.INSTALL]
    assert {"--require-hashes", "--no-index", "--no-deps", "--only-binary=:all:"} <= set(step.command)
    assert step.requirements.count("--hash=sha256:") == 4
    assert "file:///x/ikol-1.whl --hash=sha256:ff" in step.requirements


def test_the_solver_is_tried_out_before_the_old_one_goes():
    kinds = [step.kind for step in make_steps(replace(ORDER, environment="b"), ())]
    assert kinds[-2:] == [StepKind.VERIFY, StepKind.REMOVE]
    first, last = make_steps(replace(ORDER, environment="b"), ())[:: len(kinds) - 1]
    assert "/user/solver/b" in first.command
    assert "/user/solver/a" not in first.command
    assert "/user/solver/a" in last.command
    assert "/user/solver/b" not in last.command


def test_an_offline_bundle_is_read_instead_of_the_index():
    steps = make_steps(replace(ORDER, bundle=Path("/disk/bundle.zip")), (BIG,))
    assert StepKind.DOWNLOAD not in [step.kind for step in steps]
    (unpack,) = [step for step in steps if step.kind is StepKind.UNPACK]
    assert unpack.command[-3:] == ("/user/solver/wheels", "a-1-py3-none-any.whl", "b_c-2.0-py3-none-any.whl")


def test_another_index_is_only_named_when_there_is_one():
    assert not any("--extra-index-url" in step.command for step in make_steps(ORDER, ()))
    steps = make_steps(replace(ORDER, index="https://index.example/cpu"), ())
    assert all("https://index.example/cpu" in step.command for step in steps if step.kind is StepKind.DOWNLOAD)


@pytest.mark.parametrize(("environment", "other"), [(None, "a"), ("a", "b"), ("b", "a")])
def test_a_new_environment_is_made_beside_the_one_that_works(environment, other):
    current = None if environment is None else Installed(environment, "ff", "cpu", "3.11")
    assert install_plan.other_environment(current) == other


def test_progress_counts_files_one_after_the_other_and_never_falls():
    progress = Progress(make_steps(ORDER, ()))
    seen = []
    while progress.step.kind is not StepKind.DOWNLOAD:
        progress.advance()
    for line in ("Progress 5 of 10", "Collecting a", "Progress 10 of 10", "Progress 3 of 20", "Progress 20 of 20"):
        progress.feed(line)
        seen.append(progress.bytes_done)
    progress.advance()
    progress.feed("Progress 95000000 of 190000000")
    assert seen == [5, 5, 10, 13, 30]
    assert progress.bytes_done == 95_000_030
    assert progress_text(progress) == "step 4 of 7: fetching torch, 95 of 190 MB"
    before = progress.fraction
    for _ in range(4):
        progress.advance()
    assert before < progress.fraction == 1.0


def test_metadata_that_pip_fetches_too_does_not_count_beyond_the_step():
    progress = Progress(make_steps(ORDER, ()), index=2)
    progress.feed("Progress 900 of 900")
    assert progress.bytes_done == 30


def test_too_little_room_is_told_in_numbers():
    needed = install_plan.needed_bytes(LOCK, SET, (), 40_000_000)
    # the download, the biggest file once more in pip's hands, and everything unpacked
    assert 1.2e9 < needed < 1.4e9
    assert install_plan.needed_bytes(LOCK, SET, (BIG,), 40_000_000) < needed - 300_000_000
    with pytest.raises(InstallError, match=r"0\.1 GB free and the installation needs 1\.2 GB") as error:
        check_space(100_000_000, 1_200_000_000)
    assert error.value.fix is Fix.INSTALL


@pytest.mark.parametrize(
    ("system", "machine", "name"),
    [
        ("Linux", "x86_64", "linux-x64"),
        ("Windows", "AMD64", "windows-x64"),
        ("Darwin", "arm64", "macos-arm64"),
        ("Linux", "riscv64", "linux-riscv64"),
    ],
)
def test_systems_are_spelled_as_in_the_lock(system, machine, name):
    assert install_plan.platform_name(system, machine) == name


@pytest.mark.parametrize("python", [(3, 11), (3, 13)])
@pytest.mark.parametrize("platform", ["linux-x64", "windows-x64", "macos-arm64"])
def test_the_committed_lock_has_something_for_every_blender(python, platform):
    lock = decode_lock(COMMITTED)
    assert install_plan.find_variants(lock, python, platform)


def test_the_committed_lock_is_whole_and_agrees_with_the_constraints():
    lock = decode_lock(COMMITTED)
    assert {name for names in lock.sets.values() for name in names} | {lock.pip} == set(lock.wheels)
    assert all(len(digest) == 64 and size > 0 for digest, size in lock.wheels.values())
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==", 1) for line in constraints if "==" in line and not line.startswith("#"))
    for wheel in lock.wheels:
        name, version = wheel.split("-")[:2]
        assert pinned.get(name, version) == version.partition("+")[0], wheel


def test_a_lock_that_cannot_be_read_is_told():
    with pytest.raises(InstallError, match="install the add-on again"):
        decode_lock(json.dumps({"sets": 1}).encode())

# SPDX-License-Identifier: Apache-2.0
"""Installing with a fake pip: a folder with a `pip` that does as IKOL_FAKE_PIP says; the environment is a real one."""

import hashlib
import json
import os
import shutil
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from blender_addon.client import installer
from blender_addon.client.installer import Outcome
from blender_addon.core.errors import Fix, InstallError
from blender_addon.core.install_plan import (
    BIG_WHEEL,
    Folders,
    Installed,
    Lock,
    Order,
    Step,
    StepKind,
    other_environment,
)

SET = "3.11-linux-x64-cpu"
SMALL, BIG = "small-1.0-py3-none-any.whl", "big-2.0-py3-none-any.whl"
CONTENT = {SMALL: b"small" * 100, BIG: bytes(BIG_WHEEL)}

FAKE_PIP = """
import hashlib, os, pathlib, re, sys, time
command, mode = sys.argv[1], os.environ.get("IKOL_FAKE_PIP", "")
assert "--require-hashes" in sys.argv
text = pathlib.Path(sys.argv[sys.argv.index("-r") + 1]).read_text()
with open(os.environ["IKOL_FAKE_CALLS"], "a") as calls:
    print(command, *re.findall(r"^(\\w+)===", text, re.M), file=calls)
if command == "download":
    folder = pathlib.Path(sys.argv[sys.argv.index("--dest") + 1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in re.findall(r"^(\\w+)===", text, re.M):
        content, file = (b"small" * 100, "small-1.0-py3-none-any.whl")
        if name == "big":
            content, file = bytes(20_000_000), "big-2.0-py3-none-any.whl"
            print(f"Progress 5000000 of {len(content)}", flush=True)
            if mode == "hang":
                time.sleep(60)
            if mode == "offline":
                sys.exit("NewConnectionError: Network is unreachable")
        if mode == "spoilt":
            sys.exit("THESE PACKAGES DO NOT MATCH THE HASHES")
        (folder / file).write_bytes(content)
        print(f"Progress {len(content)} of {len(content)}", flush=True)
else:
    site = next(pathlib.Path(sys.prefix).glob("[lL]ib/python3*/site-packages"))
    (site / "solver_server").mkdir(exist_ok=True)
    for name in re.findall(r"^(\\w+)===(\\S+)", text, re.M):
        folder = site / f"{name[0]}-{name[1]}.dist-info"
        folder.mkdir(exist_ok=True)
        (folder / "RECORD").write_text("")
    broken = "raise SystemExit('the self-test is off by 50 mm')" if mode == "broken" else ""
    (site / "solver_server" / "service.py").write_text(
        f"class S: device = 'cpu'\\ndef make_service(device, threads):\\n    {broken or 'return S'}\\n")
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Gives an order for a fresh folder of the user, and what pip was called for."""
    (tmp_path / "fake" / "pip").mkdir(parents=True)
    (tmp_path / "fake" / "pip" / "__main__.py").write_text(FAKE_PIP)
    wheel = tmp_path / "ikol-1-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    calls = tmp_path / "calls"
    monkeypatch.setenv("IKOL_FAKE_CALLS", str(calls))
    wheels = {name: (hashlib.sha256(content).hexdigest(), len(content)) for name, content in CONTENT.items()}
    folders = Folders(tmp_path / "user" / "solver")

    class Machine:
        root = folders.root
        log = tmp_path / "log" / "install.log"

        def order(self, bundle=None):
            return Order(
                base_python=sys.executable,
                is_windows=False,
                folders=folders,
                environment=other_environment(installer.read_installed(folders)),
                lock=Lock("pip", {SET: [SMALL, BIG]}, wheels),
                wheel_set=SET,
                wheel=wheel,
                wheel_sha256="ff",
                pip=tmp_path / "fake",
                bundle=bundle,
            )

        def begin(self, bundle=None):
            return installer.begin_install(self.order(bundle), self.log)

        def installed(self):
            return installer.read_installed(folders)

        def site(self):
            return next((self.root / "a").glob("[lL]ib/python3*/site-packages"))

        def forget_calls(self):
            calls.write_text("")

        def calls(self):
            return calls.read_text().splitlines()

        def behave(self, mode):
            monkeypatch.setenv("IKOL_FAKE_PIP", mode)

    return Machine()


def wait(runner, until=lambda runner: False):
    deadline = time.monotonic() + 60
    while runner.poll() is Outcome.RUNNING and not until(runner):
        assert time.monotonic() < deadline, runner.text
        time.sleep(0.01)
    return runner.outcome


def test_a_fresh_folder_becomes_an_environment_that_was_tried_out(machine):
    assert wait(machine.begin()) is Outcome.DONE
    assert machine.installed() == Installed("a", "ff", "cpu", "3.11")
    assert machine.calls() == ["download small", "download big", "install small big"]
    # neither the marker nor what was only needed on the way is left
    assert sorted(path.name for path in machine.root.iterdir()) == ["a", "installed.json"]
    assert "the self-test is passed on cpu" in machine.log.read_text()


def test_an_installation_that_was_cancelled_in_a_download_goes_on_with_what_is_missing(machine):
    machine.behave("hang")
    runner = machine.begin()
    wait(runner, lambda runner: runner.progress.bytes_done > 1_000_000)
    assert "fetching big, 5 of 20 MB" in runner.text
    runner.cancel()
    assert runner.poll() is Outcome.CANCELLED
    assert (machine.root / "incomplete").is_file()
    assert machine.installed() is None
    machine.behave("")
    assert wait(machine.begin()) is Outcome.DONE
    assert machine.calls() == ["download small", "download big", "download big", "install small big"]


def test_cancelling_ends_the_process(machine):
    machine.behave("hang")
    runner = machine.begin()
    wait(runner, lambda runner: runner.progress.bytes_done > 1_000_000)
    pid = runner._process.pid
    runner.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_wheel_that_was_cut_off_is_fetched_anew(machine):
    (machine.root / "wheels").mkdir(parents=True)
    (machine.root / "wheels" / BIG).write_bytes(b"half")
    (machine.root / "wheels" / SMALL).write_bytes(CONTENT[SMALL])
    assert wait(machine.begin()) is Outcome.DONE
    assert machine.calls()[0] == "download big"


def test_without_a_network_it_fails_with_a_sentence_and_keeps_what_it_has(machine):
    machine.behave("offline")
    runner = machine.begin()
    assert wait(runner) is Outcome.FAILED
    assert "cannot be reached; what was fetched is kept" in str(runner.error)
    assert runner.error.fix is Fix.INSTALL
    assert (machine.root / "wheels" / SMALL).is_file()


@pytest.mark.parametrize(
    "variables", [{"no_proxy": "[::1],internal"}, {"https_proxy": "http://[half"}, {"https_proxy": "http://[::1"}]
)
def test_without_a_network_a_proxy_that_is_no_address_is_no_exception(machine, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    machine.behave("offline")
    runner = machine.begin()
    assert wait(runner) is Outcome.FAILED
    assert "cannot be reached; what was fetched is kept" in str(runner.error)


def test_what_has_the_wrong_hash_is_thrown_away(machine):
    (machine.root / "wheels").mkdir(parents=True)
    (machine.root / "wheels" / BIG).write_bytes(CONTENT[BIG])
    machine.behave("spoilt")
    runner = machine.begin()
    assert wait(runner) is Outcome.FAILED
    assert "not the one that it should be" in str(runner.error)
    assert not (machine.root / "wheels").exists()


def test_an_update_that_does_not_work_leaves_the_one_that_does(machine):
    assert wait(machine.begin()) is Outcome.DONE
    before = machine.installed()
    machine.behave("broken")
    runner = machine.begin()
    assert wait(runner) is Outcome.FAILED
    assert "the self-test is off by 50 mm" in str(runner.error)
    assert machine.installed() == before
    machine.behave("")
    assert wait(machine.begin()) is Outcome.DONE
    assert machine.installed().environment == "b"
    assert not (machine.root / "a").exists()


def test_an_offline_bundle_needs_no_download(machine, tmp_path):
    bundle = tmp_path / "bundle.zip"
    with zipfile.ZipFile(bundle, "w") as archive:
        for name, content in CONTENT.items():
            archive.writestr(name, content)
        archive.writestr("../stranger", "")
    assert wait(machine.begin(bundle)) is Outcome.DONE
    assert machine.calls() == ["install small big"]
    assert not (machine.root / "stranger").exists()


def test_a_bundle_for_another_machine_is_refused(machine, tmp_path):
    bundle = tmp_path / "bundle.zip"
    with zipfile.ZipFile(bundle, "w") as archive:
        archive.writestr(SMALL, CONTENT[SMALL])
    runner = machine.begin(bundle)
    assert wait(runner) is Outcome.FAILED
    assert "no offline bundle for this Blender" in str(runner.error)


def test_no_room_is_found_before_anything_is_fetched(machine, monkeypatch):
    monkeypatch.setattr(installer.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10**6}))
    with pytest.raises(InstallError, match=r"the disk has 0\.0 GB free"):
        machine.begin()
    assert not (machine.root / "wheels").exists()


def test_a_python_that_cannot_be_run_is_told(machine):
    order = machine.order()
    broken = Step(StepKind.ENVIRONMENT, "", ("/nowhere/python",))
    runner = installer.StepRunner((broken,), order.folders, machine.log)
    assert runner.poll() is Outcome.FAILED
    assert "No such file" in str(runner.error)


def test_verifying_and_uninstalling(machine):
    wait(machine.begin())
    folders = Folders(machine.root)
    assert wait(installer.begin_verify(folders, machine.installed(), machine.log)) is Outcome.DONE
    runner = installer.begin_uninstall(folders, sys.executable, machine.log)
    assert machine.installed() is None  # from the first moment
    assert wait(runner) is Outcome.DONE
    assert not [path for path in machine.root.iterdir() if path.name != "tmp"]


@pytest.fixture
def repair(machine):
    """Gives a repair of an installation in which nothing but the project's own wheel has no list of files."""
    assert wait(machine.begin()) is Outcome.DONE
    machine.forget_calls()

    def begin(is_online=True):
        order = replace(machine.order(), environment="a")
        (machine.site() / "ikol-1.dist-info").mkdir(exist_ok=True)
        (machine.site() / "ikol-1.dist-info" / "RECORD").touch()
        return installer.begin_repair(order, machine.installed(), is_online, machine.log)

    return begin


def test_a_repair_of_what_is_whole_only_tries_it_out(machine, repair):
    runner = repair()
    assert wait(runner) is Outcome.DONE
    assert runner.result == "Nothing is damaged, and the solver works"
    assert machine.calls() == []


def test_a_repair_fetches_and_installs_what_is_damaged(machine, repair):
    shutil.rmtree(machine.site() / "big-2.0.dist-info")
    runner = repair()
    fractions = []
    assert wait(runner, lambda runner: fractions.append(runner.progress.fraction)) is Outcome.DONE
    assert fractions == sorted(fractions)
    assert runner.result == "Repaired big"
    assert machine.calls() == ["download big", "install big"]
    assert machine.installed().environment == "a"
    assert not (machine.root / "incomplete").exists()
    assert not (machine.root / "wheels").exists()


def test_a_repair_that_cannot_go_online_says_what_is_damaged(machine, repair):
    shutil.rmtree(machine.site() / "big-2.0.dist-info")
    runner = repair(is_online=False)
    assert wait(runner) is Outcome.FAILED
    assert str(runner.error) == "damaged: big; Blender may not go online to fetch them again"
    assert runner.error.fix is Fix.ALLOW_ONLINE


def test_a_repair_that_was_cut_off_begins_anew(machine, repair):
    shutil.rmtree(machine.site() / "big-2.0.dist-info")
    machine.behave("hang")
    runner = repair()
    wait(runner, lambda runner: runner.progress.bytes_done > 1_000_000)
    runner.cancel()
    assert (machine.root / "incomplete").is_file()
    machine.behave("")
    assert wait(repair()) is Outcome.DONE
    assert not (machine.root / "incomplete").exists()


def test_a_path_that_is_too_long_is_found_before_anything_is_fetched(machine):
    with pytest.raises(InstallError, match="letters and Windows takes 20"):
        installer.begin_install(machine.order(), machine.log, path_limit=20)
    assert not machine.root.exists()


def test_a_marker_without_its_environment_counts_for_nothing(machine):
    machine.root.mkdir(parents=True)
    (machine.root / "installed.json").write_text(
        json.dumps({"environment": "a", "wheel_sha256": "", "variant": "cpu", "python": "3.11"})
    )
    assert machine.installed() is None


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_real_packages_are_installed_and_the_solver_works(tmp_path):
    root = Path(__file__).resolve().parents[3]
    sys.path.insert(0, str(root / "scripts"))
    import build_addon

    wheel, pip, lock = build_addon.solver_files()
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    order = Order(
        base_python=sys.executable,
        is_windows=False,
        folders=Folders(tmp_path / "solver"),
        environment="a",
        lock=installer.decode_lock(lock.read_bytes()),
        wheel_set=f"{version}-linux-x64-cpu",
        wheel=wheel,
        wheel_sha256=installer.hash_file(wheel),
        pip=pip,
    )
    if order.wheel_set not in order.lock.sets:
        pytest.skip(f"there is no lock for {order.wheel_set}")
    runner = installer.begin_install(order, tmp_path / "install.log")
    wait_long = time.monotonic() + 590
    while runner.poll() is Outcome.RUNNING and time.monotonic() < wait_long:
        time.sleep(0.05)
    if runner.error is not None and runner.error.fix in {Fix.INSTALL, Fix.OPEN_PREFERENCES}:
        pytest.skip(f"the packages cannot be had here: {runner.error}")
    assert runner.outcome is Outcome.DONE, runner.error
    assert "the self-test is passed on cpu" in (tmp_path / "install.log").read_text()

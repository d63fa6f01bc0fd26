# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from blender_addon.client.process import (
    ServerProcess,
    SolverConfig,
    clean_environment,
    explain_exit,
    prune_logs,
    read_tail,
    solver_command,
)
from blender_addon.core.errors import Fix, SolverError


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        result = condition()
        if result:
            return result
        time.sleep(0.01)
    raise AssertionError("waited in vain")


@pytest.fixture
def start(fake):
    processes = []

    def begin(config=None):
        processes.append(ServerProcess(config or fake.config))
        return processes[-1]

    yield begin
    for process in processes:
        process.release(2.0)


def test_the_first_line_is_read_without_waiting(start):
    process = start()
    begin = time.monotonic()
    assert process.poll_handshake() is None
    assert time.monotonic() - begin < 0.1  # the interpreter alone takes longer to start
    handshake = wait_for(process.poll_handshake)
    assert handshake.pid == process.pid or psutil.pid_exists(handshake.pid)
    assert len(handshake.server_key) == 40
    assert handshake.protocol == (1, 0)


def test_a_network_of_the_user_s_is_named_and_trusted_only_when_told_so():
    config = SolverConfig("python", "cpu", Path("solver.log"))
    assert "--model-manifest" not in solver_command(config)
    config = SolverConfig("python", "cpu", Path("solver.log"), own_network="/my/net.toml")
    assert solver_command(config)[-2:] == ["--model-manifest", "/my/net.toml"]
    config = SolverConfig("python", "cpu", Path("solver.log"), own_network="/my/net.toml", is_network_trusted=True)
    assert solver_command(config)[-3:] == ["--model-manifest", "/my/net.toml", "--trust-models"]


def test_closing_its_stdin_ends_it_within_two_seconds(start):
    process = start()
    wait_for(process.poll_handshake)
    begin = time.monotonic()
    process.stop()
    wait_for(lambda: process.exit_code is not None)
    assert time.monotonic() - begin < 2


def test_it_dies_with_its_parent(fake, tmp_path):
    script = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).resolve().parents[3])!r})
from blender_addon.client.process import ServerProcess, SolverConfig
process = ServerProcess(SolverConfig({fake.config.python!r}, "cpu", Path({str(tmp_path / "log2" / "solver.log")!r})))
while (handshake := process.poll_handshake()) is None:
    time.sleep(0.01)
print(handshake.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    assert psutil.pid_exists(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    begin = time.monotonic()
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    assert time.monotonic() - begin < 2


FAILURES = {
    "exit_at_start": ("the solver ended unexpectedly with code 5", Fix.START),
    "missing_module": ("the solver's Python lacks the module solver_server; install ikol", Fix.OPEN_PREFERENCES),
    "refuse": ("the socket could not be made", Fix.OPEN_LOG),
    "chatter": ("the solver's Python prints something else than the solver does", Fix.OPEN_LOG),
}


@pytest.mark.parametrize("mode", FAILURES)
def test_a_process_that_cannot_run_says_why(start, fake, mode):
    fake.behave(mode)
    process = start()
    sentence, fix = FAILURES[mode]
    with pytest.raises(SolverError, match=sentence) as error:
        wait_for(process.poll_handshake)
    assert error.value.fix is fix


def test_a_python_that_is_not_there_says_so(tmp_path):
    with pytest.raises(SolverError, match=r"/nowhere/python cannot be started: No such file .* in the preferences"):
        ServerProcess(SolverConfig("/nowhere/python", "cpu", tmp_path / "solver.log"))


def test_the_log_of_the_run_before_is_kept(start, fake):
    wait_for(start().poll_handshake)
    fake.config.log_path.write_text("the first run", encoding="utf-8")
    wait_for(start().poll_handshake)
    assert fake.config.log_path.with_suffix(".old.log").read_text(encoding="utf-8") == "the first run"
    assert "--device" in fake.config.log_path.read_text(encoding="utf-8")


def test_secrets_never_touch_the_disk(start, fake, tmp_path):
    process = start()
    wait_for(process.poll_handshake)
    secret = process.secret_key
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert written
    assert not any(secret in content for content in written)


def test_blenders_python_and_libraries_stay_out_of_the_solver():
    foreign = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH")
    environment = {"PATH": "/bin", **dict.fromkeys(foreign, "/x")}
    assert clean_environment(environment) == {"PATH": "/bin"}


def test_the_tail_of_a_log_is_its_end(tmp_path):
    (tmp_path / "a.log").write_bytes(b"x" * 100000 + b"\xff the end")
    assert read_tail(tmp_path / "a.log").endswith("the end")
    assert len(read_tail(tmp_path / "a.log")) < 10000
    assert read_tail(tmp_path / "b.log") == ""


def test_only_the_newest_logs_are_kept(tmp_path):
    for age in range(12):
        path = tmp_path / f"solver-{age}.log"
        path.touch()
        os.utime(path, (1e9 - age, 1e9 - age))
    (tmp_path / "other.txt").touch()
    prune_logs(tmp_path, "solver-*.log", keep=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "other.txt",
        "solver-0.log",
        "solver-1.log",
        "solver-2.log",
    ]
    prune_logs(tmp_path / "nowhere", "solver-*.log")


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        ("ModuleNotFoundError: No module named 'torch'", "lacks the module torch"),
        ("error: unrecognized arguments: --device", "another version than the add-on; update both"),
        ("Segmentation fault", "ended unexpectedly by signal 11"),
    ],
)
def test_the_end_of_a_process_is_explained_by_its_log(log, sentence):
    assert sentence in str(explain_exit(-11, log))


def test_a_solver_that_does_not_know_our_options_needs_an_update():
    assert explain_exit(2, "error: unrecognized arguments: --device").code == "unsupported_version"

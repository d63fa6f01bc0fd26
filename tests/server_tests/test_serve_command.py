# SPDX-License-Identifier: Apache-2.0
"""`ikol serve` is the server: its options, its answer, its end, and no process between it and who ends it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from ikol import cli
from solver_server.listen_file import make_key

ROOT = Path(__file__).resolve().parents[2]
SERVE = [sys.executable, "-m", "ikol.cli", "serve"]
posix_only = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture
def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_it_tells_the_servers_options(environment: dict[str, str]) -> None:
    result = subprocess.run([*SERVE, "--help"], capture_output=True, text=True, check=True, env=environment, timeout=60)
    assert "--listen-file FILE" in result.stdout


@posix_only
def test_it_serves_until_a_signal_comes(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "keys").write_text(make_key(tmp_path / "ann") + " ann\n", encoding="utf-8")
    (tmp_path / "keys").chmod(0o600)
    files = ["--listen-file", str(tmp_path / "listen.json"), "--clients", str(tmp_path / "keys")]
    with subprocess.Popen(
        [*SERVE, *files, "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as process:
        assert process.stdout is not None
        announcement = json.loads(process.stdout.readline())
        assert announcement == json.loads((tmp_path / "listen.json").read_text(encoding="utf-8"))
        assert announcement["pid"] == process.pid
        children = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert not (tmp_path / "listen.json").exists()
    assert not [child for child in children if child.is_running()]


def test_a_library_without_the_server_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "SERVER_MODULE", "no_such_server")
    assert cli.main(["serve", "--listen-file", "x"]) == 1
    assert "there is no no_such_server beside ikol; install the project's wheel" in capsys.readouterr().err

# SPDX-License-Identifier: Apache-2.0
"""The hand-over on stdin and stdout, the options and the log."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import zmq
from server_client import FAKE_SERVER, ROOT, ServerProcess

from solver_server import __main__ as program
from solver_server import logs
from solver_server.protocol import MessageError, VersionError

KEY = zmq.curve_keypair()[0].decode()


def read(line: bytes) -> bytes:
    reading, writing = os.pipe()
    os.write(writing, line)
    os.close(writing)
    try:
        return program.read_invitation(reading)
    finally:
        os.close(reading)


def test_key_is_read_and_unknown_fields_are_ignored() -> None:
    key = read(f'{{"client_key": "{KEY}", "protocol": [1, 5], "later": true}}\nmore'.encode())
    assert zmq.utils.z85.encode(key).decode() == KEY


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"GET / HTTP/1.1\r\n",
        b'{"client_key": 5, "protocol": [1, 0]}\n',
        b'{"client_key": "short", "protocol": [1, 0]}\n',
        b'{"client_key": "' + "ü".encode() * 40 + b'", "protocol": [1, 0]}\n',
        b'{"client_key": "' + b"~" * 40 + b'", "protocol": [1, 0]}\n',
        f'{{"client_key": "{KEY}"}}\n'.encode(),
        b"\xff\xfe\n",
        b"[" * 50_000 + b"\n",
    ],
)
def test_line_that_is_no_invitation_is_refused_with_what_it_should_be(line: bytes) -> None:
    with pytest.raises(MessageError, match="first line on stdin must be") as caught:
        read(line)
    assert len(str(caught.value)) < 1000


def test_parent_of_another_major_version_is_refused() -> None:
    with pytest.raises(VersionError, match=r"protocol 2\.0 cannot talk to protocol 1\."):
        read(f'{{"client_key": "{KEY}", "protocol": [2, 0]}}\n'.encode())


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (f'{{"client_key": "{KEY}", "protocol": [2, 0]}}\n'.encode(), "unsupported_version"),
        (b"nonsense\n", "bad_message"),
    ],
)
def test_failing_start_is_told_on_stdout_and_by_the_exit_status(line: bytes, code: str) -> None:
    with ServerProcess(line=line) as server:
        assert server.process.wait(10) == 2
        assert server.answer["error"]["code"] == code
        assert server.answer["error"]["message"]


def test_stdin_that_ends_at_once_is_a_failing_start() -> None:
    command = [*FAKE_SERVER]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    environment = {**os.environ, "PYTHONPATH": paths}
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, env=environment)
    assert result.returncode == 2
    assert b'"code":"bad_message"' in result.stdout


def test_log_goes_to_the_file_together_with_the_workers(tmp_path: Path) -> None:
    log = tmp_path / "solver.log"
    with ServerProcess(arguments=["--log", str(log)]) as server:
        client = server.client()
        client.receive_for(client.detect("fault"))
    text = log.read_text()
    entries = [json.loads(line) for line in text.splitlines()]  # every line, of both processes
    assert any(entry["message"].startswith("serving on port") for entry in entries)
    (fault,) = [entry for entry in entries if entry["level"] == "ERROR"]
    (end,) = [entry for entry in entries if entry["message"] == "request ended"]
    assert (fault["process"], fault["request"], fault["job"]) == ("worker", end["request"], end["job"])
    assert "a secret of the source code" in fault["exception"]
    assert (end["process"], end["kind"], end["code"]) == ("server", "detect", "internal_error")
    assert 0 <= end["queue_seconds"] <= end["seconds"]
    assert server.public_key.decode() not in text


def test_log_that_cannot_be_written_does_not_keep_the_server_from_serving(tmp_path: Path) -> None:
    stderr = tmp_path / "stderr"
    with ServerProcess(arguments=["--log", str(tmp_path / "no folder" / "x")], log=stderr) as server:
        assert server.client().wait_until_ready().ready
    assert "the log file cannot be written" in stderr.read_text(encoding="utf-8")


def test_long_log_is_put_aside_once(tmp_path: Path) -> None:
    log = tmp_path / "solver.log"
    log.write_bytes(b"x" * (logs.MAX_LOG_BYTES + 1))
    with ServerProcess(arguments=["--log", str(log)]):
        pass
    assert log.with_name("solver.log.1").stat().st_size == logs.MAX_LOG_BYTES + 1
    assert 0 < log.stat().st_size < 10_000


def test_control_process_imports_neither_torch_nor_numpy() -> None:
    code = "import sys, solver_server.__main__; print(sorted({'torch', 'numpy', 'ikol'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"


def test_service_does_not_know_the_socket() -> None:
    code = "import sys, solver_server.conversion; print('zmq' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "False"

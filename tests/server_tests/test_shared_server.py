# SPDX-License-Identifier: Apache-2.0
"""One server for several clients: the file that says where it is, the list of keys, and that nobody is starved."""

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import zmq
from server_client import FAKE_SERVER, ROOT, SUPPORT, Client, ServerProcess

from solver_server import protocol
from solver_server.listen_file import KeyFile, ListenError, make_key

Keys = tuple[bytes, bytes]
posix_only = pytest.mark.skipif(os.name != "posix", reason="modes and signals of POSIX")
pytestmark = posix_only


@pytest.fixture
def keys() -> dict[str, Keys]:
    return {name: zmq.curve_keypair() for name in ("ann", "bob", "eve")}


def write_keys(path: Path, keys: dict[str, Keys], *names: str) -> Path:
    path.write_text("".join(f"{keys[name][0].decode()} {name}\n" for name in names), encoding="utf-8")
    path.chmod(0o600)
    return path


def start(folder: Path) -> ServerProcess:
    files = ["--listen-file", str(folder / "listen.json"), "--clients", str(folder / "keys")]
    return ServerProcess(arguments=files)


@pytest.fixture
def server(tmp_path: Path, keys: dict[str, Keys]) -> Iterator[ServerProcess]:
    write_keys(tmp_path / "keys", keys, "ann", "bob")
    with start(tmp_path) as server:
        server.client(keys=keys["ann"]).wait_until_ready()
        yield server


def is_let_in(server: ServerProcess, keys: Keys) -> bool:
    with Client(server, is_greeted=False, keys=keys) as client:
        client.send(client.hello())
        return client.receive(timeout=1.0) is not None


def test_file_says_what_stdout_says_and_is_private_and_goes_with_the_server(
    tmp_path: Path, server: ServerProcess, keys: dict[str, Keys]
) -> None:
    file = tmp_path / "listen.json"
    assert json.loads(file.read_text(encoding="utf-8")) == server.answer
    assert file.stat().st_mode & 0o777 == 0o600
    worker = psutil.Process(server.client(keys=keys["ann"]).stats().worker_pid)
    server.process.terminate()
    assert server.process.wait(10) == 0
    assert not file.exists()
    assert not worker.is_running()
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]  # nothing half written is left


def test_closed_stdin_does_not_end_it(server: ServerProcess, keys: dict[str, Keys]) -> None:
    server.close_stdin()
    client = server.client(keys=keys["ann"])
    assert isinstance(client.receive_for(client.solve()), protocol.SolveReply)


def test_only_keys_of_the_list_are_let_in(server: ServerProcess, keys: dict[str, Keys]) -> None:
    assert [is_let_in(server, keys[name]) for name in ("ann", "bob", "eve")] == [True, True, False]


def test_change_of_the_list_counts_from_the_next_connection_on(
    tmp_path: Path, server: ServerProcess, keys: dict[str, Keys]
) -> None:
    write_keys(tmp_path / "keys", keys, "bob", "eve")
    assert [is_let_in(server, keys[name]) for name in ("ann", "bob", "eve")] == [False, True, True]
    (tmp_path / "keys").write_text("nonsense\n", encoding="utf-8")  # then nobody is let in, and nobody thrown out
    assert not is_let_in(server, keys["bob"])


def test_second_server_does_not_take_the_file_of_one_that_runs(
    tmp_path: Path, server: ServerProcess, keys: dict[str, Keys]
) -> None:
    with start(tmp_path) as second:
        assert second.process.wait(20) == 2
        assert second.answer["error"]["code"] == "start_failed"
        assert f"belongs to a server that runs on port {server.answer['port']}" in second.answer["error"]["message"]
    assert json.loads((tmp_path / "listen.json").read_text(encoding="utf-8")) == server.answer
    assert server.client(keys=keys["bob"]).ping().ready


def test_file_of_a_killed_server_is_replaced(tmp_path: Path, server: ServerProcess, keys: dict[str, Keys]) -> None:
    server.process.kill()
    server.process.wait()
    with start(tmp_path) as second:
        assert json.loads((tmp_path / "listen.json").read_text(encoding="utf-8")) == second.answer
        assert second.answer["session"] != server.answer["session"]
        assert second.client(keys=keys["ann"]).wait_until_ready().ready


def test_client_does_not_end_it(server: ServerProcess, keys: dict[str, Keys]) -> None:
    client = server.client(keys=keys["ann"])
    assert client.ask(protocol.Shutdown(id=client.next_id())).code == "not_allowed"
    assert client.ping().ready


def test_one_clients_requests_are_not_anothers_to_cancel(server: ServerProcess, keys: dict[str, Keys]) -> None:
    ann, bob = (server.client(keys=keys[name]) for name in ("ann", "bob"))
    request = ann.detect("work 1")
    ann.wait_for_progress()
    assert not bob.ask(protocol.Cancel(id=bob.next_id(), target=request)).found
    assert isinstance(ann.receive_for(request), protocol.DetectReply)


def test_greedy_client_and_modest_client_have_the_same_share(server: ServerProcess, keys: dict[str, Keys]) -> None:
    """Ann has thirty requests out on three connections, Bob two on one; each takes the worker 20 ms."""
    clients = [server.client(keys=keys["ann"]) for _ in range(3)] + [server.client(keys=keys["bob"])]
    outstanding = [10, 10, 10, 2]
    for client, number in zip(clients, outstanding, strict=True):
        for _ in range(number):
            client.detect("work 0.02")
    done: Counter[str] = Counter()
    poller = zmq.Poller()
    for client in clients:
        poller.register(client.socket, zmq.POLLIN)
    deadline = time.monotonic() + 60
    while done.total() < 120:  # and not for a time: a loaded machine does less, but by turns all the same
        assert time.monotonic() < deadline, done
        ready = dict(poller.poll(1000))
        for client, owner in zip(clients, ["ann"] * 3 + ["bob"], strict=True):
            if client.socket in ready:
                reply, _ = protocol.decode_reply(client.socket.recv_multipart())
                if isinstance(reply, protocol.DetectReply):
                    done[owner] += 1
                    client.detect("work 0.02")
    print(done)
    assert 0.8 < done["ann"] / done["bob"] < 1.2, done


def test_two_servers_do_not_disturb_each_other() -> None:
    with ServerProcess() as one, ServerProcess() as two:
        clients = [one.client(), two.client()]
        assert one.answer["port"] != two.answer["port"]
        assert [client.hello_reply.session for client in clients] == [one.answer["session"], two.answer["session"]]
        assert not is_let_in(two, (one.public_key, one.secret_key))
        for client in clients:
            client.wait_until_ready()
        for _ in range(20):
            ids = [client.detect("x") for client in clients]
            assert [client.receive().id for client in clients] == ids
        one.process.kill()
        assert isinstance(clients[1].receive_for(clients[1].solve()), protocol.SolveReply)
        assert clients[1].stats().worker_restarts == 0


# ---- the files -------------------------------------------------------------------------------------------------------


def test_made_key_is_private_and_lets_its_owner_in(tmp_path: Path) -> None:
    secret = tmp_path / "ann.json"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(SUPPORT)])}
    command = [*FAKE_SERVER, "--make-key", str(secret)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=60)
    public = result.stdout.strip()
    content = json.loads(secret.read_text(encoding="utf-8"))
    assert content["public_key"] == public
    assert zmq.curve_public(content["secret_key"].encode()).decode() == public
    assert secret.stat().st_mode & 0o777 == 0o600
    (tmp_path / "keys").write_text(f"\n{public} Ann of the second floor\n", encoding="utf-8")
    owner = KeyFile(tmp_path / "keys").owner_of(zmq.utils.z85.decode(public))
    assert owner == "Ann of the second floor"


def test_key_in_use_is_not_replaced(tmp_path: Path) -> None:
    make_key(tmp_path / "key")
    with pytest.raises(ListenError, match="a key in use is not replaced"):
        make_key(tmp_path / "key")


@pytest.mark.parametrize(
    ("content", "mode", "text"),
    [
        pytest.param("x" * 40 + "\n", 0o622, "can be written by others", id="writable by others"),
        pytest.param("x" * 39 + " ann\n", 0o600, "line 1 of .* must begin with a public key", id="too short"),
        pytest.param("\n" + "~" * 40 + " ann\n", 0o600, "line 2 of", id="no z85"),
        pytest.param("x" * 2**20 + "x", 0o600, "it is no list of keys", id="large"),
    ],
)
def test_list_that_is_none_is_refused(tmp_path: Path, content: str, mode: int, text: str) -> None:
    path = tmp_path / "keys"
    path.write_text(content, encoding="utf-8")
    path.chmod(mode)
    with pytest.raises(ListenError, match=text):
        KeyFile(path)


def test_missing_list_is_a_failing_start(tmp_path: Path) -> None:
    with start(tmp_path) as server:
        assert server.process.wait(20) == 2
        assert "the list of keys" in server.answer["error"]["message"]
    assert not (tmp_path / "listen.json").exists()


def test_listen_file_that_cannot_be_written_is_a_failing_start(tmp_path: Path, keys: dict[str, Keys]) -> None:
    write_keys(tmp_path / "keys", keys, "ann")
    files = ["--listen-file", str(tmp_path / "no such folder" / "x"), "--clients", str(tmp_path / "keys")]
    with ServerProcess(arguments=files) as server:
        assert server.process.wait(20) == 2
        assert "cannot be written" in server.answer["error"]["message"]

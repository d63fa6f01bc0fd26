# SPDX-License-Identifier: Apache-2.0
"""What happens to everybody else when a process is killed, sleeps, or the network between them is bad.

Real processes throughout. Times are bounded generously: the machines that run this are shared.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import zmq
from server_client import FAKE_SERVER, ROOT, SUPPORT, Client, ServerProcess
from tcp_proxy import TcpProxy

from solver_server import protocol
from solver_server.dispatcher import STALL_TIMEOUT
from solver_server.logs import MAX_LOG_BYTES, RECORDS_BETWEEN_LOOKS

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    with ServerProcess() as server:
        server.client().wait_until_ready()
        yield server


@pytest.fixture
def proxy(server: ServerProcess) -> Iterator[TcpProxy]:
    with TcpProxy(server.answer["port"]) as proxy:
        yield proxy


def wait_until(condition: Callable[[], bool], seconds: float) -> float:
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "it takes too long"
        time.sleep(0.005)
    return time.monotonic() - start


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


# ---- killed processes ------------------------------------------------------------------------------------------------


def test_worker_killed_twenty_times_is_told_at_once_and_replaced_until_it_is_given_up(server: ServerProcess) -> None:
    """Twenty kills, on four servers: after five restarts within 180 s a server gives up, as it should."""
    told: list[float] = []
    again: list[float] = []
    for _ in range(4):
        with ServerProcess() as victim:
            client = victim.client()
            client.wait_until_ready()
            for _ in range(5):
                worker = psutil.Process(client.stats().worker_pid)
                request = client.detect("work 60")
                client.wait_for_progress()
                start = time.monotonic()
                worker.kill()
                reply = client.receive()
                assert (reply.id, reply.code) == (request, "worker_crashed")
                told.append(time.monotonic() - start)
                assert isinstance(client.receive_for(client.solve()), protocol.SolveReply)
                again.append(time.monotonic() - start)
    print(f"told after {max(told) * 1e3:.0f} ms, next solve after {max(again) * 1e3:.0f} ms")
    assert max(told) < 1
    assert max(again) < 5


def test_killed_server_is_noticed_and_every_request_is_answered_exactly_once_by_the_next() -> None:
    """What the add-on does: requests that were out are sent again to a new process, answers are taken by their id."""
    wanted = list(range(12))  # one for each keyframe
    answers: Counter[int] = Counter()
    servers = [ServerProcess()]
    try:
        client = servers[0].client()
        client.wait_until_ready()
        frame_of = {client.detect("work 0.1"): frame for frame in wanted}
        for _ in range(3):
            reply = client.receive()
            answers[frame_of.pop(reply.id)] += 1
        workers = psutil.Process(servers[0].process.pid).children(recursive=True)
        servers[0].process.kill()
        start = time.monotonic()
        wait_until(lambda: servers[0].process.poll() is not None, 2)
        while (reply := client.receive(timeout=0.2)) is not None:  # what was on its way counts
            answers[frame_of.pop(reply.id)] += 1
        wait_until(lambda: all(map(is_gone, workers)), 2)
        servers.append(ServerProcess())
        client = servers[1].client()
        frame_of = {client.detect("x"): frame for frame in frame_of.values()}
        while frame_of:
            reply = client.receive()
            assert isinstance(reply, protocol.DetectReply)
            answers[frame_of.pop(reply.id)] += 1
        print(f"all answered {time.monotonic() - start:.2f} s after the kill")
    finally:
        for server in servers:
            server.stop()
    assert answers == Counter(wanted)


PARENT = """
import json, os, subprocess, sys, threading, time
key, mode, *command = sys.argv[1:]
started = []
def start():
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdin.write(json.dumps({"client_key": key, "protocol": [1, 0]}).encode() + b"\\n")
    process.stdin.flush()
    print(process.stdout.readline().decode(), end="", flush=True)
    started.append(process)
if mode == "thread":
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
else:
    start()
time.sleep(600)
"""


class Foreign:
    """A server that another process has started, as Blender does."""

    def __init__(self, mode: str) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.public_key, self.secret_key = zmq.curve_keypair()
        self._clients: list[Client] = []
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(SUPPORT)])}
        command = [sys.executable, "-c", PARENT, self.public_key.decode(), mode, *FAKE_SERVER]
        self.parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
        assert self.parent.stdout is not None
        self.answer = json.loads(self.parent.stdout.readline())
        self.process = psutil.Process(self.answer["pid"])

    def client(self) -> Client:
        server: Any = self
        self._clients.append(Client(server))
        return self._clients[-1]

    def close(self) -> None:
        for client in self._clients:
            client.socket.close()
        self.parent.kill()
        self.parent.wait()
        assert self.parent.stdout is not None
        self.parent.stdout.close()
        self.context.term()


@pytest.fixture
def foreign() -> Iterator[Callable[[str], Foreign]]:
    made: list[Foreign] = []

    def make(mode: str) -> Foreign:
        made.append(Foreign(mode))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("command", ["", "work 60", "hang 60"])
def test_killed_parent_takes_server_and_worker_with_it(foreign: Callable[[str], Foreign], command: str) -> None:
    server = foreign("plain")
    client = server.client()
    client.wait_until_ready()
    if command:
        client.detect(command)
        wait_until(lambda: client.ping().busy, 20)
    processes = [server.process, *server.process.children(recursive=True)]
    assert len(processes) == 2
    server.parent.kill()
    seconds = wait_until(lambda: all(map(is_gone, processes)), 5)
    print(f"gone after {seconds * 1e3:.0f} ms")
    assert seconds < 2


def test_server_outlives_the_thread_that_started_it(foreign: Callable[[str], Foreign]) -> None:
    server = foreign("thread")
    client = server.client()
    client.wait_until_ready()
    time.sleep(0.5)
    assert isinstance(client.receive_for(client.solve()), protocol.SolveReply)
    assert server.process.is_running()


# ---- sleep -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [7, pytest.param(60, marks=pytest.mark.slow)])  # heartbeats give up after 2
def test_computer_that_sleeps_in_the_middle_of_a_request_goes_on(server: ServerProcess, seconds: float) -> None:
    """Server and worker are stopped for longer than the heartbeats allow; the client says hello again at most.

    Longer than a worker may be silent, the request that was out is given up, and the worker started again at most
    once.
    """
    client = server.client()
    client.wait_until_ready()
    processes = [psutil.Process(server.process.pid), psutil.Process(client.stats().worker_pid)]
    request = client.detect("work 0.5")
    client.wait_for_progress()
    for process in processes:
        process.suspend()
    time.sleep(seconds)
    for process in reversed(processes):
        process.resume()
    reply = client.receive_for(request)
    was_given_up = isinstance(reply, protocol.Error) and reply.code == "timeout" and seconds >= STALL_TIMEOUT
    assert was_given_up or isinstance(reply, protocol.DetectReply), reply
    reply = client.ask(protocol.Ping(id=client.next_id()))
    if isinstance(reply, protocol.Error):
        assert reply.code == "hello_required"
        client.ask(client.hello())
    client.wait_until_ready()
    assert isinstance(client.receive_for(client.solve()), protocol.SolveReply)
    assert client.stats().worker_restarts <= int(was_given_up)  # none where the worker answers first


def test_client_that_slept_goes_on(server: ServerProcess, proxy: TcpProxy) -> None:
    client = Client(server, port=proxy.port, heartbeat_ivl=500, heartbeat_timeout=1000)
    try:
        assert client.ping().ready
        proxy.is_silent = True  # for both sides the other one is gone
        time.sleep(1.5)
        proxy.is_silent = False
        proxy.reset()
        reply = resend(client)
        assert isinstance(reply, protocol.SolveReply)
    finally:
        client.socket.close()


def test_hanging_server_is_noticed_by_the_client_within_two_seconds(server: ServerProcess) -> None:
    client = server.client()
    assert client.ping().ready
    process = psutil.Process(server.process.pid)
    process.suspend()
    try:
        start = time.monotonic()
        client.send(protocol.Ping(id=client.next_id()))
        assert client.receive(timeout=1.5) is None  # an answered ping takes 1 ms: this is the sign
        assert time.monotonic() - start < 2
    finally:
        process.resume()
    assert isinstance(client.receive(), protocol.Pong)


# ---- a bad network ---------------------------------------------------------------------------------------------------


def resend(client: Client, patience: float = 1.0) -> Any:
    """Send a solve until it is answered, with the same id each time; say hello when that is wanted."""
    request = protocol.Solve(id=client.next_id(), evidence=())
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        client.send(request)
        reply = client.receive(timeout=patience)
        while reply is not None and reply.id != request.id:
            reply = client.receive(timeout=patience)
        if isinstance(reply, protocol.Error) and reply.code == "hello_required":
            client.send(client.hello())
        elif reply is not None and getattr(reply, "code", "") != "duplicate_id":
            return reply
    raise AssertionError("no answer")


def test_slow_network_delays_and_breaks_nothing(server: ServerProcess, proxy: TcpProxy) -> None:
    proxy.latency = 0.2
    with Client(server, port=proxy.port) as client:
        start = time.monotonic()
        request = client.detect("work 0.3")
        assert isinstance(client.receive_for(request), protocol.DetectReply)
        assert time.monotonic() - start > 0.4
    assert server.client().stats().counts["detect"] == 1


def test_trickle_is_cut_off_in_the_handshake_and_keeps_nobody_out(server: ServerProcess, proxy: TcpProxy) -> None:
    proxy.rate = 20  # bytes a second; the handshake has some hundred and gets 3 s
    with Client(server, is_greeted=False, port=proxy.port) as slow, server.client() as client:
        slow.send(slow.hello())
        for _ in range(10):
            start = time.monotonic()
            assert client.ping().ready
            assert time.monotonic() - start < 2
            time.sleep(0.4)
        assert slow.receive(timeout=0.1) is None
        assert client.stats().counts["hello"] == 2  # the fixture's and this one; none from the trickle


@pytest.mark.parametrize("cut_after", [700, 900, 50_000, 290_000])
def test_reset_in_the_middle_of_a_message_delivers_nothing_of_it(
    server: ServerProcess, proxy: TcpProxy, cut_after: int
) -> None:
    with Client(server, port=proxy.port) as client:
        proxy.cut_after = len(proxy.recorded) + cut_after
        client.detect("x" * 300_000)
        wait_until(lambda: proxy.cut_after is None, 20)
        assert isinstance(resend(client), protocol.SolveReply)
    counts = server.client().stats().counts
    assert counts.get("detect", 0) == 0
    assert not any(code.startswith("error.bad") for code in counts), counts


def test_half_open_connection_is_noticed_and_its_request_given_up(server: ServerProcess, proxy: TcpProxy) -> None:
    with Client(server, port=proxy.port) as client:
        client.detect("work 60")
        client.wait_for_progress()
        proxy.is_silent = True
        witness = server.client()
        seconds = wait_until(lambda: not witness.ping().busy, 30)
        print(f"given up after {seconds:.1f} s")
        assert seconds < 4  # heartbeats give up after 2 s; the rest is for a loaded machine
        assert witness.stats().counts["clients_lost"] >= 1
        proxy.is_silent = False


def test_request_that_arrives_twice_is_answered_as_if_it_came_once(server: ServerProcess) -> None:
    client = server.client()
    client.wait_until_ready()
    writer = protocol.FrameWriter()
    request = protocol.Detect(id=77, image=writer.add_blob(b"work 0.3"))
    for _ in range(2):
        client.send(request, writer)
    replies = sorted(getattr(client.receive(), "code", "ok") for _ in range(2))
    assert replies == ["duplicate_id", "ok"]
    client.send(request, writer)  # answered before: computed anew, with nothing left behind by the first time
    assert isinstance(client.receive_for(77), protocol.DetectReply)


def test_replayed_connection_is_not_heard(server: ServerProcess, proxy: TcpProxy) -> None:
    """Everything that a real client has sent, handshake and requests, sent again by a stranger."""
    with Client(server, port=proxy.port) as client:
        assert isinstance(client.receive_for(client.solve()), protocol.SolveReply)
    before = server.client().stats().counts
    with socket.create_connection(("127.0.0.1", server.answer["port"])) as raw:
        raw.settimeout(1)
        for piece in (proxy.recorded[:64], proxy.recorded[64:264], proxy.recorded[264:]):
            try:
                raw.sendall(piece)
                time.sleep(0.1)
                raw.recv(4096)
            except OSError:
                break
    after = server.client().stats().counts
    assert after["solve"] == before["solve"] == 1


# ---- resources -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(psutil.Process, "rlimit"), reason="limits of another process are Linux's")
def test_server_without_descriptors_lives_and_recovers(server: ServerProcess) -> None:
    client = server.client()
    process = psutil.Process(server.process.pid)
    limit = process.num_fds() + 12
    process.rlimit(psutil.RLIMIT_NOFILE, (limit, limit))
    flood = [socket.create_connection(("127.0.0.1", server.answer["port"])) for _ in range(60)]
    try:
        for _ in range(20):
            assert client.ping().ready
        assert isinstance(client.receive_for(client.solve()), protocol.SolveReply)
        assert process.num_fds() >= limit - 1  # the flood did take what there was
    finally:
        for raw in flood:
            raw.close()
    start = time.monotonic()
    with Client(server) as newcomer:
        assert newcomer.ping().ready
    print(f"a new client after {time.monotonic() - start:.2f} s")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_full_disk_loses_the_log_and_nothing_else() -> None:
    with ServerProcess(arguments=["--log", "/dev/full"]) as server:
        client = server.client()
        assert client.receive_for(client.detect("fault")).code == "internal_error"
        for _ in range(5):
            assert isinstance(client.receive_for(client.solve()), protocol.SolveReply)
        assert client.stats().worker_restarts == 0


@pytest.mark.skipif(not hasattr(psutil.Process, "rlimit"), reason="limits of another process are Linux's")
def test_limit_on_the_size_of_files_does_not_end_the_server(tmp_path: Path) -> None:
    log = tmp_path / "solver.log"
    with ServerProcess(arguments=["--log", str(log)]) as server:
        client = server.client()
        client.wait_until_ready()
        size = log.stat().st_size
        for process in (server.process.pid, client.stats().worker_pid):
            psutil.Process(process).rlimit(psutil.RLIMIT_FSIZE, (size + 50, size + 50))
        for _ in range(3):
            assert client.receive_for(client.detect("fault")).code == "internal_error"
        assert isinstance(client.receive_for(client.solve()), protocol.SolveReply)
        assert client.stats().worker_restarts == 0
    assert log.stat().st_size <= size + 50


def test_log_is_put_aside_while_the_server_runs(tmp_path: Path) -> None:
    log = tmp_path / "solver.log"
    with ServerProcess(arguments=["--log", str(log)]) as server:
        client = server.client()
        client.wait_until_ready()
        with log.open("ab") as file:
            file.write(b"x" * (MAX_LOG_BYTES + 1))
        for _ in range(RECORDS_BETWEEN_LOOKS + 1):
            client.receive_for(client.solve())
        client.receive_for(client.detect("fault"))
    assert log.with_name("solver.log.1").stat().st_size > MAX_LOG_BYTES
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert {entry["process"] for entry in entries} == {"server", "worker"}  # both write to the new one
    assert log.stat().st_size < 100_000

# SPDX-License-Identifier: Apache-2.0
"""Who is not let in: nothing of what they send reaches the server's decoder."""

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq
from server_client import Client, ServerProcess

from solver_server import protocol

SHUTDOWN = protocol.encode(protocol.Shutdown(id=1))[0]
HELLO = protocol.encode(protocol.Hello(id=0, protocol=(1, 0), client="intruder"))[0]
WAIT = 0.3  # seconds in which an intruder's message would arrive; the right key needs 2 ms


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess() as server:
        server.client().wait_until_ready()
        yield server


@pytest.fixture
def witness(server: ServerProcess) -> Iterator[Callable[[], int]]:
    """Give a function that counts everything that the server decoded but the witness did not send."""
    with server.client() as client:

        def decoded() -> dict[str, int]:
            return {name: count for name, count in client.stats().counts.items() if name != "refused_connections"}

        known = [decoded()]

        def strangers() -> int:
            counts = decoded()
            before = known[-1]
            known.append(counts)
            return sum(counts.values()) - sum(before.values()) - 1  # its own stats

        yield strangers


def knock(server: ServerProcess, set_keys: Callable[[zmq.Socket[bytes]], None]) -> bool:
    """Send hello and shutdown from a socket with these keys; tell whether there was an answer."""
    with server.context.socket(zmq.DEALER) as intruder:
        intruder.linger = 0
        set_keys(intruder)
        intruder.connect(f"tcp://127.0.0.1:{server.answer['port']}")
        intruder.send(HELLO)
        intruder.send(SHUTDOWN)
        return bool(intruder.poll(int(WAIT * 1000)))


def keys(server: ServerProcess, kind: str) -> Callable[[Any], None]:
    public_key, secret_key = zmq.curve_keypair()

    def set_keys(intruder: Any) -> None:
        if kind == "plain":
            intruder.plain_username, intruder.plain_password = b"client", b"secret"
        elif kind != "null":
            intruder.curve_publickey, intruder.curve_secretkey = public_key, secret_key
            intruder.curve_serverkey = zmq.curve_keypair()[0]
            if kind != "wrong server key":
                intruder.curve_serverkey = server.answer["server_key"].encode()
            if kind == "the client's public key only":
                intruder.curve_publickey = server.public_key

    return set_keys


@pytest.mark.parametrize("kind", ["null", "plain", "another key", "wrong server key", "the client's public key only"])
def test_intruder_is_not_heard(server: ServerProcess, witness: Callable[[], int], kind: str) -> None:
    assert not knock(server, keys(server, kind))
    assert witness() == 0


def test_refused_connections_are_counted(server: ServerProcess) -> None:
    before = server.client().stats().counts.get("refused_connections", 0)
    knock(server, keys(server, "another key"))
    assert server.client().stats().counts["refused_connections"] > before


def test_right_key_is_heard(server: ServerProcess, witness: Callable[[], int]) -> None:
    """The control: the same knocking with the client's keys arrives, so that silence above means something."""

    def set_keys(client: Any) -> None:
        client.curve_publickey, client.curve_secretkey = server.public_key, server.secret_key
        client.curve_serverkey = server.answer["server_key"].encode()

    with server.context.socket(zmq.DEALER) as friend:
        friend.linger = 0
        set_keys(friend)
        friend.connect(f"tcp://127.0.0.1:{server.answer['port']}")
        friend.send(HELLO)
        assert friend.poll(5000)
    assert witness() == 1


def zmtp_1_frame(body: bytes, has_more: bool) -> bytes:
    return bytes([len(body) + 1, has_more]) + body


def sled(offset: int) -> bytes:
    """Give the body of a request of a web page, which the old ZMTP 1.0 reads as many messages and a shutdown.

    Pairs of 0x01 0x01 are empty frames with more to follow, at whichever byte the reader stands.
    """
    head = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nOrigin: https://evil.example\r\n\r\n"
    return head + b"\x01" * (400 + offset) + b"\x01\x00" + zmtp_1_frame(SHUTDOWN, has_more=False)


def short_frame(flags: int, body: bytes) -> bytes:
    """Give a frame of ZMTP 2 or 3."""
    return bytes([flags, len(body)]) + body


SIGNATURE = b"\xff" + bytes(8) + b"\x7f"
IS_DEALER = b"\x05"
READY = b"\x05READY" + b"\x0bSocket-Type" + (6).to_bytes(4, "big") + b"DEALER"
GREETING_3 = SIGNATURE + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
FORGED = {
    "web page": sled(0),
    "web page, other alignment": sled(1),
    "ZMTP 1": zmtp_1_frame(b"", has_more=False) + zmtp_1_frame(SHUTDOWN, has_more=False),
    "ZMTP 2": SIGNATURE + b"\x01" + IS_DEALER + short_frame(0, b"") + short_frame(0, SHUTDOWN),
    "ZMTP 3": GREETING_3 + short_frame(4, READY) + short_frame(0, SHUTDOWN),
}
NONSENSE = {
    "all ones": b"\xff" * 64,
    "zeros": bytes(10_000),
    "8 EiB announced": SIGNATURE + b"\x01" + IS_DEALER + b"\x02" + (2**63 - 1).to_bytes(8, "big"),
}


def throw(port: int, content: bytes) -> None:
    """Send bytes and wait until they were taken or refused."""
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.settimeout(WAIT)
        try:
            raw.sendall(content[: len(GREETING_3)])
            time.sleep(0.05)  # libzmq waits for more when greeting and message come in one piece
            raw.sendall(content[len(GREETING_3) :])
            while raw.recv(4096):
                pass
        except OSError:  # cut off or left waiting: both are right
            pass


@pytest.mark.parametrize("name", [*FORGED, *NONSENSE])
def test_raw_bytes_are_not_heard(server: ServerProcess, witness: Callable[[], int], name: str) -> None:
    throw(server.answer["port"], {**FORGED, **NONSENSE}[name])
    assert witness() == 0
    assert server.process.poll() is None


def test_forged_bytes_do_reach_a_socket_without_curve() -> None:
    """The control: the bytes above are not refused because they are badly forged."""
    heard: set[str] = set()
    with zmq.Context() as context:
        for name, content in FORGED.items():
            with context.socket(zmq.ROUTER) as router:
                router.linger = 0
                throw(router.bind_to_random_port("tcp://127.0.0.1"), content)
                while router.poll(100):
                    if router.recv_multipart()[-1] == SHUTDOWN:
                        heard.add(name)
    # a sled of pairs hits at one of the two alignments, which one depends on the length of the headers before it
    assert {"ZMTP 1", "ZMTP 2", "ZMTP 3"} < heard
    assert heard & {"web page", "web page, other alignment"}


def test_silent_connections_keep_nobody_out(server: ServerProcess) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.answer["port"])) for _ in range(100)]
    try:
        start = time.monotonic()
        with Client(server) as client:
            assert client.ping().ready
        assert time.monotonic() - start < 5
    finally:
        for raw in silent:
            raw.close()


def test_second_process_cannot_take_the_port(server: ServerProcess) -> None:
    with socket.socket() as squatter, pytest.raises(OSError, match="in use"):
        squatter.bind(("127.0.0.1", server.answer["port"]))

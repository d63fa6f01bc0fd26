# SPDX-License-Identifier: Apache-2.0
"""Clients of other versions, over the wire: the same major works, another one is told so at once."""

import time
from collections.abc import Iterator
from typing import Any

import msgpack
import protocol_cases
import pytest
from server_client import Client, ServerProcess

from solver_server import protocol

MAJOR, MINOR = protocol.PROTOCOL_VERSION
SINCE_1_5 = {"all_betas"}
SINCE_1_4 = SINCE_1_5 | {"tree"}
SINCE_1_3 = SINCE_1_4 | {"thorough", "shape", "distortion"}
SINCE_1_2 = SINCE_1_3 | {"start", "joints", "is_robust"}
SINCE = {(1, 0): SINCE_1_2 | {"timeout_seconds"}, (1, 1): SINCE_1_2, (1, 2): SINCE_1_3}
"""What a client of a version does not send."""


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess() as server:
        server.client().wait_until_ready()
        yield server


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ((MAJOR, 0), "hello_reply"),
        ((MAJOR, MINOR), "hello_reply"),
        ((MAJOR, MINOR + 1), "hello_reply"),
        ((MAJOR, 999), "hello_reply"),
        ((MAJOR - 1, 0), "unsupported_version"),
        ((MAJOR - 1, 999), "unsupported_version"),
        ((MAJOR + 1, 0), "unsupported_version"),
    ],
)
def test_client_of_a_version(server: ServerProcess, version: tuple[int, int], kind: str) -> None:
    with Client(server, is_greeted=False) as client:
        client.send(protocol.Ping(0))
        assert client.receive().code == "hello_required"  # so the connection stands, and is not in the time below
        start = time.monotonic()
        reply = client.ask(client.hello(version))
        assert time.monotonic() - start < 1
        assert getattr(reply, "code", "hello_reply") == kind
        if kind == "hello_reply":
            assert isinstance(client.receive_for(client.solve()), protocol.SolveReply)
        else:
            assert ".".join(map(str, version)) in reply.message
            assert f"{MAJOR}.{MINOR}" in reply.message


def without(fields: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """Give the fields of a message, of its camera and its evidence, but for those named and the blocks since 1.2."""
    kept = {name: value for name, value in fields.items() if name not in names}
    if kept.get("camera"):
        kept["camera"] = without(kept["camera"], names)
    if "evidence" in kept:
        later = ("shape", "pins", "orientations", "view_keypoints_2d")
        blocks = [block for block in kept["evidence"] if block["type"] not in later]
        kept["evidence"] = [without(block, names) for block in blocks]
    return kept


@pytest.mark.parametrize("version", SINCE)
@pytest.mark.parametrize("name", ["detect", "solve"])
def test_request_of_an_earlier_version_is_understood(name: str, version: tuple[int, int]) -> None:
    header, *frames = protocol_cases.encoded(name)
    fields = without(msgpack.unpackb(header), SINCE[version])
    request, _ = protocol.decode_request([msgpack.packb(fields), *frames])
    assert isinstance(request, (protocol.Detect, protocol.Solve))
    assert (request.timeout_seconds is None) == (version == (1, 0))
    if isinstance(request, protocol.Detect):
        assert not request.thorough
        assert not request.shape
    else:
        assert request.camera is not None
        assert request.camera.distortion == (0.0, 0.0, 0.0, 0.0)
        assert ((request.start, request.joints) == (None, ())) == (version < (1, 2))
        assert isinstance(request.evidence[0], protocol.Keypoints2D)
        assert request.evidence[0].is_robust


def test_reply_to_solve_of_an_earlier_version_is_understood() -> None:
    header, *frames = protocol_cases.encoded("solve_reply")
    reply, _ = protocol.decode_reply([msgpack.packb(without(msgpack.unpackb(header), {"unreached"})), *frames])
    assert isinstance(reply, protocol.SolveReply)
    assert reply.unreached == {}


def test_reply_to_stats_of_version_1_0_is_understood() -> None:
    fields = msgpack.unpackb(protocol_cases.encoded("stats_reply")[0])
    old = {name: fields[name] for name in (*list(fields)[:7],)}
    reply, _ = protocol.decode_reply([msgpack.packb(old)])
    assert isinstance(reply, protocol.StatsReply)
    assert (reply.latencies, reply.queued) == ({}, 0)


def test_request_of_a_later_version_is_understood(server: ServerProcess) -> None:
    with Client(server) as client:
        header = msgpack.packb({"type": "ping", "id": 9, "since_1_7": {"deep": [1, None]}})
        client.socket.send_multipart([header, b"a frame of a later version"])
        assert client.receive().id == 9
        client.socket.send_multipart([msgpack.packb({"type": "since_1_8", "id": 10})])
        reply = client.receive()
        assert (reply.id, reply.code) == (10, "bad_message")

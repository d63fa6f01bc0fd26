# SPDX-License-Identifier: Apache-2.0
"""Replies to slow clients are kept, in order, up to a limit; the loss of a client is noticed."""

from collections import defaultdict
from typing import Any

import pytest
import zmq

from solver_server import outbox as module
from solver_server.outbox import Outbox


class FakeRouter:
    """Takes as many messages for each client as it has room for."""

    def __init__(self) -> None:
        self.room: dict[bytes, int] = defaultdict(int)
        self.gone: set[bytes] = set()
        self.sent: list[tuple[bytes, bytes]] = []

    def send_multipart(self, parts: list[bytes], flags: int) -> None:
        assert flags == zmq.NOBLOCK
        client, frame = parts
        if client in self.gone:
            raise zmq.ZMQError(zmq.EHOSTUNREACH)
        if self.room[client] == 0:
            raise zmq.Again
        self.room[client] -= 1
        self.sent.append((client, frame))


@pytest.fixture
def router() -> FakeRouter:
    return FakeRouter()


@pytest.fixture
def outbox(router: FakeRouter) -> Outbox:
    socket: Any = router
    return Outbox(socket, overflow_message=lambda: [b"overloaded"])


def test_message_goes_out_at_once_when_there_is_room(router: FakeRouter, outbox: Outbox) -> None:
    router.room[b"a"] = 1
    outbox.send(b"a", [b"1"])
    assert (router.sent, outbox.is_empty) == ([(b"a", b"1")], True)


def test_messages_of_a_slow_client_are_kept_in_order_and_others_are_not_held_up(
    router: FakeRouter, outbox: Outbox
) -> None:
    router.room[b"b"] = 9
    for number in (b"1", b"2", b"3"):
        outbox.send(b"a", [number])
        outbox.send(b"b", [number])
    assert router.sent == [(b"b", b"1"), (b"b", b"2"), (b"b", b"3")]
    router.room[b"a"] = 2
    outbox.send(b"a", [b"4"])  # must not overtake
    outbox.flush()
    router.room[b"a"] = 9
    outbox.flush()
    assert [frame for client, frame in router.sent if client == b"a"] == [b"1", b"2", b"3", b"4"]
    assert outbox.is_empty


def test_droppable_message_is_dropped_only_when_it_would_have_to_wait(router: FakeRouter, outbox: Outbox) -> None:
    router.room[b"a"] = 1
    outbox.send(b"a", [b"progress 1"], is_droppable=True)
    outbox.send(b"a", [b"progress 2"], is_droppable=True)
    assert (router.sent, outbox.is_empty) == ([(b"a", b"progress 1")], True)


def test_client_that_takes_nothing_for_long_is_cut_off_once_and_a_slow_one_is_not(router: FakeRouter) -> None:
    socket: Any = router
    now = [0.0]
    outbox = Outbox(socket, overflow_message=lambda: [b"overloaded"], clock=lambda: now[0])
    for number in range(9):
        outbox.send(b"dead", [b"%d" % number])
        outbox.send(b"slow", [b"%d" % number])
    for _ in range(4):
        now[0] += 0.6 * module.MAX_SECONDS
        router.room[b"slow"] = 1
        outbox.flush()
    assert outbox.take_lost() == [b"dead"]
    assert outbox.is_behind(b"dead")
    router.room[b"dead"] = 9
    outbox.flush()
    assert [frame for client, frame in router.sent if client == b"dead"] == [b"overloaded"]
    assert not outbox.is_behind(b"dead")


def test_client_that_is_gone_is_told_once_and_nothing_is_kept_for_it(router: FakeRouter, outbox: Outbox) -> None:
    outbox.send(b"a", [b"1"])
    router.gone.add(b"a")
    outbox.flush()
    assert outbox.take_lost() == [b"a"]
    assert outbox.take_lost() == []
    assert outbox.is_empty


@pytest.mark.parametrize(("limit", "size"), [("MAX_MESSAGES", 1), ("MAX_BYTES", 100)])
def test_client_that_never_reads_gets_one_error_for_all(
    router: FakeRouter, outbox: Outbox, monkeypatch: pytest.MonkeyPatch, limit: str, size: int
) -> None:
    monkeypatch.setattr(module, limit, 3 * size)
    for _ in range(3):
        outbox.send(b"a", [bytes(size)])
    assert outbox.take_lost() == []
    outbox.send(b"a", [bytes(size)])
    assert outbox.take_lost() == [b"a"]
    router.room[b"a"] = 9
    outbox.flush()
    assert router.sent == [(b"a", b"overloaded")]


def test_all_clients_together_are_limited_and_the_one_with_most_is_cut_off(
    router: FakeRouter, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES_OF_ALL", 100)
    outbox.send(b"a", [bytes(60)])
    outbox.send(b"b", [bytes(30)])
    assert outbox.take_lost() == []
    outbox.send(b"c", [bytes(20)])
    assert outbox.take_lost() == [b"a"]
    router.room = defaultdict(lambda: 9)
    outbox.flush()
    assert sorted(router.sent) == [(b"a", b"overloaded"), (b"b", bytes(30)), (b"c", bytes(20))]

# SPDX-License-Identifier: Apache-2.0
"""Whose turn it is, and who has to wait outside."""

import itertools
from collections import Counter

import pytest
from dispatcher_stage import ANN, BOB, Stage

from solver_server import protocol
from solver_server.waiting import MAX_WAITING, MAX_WAITING_BYTES, MAX_WAITING_BYTES_OF_ALL, MAX_WAITING_OF_ALL

EVE = b"eve"


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.ask(EVE, protocol.Hello(id=0, protocol=(1, 0), client="test"))
    stage.sent.clear()
    return stage


def work(stage: Stage, seconds: dict[bytes, float], until: float) -> Counter[bytes]:
    """Let the worker run until a time; every client has two requests waiting at any time, each of so many seconds."""
    ids = itertools.count(1)
    owner = {client: client.decode() for client in seconds}
    for client in seconds:
        for _ in range(3):
            stage.detect(client, next(ids), owner=owner[client])
    used: Counter[bytes] = Counter()
    end = stage.now + until
    while stage.now < end:
        running = stage.dispatcher._running  # pyright: ignore[reportPrivateUsage]
        assert running is not None
        stage.now += seconds[running.client]
        used[running.client] += seconds[running.client]
        stage.finish()
        stage.detect(running.client, next(ids), owner=owner[running.client])
    assert all(kind == "shutdown_reply" for _, _, kind in stage.take())
    return used


@pytest.mark.parametrize(
    "seconds",
    [{ANN: 1.0, BOB: 1.0}, {ANN: 5.0, BOB: 0.25}, {ANN: 1.0, BOB: 3.0, EVE: 0.125}],
    ids=["alike", "large and small", "three"],
)
def test_owners_get_the_same_share_of_the_worker_whatever_they_ask_for(
    stage: Stage, seconds: dict[bytes, float]
) -> None:
    used = work(stage, seconds, until=600)
    share = sum(used.values()) / len(seconds)
    for client in seconds:
        assert abs(used[client] / share - 1) < 0.02, used  # promised are 20 %; one request of 5 s in 600 is 1 %


def test_owner_that_was_away_gets_no_credit(stage: Stage) -> None:
    work(stage, {ANN: 1.0}, until=1000)
    while len(stage.dispatcher._waiting) > 0:  # pyright: ignore[reportPrivateUsage]
        stage.finish()
    stage.finish()
    stage.take()
    used = work(stage, {ANN: 1.0, BOB: 1.0}, until=100)
    assert abs(used[ANN] - used[BOB]) <= 2, used


def test_connections_of_one_owner_have_one_share(stage: Stage) -> None:
    ids = itertools.count(1)
    for _ in range(4):
        for client in (ANN, BOB):
            stage.detect(client, next(ids), owner="greedy")
        stage.detect(EVE, next(ids), owner="eve")
    order: list[bytes] = []
    for _ in range(8):
        running = stage.dispatcher._running  # pyright: ignore[reportPrivateUsage]
        assert running is not None
        order.append(running.client)
        stage.now += 1
        stage.finish()
    assert order.count(EVE) == 4, order


def test_owner_that_fills_its_queue_keeps_nobody_out(stage: Stage) -> None:
    for request_id in range(MAX_WAITING + 3):
        stage.detect(ANN, request_id, owner="ann")
    stage.detect(BOB, 1, owner="bob")
    assert stage.take() == [(ANN, MAX_WAITING + 1, "busy"), (ANN, MAX_WAITING + 2, "busy")]


def test_all_owners_together_are_limited_too(stage: Stage) -> None:
    for request_id in range(MAX_WAITING_OF_ALL + 1 + 2):  # one runs
        stage.detect(ANN, request_id, owner=str(request_id % 5))
    assert [code for _, _, code in stage.take()] == ["busy", "busy"]


def test_bytes_of_all_owners_together_are_limited_too(stage: Stage) -> None:
    image = bytes(protocol.MAX_FRAME_BYTES - 1000)
    fitting = MAX_WAITING_BYTES_OF_ALL // len(image)
    assert MAX_WAITING_BYTES // len(image) * 2 == fitting
    for request_id in range(1 + fitting + 2):
        stage.detect(ANN, request_id, image, owner=str(request_id % 3))
    assert [code for _, _, code in stage.take()] == ["busy", "busy"]


def test_shared_server_is_not_ended_by_a_client() -> None:
    stage = Stage(is_shared=True)
    stage.detect(BOB, 1)
    stage.ask(ANN, protocol.Shutdown(2))
    stage.finish()
    assert stage.take() == [(ANN, 2, "not_allowed"), (BOB, 1, "shutdown_reply")]
    assert not stage.dispatcher.is_shut_down

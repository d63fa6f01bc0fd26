# SPDX-License-Identifier: Apache-2.0
"""No request stays unanswered for longer than it may: first with a clock set by hand, then with real processes."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from dispatcher_stage import ANN, BOB, Stage
from server_client import ServerProcess

import solver_server
from solver_server import protocol
from solver_server.dispatcher import CANCEL_TIMEOUT, STALL_TIMEOUT, TIMEOUT
from solver_server.supervisor import Crashed


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_request_whose_time_is_over_in_the_queue_is_answered_and_never_runs(stage: Stage) -> None:
    stage.detect(ANN, 1)
    stage.detect(ANN, 2, timeout=5)
    stage.detect(BOB, 3)
    assert stage.dispatcher.tick() == 5
    stage.now += 5
    stage.dispatcher.tick()
    assert stage.take() == [(ANN, 2, "timeout")]
    stage.finish()
    stage.finish()
    assert stage.given == [1, 3]


def test_request_whose_time_is_over_when_its_turn_comes_does_not_run(stage: Stage) -> None:
    stage.detect(ANN, 1)
    stage.detect(ANN, 2, timeout=5)
    stage.now += 6  # nothing has looked at the clock before the worker is free
    stage.finish()
    assert stage.take() == [(ANN, 1, "shutdown_reply"), (ANN, 2, "timeout")]
    assert stage.given == [1]


def test_request_without_a_time_of_its_own_has_the_servers(stage: Stage) -> None:
    stage.worker.is_ready = False
    stage.detect(ANN, 1)
    assert stage.dispatcher.tick() == TIMEOUT
    stage.now += TIMEOUT
    assert stage.dispatcher.tick() is None
    assert stage.take() == [(ANN, 1, "timeout")]


def test_running_request_is_answered_at_its_deadline_and_its_worker_stopped(stage: Stage) -> None:
    stage.detect(ANN, 1, timeout=5)
    stage.now += 5
    assert stage.dispatcher.tick() == CANCEL_TIMEOUT
    assert stage.take() == [(ANN, 1, "timeout")]
    assert (stage.worker.aborted, stage.worker.kills) == ([1], 0)
    stage.now += CANCEL_TIMEOUT
    assert stage.dispatcher.tick() is None
    assert stage.worker.kills == 1
    stage.dispatcher.on_worker(Crashed(), ())
    assert stage.take() == []  # once is enough


def test_worker_that_stops_by_itself_after_the_deadline_is_not_killed(stage: Stage) -> None:
    stage.detect(ANN, 1, timeout=5)
    stage.detect(BOB, 2)
    stage.now += 5
    stage.dispatcher.tick()
    stage.finish(code="cancelled")
    stage.now += CANCEL_TIMEOUT
    stage.dispatcher.tick()
    assert (stage.worker.kills, stage.given) == (0, [1, 2])


def test_progress_keeps_a_long_request_alive_and_silence_ends_it(stage: Stage) -> None:
    stage.detect(ANN, 1)
    for _ in range(3):
        stage.now += STALL_TIMEOUT - 1
        assert stage.dispatcher.tick() == 1
        stage.step(0.5)
    stage.now += STALL_TIMEOUT
    stage.dispatcher.tick()
    assert stage.take()[-1] == (ANN, 1, "timeout")
    assert stage.worker.aborted == [1]


def test_clock_that_is_set_changes_no_deadline() -> None:
    """Nothing but the log asks for the time of day, which jumps; the clock of the deadlines only goes forward."""
    folder = Path(solver_server.__file__).parent
    asking = {
        path.name
        for path in folder.rglob("*.py")
        if re.search(r"\btime\.(time|gmtime|localtime)\(|\bdatetime\b", path.read_text(encoding="utf-8"))
    }
    assert asking == {"logs.py"}
    monotonic = time.get_clock_info("monotonic")
    assert monotonic.monotonic
    assert not monotonic.adjustable


# ---- real processes --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess() as server:
        server.client().wait_until_ready()
        yield server


@pytest.mark.parametrize("command", ["work 60", "hang 60", "spin 60"])
def test_job_that_takes_too_long_is_answered_and_the_next_one_runs(server: ServerProcess, command: str) -> None:
    """`hang` sleeps without a step, `spin` does not even let the worker's other threads run: both need the kill."""
    client = server.client()
    client.wait_until_ready()
    start = time.monotonic()
    reply = client.receive_for(client.detect(command, timeout=0.5))
    seconds = time.monotonic() - start
    assert reply.code == "timeout"
    assert 0.5 <= seconds < 2.5, seconds  # 1 ms late on an idle machine
    assert isinstance(client.receive_for(client.solve()), protocol.SolveReply)
    assert time.monotonic() - start < 20  # 5 s until the kill, 0.2 s for a new fake worker


def test_expired_requests_of_a_queue_are_answered_in_time_and_never_run(server: ServerProcess) -> None:
    client = server.client()
    client.wait_until_ready()
    before = client.stats().counts.get("ok", 0)
    running = client.detect("work 1.5")
    client.wait_for_progress()
    start = time.monotonic()
    expiring = [client.detect("x", timeout=0.3) for _ in range(5)]
    replies = [client.receive() for _ in expiring]
    assert [(reply.id, reply.code) for reply in replies] == [(request, "timeout") for request in expiring]
    assert time.monotonic() - start < 1.3  # 0.3 s and 2 ms on an idle machine, and in any case before the work ends
    assert isinstance(client.receive_for(running), protocol.DetectReply)
    assert client.stats().counts["ok"] == before + 1


def test_worker_that_hangs_for_ever_leaves_no_process(server: ServerProcess) -> None:
    client = server.client()
    client.wait_until_ready()
    worker = psutil.Process(client.stats().worker_pid)
    assert client.receive_for(client.detect("hang 600", timeout=0.2)).code == "timeout"
    worker.wait(20)
    assert client.wait_until_ready().problem == ""
    assert client.stats().worker_pid != worker.pid

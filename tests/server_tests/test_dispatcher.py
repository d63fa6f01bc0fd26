# SPDX-License-Identifier: Apache-2.0
"""Who is answered what and when, without sockets, processes or time: a fake worker, a fake clock, a list of replies.

Longer than usual: one file for the module that it mirrors, one short test for each rule.
"""

from collections.abc import Iterator, Sequence

import pytest
from dispatcher_stage import ANN, BOB, Stage

from solver_server import pipe, protocol
from solver_server.dispatcher import CANCEL_TIMEOUT, MAX_CLIENTS, STALL_TIMEOUT
from solver_server.supervisor import Crashed, Problem
from solver_server.waiting import MAX_WAITING


@pytest.fixture
def stage() -> Iterator[Stage]:
    return Stage()


# ---- hello and the small requests ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [protocol.Ping(1), protocol.Solve(1, evidence=()), protocol.Cancel(1, 2), protocol.Stats(1), protocol.Shutdown(1)],
)
def test_requests_before_hello_are_refused(stage: Stage, request_: protocol.Request) -> None:
    stage.ask(b"eve", request_)
    assert stage.take() == [(b"eve", 1, "hello_required")]
    assert stage.given == []
    assert not stage.dispatcher.is_shut_down


def test_hello_says_who_answers_and_may_be_repeated(stage: Stage) -> None:
    stage.worker.device = ""
    stage.ask(ANN, protocol.Hello(id=1, protocol=(1, 7), client="test"))
    stage.worker.device = "cuda"
    stage.ask(ANN, protocol.Hello(id=2, protocol=(1, 0), client="test"))
    assert [reply for _, reply in stage.sent] == [
        protocol.HelloReply(1, protocol.PROTOCOL_VERSION, "ikol test", "cafe", "auto"),
        protocol.HelloReply(2, protocol.PROTOCOL_VERSION, "ikol test", "cafe", "cuda"),
    ]


def test_other_major_version_is_refused_with_both_versions_and_stays_outside(stage: Stage) -> None:
    stage.ask(b"eve", protocol.Hello(id=1, protocol=(2, 0), client="test"))
    ((_, reply),) = stage.sent
    assert (reply.id, reply.code) == (1, "unsupported_version")
    assert "protocol 2.0 cannot talk to protocol 1." in reply.message
    stage.sent.clear()
    stage.ask(b"eve", protocol.Ping(2))
    assert stage.take() == [(b"eve", 2, "hello_required")]


def test_client_that_does_not_read_has_no_turn_until_it_does(stage: Stage) -> None:
    stage.behind.add(ANN)
    stage.solve(ANN, 1)
    stage.detect(ANN, 2)
    assert stage.given == []
    stage.solve(BOB, 1)
    stage.finish()
    assert stage.take() == [(BOB, 1, "shutdown_reply")]
    stage.behind.clear()
    stage.dispatcher.tick()  # the loop calls it when replies have left
    assert stage.given == [1, 1]
    stage.finish()
    assert stage.given == [1, 1, 2]


def test_pong_says_ready_busy_and_how_many_wait(stage: Stage) -> None:
    for request_id in (1, 2, 3):
        stage.detect(ANN, request_id)
    stage.ask(BOB, protocol.Ping(4))
    assert stage.sent == [(BOB, protocol.Pong(4, ready=True, busy=True, queued=2, device="fake"))]


def test_pong_names_the_problem(stage: Stage) -> None:
    stage.worker.is_ready = False
    stage.worker.problem = Problem("start_failed", "no torch \udcff" + "x" * 9999)
    stage.ask(ANN, protocol.Ping(1))
    ((_, pong),) = stage.sent
    assert pong.problem.startswith("no torch ?xxx")


def test_stats_count_requests_results_and_errors(stage: Stage) -> None:
    stage.solve(ANN, 1)
    stage.finish()
    stage.solve(ANN, 2)
    stage.finish(code="bad_input")
    stage.dispatcher.on_request(ANN, [b"\xc1"])
    stage.now += 2.5
    stage.ask(ANN, protocol.Stats(3))
    reply = stage.sent[-1][1]
    counts = {"hello": 2, "solve": 2, "ok": 1, "error.bad_input": 1, "error.bad_frame": 1, "stats": 1}
    assert (reply.id, reply.uptime_seconds, reply.counts, reply.device) == (3, 2.5, counts, "fake")
    assert (reply.worker_pid, reply.worker_restarts, reply.clients, reply.queued) == (4242, 0, 2, 0)
    assert reply.versions == {"python": "3"}


def test_stats_have_the_latencies_from_arrival_to_start_and_to_the_result(stage: Stage) -> None:
    stage.detect(ANN, 1)
    stage.detect(ANN, 2)
    stage.now += 1
    stage.finish()
    stage.now += 2
    stage.finish()
    stage.detect(ANN, 3)
    stage.finish(code="bad_image")  # no result
    stage.ask(ANN, protocol.Stats(4))
    latencies = stage.sent[-1][1].latencies
    assert latencies["detect"] == protocol.Latency(count=2, p50=3.0, p90=3.0, p99=3.0, max=3.0)
    assert latencies["queue"] == protocol.Latency(count=3, p50=0.0, p90=1.0, p99=1.0, max=1.0)


def test_stats_have_what_waits(stage: Stage) -> None:
    for request_id in (1, 2, 3):
        stage.detect(ANN, request_id, image=bytes(1000))
    stage.ask(ANN, protocol.Stats(4))
    reply = stage.sent[-1][1]
    assert reply.queued == 2
    assert 2000 < reply.queued_bytes < 2600  # the pictures and their headers


@pytest.mark.parametrize(
    ("frames", "request_id", "code"),
    [
        ([], None, "bad_frame"),
        ([b"\xc1"], None, "bad_frame"),
        ([b"\x82\xa4type\xa4jump\xa2id\x05"], 5, "bad_message"),
    ],
)
def test_what_is_no_message_is_answered_and_the_next_request_works(
    stage: Stage, frames: list[bytes], request_id: int | None, code: str
) -> None:
    stage.dispatcher.on_request(ANN, frames)
    stage.ask(ANN, protocol.Ping(9))
    assert stage.take() == [(ANN, request_id, code), (ANN, 9, "pong")]


def test_fault_in_the_dispatcher_itself_is_answered_and_does_not_end_the_server(stage: Stage) -> None:
    def broken(sequence: int, frames: Sequence[bytes]) -> None:
        raise RuntimeError("a fault of ours")

    stage.worker.run = broken
    stage.solve(ANN, 1)
    assert stage.take() == [(ANN, None, "internal_error")]
    stage.ask(ANN, protocol.Ping(2))
    assert stage.take() == [(ANN, 2, "pong")]


def test_forgotten_hellos_do_not_pile_up(stage: Stage) -> None:
    for number in range(MAX_CLIENTS):
        stage.ask(ANN, protocol.Ping(1))  # who talks is not forgotten
        stage.ask(f"client {number}".encode(), protocol.Hello(id=0, protocol=(1, 0), client="test"))
    stage.sent.clear()
    stage.ask(ANN, protocol.Ping(1))
    stage.ask(BOB, protocol.Ping(1))
    assert stage.take() == [(ANN, 1, "pong"), (BOB, 1, "hello_required")]


# ---- the queue -------------------------------------------------------------------------------------------------------


def test_one_request_runs_and_the_others_follow_in_order(stage: Stage) -> None:
    stage.detect(ANN, 1)
    stage.solve(BOB, 1)
    stage.detect(ANN, 2)
    assert stage.given == [1]
    for _ in range(3):
        stage.finish()
    assert stage.take() == [(ANN, 1, "shutdown_reply"), (BOB, 1, "shutdown_reply"), (ANN, 2, "shutdown_reply")]


def test_requests_wait_until_the_worker_is_ready(stage: Stage) -> None:
    stage.worker.is_ready = False
    stage.detect(ANN, 1)
    assert stage.given == []
    stage.worker.is_ready = True
    stage.dispatcher.on_worker(None, ())
    assert stage.given == [1]


def test_newer_solve_takes_the_place_of_the_one_that_waits(stage: Stage) -> None:
    stage.solve(ANN, 1)
    stage.solve(ANN, 2)
    stage.detect(BOB, 7)
    stage.solve(ANN, 3)
    assert stage.take() == [(ANN, 2, "superseded")]
    stage.finish()
    stage.finish()
    assert stage.given == [1, 3, 7]  # the new one keeps the old one's turn


ASIDES = pytest.mark.parametrize("aside", ["inspect", "alternatives"])


@ASIDES
def test_newer_aside_takes_the_place_of_the_one_of_its_kind_that_waits(stage: Stage, aside: str) -> None:
    stage.detect(BOB, 1)
    stage.inspect(ANN, 2)
    stage.alternatives(ANN, 3)
    getattr(stage, aside)(ANN, 4)
    assert stage.take() == [(ANN, 2 if aside == "inspect" else 3, "superseded")]


@ASIDES
def test_solve_goes_before_the_asides_that_wait_and_replaces_none(stage: Stage, aside: str) -> None:
    stage.detect(BOB, 1)
    getattr(stage, aside)(ANN, 2)
    stage.solve(ANN, 3)
    stage.detect(ANN, 4)
    for _ in range(4):
        stage.finish()
    assert stage.given == [1, 3, 4, 2]
    assert [kind for _, _, kind in stage.take()] == ["shutdown_reply"] * 4


@ASIDES
def test_running_aside_is_given_up_for_a_solve_of_the_same_client(stage: Stage, aside: str) -> None:
    getattr(stage, aside)(ANN, 1)
    stage.solve(ANN, 2)
    assert stage.take() == [(ANN, 1, "superseded")]
    assert stage.worker.aborted == [stage.worker.jobs[0][0]]
    stage.solve(ANN, 3)
    assert stage.take() == [(ANN, 2, "superseded")]
    assert len(stage.worker.aborted) == 1
    stage.finish(code="cancelled")
    assert stage.given == [1, 3]
    stage.finish()
    assert stage.take() == [(ANN, 3, "shutdown_reply")]


@ASIDES
def test_running_aside_that_does_not_stop_for_a_solve_is_killed(stage: Stage, aside: str) -> None:
    getattr(stage, aside)(ANN, 1)
    stage.solve(ANN, 2)
    stage.now += CANCEL_TIMEOUT
    stage.dispatcher.tick()
    assert stage.worker.kills == 1


@ASIDES
def test_running_aside_is_not_given_up_for_another_client_nor_for_what_is_no_solve(stage: Stage, aside: str) -> None:
    getattr(stage, aside)(ANN, 1)
    stage.solve(BOB, 2)
    stage.detect(ANN, 3)
    stage.inspect(ANN, 4)
    stage.alternatives(ANN, 5)
    assert stage.take() == []
    assert stage.worker.aborted == []


def test_solves_of_different_clients_and_detects_are_not_superseded(stage: Stage) -> None:
    stage.detect(ANN, 1)
    for client, request_id in ((ANN, 2), (BOB, 3)):
        stage.solve(client, request_id)
    for request_id in (4, 5):
        stage.detect(ANN, request_id)
    assert stage.take() == []


def test_exactly_what_is_too_many_is_refused(stage: Stage) -> None:
    for request_id in range(MAX_WAITING + 1 + 2):  # one runs
        stage.detect(ANN, request_id)
    assert stage.take() == [(ANN, MAX_WAITING + 1, "busy"), (ANN, MAX_WAITING + 2, "busy")]


def test_newer_solve_is_taken_also_when_the_queue_is_full(stage: Stage) -> None:
    stage.solve(ANN, 1000)
    stage.solve(ANN, 1001)
    for request_id in range(MAX_WAITING - 1):
        stage.detect(ANN, request_id)
    stage.solve(ANN, 1002)
    assert stage.take() == [(ANN, 1001, "superseded")]


def test_waiting_bytes_are_limited(stage: Stage) -> None:
    image = bytes(protocol.MAX_FRAME_BYTES)
    for request_id in range(6):
        stage.detect(ANN, request_id, image)
    # one runs; four of 64 MiB do not fit into 256 MiB because of their headers
    assert stage.take() == [(ANN, 4, "busy"), (ANN, 5, "busy")]


def test_id_in_use_is_refused_and_free_again_after_the_reply(stage: Stage) -> None:
    stage.detect(ANN, 1)
    stage.detect(ANN, 1)
    stage.detect(BOB, 1)  # another client's ids are its own
    assert stage.take() == [(ANN, 1, "duplicate_id")]
    stage.finish()
    stage.detect(ANN, 1)
    assert stage.take() == [(ANN, 1, "shutdown_reply")]


# ---- progress --------------------------------------------------------------------------------------------------------


def test_progress_is_passed_on_and_none_comes_after_the_reply(stage: Stage) -> None:
    stage.detect(ANN, 1)
    stage.step(0.25)
    stage.finish()
    stage.step(0.5)
    assert stage.take() == [(ANN, 1, "progress"), (ANN, 1, "shutdown_reply")]


# ---- cancel ----------------------------------------------------------------------------------------------------------


def test_cancelled_request_that_waits_never_runs(stage: Stage) -> None:
    stage.detect(ANN, 1)
    stage.detect(ANN, 2)
    stage.cancel(ANN, 10, target=2)
    stage.finish()
    assert stage.take() == [(ANN, 2, "cancelled"), (ANN, 10, "cancel_reply"), (ANN, 1, "shutdown_reply")]
    assert stage.given == [1]


def test_cancelled_request_that_runs_is_answered_once_and_at_once(stage: Stage) -> None:
    stage.detect(ANN, 1)
    stage.detect(ANN, 2)
    stage.cancel(ANN, 10, target=1)
    assert stage.take() == [(ANN, 1, "cancelled"), (ANN, 10, "cancel_reply")]
    assert stage.worker.aborted == [stage.worker.jobs[0][0]]
    stage.step(0.5)
    assert stage.given == [1]  # the worker is not free before it says so
    stage.finish(code="cancelled")
    assert stage.take() == []
    assert stage.given == [1, 2]


@pytest.mark.parametrize("target", [1, 2, 99])
def test_cancel_of_what_neither_waits_nor_runs_finds_nothing(stage: Stage, target: int) -> None:
    stage.detect(ANN, 1)
    stage.finish()
    stage.detect(BOB, 2)  # not Ann's
    stage.detect(ANN, 3)
    stage.cancel(ANN, 10, target)
    ((_, reply),) = [item for item in stage.sent if item[1].id == 10]
    assert reply == protocol.CancelReply(10, found=False)
    assert stage.worker.aborted == []


def test_second_cancel_finds_nothing(stage: Stage) -> None:
    stage.detect(ANN, 1)
    stage.cancel(ANN, 10, target=1)
    stage.sent.clear()
    stage.cancel(ANN, 11, target=1)
    assert stage.sent == [(ANN, protocol.CancelReply(11, found=False))]


def test_worker_that_does_not_stop_is_killed_once_after_the_timeout(stage: Stage) -> None:
    stage.detect(ANN, 1)
    assert stage.dispatcher.tick() == STALL_TIMEOUT
    stage.cancel(ANN, 10, target=1)
    assert stage.dispatcher.tick() == CANCEL_TIMEOUT
    stage.now += CANCEL_TIMEOUT - 0.5
    assert (stage.dispatcher.tick(), stage.worker.kills) == (0.5, 0)
    stage.now += 0.5
    assert stage.dispatcher.tick() is None
    assert stage.dispatcher.tick() is None
    assert stage.worker.kills == 1


def test_killed_worker_does_not_answer_the_cancelled_request_again(stage: Stage) -> None:
    stage.detect(ANN, 1)
    stage.detect(ANN, 2)
    stage.cancel(ANN, 10, target=1)
    stage.sent.clear()
    stage.dispatcher.on_worker(Crashed(), ())
    assert stage.take() == []
    assert stage.given == [1, 2]


# ---- crash, problem, end ---------------------------------------------------------------------------------------------


def test_crash_is_told_for_the_running_request_and_the_others_still_run(stage: Stage) -> None:
    stage.detect(ANN, 1)
    stage.detect(ANN, 2)
    stage.worker.is_ready = False
    stage.dispatcher.on_worker(Crashed(), ())
    assert stage.take() == [(ANN, 1, "worker_crashed")]
    stage.worker.is_ready = True
    stage.dispatcher.on_worker(None, ())
    stage.finish()
    assert stage.take() == [(ANN, 2, "shutdown_reply")]


def test_late_word_of_a_lost_job_is_ignored(stage: Stage) -> None:
    stage.detect(ANN, 1)
    sequence, _ = stage.worker.jobs[0]
    stage.dispatcher.on_worker(Crashed(), ())
    stage.detect(ANN, 2)
    stage.sent.clear()
    stage.dispatcher.on_worker(pipe.Done(sequence, None), protocol.encode(protocol.ShutdownReply(1)))
    assert stage.take() == []


def test_problem_answers_what_waits_and_what_comes_with_the_reason(stage: Stage) -> None:
    stage.worker.is_ready = False
    stage.detect(ANN, 1)
    stage.worker.problem = Problem("start_failed", "torch is not installed")
    stage.dispatcher.on_worker(None, ())
    stage.solve(BOB, 2)
    assert stage.take() == [(ANN, 1, "start_failed"), (BOB, 2, "start_failed")]


def test_lost_client_gets_nothing_more_and_holds_nothing_up(stage: Stage) -> None:
    stage.detect(ANN, 1)
    stage.detect(ANN, 2)
    stage.detect(BOB, 3)
    stage.dispatcher.forget(ANN)
    stage.finish()
    stage.finish()
    assert stage.given == [1, 3]
    assert stage.take() == [(BOB, 3, "shutdown_reply")]
    stage.ask(ANN, protocol.Ping(4))
    assert stage.take() == [(ANN, 4, "hello_required")]


def test_shutdown_answers_everything_that_is_not_finished(stage: Stage) -> None:
    stage.detect(ANN, 1)
    stage.detect(BOB, 2)
    stage.ask(ANN, protocol.Shutdown(3))
    assert stage.take() == [(BOB, 2, "shutting_down"), (ANN, 1, "shutting_down"), (ANN, 3, "shutdown_reply")]
    assert stage.dispatcher.is_shut_down
    stage.dispatcher.close()
    assert stage.take() == []


def test_every_request_of_a_burst_gets_exactly_one_reply(stage: Stage) -> None:
    for request_id in range(600):
        (stage.detect, stage.solve, stage.inspect, stage.solve, stage.alternatives)[request_id % 5](ANN, request_id)
    while stage.dispatcher.is_busy:
        stage.finish()
    replies = stage.take()
    assert sorted(request_id for _, request_id, _ in replies if request_id is not None) == list(range(600))
    assert {code for _, _, code in replies} == {"shutdown_reply", "busy", "superseded"}

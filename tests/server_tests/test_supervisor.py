# SPDX-License-Identifier: Apache-2.0
"""The life of worker processes: real ones, that do nothing but live or die."""

import queue
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest
from server_client import PATIENCE

from solver_server import pipe
from solver_server.supervisor import RESTART_LIMIT, RESTART_WINDOW, Crashed, Supervisor, WorkerReport

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
DEAF = [sys.executable, "-S", "-c", "import os, time; os.close(1); time.sleep(60)"]
END = [sys.executable, "-S", "-c", ""]
NOISE = [sys.executable, "-S", "-c", "print('Warning: a library speaks'); import time; time.sleep(60)"]


class Stage:
    """A supervisor, its mailbox and its clock."""

    def __init__(self, command: list[str]) -> None:
        self.mail: queue.SimpleQueue[WorkerReport] = queue.SimpleQueue()
        self.now = 0.0
        self.supervisor = Supervisor(command, self.mail.put, clock=lambda: self.now)
        self.supervisor.start()

    def next(self) -> object:
        """Take one report from the mailbox to the supervisor."""
        return self.supervisor.receive(self.mail.get(timeout=PATIENCE))


@pytest.fixture
def stage_of() -> Iterator[Callable[[list[str]], Stage]]:
    stages: list[Stage] = []

    def make(command: list[str]) -> Stage:
        stages.append(Stage(command))
        return stages[-1]

    yield make
    for stage in stages:
        stage.supervisor.close()


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


Make = Callable[[list[str]], Stage]


@pytest.mark.parametrize("command", [END, DEAF, NOISE], ids=["ends", "closes its stdout", "writes garbage"])
def test_useless_worker_is_replaced(stage_of: Make, command: list[str]) -> None:
    stage = stage_of(command)
    first = stage.supervisor.pid
    assert stage.next() == Crashed()
    assert is_gone(first)
    assert (stage.supervisor.restarts, stage.supervisor.problem) == (1, None)
    assert stage.supervisor.pid not in (0, first)


def test_too_many_crashes_are_the_end(stage_of: Make) -> None:
    stage = stage_of(END)
    for _ in range(RESTART_LIMIT + 1):
        stage.now += RESTART_WINDOW / RESTART_LIMIT
        assert stage.supervisor.problem is None
        assert stage.next() == Crashed()
    problem = stage.supervisor.problem
    assert problem is not None
    assert problem.code == "worker_unavailable"
    assert "crashed 6 times within 180 s" in problem.message
    assert (stage.supervisor.restarts, stage.supervisor.pid, stage.supervisor.is_ready) == (RESTART_LIMIT, 0, False)


def test_rare_crashes_are_forgiven(stage_of: Make) -> None:
    stage = stage_of(END)
    for _ in range(2 * RESTART_LIMIT):
        stage.now += RESTART_WINDOW / RESTART_LIMIT + 1
        assert stage.next() == Crashed()
    assert stage.supervisor.problem is None


def test_kills_after_a_cancel_do_not_count_as_crashes(stage_of: Make) -> None:
    stage = stage_of(SLEEP)
    for _ in range(RESTART_LIMIT + 2):
        stage.supervisor.kill()
        assert stage.next() == Crashed()
    assert (stage.supervisor.restarts, stage.supervisor.problem) == (RESTART_LIMIT + 2, None)


def test_start_that_fails_with_a_reason_is_not_tried_again(stage_of: Make) -> None:
    stage = stage_of(SLEEP)
    assert stage.supervisor.receive(WorkerReport(1, pipe.StartFailed("no torch"))) is None
    stage.supervisor.kill()
    assert stage.next() == Crashed()
    problem = stage.supervisor.problem
    assert problem is not None
    assert (problem.code, problem.message, stage.supervisor.pid) == ("start_failed", "no torch", 0)


def test_python_that_does_not_exist_is_a_failing_start(stage_of: Make) -> None:
    problem = stage_of(["/nonexistent/python"]).supervisor.problem
    assert problem is not None
    assert problem.code == "start_failed"
    assert "/nonexistent/python" in problem.message


def test_ready_worker_says_where_it_computes_until_it_is_gone(stage_of: Make) -> None:
    stage = stage_of(SLEEP)
    assert not stage.supervisor.is_ready
    assert stage.supervisor.receive(WorkerReport(1, pipe.Ready("cuda", ("NLF",)))) is None
    assert (stage.supervisor.is_ready, stage.supervisor.device) == (True, "cuda")
    assert stage.supervisor.models == ("NLF",)
    stage.supervisor.kill()
    assert not stage.supervisor.is_ready  # at once, or the next job would be given to it and lost with it
    stage.next()
    assert (stage.supervisor.is_ready, stage.supervisor.device) == (False, "")


def test_word_of_an_older_worker_is_ignored(stage_of: Make) -> None:
    stage = stage_of(END)
    stage.next()
    assert stage.supervisor.receive(WorkerReport(1, pipe.Done(1, None))) is None
    assert stage.supervisor.receive(WorkerReport(2, pipe.Done(1, None))) == pipe.Done(1, None)


def test_writing_to_a_worker_that_does_not_read_does_not_block(stage_of: Make) -> None:
    stage = stage_of(SLEEP)
    start = time.monotonic()
    stage.supervisor.run(1, [bytes(10 * 2**20)])
    stage.supervisor.kill()
    assert stage.next() == Crashed()
    assert time.monotonic() - start < PATIENCE / 2


def test_close_ends_the_worker(stage_of: Make) -> None:
    stage = stage_of(SLEEP)
    pid = stage.supervisor.pid
    stage.supervisor.close()
    assert is_gone(pid)
    assert stage.supervisor.pid == 0

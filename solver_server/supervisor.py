# SPDX-License-Identifier: Apache-2.0
"""Keeps one worker process alive: starts it, hears it, kills it when it hangs, gives up when it crashes too often.

All methods belong to the control thread. Each worker has two threads of its own, one that reads its reports and one
that writes its orders, because pipes cannot be polled together with sockets on Windows and a write may block. They only
post to the mailbox. Not here: sockets, requests, torch.
"""

import contextlib
import logging
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, cast

from solver_server import pipe

RESTART_LIMIT = 5  # restarts within the window; the numbers with which VS Code treats its language servers
RESTART_WINDOW = 180.0  # seconds
START_TIMEOUT = 180.0  # seconds until the worker is ready; torch on a cold disk with a virus scanner has taken a minute
MAX_DEVICE_NAME = 100  # characters, below the limit of the protocol
PIPE_BYTES = 2**20  # the most that Linux gives to everybody
MAX_MODELS = 16  # as many as the protocol lets a pong name

_NO_WINDOW: int = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # on Windows no console flashes up; elsewhere nothing

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerReport:
    """What a worker said, or that it ended (`report` is None). `generation` tells a worker from its predecessors."""

    generation: int
    report: pipe.Report | None
    frames: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Crashed:
    """The worker ended without being asked to; what it computed is lost."""


@dataclass(frozen=True)
class Problem:
    """Why there is no worker and will be none: an error code of the protocol and a sentence."""

    code: str
    message: str


class WorkerProcess:
    """One worker process and the two threads that talk to it."""

    def __init__(self, command: Sequence[str], generation: int, post: Callable[[WorkerReport], None]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=2,  # named, because on Windows the inherited handle would not follow a redirection of descriptor 2
            creationflags=_NO_WINDOW,
        )
        _widen(cast("BinaryIO", self._process.stdout))
        self._generation = generation
        self._post = post
        self._orders: queue.SimpleQueue[tuple[pipe.Order, Sequence[bytes]] | None] = queue.SimpleQueue()
        for target in (self._read_reports, self._write_orders):
            threading.Thread(target=target, name=f"{target.__name__} {generation}", daemon=True).start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def send(self, order: pipe.Order, frames: Sequence[bytes] = ()) -> None:
        """Hand over an order; a worker that is gone shows by its last report."""
        self._orders.put((order, frames))

    def kill(self) -> None:
        """End the process at once; it keeps nothing that could be lost."""
        self._orders.put(None)
        self._process.kill()

    def wait(self, timeout: float) -> None:
        """Wait for the end of a killed process."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            _log.error("worker %d does not end", self.pid)

    def _read_reports(self) -> None:
        stream = cast("BinaryIO", self._process.stdout)
        try:
            while True:
                report, frames = pipe.read_report(stream)
                self._post(WorkerReport(self._generation, report, tuple(frames)))
        except (EOFError, OSError):
            pass  # its end is what is reported below
        except ValueError:
            _log.exception("the pipe from worker %d is broken", self.pid)
        self.kill()  # also when only its stdout was closed: without that it is of no use
        status = self._process.wait()
        stream.close()
        _log.info("worker %d ended with status %d", self.pid, status)
        self._post(WorkerReport(self._generation, None))

    def _write_orders(self) -> None:
        stream = cast("BinaryIO", self._process.stdin)
        try:
            while (item := self._orders.get()) is not None:
                pipe.write(stream, *item)
        except OSError:
            _log.info("worker %d takes no more orders", self.pid)
        with contextlib.suppress(OSError):  # closing flushes what a dead worker did not take
            stream.close()


def _widen(stream: BinaryIO) -> None:
    """Let a large reply go through in one piece where the system can do that; otherwise it takes some ms longer."""
    if sys.platform == "linux":
        import fcntl  # noqa: PLC0415  # Windows has none

        with contextlib.suppress(OSError):  # the user's share of such memory may be used up
            fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


class Supervisor:
    """The policy around the worker: its state, its restarts, and the problem when there are no more."""

    def __init__(
        self,
        command: Sequence[str],
        post: Callable[[WorkerReport], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = command
        self._post = post
        self._clock = clock
        self._worker: WorkerProcess | None = None
        self._generation = 0
        self._crash_times: deque[float] = deque(maxlen=RESTART_LIMIT + 1)
        self._is_kill_wanted = False
        self._start_deadline = 0.0
        self.device = ""
        """Where the worker computes; empty until it is ready."""
        self.models: tuple[str, ...] = ()
        """The user's own networks; none until it is ready."""
        self.restarts = 0
        self.problem: Problem | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the worker has loaded its weights and takes jobs; one that is being killed does not."""
        return self._worker is not None and self.device != "" and not self._is_kill_wanted

    @property
    def pid(self) -> int:
        """Process id of the worker, 0 while there is none."""
        return self._worker.pid if self._worker is not None else 0

    def start(self) -> None:
        """Start a worker; it is ready later."""
        self.device = ""
        self._is_kill_wanted = False
        self._start_deadline = self._clock() + START_TIMEOUT
        self._generation += 1
        try:
            self._worker = WorkerProcess(self._command, self._generation, self._post)
        except OSError as error:
            _log.exception("the worker process cannot be started")
            self._worker = None
            self.problem = Problem("start_failed", f"the solver's Python cannot be started ({error}); install it again")

    def tick(self) -> float | None:
        """Give up a worker that does not get ready.

        Returns:
            Seconds until that is due, None when it is not.
        """
        if self._worker is None or self.is_ready or self.problem is not None:
            return None
        remaining = self._start_deadline - self._clock()
        if remaining <= 0:
            text = f"the solver was not ready within {START_TIMEOUT:.0f} s; its log may say why, start it again"
            self.problem = Problem("start_failed", text)
            self._worker.kill()
            return None
        return remaining

    def run(self, sequence: int, frames: Sequence[bytes]) -> None:
        """Give the ready worker a job."""
        assert self._worker is not None
        self._worker.send(pipe.Run(sequence), frames)

    def abort(self, sequence: int) -> None:
        """Ask the worker to stop a job; it then reports it as done."""
        if self._worker is not None:
            self._worker.send(pipe.Abort(sequence))

    def kill(self) -> None:
        """End a worker that does not listen; when it has ended it is reported as crashed, and a new one starts."""
        if self._worker is not None:
            self._is_kill_wanted = True
            self._worker.kill()

    def close(self) -> None:
        """End the worker for good."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()
            worker.wait(timeout=1.0)

    def receive(self, message: WorkerReport) -> pipe.Step | pipe.Done | Crashed | None:
        """Take a report from the mailbox, and keep the worker alive.

        Returns:
            What concerns the running job, else None.
        """
        if message.generation != self._generation or self._worker is None:
            return None
        match message.report:
            case pipe.Ready(device, models):
                _log.info("worker %d is ready on %s", self._worker.pid, device)
                self.device = device[:MAX_DEVICE_NAME]
                self.models = models[:MAX_MODELS]
                return None
            case pipe.StartFailed(reason):
                self.problem = Problem("start_failed", reason)
                return None
            case None:
                self._replace_worker()
                return Crashed()
            case report:
                return report

    def _replace_worker(self) -> None:
        self._worker = None
        self.device = ""
        if self.problem is not None:
            return
        if not self._is_kill_wanted:  # a kill after a cancel is the user's wish and no sign of a fault
            self._crash_times.append(self._clock())
        is_over = len(self._crash_times) > RESTART_LIMIT
        if is_over and self._crash_times[-1] - self._crash_times[0] <= RESTART_WINDOW:
            text = (
                f"the solver crashed {RESTART_LIMIT + 1} times within {RESTART_WINDOW:.0f} s and is not started again"
            )
            self.problem = Problem("worker_unavailable", f"{text}; its log says why, restart the solver to try again")
            return
        self.restarts += 1
        self.start()

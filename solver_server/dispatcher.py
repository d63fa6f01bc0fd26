# SPDX-License-Identifier: Apache-2.0
"""Who is answered what and when: hello, the queue, latest wins, cancel, crash. The authority is docs/protocol.md.

Runs in the control thread, never blocks, and knows neither sockets nor processes: replies leave through `send`, and the
worker is whatever satisfies `Worker`. Every request gets exactly one reply.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from solver_server import pipe
from solver_server.protocol import (
    MAX_MESSAGE_BYTES,
    PROTOCOL_VERSION,
    Cancel,
    CancelReply,
    Detect,
    Error,
    Hello,
    HelloReply,
    Ping,
    Pong,
    Progress,
    ProtocolError,
    Reply,
    Request,
    Shutdown,
    ShutdownReply,
    Solve,
    Stats,
    StatsReply,
    VersionError,
    check_version,
    decode_request,
    encode,
)
from solver_server.supervisor import Crashed, Problem

MAX_WAITING = 64  # requests of all clients
MAX_WAITING_BYTES = 2 * MAX_MESSAGE_BYTES
MAX_CLIENTS = 256  # of which we remember the hello; every reconnection is a new one
CANCEL_TIMEOUT = 2.0  # seconds that a worker may take to its next step before it is killed
MAX_TEXT = 4000  # characters of a sentence, below the limit of the protocol

_log = logging.getLogger(__name__)


class Worker(Protocol):
    """What the dispatcher needs of the supervisor."""

    device: str
    restarts: int
    problem: Problem | None

    @property
    def is_ready(self) -> bool: ...  # noqa: D102

    @property
    def pid(self) -> int: ...  # noqa: D102

    def run(self, sequence: int, frames: Sequence[bytes]) -> None: ...  # noqa: D102

    def abort(self, sequence: int) -> None: ...  # noqa: D102

    def kill(self) -> None: ...  # noqa: D102


class Send(Protocol):
    """Takes frames for a client; may drop them only if `is_droppable`."""

    def __call__(self, client: bytes, frames: Sequence[bytes], is_droppable: bool = False) -> None: ...  # noqa: D102


@dataclass
class _Job:
    client: bytes
    request: Detect | Solve
    frames: list[bytes]
    sequence: int = -1
    is_answered: bool = False
    kill_time: float | None = None

    @property
    def size(self) -> int:
        return sum(map(len, self.frames))


@dataclass(frozen=True)
class ServerInfo:
    """What `hello` and `stats` say about this process."""

    name: str
    session: str
    device: str
    """The device that was asked for: auto, cpu or cuda."""


class Dispatcher:
    """The state of the conversation with all clients."""

    def __init__(
        self, worker: Worker, send: Send, info: ServerInfo, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._worker = worker
        self._send = send
        self._info = info
        self._clock = clock
        self._start_time = clock()
        self._clients: dict[bytes, None] = {}  # those that said hello; the one heard last is the last
        self._waiting: list[_Job] = []
        self._running: _Job | None = None
        self._sequence = 0
        self._counts: Counter[str] = Counter()
        self.is_shut_down = False
        """Whether a client has asked the server to end."""

    @property
    def is_busy(self) -> bool:
        """Whether a request runs or waits."""
        return self._running is not None or bool(self._waiting)

    def on_request(self, client: bytes, frames: list[bytes]) -> None:
        """Take the frames that a client sent; whatever they are, the next ones are taken too."""
        try:
            self._take(client, frames)
        except Exception:
            _log.exception("internal error in the control process")
            self._refuse(client, None, "internal_error", "internal error in the server; its log has the details")

    def on_worker(self, outcome: pipe.Step | pipe.Done | Crashed | None, frames: Sequence[bytes]) -> None:
        """Take what the supervisor made of a report: about the running job, or None when only its state changed."""
        job = self._running
        match outcome:
            case pipe.Step(sequence, fraction, text):
                if job is not None and job.sequence == sequence and not job.is_answered:
                    progress = Progress(id=job.request.id, fraction=fraction, text=_sendable(text))
                    self._send(job.client, encode(progress), is_droppable=True)
            case pipe.Done(sequence, code):
                if job is not None and job.sequence == sequence:
                    self._finish(job, code, frames)
            case Crashed():
                self._running = None
                if job is not None and not job.is_answered:
                    text = "the solver process ended in the middle of this request; it is started again, try once more"
                    self._refuse(job.client, job.request.id, "worker_crashed", text)
            case None:
                pass
        self._advance()

    def tick(self) -> float | None:
        """Do what is due.

        Returns:
            Seconds until something will be due, None when nothing is.
        """
        job = self._running
        if job is None or job.kill_time is None:
            return None
        remaining = job.kill_time - self._clock()
        if remaining > 0:
            return remaining
        _log.warning("the worker does not stop request %d; it is killed", job.request.id)
        job.kill_time = None
        self._worker.kill()
        return None

    def forget(self, client: bytes) -> None:
        """Give up a client that cannot be reached: nothing more is sent to it, its requests are dropped."""
        self._counts["clients_lost"] += 1
        self._clients.pop(client, None)
        self._waiting = [job for job in self._waiting if job.client != client]
        if self._running is not None and self._running.client == client:
            self._give_up(self._running)

    def close(self) -> None:
        """Answer everything that will not be finished."""
        unfinished = [*self._waiting, *([self._running] if self._running is not None else [])]
        self._waiting = []
        for job in unfinished:
            if not job.is_answered:
                job.is_answered = True
                self._refuse(job.client, job.request.id, "shutting_down", "the solver is about to end")

    def _take(self, client: bytes, frames: list[bytes]) -> None:
        try:
            request, _ = decode_request(frames)
            if isinstance(request, Hello):
                check_version(request.protocol, request.id)
        except VersionError as error:
            self._clients.pop(client, None)
            self._refuse(client, error.request_id, error.code, str(error))
            return
        except ProtocolError as error:
            self._refuse(client, error.request_id, error.code, str(error))
            return
        self._counts[str(type(request).__struct_config__.tag)] += 1
        if not isinstance(request, Hello) and client not in self._clients:
            text = "the first message must be hello; say hello and send this request again"
            self._refuse(client, request.id, "hello_required", text)
            return
        self._remember(client)
        self._dispatch(client, request, frames)

    def _dispatch(self, client: bytes, request: Request, frames: list[bytes]) -> None:
        worker = self._worker
        match request:
            case Detect() | Solve():
                self._enqueue(_Job(client, request, frames))
            case Cancel(id, target):
                self._reply(client, CancelReply(id=id, found=self._cancel(client, target)))
            case Hello(id):
                device = worker.device or self._info.device
                version = PROTOCOL_VERSION
                reply = HelloReply(id, version, server=self._info.name, session=self._info.session, device=device)
                self._reply(client, reply)
            case Ping(id):
                problem = _sendable(worker.problem.message) if worker.problem is not None else ""
                busy = self._running is not None
                queued = len(self._waiting)
                self._reply(client, Pong(id, worker.is_ready, busy, queued, device=worker.device, problem=problem))
            case Stats(id):
                reply = StatsReply(
                    id=id,
                    uptime_seconds=self._clock() - self._start_time,
                    counts=dict(self._counts),
                    device=worker.device,
                    worker_pid=worker.pid,
                    worker_restarts=worker.restarts,
                )
                self._reply(client, reply)
            case Shutdown(id):
                self.close()
                self._reply(client, ShutdownReply(id))
                self.is_shut_down = True

    def _enqueue(self, job: _Job) -> None:
        problem = self._worker.problem
        if problem is not None:
            self._refuse(job.client, job.request.id, problem.code, problem.message)
            return
        if self._find(job.client, job.request.id) is not None:
            text = f"request {job.request.id} is not answered yet; every request needs an id of its own"
            self._refuse(job.client, job.request.id, "duplicate_id", text)
            return
        older = self._waiting_solve(job.client) if isinstance(job.request, Solve) else None
        others = [other for other in self._waiting if other is not older]
        if len(others) >= MAX_WAITING or sum(other.size for other in others) + job.size > MAX_WAITING_BYTES:
            text = f"{len(others)} requests wait already; wait for replies before sending more"
            self._refuse(job.client, job.request.id, "busy", text)
            return
        if older is None:
            self._waiting.append(job)
        else:
            self._waiting[self._waiting.index(older)] = job
            text = f"request {job.request.id} took the place of this one"
            self._refuse(older.client, older.request.id, "superseded", text)
        self._advance()

    def _cancel(self, client: bytes, target: int) -> bool:
        job = self._find(client, target)
        if job is None:
            return False
        if job is self._running:
            self._give_up(job)
        else:
            self._waiting.remove(job)
        self._refuse(client, target, "cancelled", "the request was given up")
        return True

    def _give_up(self, job: _Job) -> None:
        """Let the worker stop the running job, whose reply nobody waits for any more."""
        if not job.is_answered:
            job.is_answered = True
            job.kill_time = self._clock() + CANCEL_TIMEOUT
            self._worker.abort(job.sequence)

    def _advance(self) -> None:
        """Start the next job if that is possible, and answer all when it never will be."""
        worker = self._worker
        if worker.problem is not None:
            jobs, self._waiting = self._waiting, []
            for job in jobs:
                self._refuse(job.client, job.request.id, worker.problem.code, worker.problem.message)
        elif self._running is None and self._waiting and worker.is_ready:
            job = self._running = self._waiting.pop(0)
            self._sequence += 1
            job.sequence = self._sequence
            worker.run(job.sequence, job.frames)
            job.frames = []  # the worker has them; a picture is large

    def _finish(self, job: _Job, code: str | None, frames: Sequence[bytes]) -> None:
        self._running = None
        if job.is_answered:
            return
        self._counts["ok" if code is None else f"error.{code}"] += 1
        self._send(job.client, frames)

    def _reply(self, client: bytes, reply: Reply) -> None:
        self._send(client, encode(reply))

    def _refuse(self, client: bytes, request_id: int | None, code: str, text: str) -> None:
        self._counts[f"error.{code}"] += 1
        self._send(client, encode(Error(id=request_id, code=code, message=_sendable(text))))

    def _remember(self, client: bytes) -> None:
        self._clients.pop(client, None)
        self._clients[client] = None
        if len(self._clients) > MAX_CLIENTS:
            del self._clients[next(iter(self._clients))]

    def _find(self, client: bytes, request_id: int) -> _Job | None:
        """Find the request of the client that is not answered yet."""
        jobs = [*self._waiting, *([self._running] if self._running is not None else [])]
        for job in jobs:
            if job.client == client and job.request.id == request_id and not job.is_answered:
                return job
        return None

    def _waiting_solve(self, client: bytes) -> _Job | None:
        for job in self._waiting:
            if job.client == client and isinstance(job.request, Solve):
                return job
        return None


def _sendable(text: str) -> str:
    """Shorten a sentence, and mend what it may quote: a file name need not be valid text."""
    return text[:MAX_TEXT].encode("utf-8", "replace").decode("utf-8")

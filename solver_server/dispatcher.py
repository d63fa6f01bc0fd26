# SPDX-License-Identifier: Apache-2.0
"""Who is answered what and when: hello, latest wins, cancel, deadlines, crash. The authority is docs/protocol.md.

Runs in the control thread, never blocks, and knows neither sockets nor processes: replies leave through `send`, and the
worker is whatever satisfies `Worker`. Every request gets exactly one reply.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from solver_server import pipe
from solver_server.protocol import (
    PROTOCOL_VERSION,
    Cancel,
    CancelReply,
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
    Stats,
    StatsReply,
    VersionError,
    Work,
    check_version,
    decode_request,
    encode,
)
from solver_server.statistics import Statistics, resident_bytes
from solver_server.supervisor import Crashed, Problem
from solver_server.waiting import Job, WaitingLine

TIMEOUT = 300.0  # seconds of a request that names none: sixteen persons on two busy cores take a minute
STALL_TIMEOUT = 60.0  # seconds without a step of the running job; the longest step takes 0.2 s, on busy cores 0.7 s
MAX_CLIENTS = 256  # of which we remember the hello; every reconnection is a new one
CANCEL_TIMEOUT = 5.0  # seconds for the same when its job is given up; a kill costs the loading of the networks
MAX_TEXT = 4000  # characters of a sentence, below the limit of the protocol

_log = logging.getLogger(__name__)


class Worker(Protocol):
    """What the dispatcher needs of the supervisor."""

    device: str
    models: tuple[str, ...]
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


@dataclass(frozen=True)
class ServerInfo:
    """What `hello` and `stats` say about this process."""

    name: str
    session: str
    device: str
    """The device that was asked for: auto, cpu or cuda."""
    pid: int = 0
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    is_shared: bool = False
    """Whether the clients are several and none of them owns the server."""


class Dispatcher:
    """The state of the conversation with all clients."""

    def __init__(
        self,
        worker: Worker,
        send: Send,
        info: ServerInfo,
        clock: Callable[[], float] = time.monotonic,
        is_behind: Callable[[bytes], bool] = lambda client: False,
    ) -> None:
        self._worker = worker
        self._send = send
        self._is_behind = is_behind
        self._info = info
        self._clock = clock
        self._start_time = clock()
        self._clients: dict[bytes, None] = {}  # those that said hello; the one heard last is the last
        self._waiting = WaitingLine()
        self._running: Job | None = None
        self._sequence = 0
        self._statistics = Statistics()
        self._counts = self._statistics.counts
        self.is_shut_down = False
        """Whether a client has asked the server to end."""

    @property
    def is_busy(self) -> bool:
        """Whether a request runs or waits."""
        return self._running is not None or len(self._waiting) > 0

    def count(self, event: str) -> None:
        """Count something that happened outside."""
        self._counts[event] += 1

    def on_request(self, client: bytes, frames: list[bytes], owner: str = "") -> None:
        """Take the frames that a client sent; whatever they are, the next ones are taken too.

        Args:
            client: The connection.
            frames: The frames of one message.
            owner: Whose connection it is; owners share the worker's time.
        """
        try:
            self._take(client, frames, owner)
        except Exception:
            _log.exception("internal error in the control process")
            self._refuse(client, None, "internal_error", "internal error in the server; its log has the details")

    def on_worker(self, outcome: pipe.Step | pipe.Done | Crashed | None, frames: Sequence[bytes]) -> None:
        """Take what the supervisor made of a report: about the running job, or None when only its state changed."""
        job = self._running
        match outcome:
            case pipe.Step(sequence, fraction, text):
                if job is not None and job.sequence == sequence and not job.is_answered:
                    job.last_sign = self._clock()
                    progress = Progress(id=job.request.id, fraction=fraction, text=_sendable(text))
                    self._send(job.client, encode(progress), is_droppable=True)
            case pipe.Done(sequence, code):
                if job is not None and job.sequence == sequence:
                    self._finish(job, code, frames)
            case Crashed():
                self._leave_worker()
                if job is not None and not job.is_answered:
                    text = "the solver process ended in the middle of this request; it is started again, try once more"
                    self._answer_error(job, "worker_crashed", text)
            case None:
                pass
        self._advance()

    def tick(self) -> float | None:
        """Do what is due.

        Returns:
            Seconds until something will be due, None when nothing is.
        """
        self._advance()  # a client may have caught up with its replies
        now = self._clock()
        due = [job.deadline for job in self._waiting]
        if self._running is not None:
            due += self._check_running(self._running, now)
        return max(0.0, min(due) - now) if due else None

    def forget(self, client: bytes) -> None:
        """Give up a client that cannot be reached: nothing more is sent to it, its requests are dropped."""
        self._counts["clients_lost"] += 1
        self._clients.pop(client, None)
        for job in self._waiting:
            if job.client == client:
                self._waiting.remove(job)
        if self._running is not None and self._running.client == client:
            self._give_up(self._running)

    def close(self) -> None:
        """Answer everything that will not be finished."""
        for job in (*self._waiting, *([self._running] if self._running is not None else [])):
            if not job.is_answered:
                self._answer_error(job, "shutting_down", "the solver is about to end")
        self._waiting = WaitingLine()

    def _take(self, client: bytes, frames: list[bytes], owner: str) -> None:
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
        self._dispatch(client, request, frames, owner)

    def _dispatch(self, client: bytes, request: Request, frames: list[bytes], owner: str) -> None:
        worker = self._worker
        if isinstance(request, Work):
            now = self._clock()
            self._enqueue(Job(client, owner, request, frames, now, deadline=now + (request.timeout_seconds or TIMEOUT)))
            return
        match request:
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
                pong = Pong(id, worker.is_ready, busy, queued, worker.device, problem, worker.models)
                self._reply(client, pong)
            case Stats(id):
                self._reply(client, self._stats_reply(id))
            case Shutdown(id) if self._info.is_shared:
                self._refuse(client, id, "not_allowed", "this solver is shared; whoever started it ends it")
            case Shutdown(id):
                self.close()
                self._reply(client, ShutdownReply(id))
                self.is_shut_down = True

    def _stats_reply(self, request_id: int) -> StatsReply:
        return StatsReply(
            id=request_id,
            uptime_seconds=self._clock() - self._start_time,
            counts=dict(self._counts),
            device=self._worker.device,
            worker_pid=self._worker.pid,
            worker_restarts=self._worker.restarts,
            clients=len(self._clients),
            queued=len(self._waiting),
            queued_bytes=self._waiting.size,
            memory_bytes=resident_bytes(self._info.pid),
            worker_memory_bytes=resident_bytes(self._worker.pid),
            latencies=self._statistics.latencies(),
            versions=dict(self._info.versions),
        )

    def _enqueue(self, job: Job) -> None:
        problem = self._worker.problem
        if problem is not None:
            self._answer_error(job, problem.code, problem.message)
            return
        if self._find(job.client, job.request.id) is not None:
            text = f"request {job.request.id} is not answered yet; every request needs an id of its own"
            self._answer_error(job, "duplicate_id", text)
            return
        older = self._waiting.older_of(job)
        in_its_way = self._waiting.is_full_for(job, older)
        if in_its_way is not None:
            text = f"{in_its_way} requests wait already; wait for replies before sending more"
            self._answer_error(job, "busy", text)
            return
        self._waiting.add(job, older)
        running = self._running
        overtaken = running if running is not None and not running.is_answered and job.overtakes(running) else None
        for other in (older, overtaken):
            if other is not None:
                self._answer_error(other, "superseded", f"request {job.request.id} took the place of this one")
        if overtaken is not None:
            self._stop(overtaken)
        self._advance()

    def _cancel(self, client: bytes, target: int) -> bool:
        job = self._find(client, target)
        if job is None:
            return False
        if job is not self._running:
            self._waiting.remove(job)
        self._answer_error(job, "cancelled", "the request was given up")
        if job is self._running:
            self._stop(job)
        return True

    def _give_up(self, job: Job) -> None:
        """Let the worker stop the running job, whose reply nobody waits for any more."""
        if not job.is_answered:
            job.is_answered = True
            self._stop(job)

    def _stop(self, job: Job) -> None:
        job.kill_time = self._clock() + CANCEL_TIMEOUT
        self._worker.abort(job.sequence)

    def _check_running(self, job: Job, now: float) -> list[float]:
        """Hold the running job to its times; give those that are still to come."""
        limit = min(job.deadline, job.last_sign + STALL_TIMEOUT)
        if not job.is_answered and now >= limit:
            what = "the time for this request is over" if now >= job.deadline else "the solver has stopped computing"
            self._answer_error(job, "timeout", f"{what}; it was given up, try a smaller picture or allow more time")
            self._stop(job)
        if job.kill_time is not None and now >= job.kill_time:
            _log.warning("the worker does not stop; it is killed", extra={"job": job.sequence})
            job.kill_time = None
            self._worker.kill()
        return [limit] * (not job.is_answered) + ([job.kill_time] if job.kill_time is not None else [])

    def _advance(self) -> None:
        """Start the next job if that is possible, and answer all when it never will be."""
        worker = self._worker
        if worker.problem is not None:
            jobs, self._waiting = self._waiting, WaitingLine()
            for job in jobs:
                self._answer_error(job, worker.problem.code, worker.problem.message)
            return
        now = self._clock()
        self._expire(now)
        if self._running is None and worker.is_ready and (job := self._waiting.take_next(self._is_behind)) is not None:
            self._running = job
            self._sequence += 1
            job.sequence = self._sequence
            job.start = job.last_sign = now
            self._statistics.note("queue", now - job.arrival)
            worker.run(job.sequence, job.frames)
            job.frames = []  # the worker has them; a picture is large

    def _expire(self, now: float) -> None:
        """Answer those that waited too long; they never run."""
        for job in self._waiting:
            if now >= job.deadline:
                self._waiting.remove(job)
                text = "the time for this request was over before it was its turn; ask again, or allow more time"
                self._answer_error(job, "timeout", text)

    def _leave_worker(self) -> None:
        job, self._running = self._running, None
        if job is not None:
            self._waiting.charge(job.owner, self._clock() - job.start)

    def _finish(self, job: Job, code: str | None, frames: Sequence[bytes]) -> None:
        self._leave_worker()
        if job.is_answered:
            return
        self._send(job.client, frames)  # first of all: it is what somebody waits for
        self._note_end(job, code)
        self._counts["ok" if code is None else f"error.{code}"] += 1

    def _answer_error(self, job: Job, code: str, text: str) -> None:
        job.is_answered = True
        self._note_end(job, code)
        self._refuse(job.client, job.request.id, code, text)

    def _note_end(self, job: Job, code: str | None) -> None:
        """Write down how a request ended, once for each."""
        now = self._clock()
        kind = str(type(job.request).__struct_config__.tag)
        if code is None:
            self._statistics.note(kind, now - job.arrival)
        fields = {
            "client": job.client.hex(),
            "request": job.request.id,
            "kind": kind,
            "job": job.sequence,
            "code": code or "ok",
            "seconds": round(now - job.arrival, 4),
            "queue_seconds": round((job.start or now) - job.arrival, 4),
        }
        _log.info("request ended", extra=fields)

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

    def _find(self, client: bytes, request_id: int) -> Job | None:
        """Find the request of the client that is not answered yet."""
        jobs = [*self._waiting, *([self._running] if self._running is not None else [])]
        for job in jobs:
            if job.client == client and job.request.id == request_id and not job.is_answered:
                return job
        return None


def _sendable(text: str) -> str:
    """Shorten a sentence, and mend what it may quote: a file name need not be valid text."""
    return text[:MAX_TEXT].encode("utf-8", "replace").decode("utf-8")

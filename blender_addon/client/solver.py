# SPDX-License-Identifier: GPL-3.0-or-later
"""The solver as the rest of the add-on sees it: start, submit a job, pump, stop.

One `pump` does all the work that is due and never waits; a timer, the modal operators and the blocking path of
background mode all call it. It owns process, socket and the current job; the latest job wins.
"""

import logging
import time
from collections.abc import Callable

from .._vendor import solver_protocol as wire
from ..core import solver_state
from ..core.errors import AddonError, Fix, SolverError
from ..core.jobs import Job, JobState
from ..core.pending import PendingTable
from ..core.solver_state import Phase, SolverState
from .connection import Connection, Transport
from .process import Handshake, ServerProcess, SolverConfig, SolverProcess
from .wire import encode_call, read_detection, read_solution

CLIENT_NAME = "ikol-blender"

START_SECONDS = 60.0
"""From start to the answer to `hello`: the server answers before torch is loaded, a cold disk has taken 8 s."""

PING_SECONDS = 1.0
LOADING_PING_SECONDS = 0.1
"""While the weights are loaded: the panel shows at once that the solver is ready, and on which device."""
SILENT_SECONDS = 15.0
"""A ping unanswered for so long means that the process hangs: its control thread answers within milliseconds."""

LEAVE_SECONDS = 3.0
"""A stopped process that is still there after it is killed; it promises to be gone within two seconds."""

MAX_MESSAGES = 64
"""Messages handled in one pump, lest a flood keep the window from being drawn."""

logger = logging.getLogger(__name__)

Connect = Callable[[Handshake, SolverProcess], Transport]


def connect(handshake: Handshake, process: SolverProcess) -> Connection:
    """Open the socket to a started solver."""
    return Connection(handshake.port, handshake.server_key.encode("ascii"), process.public_key, process.secret_key)


class Solver:
    """Client of one solver process.

    Invariants: at most one job runs; `_in_flight` is the id of its current call, None while that is not sent; without
    a process there is no connection.
    """

    def __init__(
        self,
        launch: Callable[[SolverConfig], SolverProcess] = ServerProcess,
        connect: Connect = connect,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._launch = launch
        self._connect = connect
        self._clock = clock
        self._state = SolverState()
        self._process: SolverProcess | None = None
        self._transport: Transport | None = None
        self._leaving: list[tuple[SolverProcess, float]] = []
        self._pending: PendingTable[Job] = PendingTable()
        self._job: Job | None = None
        self._in_flight: int | None = None
        self._start_deadline = 0.0
        self._ping_sent: float | None = None
        self._statistics: wire.StatsReply | None = None
        self._next_ping = 0.0

    @property
    def state(self) -> SolverState:
        """What the panel shows."""
        return self._state

    @property
    def job(self) -> Job | None:
        """The job that runs, if one does."""
        return self._job

    @property
    def silence(self) -> float:
        """For how many seconds a ping has been unanswered; 0 when none is. One second is a lot."""
        return 0.0 if self._ping_sent is None else self._clock() - self._ping_sent

    @property
    def statistics(self) -> wire.StatsReply | None:
        """The answer to the last `ask_statistics`, while that process runs."""
        return self._statistics

    @property
    def needs_pump(self) -> bool:
        """Whether there is anything to look after."""
        return self._process is not None or bool(self._leaving)

    @property
    def pid(self) -> int | None:
        """The id of the solver process while there is one."""
        return None if self._process is None else self._process.pid

    def configure(self, problem: AddonError | None) -> None:
        """Take note of the preferences: `problem` says why they name no usable Python."""
        self._state = solver_state.configured(self._state, problem)

    def start(self, config: SolverConfig) -> None:
        """Start the process unless it runs. A failure ends up in `state`."""
        if self._process is not None:
            return
        try:
            self._process = self._launch(config)
        except SolverError as error:
            self._fail(error)
            return
        self._start_deadline = self._clock() + START_SECONDS
        self._state = solver_state.started()
        self._set_busy()

    def stop(self) -> None:
        """End the process, and the job with it."""
        self._let_go()
        self._state = solver_state.stopped()
        self._abort_job(SolverError("the solver was stopped", Fix.START))

    def ask_statistics(self) -> None:
        """Ask how the process is; the answer comes with a later `pump`."""
        if self._state.phase is Phase.RUNNING:
            self._send(wire.Stats(self._pending.new_id()))

    def submit(self, job: Job, config: SolverConfig) -> None:
        """Run a job; one that still runs is given up. The process is started when it does not run."""
        self.cancel()
        self._job = job
        self._set_busy()
        self.start(config)

    def cancel(self) -> None:
        """Give up the job that runs, if any; its late answers are dropped."""
        job = self._job
        if job is None:
            return
        for request_id in self._pending.drop(job):
            self._send(wire.Cancel(self._pending.new_id(), target=request_id))
        job.cancel()
        self._forget_job()

    def pump(self) -> None:
        """Do everything that is due; never waits and raises nothing."""
        self._reap()
        if self._process is None:
            return
        try:
            self._pump_start()
            self._pump_messages()
            self._pump_liveness()
            self._pump_job()
        except SolverError as error:
            self._fail(error)

    def close(self, seconds: float = 2.0) -> None:
        """End everything, waiting at most `seconds` for the process; for unregister and Blender's exit."""
        self.cancel()
        self._let_go()
        for process, _ in self._leaving:
            process.release(seconds)
        self._leaving.clear()
        self._state = SolverState()

    def _pump_start(self) -> None:
        process = self._process
        if process is None or self._transport is not None:
            return
        handshake = process.poll_handshake()
        if handshake is not None:
            self._transport = self._connect(handshake, process)
            self._say_hello()
        elif self._clock() > self._start_deadline:
            raise SolverError("the solver did not start within a minute; its log may say why", Fix.OPEN_LOG)

    def _say_hello(self) -> None:
        self._send(wire.Hello(self._pending.new_id(), wire.PROTOCOL_VERSION, CLIENT_NAME))

    def _pump_messages(self) -> None:
        for _ in range(MAX_MESSAGES):
            parts = None if self._transport is None else self._transport.receive()
            if parts is None:
                return
            try:
                message, frames = wire.decode_reply(parts)
            except wire.ProtocolError as error:
                logger.warning("unreadable message from the solver: %s", error)
                self._fail_call(error.request_id, SolverError(f"the solver's answer cannot be read: {error}"))
                continue
            self._dispatch(message, frames)

    def _dispatch(self, message: wire.Reply, frames: wire.Frames) -> None:
        match message:
            case wire.HelloReply():
                self._state = solver_state.connected(self._state, message.device)
                self._set_busy()
            case wire.Pong():
                self._ping_sent = None
                self._note_pong(message)
            case wire.Progress():
                job = self._pending.owner(message.id)
                if job is not None:
                    job.progress(message.fraction, message.text)
            case wire.DetectReply() | wire.SolveReply():
                self._answer(message, frames)
            case wire.Error():
                self._refused(message)
            case wire.StatsReply():
                self._statistics = message
            case wire.CancelReply() | wire.ShutdownReply():
                pass

    def _note_pong(self, pong: wire.Pong) -> None:
        if pong.problem:
            raise SolverError(pong.problem, Fix.OPEN_LOG)
        self._state = solver_state.pinged(self._state, pong.ready, pong.device)

    def _answer(self, message: wire.DetectReply | wire.SolveReply, frames: wire.Frames) -> None:
        job = self._take(message.id)
        if job is None:
            return
        try:
            answer = (
                read_detection(message, frames)
                if isinstance(message, wire.DetectReply)
                else read_solution(message, frames)
            )
        except SolverError as error:
            job.fail(error)
        else:
            job.answer(answer)

    def _refused(self, error: wire.Error) -> None:
        match error.code:
            case "hello_required":  # a connection made anew, as after the computer slept: introduce yourself, ask again
                self._take(error.id)
                self._say_hello()
            case "unsupported_version":
                raise SolverError(error.message, Fix.OPEN_PREFERENCES, error.code)
            case "worker_unavailable" | "start_failed":
                raise SolverError(error.message, Fix.OPEN_LOG, error.code)
            case _:
                self._fail_call(error.id, SolverError(error.message, code=error.code))

    def _fail_call(self, request_id: int | None, error: SolverError) -> None:
        """Fail the job that made this request; without an id it can only be the one in flight."""
        job = self._take(self._in_flight if request_id is None else request_id)
        if job is not None:
            job.fail(error)

    def _take(self, request_id: int | None) -> Job | None:
        job = self._pending.take(request_id)
        if job is not None and request_id == self._in_flight:
            self._in_flight = None
        return job

    def _pump_liveness(self) -> None:
        """Notice a process that ended or hangs. Messages are read first: Blender itself may have been busy for long."""
        if self._process is None or self._transport is None:
            return
        self._process.drain()
        if self._process.exit_code is not None:
            raise self._process.exit_error()
        now = self._clock()
        if self._ping_sent is not None and now - self._ping_sent > SILENT_SECONDS:
            raise SolverError("the solver does not answer any more; start it again", Fix.START)
        if self._state.phase is Phase.STARTING and now > self._start_deadline:
            raise SolverError("the solver started, but does not answer; start it again", Fix.START)
        if self._state.phase is Phase.RUNNING and self._ping_sent is None and now >= self._next_ping:
            self._next_ping = now + (PING_SECONDS if self._state.is_ready else LOADING_PING_SECONDS)
            if self._send(wire.Ping(self._pending.new_id())):
                self._ping_sent = now

    def _pump_job(self) -> None:
        job = self._job
        if job is None or self._state.phase is not Phase.RUNNING:
            return
        if job.state is JobState.WAITING:
            job.begin()
        while self._in_flight is None and job.call is not None:
            request_id = self._pending.open(job)
            try:
                parts = encode_call(job.call, request_id)
            except SolverError as error:
                self._pending.drop(job)
                job.fail(error)
                continue
            if self._transport is None or not self._transport.send(parts):
                self._pending.drop(job)
                return
            self._in_flight = request_id
        if job.has_ended:
            self._forget_job()

    def _send(self, message: wire.Request) -> bool:
        return self._transport is not None and self._transport.send(wire.encode(message))

    def _fail(self, error: SolverError) -> None:
        """Give up the process; the job ends with the same sentence."""
        logger.warning("solver failed: %s", error)
        if self._process is not None:
            self._process.kill()
        self._let_go()
        self._state = solver_state.failed(error)
        self._abort_job(error)

    def _abort_job(self, error: SolverError) -> None:
        if self._job is not None:
            self._job.abort(error)
            self._forget_job()

    def _forget_job(self) -> None:
        if self._job is not None:
            self._pending.drop(self._job)
        self._job = None
        self._in_flight = None
        self._set_busy()

    def _set_busy(self) -> None:
        self._state = solver_state.occupied(self._state, self._job is not None)

    def _let_go(self) -> None:
        """Part from process and socket; the process gets its time to leave."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None
        if self._process is not None:
            self._process.stop()
            self._leaving.append((self._process, self._clock() + LEAVE_SECONDS))
            self._process = None
        self._ping_sent = None
        self._statistics = None
        self._in_flight = None

    def _reap(self) -> None:
        still_there: list[tuple[SolverProcess, float]] = []
        for process, deadline in self._leaving:
            if process.exit_code is not None:
                process.release(0.0)
                continue
            if self._clock() > deadline:
                process.kill()
            still_there.append((process, deadline))
        self._leaving = still_there

# SPDX-License-Identifier: GPL-3.0-or-later
"""The solver as the rest of the add-on sees it: start, submit a job, ask in a drag, pump, stop.

One `pump` does all the work that is due and never waits; a timer, the modal operators and the blocking path of
background mode all call it. It owns the process, the current job (the latest wins) and the live solve of a drag.
A process that worked and is lost is started again, and what was out is asked again.
"""

import logging
import time
from collections.abc import Callable

from .._vendor import solver_protocol as wire
from ..core import solver_state
from ..core.errors import AddonError, Fix, SolverError, SolverLost, refusal
from ..core.jobs import Job, SolveCall
from ..core.live import LiveSolve
from ..core.restarts import MAX_RESTARTS, WINDOW_SECONDS, Restarts
from ..core.solver_state import Phase, SolverState
from .process import SolverConfig, SolverProcess
from .requests import Requests
from .session import SILENT_SECONDS, UNRESPONSIVE_SECONDS, Connect, Session, connect
from .shared import launch

LEAVE_SECONDS = 3.0
"""A stopped process that is still there after it is killed; it promises to be gone within two seconds."""

MAX_MESSAGES = 64
"""Messages handled in one pump, lest a flood keep the window from being drawn."""

MAX_ATTENTION = 1.0
"""Seconds that one look counts at most: after a long rendering, or the sleep of the computer, the solver gets the time
to answer before it is found silent."""

WAIT_STEP = 0.01
"""Seconds for which `settle` waits for a message before it looks after everything else."""

logger = logging.getLogger(__name__)


class Solver:
    """Client of one solver process at a time.

    Invariants: without a session nothing is out; a restart is due only while there is no session, and never after
    `stop`.
    """

    def __init__(
        self,
        launch: Callable[[SolverConfig], SolverProcess] = launch,
        connect: Connect = connect,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._launch = launch
        self._connect = connect
        self._clock = clock
        self.live = LiveSolve(clock)
        """The solve of a drag. `ask` asks it and starts the solver; what it has got is taken from here."""
        self._requests = Requests(self.live)
        self._state = SolverState()
        self._config: SolverConfig | None = None
        self._session: Session | None = None
        self._leaving: list[tuple[SolverProcess, float]] = []
        self._restarts = Restarts()
        self._restart_at: float | None = None
        self._looked_at = clock()
        self._statistics: wire.StatsReply | None = None

    @property
    def state(self) -> SolverState:
        """What the panel shows."""
        return self._state

    @property
    def job(self) -> Job | None:
        """The job that runs, if one does."""
        return self._requests.job

    @property
    def silence(self) -> float:
        """For how many seconds a ping has been unanswered; 0 when none is. One second is a lot."""
        return 0.0 if self._session is None else self._session.silence

    @property
    def statistics(self) -> wire.StatsReply | None:
        """The answer to the last `ask_statistics`, while that process runs."""
        return self._statistics

    @property
    def needs_pump(self) -> bool:
        """Whether there is anything to look after."""
        return self._session is not None or bool(self._leaving) or self._restart_at is not None

    @property
    def is_awaited(self) -> bool:
        """Whether a job or a drag waits for an answer, so that it is worth to look often."""
        return self._requests.is_awaited

    @property
    def pid(self) -> int | None:
        """The id of the solver process while there is one."""
        return None if self._session is None else self._session.process.pid

    def configure(self, problem: AddonError | None, is_incomplete: bool = False) -> None:
        """Take note of the preferences: `problem` says why they name no usable Python."""
        self._state = solver_state.configured(self._state, problem, is_incomplete)

    def show_installation(self, work: str, fraction: float) -> None:
        """Take note of an installation that runs; at its begin the process ends, and none is started meanwhile."""
        if self._state.phase is not Phase.INSTALLING:
            self.stop()
        self._state = solver_state.installing(self._state, work, fraction)

    def end_installation(self, problem: AddonError | None, is_incomplete: bool = False) -> None:
        """Take note that it has ended, however: `problem` says why no solver can be started."""
        self._state = solver_state.installed(problem, is_incomplete)

    def start(self, config: SolverConfig) -> None:
        """Start the process unless it runs. A failure ends up in `state`; during an installation commands fail."""
        if self._state.phase is Phase.INSTALLING:
            self._requests.abort(SolverError("the solver is being installed; wait until that is done"))
            self._note_busy()
            return
        self._config = config
        if self._session is None:
            self._state = solver_state.started(self._state)
            self._begin(config)

    def restart(self, config: SolverConfig) -> None:
        """End the process at once and start another one, which is asked again what was out."""
        self._part(SolverLost("the solver was started anew"), is_killed=True)
        self.start(config)

    def stop(self) -> None:
        """End the process, the job and what a drag has asked; it stays down until it is needed."""
        error = SolverError("the solver was stopped", Fix.START)
        self._restart_at = None
        self._part(error, is_killed=self._state.phase is Phase.UNRESPONSIVE)  # it would not hear that it is to leave
        self._requests.abort(error)
        self._state = solver_state.stopped(self._state)

    def ask_statistics(self) -> None:
        """Ask how the process is; the answer comes with a later `pump`."""
        if self._session is not None and self._session.is_welcome:
            self._session.send(wire.encode(wire.Stats(self._requests.new_id())))

    def submit(self, job: Job, config: SolverConfig) -> None:
        """Run a job; one that still runs is given up. The process is started when it does not run."""
        self.cancel()
        self._requests.job = job
        self._note_busy()
        self.start(config)

    def cancel(self) -> None:
        """Give up the job that runs, if any; its late answers are dropped."""
        self._requests.cancel_job(self._session)
        self._note_busy()

    def ask(self, call: SolveCall, config: SolverConfig) -> None:
        """Ask `live` for a solve. A solver that is stopped is started; one that has failed is not, and says why."""
        self.live.ask(call)
        if self._state.phase in (Phase.STOPPED, Phase.NOT_INSTALLED, Phase.INSTALLING):
            self.start(config)

    def pump(self) -> None:
        """Do everything that is due; never waits and raises nothing."""
        now = self._clock()
        seconds, self._looked_at = min(now - self._looked_at, MAX_ATTENTION), now
        self._reap(now)
        if self._restart_at is not None and now >= self._restart_at:
            assert self._config is not None  # it was started once
            self._restarts.count(now)
            self._begin(self._config)
        if self._session is not None:
            self._pump_session(self._session, seconds)
        elif self._restart_at is None and not self.live.is_settled:
            self._requests.abort(SolverError(self._state.message or "the solver does not run", self._state.fix))
        self._requests.tidy()
        self._note_busy()

    def settle(self, seconds: float) -> bool:
        """Pump until `live` is settled, waiting for messages at most this long; whether it is."""
        deadline = self._clock() + seconds
        while True:
            self.pump()
            left = deadline - self._clock()
            if self.live.is_settled or left <= 0:
                return self.live.is_settled
            transport = None if self._session is None else self._session.transport
            if transport is None:
                time.sleep(min(left, WAIT_STEP))
            else:
                transport.wait(min(left, WAIT_STEP))

    def close(self, seconds: float = 2.0) -> None:
        """End everything, waiting at most `seconds` for the process; for unregister and Blender's exit."""
        self.cancel()
        self.stop()
        for process, _ in self._leaving:
            process.release(seconds)
        self._leaving.clear()

    def _begin(self, config: SolverConfig) -> None:
        self._restart_at = None
        try:
            self._session = Session(self._launch(config), self._connect, self._requests.new_id)
        except SolverError as error:
            self._fail(error)

    def _pump_session(self, session: Session, seconds: float) -> None:
        try:
            session.open()
            self._pump_messages(session)
            session.watch(seconds, self._state.is_ready)
            self._state = solver_state.listened(self._state, session.silence >= UNRESPONSIVE_SECONDS)
            if session.silence > SILENT_SECONDS and self.is_awaited:
                raise SolverLost("the solver did not answer any more")
            if session.is_welcome and self._state.phase in (Phase.RUNNING, Phase.BUSY):
                self._requests.send_due(session, seconds, self._state.is_ready)
        except SolverLost as error:
            self._lose(error)
        except SolverError as error:
            self._fail(error)

    def _pump_messages(self, session: Session) -> None:
        for _ in range(MAX_MESSAGES):
            try:
                received = session.receive()
            except wire.ProtocolError as error:
                logger.warning("unreadable message from the solver: %s", error)
                unreadable = SolverError(f"the solver's answer cannot be read: {error}")
                self._requests.refuse(error.request_id, unreadable)
                continue
            if received is None:
                return
            self._dispatch(session, *received)

    def _dispatch(self, session: Session, message: wire.Reply, frames: wire.Frames) -> None:
        match message:
            case wire.HelloReply():
                session.welcome(message)
                self._state = solver_state.connected(self._state, message.device)
            case wire.Pong():
                if message.problem:
                    raise SolverError(message.problem, Fix.OPEN_LOG)
                self._state = solver_state.pinged(self._state, message.ready, message.device)
            case wire.Progress():
                self._requests.progress(message)
            case wire.DetectReply() | wire.SolveReply() | wire.SolveViewsReply():
                self._requests.answer(message, frames)
            case wire.InspectReply() | wire.AlternativesReply():
                self._requests.answer(message, frames)
            case wire.Error():
                self._take_error(session, message)
            case wire.StatsReply():
                self._statistics = message
            case wire.CancelReply() | wire.ShutdownReply():
                pass

    def _take_error(self, session: Session, message: wire.Error) -> None:
        match message.code:
            case "hello_required" | "overloaded":  # the server knows nothing any more of what we have asked
                session.forget_welcome()
                self._requests.ask_again(refusal(message.code, message.message))
            case "unsupported_version" | "worker_unavailable" | "start_failed":
                raise refusal(message.code, message.message)
            case _:
                self._requests.take_error(message)

    def _lose(self, error: SolverLost) -> None:
        """Start another process in place of one that ended or hangs, unless that has happened too often."""
        logger.warning("solver lost: %s", error)
        self._part(error, is_killed=True)
        self._restart_at = self._restarts.plan(self._clock())
        if self._restart_at is None:
            often = f"{MAX_RESTARTS} times within {WINDOW_SECONDS / 60:.0f} minutes"
            self._fail(SolverError(f"{error}; it was started again {often} and stays down now", Fix.START))
        else:
            self._state = solver_state.restarting(self._state, error)

    def _fail(self, error: SolverError) -> None:
        """Give up the process; job and drag get the same sentence."""
        logger.warning("solver failed: %s", error)
        self._part(error, is_killed=True)
        self._requests.abort(error)
        self._state = solver_state.failed(error)

    def _part(self, reason: SolverError, is_killed: bool = False) -> None:
        """Part from process and socket; what was out waits to be asked again."""
        if self._session is None:
            return
        process = self._session.leave()
        if is_killed:
            process.kill()
        self._leaving.append((process, self._clock() + LEAVE_SECONDS))
        self._session = self._statistics = None
        self._requests.ask_again(reason)

    def _note_busy(self) -> None:
        self._state = solver_state.occupied(self._state, self._requests.job is not None)

    def _reap(self, now: float) -> None:
        still_there: list[tuple[SolverProcess, float]] = []
        for process, deadline in self._leaving:
            if process.exit_code is not None:
                process.release(0.0)
                continue
            if now > deadline:
                process.kill()
            still_there.append((process, deadline))
        self._leaving = still_there

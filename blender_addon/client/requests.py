# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of the solver: the calls of one job and the questions of a drag, on whichever process there is.

Here: what is sent when, who gets which answer, what is asked again after it got lost. Not here: the process.
"""

from .._vendor import solver_protocol as wire
from ..core.errors import SolverError, refusal
from ..core.jobs import AlternativesCall, Call, InspectCall, Job, JobState, SolveCall
from ..core.live import MAX_RESENDS, LiveSolve
from ..core.pending import PendingTable
from ..core.record import Solution
from .session import Session
from .wire import encode_call, read_answer

LIVE_PATIENCE = 5.0
"""A live solve takes milliseconds: after so many seconds the worker hangs, and the server is told to give it up."""

_ASK_AGAIN = ("shutting_down",)
_ASK_LIVE_AGAIN = (*_ASK_AGAIN, "superseded", "worker_crashed", "cancelled")

Owner = Job | LiveSolve


class Requests:
    """The job and the drag, with what of them is out.

    Invariants: at most one call of the job is out and at most one question of the drag, and not two solves: the server
    keeps only one waiting solve of a client, so that one would push the other out. What tells of a pose is asked while
    the drag rests: the server gives it up for the next solve.
    """

    def __init__(self, live: LiveSolve) -> None:
        self.live = live
        self.job: Job | None = None
        self._pending: PendingTable[Owner] = PendingTable()
        self._job_id: int | None = None
        self._sent_call: Call | None = None
        self._resends = 0
        self._is_live_turn = False
        self._live_id = 0
        self._live_age = 0.0

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for an answer."""
        return self.job is not None or not self.live.is_settled

    def new_id(self) -> int:
        """Return an id for a message whose answer nobody waits for."""
        return self._pending.new_id()

    def cancel_job(self, session: Session | None) -> None:
        """Give the job up, if there is one; its late answers are dropped."""
        if self.job is None:
            return
        for request_id in self._pending.drop(self.job):
            self._send_cancel(session, request_id)
        self.job.cancel()
        self._forget_job()

    def abort(self, error: SolverError) -> None:
        """End everything: there is no solver any more."""
        self._pending.take_all()
        self.live.abort(error)
        if self.job is not None:
            self.job.abort(error)
            self._forget_job()

    def progress(self, message: wire.Progress) -> None:
        """Note how far a call is."""
        owner = self._pending.owner(message.id)
        if isinstance(owner, Job):
            owner.progress(message.fraction, message.text)

    def answer(self, message: wire.Result, frames: wire.Frames) -> None:
        """Give an answer to whom it belongs to, if anybody still waits for it."""
        owner = self._take(message.id)
        if owner is None:
            return
        try:
            answer = read_answer(message, frames)
        except SolverError as error:
            _refuse(owner, error)
            return
        if isinstance(owner, Job):
            owner.answer(answer)
        elif not isinstance(answer, Solution):
            owner.refuse(SolverError("the solver answered a drag with something else; update the solver"))
        else:
            owner.answer(answer)

    def take_error(self, message: wire.Error) -> None:
        """Take note that a request was refused."""
        owner, reason = self._pending.owner(message.id), refusal(message.code, message.message)
        if message.code in (_ASK_LIVE_AGAIN if owner is self.live else _ASK_AGAIN):
            self._lose(self._take(message.id), reason)
        elif message.code == "superseded":
            self._take(message.id)  # by a solve of the drag; the job asks again when the drag rests
        else:
            self.refuse(message.id, reason)

    def refuse(self, request_id: int | None, error: SolverError) -> None:
        """Tell who made this request that it failed; without an id it may be any that is out."""
        for owner in self._take_all() if request_id is None else (self._take(request_id),):
            _refuse(owner, error)

    def ask_again(self, reason: SolverError) -> None:
        """Have everything that is out sent again, because it got lost on its way."""
        for owner in self._take_all():
            self._lose(owner, reason)

    def tidy(self) -> None:
        """Forget a job that has ended."""
        if self.job is not None and self.job.has_ended:
            self._forget_job()

    def send_due(self, session: Session, seconds: float, is_ready: bool) -> None:
        """Send what is to be sent; after a solve of the job it is the drag's turn, and the other way round."""
        for send in (self._send_live, self._send_job) if self._is_live_turn else (self._send_job, self._send_live):
            send(session)
        if self.live.is_out and is_ready and self.job is None:
            self._live_age += seconds
            if self._live_age > LIVE_PATIENCE:
                self._live_age = 0.0
                self._send_cancel(session, self._live_id)

    def _send_job(self, session: Session) -> None:
        job = self.job
        if job is None:
            return
        if job.state is JobState.WAITING:
            job.begin()
        while self._job_id is None and job.call is not None:
            is_solve = isinstance(job.call, SolveCall)
            is_aside = isinstance(job.call, InspectCall | AlternativesCall)
            if (is_solve and self.live.is_out) or (is_aside and not self.live.is_settled):
                return
            if job.call is not self._sent_call:
                self._sent_call, self._resends = job.call, 0
            if not self._send(session, job.call, job):
                return
            self._is_live_turn = is_solve

    def _send_live(self, session: Session) -> None:
        call = self.live.next_call()
        if call is None or (self._job_id is not None and isinstance(self._sent_call, SolveCall)):
            return
        if self._send(session, call, self.live):
            self._is_live_turn = False

    def _send(self, session: Session, call: Call, owner: Owner) -> bool:
        """Send a call, or refuse one that cannot be encoded; False when the socket takes nothing now."""
        request_id = self._pending.open(owner)
        try:
            is_sent = session.send(encode_call(call, request_id, session.version))
        except SolverError as error:
            self._pending.take(request_id)
            if owner is self.live:
                self.live.sent()
            _refuse(owner, error)
            return True
        if not is_sent:
            self._pending.take(request_id)
        elif owner is self.live:
            self.live.sent()
            self._live_id, self._live_age = request_id, 0.0
        else:
            self._job_id = request_id
        return is_sent

    def _send_cancel(self, session: Session | None, request_id: int) -> None:
        if session is not None:
            session.send(wire.encode(wire.Cancel(self.new_id(), target=request_id)))

    def _lose(self, owner: Owner | None, reason: SolverError) -> None:
        """Have a request sent again; not for ever, since it may be what the solver dies of."""
        if isinstance(owner, LiveSolve):
            owner.lose(reason)
        elif owner is not None and self._resends < MAX_RESENDS:
            self._resends += 1
        elif owner is not None:
            owner.fail(
                SolverError(f"{reason}; this command was tried {1 + MAX_RESENDS} times", reason.fix, reason.code)
            )

    def _take(self, request_id: int | None) -> Owner | None:
        owner = self._pending.take(request_id)
        if owner is not None and request_id == self._job_id:
            self._job_id = None
        return owner

    def _take_all(self) -> tuple[Owner, ...]:
        self._job_id = None
        return self._pending.take_all()

    def _forget_job(self) -> None:
        if self.job is not None:
            self._pending.drop(self.job)
        self.job = self._job_id = self._sent_call = None


def _refuse(owner: Owner | None, error: SolverError) -> None:
    if isinstance(owner, LiveSolve):
        owner.refuse(error)
    elif owner is not None:
        owner.fail(error)

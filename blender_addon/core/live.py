# SPDX-License-Identifier: GPL-3.0-or-later
"""Solving while the mouse moves: the newest question wins, and its answer is there at the next look.

At most one question is out. While it is, newer ones replace each other, so that nothing ever queues up: the solver
always works on the newest of what it has not seen. Here: which question is next and which answer is shown. Not here:
bytes, sockets and processes (client/solver.py).
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from .errors import AddonError, SolverError
from .jobs import SolveCall
from .record import Solution

MAX_RESENDS = 2
"""How often a question that got lost is asked again: one that makes the solver crash must not do so for ever."""

RATE_SECONDS = 1.0
KEPT_LATENCIES = 512
"""A drag of eight seconds at 60 answers a second."""


@dataclass(frozen=True)
class _Question:
    call: SolveCall
    asked_at: float
    resends: int = 0


class LiveSolve:
    """What a drag asks and gets: `ask` at every move, `take` at every look.

    Invariants: at most one question is out and at most one waits; an answer that `take` returns is never older than
    one that it returned before.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: _Question | None = None
        self._out: _Question | None = None
        self._is_void = False
        self._answer: Solution | None = None
        self._latencies: deque[float] = deque(maxlen=KEPT_LATENCIES)
        self._answered_at: deque[float] = deque(maxlen=KEPT_LATENCIES)
        self.error: AddonError | None = None
        """Why the last question was refused; None once a newer one has been answered. It does not end the drag."""

    def ask(self, call: SolveCall) -> None:
        """Ask for a solve; a question that still waits is forgotten."""
        self._waiting = _Question(call, self._clock())

    def take(self) -> Solution | None:
        """Return the newest answer unless it has been taken already."""
        answer, self._answer = self._answer, None
        return answer

    @property
    def is_settled(self) -> bool:
        """Whether nothing that was asked is unanswered; the last answer may still have to be taken."""
        return self._waiting is None and not self._wants_answer

    @property
    def is_out(self) -> bool:
        """Whether the solver has a question, also one whose answer nobody wants any more."""
        return self._out is not None

    @property
    def rate_hz(self) -> float:
        """Answers in the last second."""
        since = self._clock() - RATE_SECONDS
        return sum(time_answered > since for time_answered in self._answered_at) / RATE_SECONDS

    @property
    def latency_ms(self) -> float:
        """The median of the milliseconds from `ask` to the answer, since `reset`; 0 without an answer."""
        return self._quantile(0.5)

    @property
    def latency_p95_ms(self) -> float:
        """The same for the 95th percentile."""
        return self._quantile(0.95)

    def reset(self) -> None:
        """Begin anew: what was asked before is of no interest any more, nor is its late answer."""
        self._waiting = self._answer = self.error = None
        self._is_void = True
        self._latencies.clear()
        self._answered_at.clear()

    # what follows is for the client, which carries questions and answers

    def next_call(self) -> SolveCall | None:
        """Return what is to be sent now: the newest question, unless one is out."""
        return None if self._out is not None or self._waiting is None else self._waiting.call

    def sent(self) -> None:
        """Note that `next_call` is out."""
        self._out, self._waiting, self._is_void = self._waiting, None, False

    def answer(self, solution: Solution) -> None:
        """Take the answer to the question that is out."""
        if solution.status == "failed":
            self.refuse(SolverError("no pose fits what is asked; drag it nearer to the body"))
            return
        if self._out is not None and self._wants_answer:
            now = self._clock()
            self._answer, self.error = solution, None
            self._latencies.append(now - self._out.asked_at)
            self._answered_at.append(now)
        self._out = None

    def refuse(self, error: AddonError) -> None:
        """Note that the question that is out gets no answer."""
        if self._wants_answer:
            self.error = error
        self._out = None

    def lose(self, error: AddonError) -> None:
        """Note that the question that is out got lost: it waits again, unless a newer one does or it was lost often."""
        question = self._out
        if question is None or self._waiting is not None or not self._wants_answer:
            self._out = None
        elif question.resends < MAX_RESENDS:
            self._waiting, self._out = replace(question, resends=question.resends + 1), None
        else:
            self.refuse(error)

    def abort(self, error: AddonError) -> None:
        """Give up all questions: there is no solver any more."""
        if not self.is_settled:
            self.error = error
        self._waiting = self._out = None

    @property
    def _wants_answer(self) -> bool:
        return self._out is not None and not self._is_void

    def _quantile(self, share: float) -> float:
        ordered = sorted(self._latencies)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] * 1e3 if ordered else 0.0

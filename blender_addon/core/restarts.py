# SPDX-License-Identifier: GPL-3.0-or-later
"""How often a process that went away is started again, and after which pause."""

from collections import deque

MAX_RESTARTS = 5
WINDOW_SECONDS = 180.0
"""Five in three minutes, as VS Code restarts its language servers: more often it is no accident."""

FIRST_PAUSE = 0.25
"""Seconds before the second restart, doubled for each further one. The first is at once: somebody drags."""


class Restarts:
    """The restarts of the last minutes; never more than MAX_RESTARTS within WINDOW_SECONDS."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=MAX_RESTARTS)

    def plan(self, now: float) -> float | None:
        """Return when to start again; None when that has happened too often."""
        recent = sum(now - time < WINDOW_SECONDS for time in self._times)
        if recent == MAX_RESTARTS:
            return None
        return now + (FIRST_PAUSE * 2 ** (recent - 1) if recent else 0.0)

    def count(self, now: float) -> None:
        """Note that it is started again; that may be later than planned, as after the computer slept."""
        self._times.append(now)

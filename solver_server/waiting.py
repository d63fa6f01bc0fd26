# SPDX-License-Identifier: Apache-2.0
"""The requests that wait for the worker: whose turn it is, and how many may wait. Imports: protocol.

Owners (clients with one key) share the worker's time: next is the oldest request of the owner that has had least of it.
Who comes back after a pause starts at the time of the others and gets no credit for having been away. Requests that
only inform (`Aside`) come after all others of their owner: while somebody drags, the pose is what he waits for.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from solver_server.protocol import MAX_MESSAGE_BYTES, Alternatives, Detect, Inspect, Solve, Work

MAX_WAITING = 64  # requests of one owner
MAX_WAITING_BYTES = 2 * MAX_MESSAGE_BYTES
MAX_WAITING_OF_ALL = 4 * MAX_WAITING
MAX_WAITING_BYTES_OF_ALL = 2 * MAX_WAITING_BYTES

Aside = Inspect | Alternatives
"""What tells of a pose and does not make it; a newer solve makes it worthless."""


@dataclass(eq=False)
class Job:
    """A request that is not answered yet. Times are those of the dispatcher's clock, in seconds."""

    client: bytes
    owner: str
    request: Work
    frames: list[bytes]
    arrival: float
    deadline: float
    """When it is answered with `timeout`."""
    sequence: int = -1
    """Number of the job for the worker, which rises."""
    start: float = 0.0
    last_sign: float = 0.0
    """When the worker was heard last about it."""
    is_answered: bool = False
    kill_time: float | None = None
    """When the worker is killed that does not stop it."""

    @property
    def size(self) -> int:
        """Bytes of its frames."""
        return sum(map(len, self.frames))

    def overtakes(self, running: "Job") -> bool:
        """Tell whether the running job is given up for this one, which makes its answer worthless."""
        is_solve, is_aside = isinstance(self.request, Solve), isinstance(running.request, Aside)
        return self.client == running.client and is_solve and is_aside


class WaitingLine:
    """Holds the jobs in the order of their arrival and gives them out by turns."""

    def __init__(self) -> None:
        self._jobs: list[Job] = []
        self._used: dict[str, float] = {}  # seconds of the worker, by owner
        self._time = 0.0  # what the owner had used whose turn was last

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(tuple(self._jobs))

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return sum(job.size for job in self._jobs)

    def is_full_for(self, job: Job, older: Job | None) -> int | None:
        """Tell whether a job does not fit, `older` having left: how many are in its way, None when it fits."""
        others = [other for other in self._jobs if other is not older]
        own = [other for other in others if other.owner == job.owner]
        limits = ((own, MAX_WAITING, MAX_WAITING_BYTES), (others, MAX_WAITING_OF_ALL, MAX_WAITING_BYTES_OF_ALL))
        for jobs, max_jobs, max_bytes in limits:
            if len(jobs) >= max_jobs or sum(other.size for other in jobs) + job.size > max_bytes:
                return len(jobs)
        return None

    def older_of(self, job: Job) -> Job | None:
        """Give the waiting job whose place a newer one takes: the client's of the same kind, unless that is detect."""
        kind = type(job.request)
        alike = (other for other in self._jobs if other.client == job.client and type(other.request) is kind)
        return None if kind is Detect else next(alike, None)

    def add(self, job: Job, older: Job | None = None) -> None:
        """Put a job at the end, or in the place of an older one."""
        if not any(other.owner == job.owner for other in self._jobs):
            self._used[job.owner] = max(self._used.get(job.owner, 0.0), self._time)
        if older is None:
            self._jobs.append(job)
        else:
            self._jobs[self._jobs.index(older)] = job

    def remove(self, job: Job) -> None:
        """Take a job out that will not run."""
        self._jobs.remove(job)

    def take_next(self, is_behind: Callable[[bytes], bool]) -> Job | None:
        """Take the job whose turn it is; a client that does not read its replies has none until it does."""
        jobs = [job for job in self._jobs if not is_behind(job.client)]
        if not jobs:
            return None
        # min gives the first, the oldest, of equals
        job = min(jobs, key=lambda job: (self._used[job.owner], isinstance(job.request, Aside)))
        self._time = max(self._time, self._used[job.owner])
        self._jobs.remove(job)
        return job

    def charge(self, owner: str, seconds: float) -> None:
        """Note that an owner has had the worker for so long."""
        self._used[owner] = self._used.get(owner, self._time) + seconds

# SPDX-License-Identifier: Apache-2.0
"""Sends through a ROUTER without losing a reply in silence.

By itself a ROUTER drops what a slow client does not take. With ROUTER_MANDATORY it says so, and what it does not take
is kept here, up to a limit. Imports: zmq. Not here: what the frames mean.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import zmq

MAX_MESSAGES = 1024
MAX_BYTES = 64 * 2**20  # three hundred replies with sixteen persons each
MAX_BYTES_OF_ALL = 256 * 2**20
MAX_SECONDS = 5.0  # in which a client takes nothing; a busy one's network thread reads all the same


@dataclass
class _Backlog:
    messages: deque[Sequence[bytes]] = field(default_factory=deque[Sequence[bytes]])
    size: int = 0
    since: float = math.inf
    """When something left last, in seconds of the clock."""


class Outbox:
    """One queue for every client that reads more slowly than it is answered.

    Args:
        socket: The ROUTER, with ROUTER_MANDATORY.
        overflow_message: Makes the frames that a client gets in place of all that it has not read.
        clock: Seconds.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        overflow_message: Callable[[], Sequence[bytes]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._socket = socket
        self._clock = clock
        self._overflow_message = overflow_message
        self._backlogs: dict[bytes, _Backlog] = {}
        self._lost: list[bytes] = []

    @property
    def is_empty(self) -> bool:
        """Whether the network layer has taken everything."""
        return not self._backlogs

    def is_behind(self, client: bytes) -> bool:
        """Tell whether a client has not read what it was sent before."""
        return client in self._backlogs

    def send(self, client: bytes, frames: Sequence[bytes], is_droppable: bool = False) -> None:
        """Send now, or keep it for `flush`; drop it only if it is droppable and others wait already."""
        backlog = self._backlogs.get(client)
        if backlog is None and self._try(client, frames):
            return
        if is_droppable:
            return
        if backlog is None:
            backlog = self._backlogs[client] = _Backlog(since=self._clock())
        backlog.messages.append(frames)
        backlog.size += sum(map(len, frames))
        if len(backlog.messages) > MAX_MESSAGES or backlog.size > MAX_BYTES:
            self._cut_off(client)
        elif sum(other.size for other in self._backlogs.values()) > MAX_BYTES_OF_ALL:
            self._cut_off(max(self._backlogs, key=lambda other: self._backlogs[other].size))

    def flush(self) -> None:
        """Send what can be sent of what was kept; cut off who takes nothing."""
        now = self._clock()
        for client, backlog in list(self._backlogs.items()):
            while backlog.messages and self._try(client, backlog.messages[0]):
                backlog.size -= sum(map(len, backlog.messages.popleft()))
                backlog.since = now
            if not backlog.messages:
                del self._backlogs[client]
            elif now - backlog.since > MAX_SECONDS:
                self._cut_off(client)

    def take_lost(self) -> list[bytes]:
        """Give the clients that went away or do not read, since the last call."""
        lost, self._lost = list(dict.fromkeys(self._lost)), []
        return lost

    def _cut_off(self, client: bytes) -> None:
        self._backlogs[client] = _Backlog(deque([self._overflow_message()]))
        self._lost.append(client)

    def _try(self, client: bytes, frames: Sequence[bytes]) -> bool:
        """Hand a message to the network layer; True also when the client is gone and nothing is to be kept."""
        try:
            self._socket.send_multipart([client, *frames], flags=zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._lost.append(client)
        return True

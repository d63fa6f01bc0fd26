# SPDX-License-Identifier: GPL-3.0-or-later
"""One life of a solver process, seen from here: its start, the introduction, whether it still answers, its end.

Not here: what is asked of it, and what follows its end (solver.py).
"""

from collections.abc import Callable, Sequence

from .._vendor import solver_protocol as wire
from ..core.errors import Fix, SolverError, SolverLost
from .connection import Connection, Transport
from .process import Handshake, SolverProcess

CLIENT_NAME = "ikol-blender"

START_SECONDS = 60.0
"""From start to the answer to `hello`: the server answers before torch is loaded, a cold disk has taken 8 s."""

PING_SECONDS = 0.5
"""Between two pings, also while they are not answered: libzmq may have made a new connection in the meantime, and
only what is sent on that one tells that we have to introduce ourselves."""
LOADING_PING_SECONDS = 0.1
"""While the weights are loaded: the panel shows at once that the solver is ready, and on which device."""

UNRESPONSIVE_SECONDS = 1.2
"""A ping unanswered for so long is worth telling: with the time between pings less than two seconds after a freeze.
The control thread of the solver answers within milliseconds."""
SILENT_SECONDS = 15.0
"""A ping unanswered for so long means that the process hangs."""

Connect = Callable[[Handshake, SolverProcess], Transport]


def connect(handshake: Handshake, process: SolverProcess) -> Connection:
    """Open the socket to a started solver."""
    return Connection(handshake.port, handshake.server_key.encode("ascii"), process.public_key, process.secret_key)


class Session:
    """A process and the socket to it. Nothing here waits.

    Times are handed in as seconds of attention: a Blender that was busy for a minute has not listened for a minute.
    """

    def __init__(self, process: SolverProcess, connect: Connect, new_id: Callable[[], int]) -> None:
        self.process = process
        self.transport: Transport | None = None
        self.version = wire.PROTOCOL_VERSION
        """The protocol of the solver, once it has answered `hello`."""
        self._connect = connect
        self._new_id = new_id
        self._age = 0.0
        self._silence: float | None = None
        self._until_ping = 0.0
        self._has_worked = self._is_welcome = self._is_hello_out = False

    @property
    def is_welcome(self) -> bool:
        """Whether the solver has answered `hello`, so that requests can be sent."""
        return self._is_welcome

    @property
    def silence(self) -> float:
        """For how many seconds a ping has been unanswered; 0 when none is."""
        return self._silence or 0.0

    def send(self, parts: Sequence[bytes]) -> bool:
        """Hand a message over; False when it cannot be taken now."""
        return self.transport is not None and self.transport.send(parts)

    def receive(self) -> tuple[wire.Reply, wire.Frames] | None:
        """Return the next message that has arrived, or None.

        Raises:
            wire.ProtocolError: It cannot be read.
        """
        parts = None if self.transport is None else self.transport.receive()
        if parts is None:
            return None
        self._silence = None  # whatever it says, it lives
        return wire.decode_reply(parts)

    def open(self) -> None:
        """Connect once the process has said where it listens.

        Raises:
            SolverError: It ended or said that it cannot run.
        """
        if self.transport is None:
            handshake = self.process.poll_handshake()
            if handshake is not None:
                self.transport = self._connect(handshake, self.process)
        if self.transport is not None and not self._is_welcome and not self._is_hello_out:
            hello = wire.Hello(self._new_id(), wire.PROTOCOL_VERSION, CLIENT_NAME)
            self._is_hello_out = self.send(wire.encode(hello))

    def welcome(self, reply: wire.HelloReply) -> None:
        """Take the answer to `hello`."""
        self.version = reply.protocol
        self._is_welcome = self._has_worked = True
        self._is_hello_out = False

    def forget_welcome(self) -> None:
        """Introduce ourselves anew: libzmq has made a new connection, as after the computer slept."""
        self._is_welcome = False

    def watch(self, seconds: float, is_ready: bool) -> None:
        """Notice that the process ended or hangs, and ping it; `seconds` of attention have passed since the last time.

        Raises:
            SolverLost: It worked and has ended.
            SolverError: It could not start.
        """
        if self.transport is not None:  # before that its first line may have come since `open` looked for it
            self.process.drain()
        code = self.process.exit_code
        if code is not None:
            error = self.process.exit_error()
            raise SolverLost(str(error), error.fix, error.code) if self._has_worked or code < 0 else error
        if self.transport is None or not self._has_worked:
            self._age += seconds
            if self._age > START_SECONDS:
                raise SolverError("the solver did not start within a minute; its log may say why", Fix.OPEN_LOG)
            return
        if self._silence is not None:
            self._silence += seconds
        self._until_ping -= seconds
        if self._until_ping <= 0 and self.silence < SILENT_SECONDS:
            self._until_ping = PING_SECONDS if is_ready else LOADING_PING_SECONDS
            if self.send(wire.encode(wire.Ping(self._new_id()))) and self._silence is None:
                self._silence = 0.0

    def leave(self) -> SolverProcess:
        """Let go of the socket and ask the process to end; it gets its time to leave."""
        if self.transport is not None:
            self.transport.close()
            self.transport = None
        self.process.stop()
        return self.process

# SPDX-License-Identifier: GPL-3.0-or-later
"""One encrypted socket to the solver, polled and never waited for."""

from collections.abc import Sequence
from typing import Protocol

import zmq

from .._vendor.solver_protocol import MAX_FRAME_BYTES

HEARTBEAT_MS = 1000
HEARTBEAT_TIMEOUT_MS = 30000
"""libzmq's own thread keeps the beat, also while Blender renders; after this silence the connection is made anew. That
is longer than a frozen solver is waited for (session.py): a process that wakes to a connection that its peer has left
can die in libzmq 4.3.5, "Assertion failed: !_io_error (src/stream_engine_base.cpp:310)"."""


class Transport(Protocol):
    """What the solver client needs of a socket."""

    def send(self, parts: Sequence[bytes]) -> bool:
        """Hand a message over; False when it cannot be taken now."""
        ...

    def receive(self) -> list[bytes] | None:
        """Return the next message that has arrived, or None."""
        ...

    def wait(self, seconds: float) -> bool:
        """Wait at most this long for a message; whether there is one."""
        ...

    def close(self) -> None:
        """Let go of the socket; what is unsent is lost."""
        ...


class Connection:
    """A DEALER socket with CURVE, and a zmq context of its own: another add-on's use of zmq cannot disturb it.

    CURVE is not for secrecy on the loopback but against strangers: a web page can post bytes to a plain socket.
    """

    def __init__(self, port: int, server_key: bytes, public_key: bytes, secret_key: bytes) -> None:
        self._context = zmq.Context()
        socket = self._context.socket(zmq.DEALER)
        socket.linger = 0
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
        socket.curve_serverkey = server_key
        socket.curve_publickey = public_key
        socket.curve_secretkey = secret_key
        socket.connect(f"tcp://127.0.0.1:{port}")
        self._socket = socket

    def send(self, parts: Sequence[bytes]) -> bool:
        """Hand a message to libzmq's thread without waiting; False when its queue is full."""
        try:
            self._socket.send_multipart(list(parts), zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def receive(self) -> list[bytes] | None:
        """Return the next message that has arrived, or None."""
        try:
            return self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None

    def wait(self, seconds: float) -> bool:
        """Wait at most this long for a message; whether there is one."""
        return bool(self._socket.poll(int(seconds * 1000)))

    def close(self) -> None:
        """Close socket and context; with linger 0 this does not wait."""
        self._socket.close(0)
        self._context.term()

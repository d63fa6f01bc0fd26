# SPDX-License-Identifier: Apache-2.0
"""The control loop: the one thread that owns the sockets. It never computes and never waits for the worker.

Here: the ROUTER and its limits, the mailbox through which other threads reach the loop, start and end. Not here: what
messages mean (dispatcher), the worker (supervisor). Imports zmq; never torch, never the service.
"""

import contextlib
import logging
import os
import queue
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import zmq

from solver_server.dispatcher import Dispatcher, ServerInfo
from solver_server.outbox import Outbox
from solver_server.protocol import MAX_FRAME_BYTES, Error, encode
from solver_server.statistics import versions
from solver_server.supervisor import Supervisor, WorkerReport
from solver_server.zap import DOMAIN, KeyGate, OwnerOf

MAX_MESSAGES_PER_TURN = 64  # then the worker's reports and the clock get their turn
RETRY_INTERVAL = 5  # milliseconds between attempts to reach a slow client
GOODBYE_TIME = 300  # milliseconds for the last replies to leave
EXIT_TIME = 1.5  # seconds after which the process ends even if something hangs; promised are 2

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerOptions:
    """How to serve."""

    owner_of: OwnerOf
    """Knows the CURVE public keys that are let in."""
    worker_command: Sequence[str]
    """Starts the worker process."""
    device: str = "auto"
    """The device that was asked for, as `hello_reply` says it until the worker is ready."""
    idle_timeout: float = 0.0
    """Seconds without a message and without work after which to end; 0 for never."""
    is_shared: bool = False
    """Whether no client may end the server."""


@dataclass(frozen=True)
class Endpoint:
    """What a client needs to know to connect."""

    port: int
    server_key: str
    session: str


class EndWanted:
    """Posted when whoever started us wants us to end, or is gone: stdin is closed, or a signal came."""


class Mailbox:
    """Brings what other threads post to the control loop, which polls `wake`, a socket, as every system can."""

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[WorkerReport | EndWanted] = queue.SimpleQueue()
        self.wake, self._bell = socket.socketpair()
        self.wake.setblocking(False)
        self._bell.setblocking(False)

    def post(self, item: WorkerReport | EndWanted) -> None:
        """Add an item; from any thread."""
        self._items.put(item)
        try:
            self._bell.send(b"\0")
        except BlockingIOError:
            pass  # so many bytes wait that the loop will wake up anyhow
        except OSError:
            _log.debug("posted after the end")

    def take(self) -> list[WorkerReport | EndWanted]:
        """Take all items; in the control thread."""
        with contextlib.suppress(BlockingIOError):
            self.wake.recv(4096)
        items: list[WorkerReport | EndWanted] = []
        while True:
            try:
                items.append(self._items.get_nowait())
            except queue.Empty:
                return items

    def bell(self) -> int:
        """Return a descriptor that wakes the loop when a byte is written to it, as `signal.set_wakeup_fd` does."""
        return self._bell.fileno()

    def close(self) -> None:
        """Close the sockets."""
        self.wake.close()
        self._bell.close()


class Server:
    """Binds when made, serves in `serve`.

    Raises:
        zmq.ZMQError: No port can be bound.
    """

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self.mailbox = Mailbox()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._gate = KeyGate(self._context, options.owner_of, lambda: self._dispatcher.count("refused_connections"))
        self._router, server_key = _make_router(self._context)
        port = self._router.bind_to_random_port("tcp://127.0.0.1")
        self.endpoint = Endpoint(port, server_key.decode(), session=secrets.token_hex(8))
        self._outbox = Outbox(self._router, _overload_message)
        self._supervisor = Supervisor(options.worker_command, self.mailbox.post)
        known = versions()
        name = f"ikol {known['ikol']}"
        info = ServerInfo(name, self.endpoint.session, options.device, os.getpid(), known, options.is_shared)
        self._dispatcher = Dispatcher(self._supervisor, self._outbox.send, info, is_behind=self._outbox.is_behind)
        self._last_heard = time.monotonic()
        self._is_end_wanted = False

    def serve(self) -> None:
        """Serve until a client shuts us down, stdin ends, or nobody has been heard for the idle time."""
        self._supervisor.start()
        poller = zmq.Poller()
        for source in (self._router, self._gate.socket, self.mailbox.wake):
            poller.register(source, zmq.POLLIN)
        while not self._is_over():
            ready = dict(poller.poll(self._timeout()))
            if self._gate.socket in ready:
                self._gate.answer()
            if self.mailbox.wake.fileno() in ready:
                self._take_mail()
            if self._router in ready:
                self._take_requests()
            self._outbox.flush()
            for client in self._outbox.take_lost():
                self._dispatcher.forget(client)
        self._close()

    def _take_mail(self) -> None:
        for item in self.mailbox.take():
            if isinstance(item, EndWanted):
                self._is_end_wanted = True
            else:
                self._dispatcher.on_worker(self._supervisor.receive(item), item.frames)

    def _take_requests(self) -> None:
        self._last_heard = time.monotonic()
        for _ in range(MAX_MESSAGES_PER_TURN):
            try:
                client, *frames = self._router.recv_multipart(flags=zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            owner = str(client.get("User-Id"))  # what the gate has said of the key; no client can choose it
            self._dispatcher.on_request(client.bytes, [frame.bytes for frame in frames], owner)

    def _timeout(self) -> int | None:
        """Do what is due; give the milliseconds until something else will be."""
        waits = [self._dispatcher.tick(), self._supervisor.tick()]
        if not self._outbox.is_empty:
            waits.append(RETRY_INTERVAL / 1000)
        if self._options.idle_timeout > 0:
            waits.append(max(0.0, self._last_heard + self._options.idle_timeout - time.monotonic()))
        due = [wait for wait in waits if wait is not None]
        return int(min(due) * 1000) + 1 if due else None

    def _is_over(self) -> bool:
        if self._dispatcher.is_shut_down or self._is_end_wanted:
            return True
        if self._dispatcher.is_busy:
            self._last_heard = time.monotonic()
        is_idle = time.monotonic() - self._last_heard >= self._options.idle_timeout > 0
        if is_idle:
            _log.info("nobody has been heard for %.0f s", self._options.idle_timeout)
        return is_idle

    def _close(self) -> None:
        end_soon()
        self._dispatcher.close()
        self._outbox.flush()
        self._router.close(linger=GOODBYE_TIME)
        self._supervisor.close()
        self._gate.close()
        self._context.term()
        self.mailbox.close()


def watch_stdin(descriptor: int, post: Callable[[EndWanted], None]) -> None:
    """Post `EndWanted` when the descriptor ends, from a thread of its own; then see to it that the process ends."""

    def watch() -> None:
        try:
            while os.read(descriptor, 4096):
                pass
        except OSError:
            _log.warning("stdin cannot be read")
        _log.info("stdin is closed")
        post(EndWanted())
        end_soon()

    threading.Thread(target=watch, name="stdin", daemon=True).start()


def end_soon() -> None:
    """End the process after EXIT_TIME, whatever hangs."""
    timer = threading.Timer(EXIT_TIME, os._exit, (1,))
    timer.daemon = True
    timer.start()


def _make_router(context: zmq.Context[zmq.Socket[bytes]]) -> tuple[zmq.Socket[bytes], bytes]:
    """Make the socket that clients connect to, with its limits, and its public key (z85)."""
    public_key, secret_key = zmq.curve_keypair()
    router = context.socket(zmq.ROUTER)
    router.curve_server = True
    router.curve_secretkey = secret_key
    router.zap_domain = DOMAIN
    router.linger = 0
    router.maxmsgsize = MAX_FRAME_BYTES  # of one frame; who sends more is cut off
    router.rcvhwm = 16
    router.sndhwm = 4  # replies on their way to a client; beyond that it is behind, and its requests have to wait
    router.router_mandatory = True  # an error instead of a reply that is lost in silence
    router.handshake_ivl = 3000  # milliseconds; half-open connections do not pile up
    # a connection that is only half there is given up within two seconds; a client that sleeps longer comes back as a
    # new one, says hello again and asks again
    router.heartbeat_ivl = 500
    router.heartbeat_timeout = 1500
    return router, public_key


def _overload_message() -> list[bytes]:
    text = "replies were not read and had to be dropped; say hello and ask again, with fewer requests at a time"
    return encode(Error(id=None, code="overloaded", message=text))

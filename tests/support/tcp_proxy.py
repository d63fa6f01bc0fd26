# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy on the loopback that is slow, cuts connections or swallows everything, as the test wants."""

import contextlib
import socket
import struct
import threading
import time


class TcpProxy:
    """Passes bytes to a port, until told otherwise. Faults may be set at any time.

    Args:
        port: Where the server listens.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self.latency = 0.0  # seconds before each piece is passed on
        self.rate = 0.0  # bytes a second, 0 for no limit
        self.is_silent = False  # nothing is passed on, and nobody told: a half-open connection
        self.cut_after: int | None = None  # bytes from the client after which both sides get a reset
        self.recorded = bytearray()  # what the clients have sent
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "TcpProxy":
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.reset()

    def reset(self) -> None:
        """Cut all connections with a reset, as a pulled cable or a killed machine does."""
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for one in sockets:
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.shutdown(socket.SHUT_RD)  # wakes the thread that reads
            one.close()

    def inject(self, data: bytes) -> None:
        """Send bytes to the server in the name of the clients."""
        with self._lock:
            servers = [one for one in self._sockets if one.getpeername()[1] == self._target]
        for server in servers:
            server.sendall(data)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            with self._lock:
                self._sockets |= {client, server}
            threading.Thread(target=self._pass_on, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(server, client, False), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, is_from_client: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(16 if self.rate else 65536):
                if is_from_client:
                    self.recorded += data
                    if self.cut_after is not None and len(self.recorded) >= self.cut_after:
                        self.cut_after = None
                        target.sendall(data[:-1])
                        break
                time.sleep(self.latency + (len(data) / self.rate if self.rate else 0.0))
                while self.is_silent:
                    time.sleep(0.02)
                target.sendall(data)
        self.reset()

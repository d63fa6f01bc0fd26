# SPDX-License-Identifier: Apache-2.0
"""Who may connect: known CURVE keys. Without this, everybody who learns the server's public key could.

Source: ZeroMQ RFC 27 (ZAP). Polled by the control loop like any other socket; zmq.auth would need a thread of its own.
"""

import hmac
import logging
from collections.abc import Callable

import zmq

from solver_server.protocol import ProtocolError

ADDRESS = "inproc://zeromq.zap.01"  # fixed by the RFC
DOMAIN = b"ikol"

OwnerOf = Callable[[bytes], str | None]
"""Gives the name of whoever has a public key (32 bytes), None for a stranger."""

_log = logging.getLogger(__name__)


def only(client_key: bytes) -> OwnerOf:
    """Know one key."""
    return lambda key: "client" if hmac.compare_digest(key, client_key) else None


class KeyGate:
    """The ZAP handler of a context; has to be made before any socket of it binds.

    Args:
        context: The context whose servers it guards.
        owner_of: Knows the keys that are let in.
        on_refusal: Called for every connection that is refused.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], owner_of: OwnerOf, on_refusal: Callable[[], None]
    ) -> None:
        self._owner_of = owner_of
        self._on_refusal = on_refusal
        self.socket = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind(ADDRESS)

    def answer(self) -> None:
        """Answer the request that the socket has ready."""
        # version, request id, domain, address, routing id, mechanism, credentials
        version, request_id, _, address, _, mechanism, *credentials = self.socket.recv_multipart()
        owner = self._find(credentials[0]) if mechanism == b"CURVE" and len(credentials) == 1 else None
        if owner is None:
            _log.warning("refused a connection from %r by %r", address, mechanism)
            self._on_refusal()
        status = (b"200", b"OK", owner.encode()) if owner is not None else (b"400", b"not admitted", b"")
        self.socket.send_multipart([version, request_id, *status, b""])

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def _find(self, key: bytes) -> str | None:
        try:
            return self._owner_of(key)
        except ProtocolError:
            _log.exception("nobody is let in while the list of keys cannot be used")
            return None

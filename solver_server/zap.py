# SPDX-License-Identifier: Apache-2.0
"""Who may connect: exactly one CURVE key. Without this, everybody who learns the server's public key could.

Source: ZeroMQ RFC 27 (ZAP). Polled by the control loop like any other socket; zmq.auth would need a thread of its own.
"""

import hmac
import logging

import zmq

ADDRESS = "inproc://zeromq.zap.01"  # fixed by the RFC
DOMAIN = b"ikol"

_log = logging.getLogger(__name__)


class KeyGate:
    """The ZAP handler of a context; has to be made before any socket of it binds.

    Args:
        context: The context whose servers it guards.
        client_key: The one public key that is let in, 32 bytes.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], client_key: bytes) -> None:
        self._client_key = client_key
        self.socket = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind(ADDRESS)

    def answer(self) -> None:
        """Answer the request that the socket has ready."""
        # version, request id, domain, address, routing id, mechanism, credentials
        version, request_id, _, address, _, mechanism, *credentials = self.socket.recv_multipart()
        is_curve = mechanism == b"CURVE" and len(credentials) == 1
        is_admitted = is_curve and hmac.compare_digest(credentials[0], self._client_key)
        if not is_admitted:
            _log.warning("refused a connection from %r by %r", address, mechanism)
        status = (b"200", b"OK", b"client") if is_admitted else (b"400", b"not admitted", b"")
        self.socket.send_multipart([version, request_id, *status, b""])

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

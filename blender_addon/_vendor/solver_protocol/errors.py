# generated from solver_server/protocol by scripts/vendor_protocol.py; do not edit
# SPDX-License-Identifier: Apache-2.0
"""What goes wrong on the wire: the stable codes, and the exceptions of the codec. Imports nothing."""

from typing import ClassVar

ERROR_CODES = {
    "bad_frame": "The bytes are not a message: no msgpack, or a frame that is referred to is missing.",
    "bad_message": "The message is unknown, lacks a field, or a field has a wrong type or value.",
    "bad_shape": "The dtype and shape of an array do not fit the bytes of its frame.",
    "too_large": "There are too many frames or too many bytes.",
    "unsupported_version": "The major versions of client and server differ.",
    "hello_required": "The first message of a client must be `hello`.",
    "duplicate_id": "A request with this id is still waiting or running.",
    "busy": "Too many requests wait already; this one was not taken.",
    "superseded": "A newer request of the same client took the place of this one; see *Latest wins*.",
    "timeout": "The time that the request was given is over; it may not have run at all.",
    "cancelled": "The client asked to give this request up.",
    "overloaded": "The client does not read its replies; the server dropped them and gave up its requests.",
    "not_allowed": "This server is shared by several clients, and one of them alone may not ask for this.",
    "bad_image": "The picture cannot be read, or has too many pixels.",
    "bad_input": "The request is well formed, but what it asks for makes no sense.",
    "out_of_memory": "The computation needs more memory than the device has.",
    "worker_crashed": "The worker process ended in the middle of this request; a new one is started.",
    "worker_unavailable": "The worker crashed too often and is not started again.",
    "start_failed": "The worker could not start; the sentence says why.",
    "shutting_down": "The server is about to end; the request was not finished.",
    "internal_error": "A fault in the server; its log has the details.",
}
"""Every code of an `error` message with its meaning. A code never changes its meaning; clients may branch on it."""


class ProtocolError(Exception):
    """Bytes or objects that are not a message of this protocol.

    `code` is one of ERROR_CODES; `request_id` is the id of the offending request as far as it could be read.
    """

    code: ClassVar[str] = "bad_message"

    def __init__(self, text: str, request_id: int | None = None) -> None:
        super().__init__(text)
        self.request_id = request_id


class FrameError(ProtocolError):
    """The header is not msgpack, or a frame is missing."""

    code = "bad_frame"


class MessageError(ProtocolError):
    """The header is msgpack, but no message of this protocol."""

    code = "bad_message"


class ShapeError(ProtocolError):
    """An array's dtype and shape do not fit its bytes, or its layout cannot be sent."""

    code = "bad_shape"


class TooLargeError(ProtocolError):
    """A limit on the number of frames or bytes is exceeded."""

    code = "too_large"


class VersionError(ProtocolError):
    """The peer speaks another major version."""

    code = "unsupported_version"

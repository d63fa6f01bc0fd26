# SPDX-License-Identifier: Apache-2.0
"""What control process and worker process say to each other over the worker's stdin and stdout.

A message is a list of byte strings, each with its length before it: a small msgpack header, then the frames of the wire
as they are. Nothing is pickled. Here: the headers and the framing. Not here: processes, sockets, torch.
"""

import struct
from collections.abc import Sequence
from typing import BinaryIO

import msgspec

from solver_server.protocol import MAX_FRAMES, MAX_MESSAGE_BYTES

MAX_PARTS = MAX_FRAMES + 2  # the header of the pipe, the header of the wire, the extra frames
MAX_PART_BYTES = MAX_MESSAGE_BYTES  # larger lengths mean that something else has written into the pipe

_COUNT = struct.Struct("<I")
_LENGTH = struct.Struct("<Q")


class Run(msgspec.Struct, frozen=True, tag="run"):
    """To the worker: compute the request in the frames that follow."""

    sequence: int


class Abort(msgspec.Struct, frozen=True, tag="abort"):
    """To the worker: stop job `sequence` at its next step, if it runs."""

    sequence: int


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """From the worker: weights are loaded, jobs may come."""

    device: str
    models: tuple[str, ...] = ()


class StartFailed(msgspec.Struct, frozen=True, tag="start_failed"):
    """From the worker, its last word: it cannot work, and starting it again would not help."""

    reason: str


class Step(msgspec.Struct, frozen=True, tag="step"):
    """From the worker: how far job `sequence` is."""

    sequence: int
    fraction: float
    text: str


class Done(msgspec.Struct, frozen=True, tag="done"):
    """From the worker: the reply of job `sequence` is in the frames that follow; `code` is that of an error or None."""

    sequence: int
    code: str | None


Order = Run | Abort
Report = Ready | StartFailed | Step | Done

_encoder = msgspec.msgpack.Encoder()
_order_decoder: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)
_report_decoder: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


def write(stream: BinaryIO, header: Order | Report, frames: Sequence[bytes] = ()) -> None:
    """Write one message and flush.

    Raises:
        OSError: The other process is gone.
    """
    parts = [_encoder.encode(header), *frames]
    stream.write(_COUNT.pack(len(parts)) + b"".join(_LENGTH.pack(len(part)) for part in parts))
    for part in parts:
        stream.write(part)
    stream.flush()


def read_order(stream: BinaryIO) -> tuple[Order, list[bytes]]:
    """Read what `write` wrote in the control process; raises as `read_report` does."""
    header, *frames = _read_parts(stream)
    return _order_decoder.decode(header), frames


def read_report(stream: BinaryIO) -> tuple[Report, list[bytes]]:
    """Read what `write` wrote in the worker.

    Raises:
        EOFError: The other process has closed its end.
        ValueError: These are not such messages (msgspec's errors are ValueErrors too).
    """
    header, *frames = _read_parts(stream)
    return _report_decoder.decode(header), frames


def _read_parts(stream: BinaryIO) -> list[bytes]:
    (count,) = _COUNT.unpack(_read_exactly(stream, _COUNT.size))
    if not 1 <= count <= MAX_PARTS:
        raise ValueError(f"a message of the pipe has 1 to {MAX_PARTS} parts, got {count}")
    lengths = [length for (length,) in _LENGTH.iter_unpack(_read_exactly(stream, count * _LENGTH.size))]
    if max(lengths) > MAX_PART_BYTES:
        raise ValueError(f"a part in the pipe has at most {MAX_PART_BYTES} bytes, got {max(lengths)}")
    return [_read_exactly(stream, length) for length in lengths]


def _read_exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError("the other process has closed the pipe")
    return data

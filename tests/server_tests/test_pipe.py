# SPDX-License-Identifier: Apache-2.0
"""Framing between control process and worker: nothing is lost, and nothing strange is believed."""

import io
import struct

import pytest

from solver_server import pipe


@pytest.mark.parametrize("frames", [[], [b""], [b"a", b"", b"\x00" * 100_000]])
@pytest.mark.parametrize("order", [pipe.Run(sequence=3), pipe.Abort(sequence=2**40)])
def test_orders_arrive_with_their_frames(order: pipe.Order, frames: list[bytes]) -> None:
    stream = io.BytesIO()
    pipe.write(stream, order, frames)
    pipe.write(stream, order)
    stream.seek(0)
    assert pipe.read_order(stream) == (order, frames)
    assert pipe.read_order(stream) == (order, [])


@pytest.mark.parametrize(
    "report", [pipe.Ready("cpu", ("NLF",)), pipe.StartFailed("why"), pipe.Step(1, 0.5, "text"), pipe.Done(1, None)]
)
def test_reports_arrive(report: pipe.Report) -> None:
    stream = io.BytesIO()
    pipe.write(stream, report)
    stream.seek(0)
    assert pipe.read_report(stream) == (report, [])


@pytest.mark.parametrize("length", [0, 3, 10, 20])
def test_end_of_the_pipe_is_told_wherever_it_comes(length: int) -> None:
    stream = io.BytesIO()
    pipe.write(stream, pipe.Run(1), [b"frame"])
    with pytest.raises(EOFError):
        pipe.read_order(io.BytesIO(stream.getvalue()[:length]))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"Warning: a library prints something here\n", id="text"),
        pytest.param(struct.pack("<I", 0), id="no parts"),
        pytest.param(struct.pack("<IQ", 1, 2**60), id="an exabyte"),
        pytest.param(struct.pack("<IQ", 1, 3) + b"\xc1\xc1\xc1", id="no msgpack"),
        pytest.param(struct.pack("<IQ", 1, 1) + b"\x80", id="no type"),
    ],
)
def test_what_is_no_message_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"pipe|unpack|msgpack|MessagePack|type"):
        pipe.read_report(io.BytesIO(content))

# SPDX-License-Identifier: Apache-2.0
"""The worker's own part: every request gets a reply, progress is tidy, an abort takes effect. In one process."""

import io
import logging
from typing import Any

import fake_handler
import protocol_cases
import pytest

from ikol.errors import Cancelled, InputError
from solver_server import pipe, protocol, worker
from solver_server.protocol import FrameWriter


def detect(command: bytes) -> list[bytes]:
    writer = FrameWriter()
    return protocol.encode(protocol.Detect(id=5, image=writer.add_blob(command)), writer)


def answer(parts: list[bytes], handler: Any = None) -> tuple[str | None, Any]:
    code, frames = worker.answer(handler or fake_handler.FakeHandler(), parts, lambda fraction, text: None)
    return code, protocol.decode_reply(frames)[0]


class Orders:
    """Orders that abort nothing, until they do."""

    def __init__(self) -> None:
        self.aborted = -1

    def is_aborted(self, sequence: int) -> bool:
        return self.aborted >= sequence


def test_reply_comes_back_with_no_code() -> None:
    code, reply = answer(detect(b"x"))
    assert code is None
    assert isinstance(reply, protocol.DetectReply)


@pytest.mark.parametrize("name", ["detect", "solve", "inspect", "alternatives"])
def test_every_request_that_computes_gets_its_own_reply(name: str) -> None:
    code, reply = answer(protocol_cases.encoded(name))
    assert code is None
    assert reply.__struct_config__.tag == f"{name}_reply"


def test_error_of_the_handler_comes_back_with_its_code() -> None:
    code, reply = answer(detect(b"bad_image"))
    assert (code, reply.code, reply.id) == ("bad_image", "bad_image", 5)


def test_fault_gives_a_reference_and_keeps_the_details_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        code, reply = answer(detect(b"fault"))
    assert (code, reply.id) == ("internal_error", 5)
    assert "secret" not in reply.message
    assert "a secret of the source code" in caplog.text
    (reference,) = {
        word for word in reply.message.split() if word in caplog.text and len(word) == 8 and word != "internal"
    }
    assert int(reference, 16) >= 0


@pytest.mark.parametrize("parts", [[b"\xc1"], protocol.encode(protocol.Ping(id=3))])
def test_what_should_never_reach_the_worker_does_not_end_it(parts: list[bytes]) -> None:
    assert answer(parts)[0] == "internal_error"


def test_reply_that_does_not_fit_the_protocol_is_an_internal_error() -> None:
    class Wild:
        device = "fake"

        def handle(self, request: Any, frames: Any, progress: Any) -> Any:
            return protocol.DetectReply(request.id, None, (), float("nan")), FrameWriter()  # type: ignore[arg-type]

    assert answer(detect(b"x"), Wild())[0] == "internal_error"


def reports(stream: io.BytesIO) -> list[pipe.Report]:
    stream.seek(0)
    found: list[pipe.Report] = []
    while stream.tell() < len(stream.getvalue()):
        found.append(pipe.read_report(stream)[0])
    return found


def reporter(
    monkeypatch: pytest.MonkeyPatch, times: list[float], begin: float = -1.0
) -> tuple[Any, Orders, io.BytesIO]:
    """Give a reporter of job 7, its orders, and the stream that it writes to; it reads these times."""
    remaining = iter([begin, *times])
    monkeypatch.setattr(worker.time, "monotonic", lambda: next(remaining))
    stream, orders = io.BytesIO(), Orders()
    return worker._Reporter(7, orders, stream), orders, stream  # type: ignore[arg-type]


def test_progress_never_falls_and_stays_within_0_and_1(monkeypatch: pytest.MonkeyPatch) -> None:
    report, _, stream = reporter(monkeypatch, [1.0, 2.0, 3.0, 4.0])
    for fraction in (0.5, 0.25, 7.0, -1.0):
        report(fraction, "text")
    assert [step.fraction for step in reports(stream) if isinstance(step, pipe.Step)] == [0.5, 0.5, 1.0, 1.0]


def test_progress_is_not_sent_more_often_than_a_display_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    report, _, stream = reporter(monkeypatch, [0.01 * k for k in range(100)])
    for k in range(100):
        report(k / 100, "text")
    # 1 s at one report in 30 ms; the steps of 10 ms round it to 40 ms here and there
    assert 25 <= len(reports(stream)) <= 34


def test_new_step_is_sent_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    report, _, stream = reporter(monkeypatch, [0.0, 0.001, 0.002])
    for text in ("reading the picture", "finding persons", "finding persons"):
        report(0.1, text)
    assert [step.text for step in reports(stream) if isinstance(step, pipe.Step)] == [
        "reading the picture",
        "finding persons",
    ]


def test_what_is_done_at_once_sends_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    report, _, stream = reporter(monkeypatch, [0.0, 0.01, 0.029, 0.031], begin=0.0)
    for text in ("reading", "solving", "solving", "solving"):
        report(0.1, text)
    assert [step.text for step in reports(stream) if isinstance(step, pipe.Step)] == ["solving"]


def test_abort_takes_effect_at_the_next_step_also_when_that_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    report, orders, _ = reporter(monkeypatch, [0.0, 0.001])
    report(0.1, "text")
    orders.aborted = 6
    report(0.2, "an older job was aborted")
    orders.aborted = 7
    with pytest.raises(Cancelled):
        report(0.3, "text")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InputError("torch sees no CUDA device"), "torch sees no CUDA device"),
        (
            ImportError("No module named 'torch'"),
            "a package is missing in the solver's Python (No module named 'torch')",
        ),
        (OSError("disk"), "OSError: disk"),
    ],
)
def test_reason_of_a_failing_start_is_a_sentence(error: Exception, text: str) -> None:
    assert text in worker._start_failure(error)

# SPDX-License-Identifier: Apache-2.0
"""The worker process: owns torch, computes one request after the other, ends with its parent.

Started by the control process with pipes for stdin and stdout. A reading thread takes orders, so that an abort arrives
while the main thread computes, and ends the process when the control process is gone. Not here: sockets.
"""

import argparse
import faulthandler
import gc
import logging
import os
import queue
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

from ikol.errors import Cancelled, IkolError
from solver_server import pipe
from solver_server.logs import start_log
from solver_server.memory import lift_memory_limit, limit_memory
from solver_server.protocol import Error, Frames, FrameWriter, Result, Work, decode_request, encode

THREAD_BYTES = 72 * 2**20  # of addresses, hardly of memory: a stack, and the arena that glibc reserves for each thread
PROGRESS_INTERVAL = 0.03  # seconds; one report for each frame of a 30 Hz display, however many steps there are
QUIET_TIME = 0.03  # seconds until the first report: the solve of a drag is over by then, and every message delays it

_log = logging.getLogger(__name__)

Progress = Callable[[float, str], None]


class Handler(Protocol):
    """What computes: `solver_server.service.Service`, or a fake in the tests."""

    @property
    def device(self) -> str:
        """Where it computes, for the user."""
        ...

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the user's own networks."""
        ...

    def handle(self, request: Work, frames: Frames, progress: Progress) -> tuple[Result | Error, FrameWriter]:
        """Compute the reply and its frames."""
        ...


HandlerFactory = Callable[[str, int], Handler]
"""Makes the handler from the device (auto, cpu, cuda) and the number of threads (0: half of the cores)."""


class _Orders:
    """Takes orders from the control process on a thread of its own."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._jobs: queue.SimpleQueue[tuple[int, list[bytes]]] = queue.SimpleQueue()
        self._aborted = -1

    def start(self) -> None:
        """Begin to listen."""
        threading.Thread(target=self._listen, name="orders", daemon=True).start()

    def next_job(self) -> tuple[int, list[bytes]]:
        """Wait for a job: its sequence number and the frames of its request."""
        return self._jobs.get()

    def is_aborted(self, sequence: int) -> bool:
        """Tell whether the control process has given this job up. Sequence numbers only rise."""
        return self._aborted >= sequence

    def _listen(self) -> None:
        while True:
            try:
                order, frames = pipe.read_order(self._stream)
            except (EOFError, OSError):
                # the control process is gone; the main thread may be deep in torch, so no polite exit
                os._exit(0)
            except ValueError:
                _log.exception("the pipe from the control process is broken")
                os._exit(4)
            match order:
                case pipe.Run(sequence):
                    self._jobs.put((sequence, frames))
                case pipe.Abort(sequence):
                    self._aborted = sequence


class _Reporter:
    """Progress of one job: never falling, not too often, and the place where an abort takes effect."""

    def __init__(self, sequence: int, orders: _Orders, stream: BinaryIO) -> None:
        self._sequence = sequence
        self._orders = orders
        self._stream = stream
        self._fraction = 0.0
        self._begin = time.monotonic()
        self._last_time = 0.0
        self._last_text: str | None = None

    def __call__(self, fraction: float, text: str) -> None:
        if self._orders.is_aborted(self._sequence):
            raise Cancelled("the request was given up")
        self._fraction = max(self._fraction, min(float(fraction), 1.0))
        now = time.monotonic()
        is_due = text != self._last_text or now - self._last_time >= PROGRESS_INTERVAL
        if is_due and now - self._begin >= QUIET_TIME:
            self._last_text, self._last_time = text, now
            pipe.write(self._stream, pipe.Step(self._sequence, self._fraction, text))


def answer(
    handler: Handler, parts: Sequence[bytes], progress: Progress, sequence: int = 0
) -> tuple[str | None, list[bytes]]:
    """Compute the frames of the reply to the frames of a request; whatever happens, there is a reply.

    Returns:
        The code of the error or None, and the frames.
    """
    request_id = None
    try:
        request, frames = decode_request(parts)
        request_id = request.id
        if not isinstance(request, Work):
            raise TypeError(f"{type(request).__name__} is not for the worker")
        reply, reply_frames = handler.handle(request, frames, progress)
        return reply.code if isinstance(reply, Error) else None, encode(reply, reply_frames)
    except Exception:
        reference = uuid.uuid4().hex[:8]
        fields = {"job": sequence, "request": request_id, "reference": reference}
        _log.exception("internal error %s", reference, extra=fields)
        text = f"internal error {reference} in the solver; its log has the details"
        return "internal_error", encode(Error(id=request_id, code="internal_error", message=text))


def main(argv: Sequence[str] | None = None, make_handler: HandlerFactory | None = None) -> int:
    """Run the worker until its stdin ends.

    Args:
        argv: Command line without the program's name.
        make_handler: What computes; by default `solver_server.service.make_service`.

    Returns:
        The exit status: 3 when the handler cannot be made.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--memory", type=int, default=0)
    parser.add_argument("--lift-memory-limit", action="store_true")
    parser.add_argument("--body", type=Path)
    parser.add_argument("--model-manifest", type=Path, action="append", default=[])
    parser.add_argument("--trust-models", action="store_true")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in Blender's terminal reaches the whole process group
    faulthandler.enable()
    start_log("worker")
    if options.lift_memory_limit:
        lift_memory_limit()
    stdin, stdout = _take_pipes()
    orders = _Orders(stdin)
    orders.start()
    try:
        try:
            make_service = partial(
                _make_service, body=options.body, models=options.model_manifest, trust_models=options.trust_models
            )
            handler = (make_handler or make_service)(options.device, options.threads)
        except Exception as error:
            _log.exception("the worker cannot start")
            pipe.write(stdout, pipe.StartFailed(_start_failure(error)))
            return 3
        if options.memory > 0 and not handler.device.startswith("cuda"):  # CUDA maps far more than it uses
            limit_memory(options.memory * 2**20 + (options.threads or os.cpu_count() or 1) * THREAD_BYTES)
        gc.freeze()  # torch's 200,000 objects stay: to look through them takes 0.2 s, in the middle of a drag
        pipe.write(stdout, pipe.Ready(handler.device, handler.models))
        while True:
            sequence, parts = orders.next_job()
            code, frames = answer(handler, parts, _Reporter(sequence, orders, stdout), sequence)
            pipe.write(stdout, pipe.Done(sequence, code), frames)
    except BrokenPipeError:
        return 0


def _make_service(device: str, threads: int, body: Path | None, models: Sequence[Path], trust_models: bool) -> Handler:
    # not at the top: torch takes seconds to import, and a failure has to be reported through the pipe
    from ikol.threads import wait_without_spinning  # noqa: PLC0415

    wait_without_spinning()
    from solver_server.service import make_service  # noqa: PLC0415

    return make_service(device, threads, body, models, trust_models=trust_models)


def _start_failure(error: Exception) -> str:
    match error:
        case IkolError():
            return str(error)
        case ImportError():
            return f"a package is missing in the solver's Python ({error}); install the solver again"
        case _:
            return f"the solver cannot start ({type(error).__name__}: {error}); its log has the details"


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keep stdin and stdout for the control process alone, whatever a library prints or reads."""
    stdin = os.fdopen(os.dup(0), "rb")
    stdout = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return stdin, stdout


if __name__ == "__main__":
    sys.exit(main())

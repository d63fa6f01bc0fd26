# SPDX-License-Identifier: Apache-2.0
"""A dispatcher with all around it: a worker that notes what it is told, a clock set by hand, the replies."""

from collections.abc import Sequence
from typing import Any

from solver_server import pipe, protocol
from solver_server.dispatcher import Dispatcher, ServerInfo
from solver_server.protocol import FrameWriter
from solver_server.supervisor import Problem

ANN, BOB = b"ann", b"bob"


class FakeWorker:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.device = "fake"
        self.models: tuple[str, ...] = ()
        self.restarts = 0
        self.problem: Problem | None = None
        self.pid = 4242
        self.is_ready = True
        self.jobs: list[tuple[int, Any]] = []
        self.aborted: list[int] = []
        self.kills = 0

    def run(self, sequence: int, frames: Sequence[bytes]) -> None:
        self.jobs.append((sequence, protocol.decode_request(frames)[0]))

    def abort(self, sequence: int) -> None:
        self.aborted.append(sequence)

    def kill(self) -> None:
        self.kills += 1


class Stage:
    """A dispatcher with everything around it."""

    def __init__(self, is_shared: bool = False) -> None:
        self.now = 100.0
        self.worker = FakeWorker()
        self.sent: list[tuple[bytes, Any]] = []
        info = ServerInfo("ikol test", "cafe", "auto", versions={"python": "3"}, is_shared=is_shared)
        self.behind: set[bytes] = set()
        self.dispatcher = Dispatcher(
            self.worker, self._send, info, clock=lambda: self.now, is_behind=self.behind.__contains__
        )
        for client in (ANN, BOB):
            self.ask(client, protocol.Hello(id=0, protocol=(1, 0), client="test"))
        self.sent.clear()

    def _send(self, client: bytes, frames: Sequence[bytes], is_droppable: bool = False) -> None:
        reply, _ = protocol.decode_reply(frames)
        assert is_droppable == isinstance(reply, protocol.Progress)
        self.sent.append((client, reply))

    def ask(self, client: bytes, request: protocol.Request, writer: FrameWriter | None = None, owner: str = "") -> None:
        self.dispatcher.on_request(client, protocol.encode(request, writer), owner)

    def detect(
        self, client: bytes, request_id: int, image: bytes = b"x", owner: str = "", timeout: float | None = None
    ) -> None:
        writer = FrameWriter()
        request = protocol.Detect(id=request_id, image=writer.add_blob(image), timeout_seconds=timeout)
        self.ask(client, request, writer, owner)

    def solve(self, client: bytes, request_id: int) -> None:
        self.ask(client, protocol.Solve(id=request_id, evidence=()))

    def inspect(self, client: bytes, request_id: int) -> None:
        self.ask(client, protocol.Inspect(id=request_id, evidence=()))

    def alternatives(self, client: bytes, request_id: int) -> None:
        self.ask(client, protocol.Alternatives(id=request_id, evidence=(), limb="left_arm"))

    def cancel(self, client: bytes, request_id: int, target: int) -> None:
        self.ask(client, protocol.Cancel(id=request_id, target=target))

    def finish(self, code: str | None = None) -> None:
        """Let the worker finish what it was given last."""
        sequence, request = self.worker.jobs[-1]
        reply = protocol.ShutdownReply(id=request.id)  # any reply will do: it is passed on as it is
        self.dispatcher.on_worker(pipe.Done(sequence, code), protocol.encode(reply))

    def step(self, fraction: float) -> None:
        self.dispatcher.on_worker(pipe.Step(self.worker.jobs[-1][0], fraction, "step"), ())

    def take(self) -> list[tuple[bytes, int | None, str]]:
        """Give client, id and kind (or error code) of what was sent since the last call."""
        sent = [(client, reply.id, kind(reply)) for client, reply in self.sent]
        self.sent.clear()
        return sent

    @property
    def given(self) -> list[int]:
        """The ids of the requests that the worker was given."""
        return [request.id for _, request in self.worker.jobs]


def kind(reply: Any) -> str:
    return reply.code if isinstance(reply, protocol.Error) else reply.__struct_config__.tag

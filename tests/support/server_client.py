# SPDX-License-Identifier: Apache-2.0
"""Starts a server process and talks to it as the add-on does, with time limits everywhere."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import zmq

from solver_server import protocol

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = Path(__file__).resolve().parent
FAKE_SERVER = [sys.executable, str(SUPPORT / "fake_server.py")]
PATIENCE = 60.0  # seconds; far more than anything takes, so that a loaded machine does not fail a test


class ServerProcess:
    """A running server and the key that it lets in."""

    def __init__(
        self,
        command: Sequence[str] = FAKE_SERVER,
        arguments: Sequence[str] = (),
        log: Path | None = None,
        line: bytes | None = None,
        **environment: str,
    ) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._clients: list[Client] = []
        self.is_shared = "--listen-file" in arguments
        self.public_key, self.secret_key = zmq.curve_keypair()
        paths = os.pathsep.join([str(ROOT), str(SUPPORT)])
        start = time.perf_counter()
        with log.open("ab") if log is not None else open(os.devnull, "wb") as stderr:
            self.process = subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, "PYTHONPATH": paths, **environment},
                cwd=ROOT,
            )
        assert self.process.stdin is not None
        if line is None:
            invitation = {"client_key": self.public_key.decode(), "protocol": [1, 0]}
            line = b"" if self.is_shared else json.dumps(invitation).encode() + b"\n"
        self.process.stdin.write(line)
        self.process.stdin.flush()
        self.answer = self._read_answer()
        self.start_seconds = time.perf_counter() - start

    def client(self, **options: Any) -> "Client":
        """Give a client that is let in, open until the server stops; `options` are those of `Client`."""
        self._clients.append(Client(self, **options))
        return self._clients[-1]

    def close_stdin(self) -> None:
        """Do what the death of the parent does."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def stop(self) -> None:
        """End the process and the context."""
        self.close_stdin()
        if self.is_shared:
            self.process.terminate()
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            for client in self._clients:
                client.socket.close()
            self.context.term()

    def __enter__(self) -> "ServerProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _read_answer(self) -> dict[str, Any]:
        stdout = self.process.stdout
        assert stdout is not None
        lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=lambda: lines.put(stdout.readline()), daemon=True).start()
        return json.loads(lines.get(timeout=PATIENCE) or b"{}")


class Client:
    """A DEALER with ids of its own."""

    def __init__(
        self,
        server: ServerProcess,
        is_greeted: bool = True,
        keys: tuple[bytes, bytes] | None = None,
        port: int | None = None,
        **options: Any,
    ) -> None:
        self.socket = server.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.curve_serverkey = server.answer["server_key"].encode()
        self.socket.curve_publickey, self.socket.curve_secretkey = keys or (server.public_key, server.secret_key)
        for name, value in options.items():
            setattr(self.socket, name, value)
        self.socket.connect(f"tcp://127.0.0.1:{port or server.answer['port']}")
        self.last_id = 0
        self.progress: list[protocol.Progress] = []
        self.hello_reply: Any = self.ask(self.hello()) if is_greeted else None

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def next_id(self) -> int:
        """Give an id that was not used yet."""
        self.last_id += 1
        return self.last_id

    def hello(self, version: tuple[int, int] = protocol.PROTOCOL_VERSION) -> protocol.Hello:
        """Give a hello."""
        return protocol.Hello(id=self.next_id(), protocol=version, client="test")

    def send(self, message: protocol.Request, frames: protocol.FrameWriter | None = None) -> int:
        """Send a request; give its id."""
        self.socket.send_multipart(protocol.encode(message, frames))
        return message.id

    def detect(self, command: str, timeout: float | None = None) -> int:
        """Send a detect that carries a command for the fake handler; give its id."""
        writer = protocol.FrameWriter()
        image = writer.add_blob(command.encode())
        return self.send(protocol.Detect(id=self.next_id(), image=image, timeout_seconds=timeout), writer)

    def solve(self, command: str = "") -> int:
        """Send a solve that carries a command for the fake handler; give its id."""
        return self.send(protocol.Solve(id=self.next_id(), evidence=(), body=command))

    def aside(self, kind: str, command: str = "", timeout: float | None = None) -> int:
        """Send an inspect or alternatives that carries a command for the fake handler; give its id."""
        options: dict[str, Any] = {"id": self.next_id(), "evidence": (), "body": command, "timeout_seconds": timeout}
        if kind == "inspect":
            return self.send(protocol.Inspect(**options))
        return self.send(protocol.Alternatives(**options, limb="head"))

    def receive(self, timeout: float = PATIENCE) -> Any:
        """Give the next reply, or None when none comes; progress is kept aside."""
        deadline = time.monotonic() + timeout
        while self.socket.poll(max(0, int((deadline - time.monotonic()) * 1000))):
            reply, _ = protocol.decode_reply(self.socket.recv_multipart())
            if not isinstance(reply, protocol.Progress):
                return reply
            self.progress.append(reply)
        return None

    def receive_for(self, request_id: int) -> Any:
        """Give the reply to one request; others are thrown away."""
        while (reply := self.receive()) is not None and reply.id != request_id:
            pass
        return reply

    def wait_for_progress(self) -> protocol.Progress:
        """Wait until the worker has begun with a request."""
        assert self.socket.poll(int(PATIENCE * 1000))
        reply, _ = protocol.decode_reply(self.socket.recv_multipart())
        assert isinstance(reply, protocol.Progress), reply
        return reply

    def ask(self, message: protocol.Request, frames: protocol.FrameWriter | None = None) -> Any:
        """Send a request and give its reply."""
        return self.receive_for(self.send(message, frames))

    def ping(self) -> protocol.Pong:
        """Ping."""
        return self.ask(protocol.Ping(id=self.next_id()))

    def stats(self) -> protocol.StatsReply:
        """Ask for the counters."""
        return self.ask(protocol.Stats(id=self.next_id()))

    def wait_until_ready(self) -> protocol.Pong:
        """Ping until the worker is ready or has a problem."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            pong = self.ping()
            if pong.ready or pong.problem:
                return pong
            time.sleep(0.01)
        raise AssertionError("the worker does not become ready")

# SPDX-License-Identifier: Apache-2.0
"""A solver client with everything around it in the test's hands: processes, sockets, and the clock."""

from pathlib import Path

import numpy as np

from blender_addon._vendor import solver_protocol as wire
from blender_addon.client.process import Handshake, SolverConfig
from blender_addon.client.solver import Solver
from blender_addon.core.errors import Fix, SolverError
from blender_addon.core.jobs import Job, SolveCall, solve_keypoints
from blender_addon.core.record import Keypoints3D
from blender_addon.core.solver_state import Phase


def keypoints(number: float) -> Keypoints3D:
    """Give evidence that can be told from others by its number."""
    return Keypoints3D(("nose", "left_wrist"), ((number, 1.6, 0.0), (0.5, 1.0, 0.0)), (0.02, 0.02))


def question(number: float) -> SolveCall:
    """Give a live solve with this number."""
    return SolveCall((keypoints(number),))


def job(number: float = -1.0) -> Job:
    """Give a job of one solve with this number."""
    return Job(solve_keypoints("p.json", keypoints(number)))


def number_of(request: wire.Solve, frames: wire.Frames) -> float:
    """Give the number of a solve that was sent."""
    return float(np.asarray(frames.array(request.evidence[0].points))[0, 0])


def solution(request_id: int, number: float) -> list[bytes]:
    """Give the answer to a solve: the body stands at its number."""
    writer = wire.FrameWriter()

    def add(values):
        return writer.add_array(np.ascontiguousarray(values, dtype="<f4").data)

    quats = np.tile([1.0, 0.0, 0.0, 0.0], (24, 1))
    pose = wire.PoseSpec(add([number, 0.0, 0.0]), add(quats), add(np.zeros(10)))
    points, pixels = add(np.zeros((1, 3))), add(np.zeros((0, 2)))
    reply = wire.SolveReply(
        request_id, pose, None, add(np.zeros((24, 3))), ("nose",), points, pixels, "converged", 3, 1.0, -1.0, 0.001
    )
    return wire.encode(reply, writer)


class ScriptedProcess:
    """A process that says what it is told to say."""

    def __init__(self, pid):
        self.handshake = Handshake(1, "k" * 40, pid, (1, 2), "s")
        self.exit_code = None
        self.pid = pid
        self.was_killed = self.was_stopped = False

    def poll_handshake(self):
        if self.handshake is None and self.exit_code is not None:
            raise self.exit_error()
        return self.handshake

    def drain(self):
        pass

    def exit_error(self):
        return SolverError(f"it ended by signal {-self.exit_code}", Fix.START)

    def stop(self):
        self.was_stopped = True

    def kill(self):
        self.was_killed = True
        self.exit_code = -9

    def release(self, _seconds):
        self.kill()


class ScriptedTransport:
    """A socket whose other end is the test."""

    def __init__(self):
        self.sent, self.frames, self.incoming, self.is_closed, self.is_full = [], {}, [], False, False

    def send(self, parts):
        assert not self.is_closed
        if self.is_full:
            return False
        request, frames = wire.decode_request(parts)
        self.sent.append(request)
        self.frames[request.id] = frames
        return True

    def receive(self):
        assert not self.is_closed
        return self.incoming.pop(0) if self.incoming else None

    def wait(self, _seconds):
        return bool(self.incoming)

    def close(self):
        self.is_closed = True

    def reply(self, message):
        """Have the client receive a message, given as such or as frames."""
        self.incoming.append(message if isinstance(message, list) else wire.encode(message))


class Scripted:
    """The client with its processes; `process` and `transport` are the newest."""

    def __init__(self):
        self.now = 0.0
        self.processes, self.transports = [], []
        self.client = Solver(self._launch, self._connect, lambda: self.now)
        self.config = SolverConfig("python", "cpu", Path("solver.log"))

    @property
    def process(self):
        return self.processes[-1]

    @property
    def transport(self):
        return self.transports[-1]

    def _launch(self, _config):
        self.processes.append(ScriptedProcess(100 + len(self.processes)))
        return self.processes[-1]

    def _connect(self, _handshake, _process):
        self.transports.append(ScriptedTransport())
        return self.transports[-1]

    def sent(self, kind):
        """Give the messages of a kind that the newest process was sent."""
        return [message for message in self.transport.sent if isinstance(message, kind)]

    def numbers(self):
        """Give the numbers of the solves that the newest process was sent."""
        return [number_of(request, self.transport.frames[request.id]) for request in self.sent(wire.Solve)]

    def look(self, seconds=0.0, step=0.5):
        """Let time pass while the client looks as often as Blender's timer does."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + step, end)
            self.client.pump()
        self.client.pump()

    def welcome(self, is_ready=True):
        """Answer the newest hello, and a ping."""
        self.client.pump()
        hello = self.sent(wire.Hello)[-1]
        self.transport.reply(wire.HelloReply(hello.id, (1, 2), "s", "s", "auto"))
        self.transport.reply(wire.Pong(0, is_ready, False, 0, "cpu"))
        self.client.pump()

    def pong(self):
        """Answer the newest ping."""
        self.transport.reply(wire.Pong(self.sent(wire.Ping)[-1].id, True, False, 0, "cpu"))

    def answer(self):
        """Answer the newest solve with its own number."""
        request = self.sent(wire.Solve)[-1]
        self.transport.reply(solution(request.id, number_of(request, self.transport.frames[request.id])))

    def refuse(self, code, text="no"):
        """Refuse the newest solve."""
        self.transport.reply(wire.Error(self.sent(wire.Solve)[-1].id, code, text))

    def run_up(self):
        """Start and be welcomed."""
        self.client.start(self.config)
        self.welcome()
        assert self.client.state.phase is Phase.RUNNING

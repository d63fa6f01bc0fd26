# SPDX-License-Identifier: Apache-2.0
"""Mixed traffic for as long as is wanted, and what it did to the server: for the tests and for scripts/soak.

30 % of it is bad, 6 % are clients that go away in the middle of a request, 6 % run into their deadline, 6 % are
cancelled, the rest are pictures of 300 KB and solves. With the fake worker a request costs what the server costs.
"""

import random
import statistics
import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import protocol_cases
import psutil
from server_client import FAKE_SERVER, Client, ServerProcess

from solver_server import protocol

PICTURE = "x" * 300_000
KEYPOINTS = {
    "L_Hip": (0.1, 1.0, 0.0),
    "R_Hip": (-0.1, 1.0, 0.0),
    "L_Shoulder": (0.18, 1.5, 0.0),
    "R_Shoulder": (-0.18, 1.5, 0.0),
    "L_Wrist": (0.3, 1.2, 0.35),
    "R_Wrist": (-0.6, 1.6, 0.1),
}
WARM_UP_SHARE = 0.3
MIB = 2**20


@dataclass
class Sample:
    """How large the server was at some time."""

    seconds: float
    memory_mib: float
    worker_mib: float
    descriptors: int


@dataclass
class Report:
    """What a soak has seen."""

    requests: Counter[str] = field(default_factory=Counter[str])
    lost: int = 0
    restarts: int = 0
    samples: list[Sample] = field(default_factory=list[Sample])

    @property
    def late(self) -> list[Sample]:
        """The samples after the warm-up."""
        end = self.samples[-1].seconds
        return [sample for sample in self.samples if sample.seconds > WARM_UP_SHARE * end]

    def growth_mib(self, value: Callable[[Sample], float]) -> float:
        """Give what the last quarter has more than the first one, after the warm-up, by their medians."""
        values = [value(sample) for sample in self.late]
        quarter = max(1, len(values) // 4)
        return statistics.median(values[-quarter:]) - statistics.median(values[:quarter])

    def slope_mib_per_minute(self, value: Callable[[Sample], float]) -> float:
        """Give the slope of the line through the samples after the warm-up."""
        late = self.late
        slope = statistics.linear_regression([sample.seconds for sample in late], [value(sample) for sample in late])
        return 60 * slope.slope

    def problems(self, max_slope: float, max_growth: float) -> list[str]:
        """Give what is wrong, in sentences.

        Args:
            max_slope: MiB a minute; tells only in a soak of many minutes.
            max_growth: MiB, which a short soak may show without any leak.
        """
        wrong = [f"{self.lost} replies are missing"] if self.lost else []
        memories: dict[str, Callable[[Sample], float]] = {
            "server": lambda sample: sample.memory_mib,
            "worker": lambda sample: sample.worker_mib,
        }
        for name, value in memories.items():
            slope, growth = self.slope_mib_per_minute(value), self.growth_mib(value)
            if slope > max_slope and growth > max_growth:
                wrong.append(f"the {name} grows by {slope:.2f} MiB a minute, {growth:.1f} MiB in all")
        descriptors = [sample.descriptors for sample in self.late]
        quarter = max(1, len(descriptors) // 4)
        if max(descriptors[-quarter:]) > max(descriptors[:quarter]) + 4:
            wrong.append(f"descriptors rise from {max(descriptors[:quarter])} to {max(descriptors[-quarter:])}")
        return wrong

    def summary(self) -> str:
        """Give the numbers in a few lines."""
        first, last = self.late[0], self.late[-1]
        minutes = self.samples[-1].seconds / 60
        return "\n".join([
            f"{minutes:.1f} minutes, {self.requests.total()} requests {dict(self.requests)}, {self.lost} lost, "
            f"{self.restarts} restarts of the worker",
            f"server {first.memory_mib:.1f} -> {last.memory_mib:.1f} MiB, "
            f"{self.slope_mib_per_minute(lambda sample: sample.memory_mib):+.3f} MiB a minute",
            f"worker {first.worker_mib:.1f} -> {last.worker_mib:.1f} MiB, "
            f"{self.slope_mib_per_minute(lambda sample: sample.worker_mib):+.3f} MiB a minute",
            f"descriptors {first.descriptors} -> {last.descriptors}",
        ])  # fmt: skip


class Work:
    """Requests for the fake worker, which costs nothing: what is seen is the server."""

    command: Sequence[str] = FAKE_SERVER
    options: Sequence[str] = ()

    def long(self, client: Client, timeout: float | None = None) -> int:
        """Send something that takes longer than the test waits for it."""
        return client.detect("work 5", timeout)

    def picture(self, client: Client) -> int:
        """Send a picture."""
        return client.detect(PICTURE)

    def solve(self, client: Client) -> int:
        """Send evidence."""
        return client.solve()


class RealWork(Work):
    """Requests for the worker as it is shipped: what is seen is torch."""

    command = (sys.executable, "-m", "solver_server")
    options = ("--device", "cpu", "--threads", "1")

    def __init__(self, photo: Path) -> None:
        self._photo = photo.read_bytes()

    def long(self, client: Client, timeout: float | None = None) -> int:
        """Send a picture: it takes some tenths of a second."""
        writer = protocol.FrameWriter()
        image = writer.add_blob(self._photo)
        return client.send(protocol.Detect(client.next_id(), image, timeout_seconds=timeout), writer)

    def picture(self, client: Client) -> int:
        """Send a picture."""
        return self.long(client)

    def solve(self, client: Client) -> int:
        """Send keypoints."""
        writer = protocol.FrameWriter()
        points = array("d", [number for point in KEYPOINTS.values() for number in point])
        shaped = memoryview(points).cast("B").cast("d", shape=[len(KEYPOINTS), 3])
        sigma = writer.add_array(array("d", [0.02] * len(KEYPOINTS)))
        block = protocol.Keypoints3D(tuple(KEYPOINTS), writer.add_array(shaped), sigma)
        return client.send(protocol.Solve(client.next_id(), (block,)), writer)


def soak(seconds: float, seed: int = 0, work: Work | None = None, **environment: str) -> Report:
    """Run mixed traffic against a server.

    Args:
        seconds: How long.
        seed: Of the traffic.
        work: What is asked, and of which server; by default of the one with the fake worker.
        environment: Variables for the server; FAKE_LEAK makes the fake one leak.
    """
    work = work or Work()
    rng = random.Random(seed)
    report = Report()
    kinds = ("detect", "solve", "inspect", "alternatives", "ping", "hello", "cancel", "stats")
    originals = [protocol_cases.encoded(name) for name in kinds]
    with ServerProcess(work.command, work.options, **environment) as server:
        client = server.client()
        client.wait_until_ready()
        process = psutil.Process(server.process.pid)
        start = time.monotonic()
        while (now := time.monotonic() - start) < seconds:
            for _ in range(20):
                kind = _pick(rng)
                report.requests[kind] += 1
                report.lost += not _play(kind, work, server, client, originals, rng)
            stats = client.stats()
            report.samples.append(
                Sample(now, process.memory_info().rss / MIB, stats.worker_memory_bytes / MIB, process.num_fds())
            )
        report.restarts = client.stats().worker_restarts
    return report


def _pick(rng: random.Random) -> str:
    shares = {"bad": 30, "gone": 6, "timeout": 6, "cancel": 6, "picture": 26, "solve": 26}
    return rng.choices([*shares], [*shares.values()])[0]


def _play(
    kind: str, work: Work, server: ServerProcess, client: Client, originals: Sequence[list[bytes]], rng: random.Random
) -> bool:
    """Do one thing; tell whether every reply came that was due."""
    match kind:
        case "bad":
            parts = [rng.randbytes(50)] if rng.random() < 0.5 else protocol_cases.damaged(rng, rng.choice(originals))
            client.socket.send_multipart(parts)
            reply = client.receive()
            if _code(reply) == "unsupported_version":  # damaged just so; after it the server knows us no more
                client.ask(client.hello())
            return reply is not None
        case "gone":
            with Client(server) as visitor:
                (work.long if rng.random() < 0.5 else work.picture)(visitor)
            return _wait_until_idle(client)
        case "timeout":
            return _code(client.receive_for(work.long(client, timeout=0.02))) == "timeout"
        case "cancel":
            request = work.long(client)
            client.send(protocol.Cancel(client.next_id(), target=request))
            error, reply = client.receive(), client.receive()
            return _code(error) == "cancelled" and isinstance(reply, protocol.CancelReply)
        case "picture":
            return isinstance(client.receive_for(work.picture(client)), protocol.DetectReply)
        case _:
            return isinstance(client.receive_for(work.solve(client)), protocol.SolveReply)


def _code(reply: object) -> str:
    return reply.code if isinstance(reply, protocol.Error) else ""


def _wait_until_idle(client: Client) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        pong = client.ping()
        if pong.ready and not pong.busy and not pong.queued:
            return True
        time.sleep(0.005)
    return False

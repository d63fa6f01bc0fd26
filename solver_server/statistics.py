# SPDX-License-Identifier: Apache-2.0
"""Counters and latencies of the control process, and the memory of processes. Cheap: sorted only when asked for."""

import mmap
import platform
from collections import Counter, defaultdict, deque
from importlib import metadata
from pathlib import Path

from solver_server.protocol import Latency

KEPT = 1000  # latencies of each kind, of which the quantiles are
PACKAGES = ("ikol", "torch", "pyzmq", "msgspec")


class Statistics:
    """What happened since the start."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._latest: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=KEPT))
        self._totals: Counter[str] = Counter()

    def note(self, kind: str, seconds: float) -> None:
        """Add a latency."""
        self._totals[kind] += 1
        self._latest[kind].append(seconds)

    def latencies(self) -> dict[str, Latency]:
        """Give the quantiles of the latest latencies, by kind."""
        result: dict[str, Latency] = {}
        for kind, latest in self._latest.items():
            ordered = sorted(latest)
            p50, p90, p99 = (ordered[min(int(len(ordered) * share), len(ordered) - 1)] for share in (0.5, 0.9, 0.99))
            result[kind] = Latency(count=self._totals[kind], p50=p50, p90=p90, p99=p99, max=ordered[-1])
        return result


def resident_bytes(pid: int) -> int:
    """Give the resident memory of a process, 0 where the system does not say (it does on Linux)."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * mmap.PAGESIZE


def versions() -> dict[str, str]:
    """Give the versions of Python and of the packages that matter, without importing them."""
    result = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            result[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            result[package] = "(not installed)"
    return result

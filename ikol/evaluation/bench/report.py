# SPDX-License-Identifier: Apache-2.0
"""A line of the report, and how its time is taken. Imports: torch."""

import json
import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import torch

Backend = Literal["native", "torch"]


@dataclass(frozen=True)
class BenchCase:
    """One line of the report."""

    case: str
    batch: int
    backend: str
    frames_per_s: float
    us_per_frame: float
    """The fastest of the repeats: other programs only ever make it slower."""
    residual_mm: float | None
    """Mean distance of the solved joints: from their keypoints, noise included, where nothing else is known (`paper`),
    otherwise from the true pose."""
    converged: float | None
    """Part of the frames."""
    peer: str | None = None
    """What else was measured beside it."""
    ratio: float | None = None
    """How many times faster than `peer`."""
    note: str = ""


def timed_case(
    case: str, batch: int, backend: str, seconds_per_frame: float, residual_mm: float | None, converged: float | None
) -> BenchCase:
    """Return a line from the time of one frame."""
    return BenchCase(
        case=case,
        batch=batch,
        backend=backend,
        frames_per_s=1.0 / seconds_per_frame,
        us_per_frame=1e6 * seconds_per_frame,
        residual_mm=residual_mm,
        converged=converged,
    )


def fastest(run: Callable[[], object], seconds: float, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the shortest time of the runs that fit, two at least, after one that counts only if it is a long one."""
    start = clock()
    run()
    first = clock() - start
    if first > max(4 * seconds, 1.0):
        return first
    shortest, end, repeats = math.inf, time.perf_counter() + seconds, 0
    while repeats < 2 or time.perf_counter() < end:
        start = clock()
        run()
        shortest = min(shortest, clock() - start)
        repeats += 1
    return shortest


def report_line(case: BenchCase | None) -> str:
    """Return a case as a line of text, or the heads of the columns."""
    if case is None:
        return (
            f"{'case':15}{'batch':>6} {'backend':8}{'frames/s':>12}{'us/frame':>11}{'residual mm':>12}{'converged':>10}"
        )
    residual = "-" if case.residual_mm is None else f"{case.residual_mm:.3f}"
    converged = "-" if case.converged is None else f"{case.converged:.2%}"
    line = f"{case.case:15}{case.batch:6} {case.backend:8}{case.frames_per_s:12,.0f}{case.us_per_frame:11.2f}"
    line += f"{residual:>12}{converged:>10}"
    ratio = "" if case.ratio is None else f"{case.ratio:.3g} x {case.peer} "
    return f"{line}  {ratio}{case.note}".rstrip()


def report_json(cases: Sequence[BenchCase]) -> str:
    """Return the cases and the machine as JSON."""
    machine = {"processor": platform.machine(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    return json.dumps({"machine": machine, "cases": [asdict(case) for case in cases]}, indent=2)

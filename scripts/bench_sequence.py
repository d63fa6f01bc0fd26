# SPDX-License-Identifier: Apache-2.0
"""Time a sequence solved as a whole, split into its parts, and compare it with the truth.

Each frame is solved by itself first, which is the start; both are timed.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch

from ikol.evaluation.sequence_case import SequenceCase, score, sequence_case
from ikol.solver import solve
from ikol.solver.sequence import solve_sequence, steps
from ikol.solver.sequence.model import SequenceModel

PARTS = {
    "assembly": (SequenceModel, "equations"),
    "factorisation": (steps, "solve_band"),
    "costs": (SequenceModel, "at"),
}

_P = ParamSpec("_P")
_R = TypeVar("_R")


class _Clock:
    """Adds up how long functions take."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: defaultdict[str, int] = defaultdict(int)

    def wrap(self, name: str, function: Callable[_P, _R]) -> Callable[_P, _R]:
        def timed(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            self.seconds[name] += time.perf_counter() - start
            self.calls[name] += 1
            return result

        return timed


def measure(case: SequenceCase, repeats: int) -> dict[str, object]:
    """Return times (the fastest of the repeats), how it ended, and the scores before and after."""
    frames = case.frames
    begin = time.perf_counter()
    start = solve(frames.skeleton, frames.evidence, frames.start, frames.config)
    start_seconds = time.perf_counter() - begin
    best: dict[str, object] = {"seconds": float("inf")}
    originals = {part: getattr(owner, name) for part, (owner, name) in PARTS.items()}
    for _ in range(repeats):
        clock = _Clock()
        for part, (owner, name) in PARTS.items():
            setattr(owner, name, clock.wrap(part, originals[part]))
        begin = time.perf_counter()
        result = solve_sequence(frames.skeleton, frames.evidence, start.state, case.sequence_evidence, case.config)
        seconds = time.perf_counter() - begin
        if seconds < float(str(best["seconds"])):
            best = {
                "seconds": seconds,
                "parts": {part: round(spent, 4) for part, spent in clock.seconds.items()},
                "calls": dict(clock.calls),
                "iterations": result.iterations,
                "status": result.status.name,
                "after": asdict(score(case, result.state)),
            }
    for part, (owner, name) in PARTS.items():
        setattr(owner, name, originals[part])
    start_parts = {"start_seconds": start_seconds, "before": asdict(score(case, start.state))}
    return {"frames": len(frames.truth.transl), "threads": torch.get_num_threads(), **start_parts, **best}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[1000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    reports = [measure(sequence_case(frames), options.repeats) for frames in options.frames]
    for report in reports:
        print(json.dumps(report, indent=2))
    if options.json is not None:
        options.json.write_text(json.dumps(reports, indent=2) + "\n")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""A sequence whose frames are linked: smoothness, contacts, a floor. Imports: torch, the solver, its cases."""

from dataclasses import replace

from ikol.evaluation.bench.report import Backend, BenchCase, fastest, timed_case
from ikol.evaluation.sequence_case import score, sequence_case
from ikol.solver import SolveResult, solve
from ikol.solver.sequence import SequenceResult, solve_sequence


def bench_sequence(frames: int, backend: Backend, seconds: float) -> BenchCase:
    """Time a walk before a camera, all frames together; the note has the time of their starts, each frame by itself."""
    case = sequence_case(frames)
    given = case.frames

    def find_start() -> SolveResult:
        return solve(given.skeleton, given.evidence, given.start, replace(given.config, backend=backend))

    start = find_start().state
    config = replace(case.config, backend=backend)

    def run() -> SequenceResult:
        return solve_sequence(given.skeleton, given.evidence, start, case.sequence_evidence, config)

    result = run()
    line = timed_case(
        f"sequence{frames}",
        frames,
        backend,
        fastest(run, seconds) / frames,
        residual_mm=score(case, result.state).error,
        converged=float(result.status == 0),
    )
    return replace(line, note=f"{fastest(find_start, seconds):.2f} s for the starts")

# SPDX-License-Identifier: Apache-2.0
"""A sequence whose frames are linked: smoothness, contacts, a floor. Imports: torch, the solver, its cases."""

from dataclasses import replace

from ikol.evaluation.bench.report import Backend, BenchCase, fastest, timed_case
from ikol.evaluation.sequence_case import score, sequence_case
from ikol.solver import solve
from ikol.solver.sequence import SequenceResult, solve_sequence


def bench_sequence(frames: int, backend: Backend, seconds: float) -> BenchCase:
    """Time a walk before a camera: each frame by itself, as a start, and then all of them together."""
    case = sequence_case(frames)
    given = case.frames
    config = replace(given.config, backend=backend)

    def run() -> SequenceResult:
        start = solve(given.skeleton, given.evidence, given.start, config)
        return solve_sequence(given.skeleton, given.evidence, start.state, case.sequence_evidence, case.config)

    result = run()
    return timed_case(
        f"sequence{frames}",
        frames,
        backend,
        fastest(run, seconds) / frames,
        residual_mm=score(case, result.state).error,
        converged=float(result.status == 0),
    )

# SPDX-License-Identifier: Apache-2.0
"""The general solve: all evidence of a photograph, and trees of any size. Imports: torch, the solver, its cases."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.evaluation.bench.report import Backend, BenchCase, fastest, timed_case
from ikol.evaluation.photo_case import SolveCase, photo_case, tree_case
from ikol.solver import Points2D, PreparedSolve, RelativePoints3D, SolveResult, Twist, solve

SINGLES = {"native": 16, "torch": 1}  # frames whose mean is the time of one


def bench_photo(batch: int, backend: Backend, seconds: float) -> BenchCase:
    """Time 33 landmarks on the picture and in space, limits, anchor and twists; a batch of one over several frames."""
    seeds = range(SINGLES[backend] if batch == 1 else 1)
    return _bench("photo", [photo_case(batch, seed=seed) for seed in seeds], backend, seconds)


def bench_joints(joints: int, batch: int, backend: Backend, seconds: float) -> BenchCase:
    """Time positions and a weak anchor on a random tree: how the cost grows."""
    return _bench(f"joints{joints}", [tree_case(joints, batch)], backend, seconds)


def _bench(name: str, cases: Sequence[SolveCase], backend: Backend, seconds: float) -> BenchCase:
    run = _repeated(cases, backend) if len(cases[0].truth.transl) == 1 else _whole(cases, backend)
    results = run()
    status = torch.cat([result.status for result in results])
    distance = torch.cat([_distance(case, result) for case, result in zip(cases, results, strict=True)])
    return timed_case(
        name,
        len(cases[0].truth.transl),
        backend,
        fastest(run, seconds) / len(status),
        residual_mm=1e3 * float(distance.mean()),
        converged=float((status == 0).double().mean()),
    )


def _whole(cases: Sequence[SolveCase], backend: Backend) -> Callable[[], list[SolveResult]]:
    return lambda: [
        solve(case.skeleton, case.evidence, case.start, replace(case.config, backend=backend)) for case in cases
    ]


def _repeated(cases: Sequence[SolveCase], backend: Backend) -> Callable[[], list[SolveResult]]:
    """One frame after the other with what does not change prepared, as in a drag."""
    first = cases[0]
    prepared = PreparedSolve(first.skeleton, first.evidence, first.start, replace(first.config, backend=backend))
    inputs = [(case.start, _targets(case)) for case in cases]
    return lambda: [prepared.solve(start, targets) for start, targets in inputs]


def _targets(case: SolveCase) -> dict[str, Tensor]:
    targets = {block.name: block.target for block in case.evidence if isinstance(block, Points2D | RelativePoints3D)}
    return targets | {block.name: block.angle for block in case.evidence if isinstance(block, Twist)}


def _distance(case: SolveCase, result: SolveResult) -> Float[Tensor, "frames joints"]:
    """How far the joints are from the truth, metres: the evidence is not all of one kind."""
    gap = case.skeleton.pose(result.state).joints - case.skeleton.pose(case.truth).joints
    return torch.linalg.vector_norm(gap, dim=-1)

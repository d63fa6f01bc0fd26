# SPDX-License-Identifier: Apache-2.0
"""Which cases there are. Imports: the modules beside it."""

from collections.abc import Callable, Sequence
from functools import partial

from ikol.errors import InputError
from ikol.evaluation.bench.general import bench_joints, bench_photo
from ikol.evaluation.bench.gradients import LAYER, NOTHING, SOLVES, THROUGH_TORCH, bench_gradient
from ikol.evaluation.bench.paper import bench_paper, bench_paper_joints
from ikol.evaluation.bench.report import Backend, BenchCase
from ikol.evaluation.bench.sequence import bench_sequence
from ikol.evaluation.bench.training import bench_train_step

JOINTS = (24, 52, 104, 300)
TRAINING_BATCH = 256
GROWTH_BATCH = 64
MOST_TORCH = 64  # the general reference takes some 10 ms a frame
WITH_TORCH = ("paper", "photo")  # the reference is timed on these, on the others if it is asked for alone
_Bench = Callable[[int, Backend, float], BenchCase]
CASES: dict[str, tuple[_Bench, int | None]] = {
    "paper": (bench_paper, None),
    "photo": (bench_photo, None),
    **{f"paper{joints}": (partial(bench_paper_joints, joints), TRAINING_BATCH) for joints in JOINTS},
    **{f"joints{joints}": (partial(bench_joints, joints), GROWTH_BATCH) for joints in JOINTS},
    "sequence1000": (bench_sequence, 1000),
    "train_step": (bench_train_step, TRAINING_BATCH),
    **{
        f"backward_{name}": (partial(bench_gradient, name), TRAINING_BATCH if name in THROUGH_TORCH else None)
        for name in (*LAYER, NOTHING, *SOLVES)
    },
}
"""What measures a case, and its batch where that is not for the user to choose."""


def bench_solver(
    cases: Sequence[str] = ("paper",),
    batches: Sequence[int] = (1, 256, 4096),
    backends: Sequence[Backend] = ("native", "torch"),
    *,
    seconds: float = 2.0,
) -> list[BenchCase]:
    """Time the cases for about `seconds` at each batch size on each backend.

    Raises:
        InputError: there is no such case.
    """
    unknown = [case for case in cases if case not in CASES]
    if unknown:
        raise InputError(f"there is no case {unknown[0]!r}; there are {', '.join(CASES)}")
    lines: list[BenchCase] = []
    for case in cases:
        bench, own_batch = CASES[case]
        for backend in backends:
            if backend == "torch" and len(backends) > 1 and case not in WITH_TORCH:
                continue
            sizes = batches if own_batch is None else (own_batch,)
            if backend == "torch" and case != "paper":
                sizes = [size for size in sizes if size <= MOST_TORCH]
            lines += [bench(size, backend, seconds) for size in sizes]
    return lines

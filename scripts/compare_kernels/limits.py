# SPDX-License-Identifier: Apache-2.0
"""How near the compiled kernels are to what the machine can do: `.venv/bin/python scripts/compare_kernels/limits.py`.

Operations are counted by compiling the kernels with a number that counts (counted.h), bytes from the arrays that a
frame reads and writes, the machine's limits by peak.c. One thread. Prints tables. The compiler is in the environment
of the other kernels (.cache/peers/kernels).
"""

import ctypes
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "bench_peers"))

from runner import environment  # noqa: E402

from ikol.evaluation.bench import PaperProblem, make_paper_problem  # noqa: E402
from ikol.evaluation.bench.report import fastest  # noqa: E402
from ikol.evaluation.photo_case import photo_case  # noqa: E402
from ikol.solver import SolveResult, general_native, solve  # noqa: E402
from ikol.solver.directions import DirectionConfig, DirectionResult, native, solve_directions  # noqa: E402

NATIVE = HERE.parents[1] / "ikol" / "solver" / "native"
COUNTED = 64  # frames
PAPER_LANES = 16  # frames side by side in float32; the general kernel gives a lane that has ended its next frame
NODES, JOINTS, LANDMARKS = 29, 24, 33
PAPER_BYTES = 4 * (3 * NODES + JOINTS + 9 * JOINTS + 3 + 1 + 2)  # keypoints, twists; rotations, root, cost, two ends
# picture, space and limbs with their weights and residuals, start and result, twists, cost, ends
PHOTO_BYTES = 4 * (2 * (2 + 3 + 3) * LANDMARKS + 2 * (9 * JOINTS + 3) + 4 + 5)


@dataclass(frozen=True)
class Operations:
    """Of one frame: at both ends, in one step, in all; how many steps."""

    ends: float
    step: float
    whole: float
    steps: float


def main() -> None:
    torch.set_num_threads(1)
    python = environment("kernels")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _run(python, "-m", "ziglang", "cc", "-O3", "-ffast-math", HERE / "peak.c", "-o", folder / "peak")
        peak, bandwidth = map(float, _run(folder / "peak").split())
        libraries = {name: _counting_library(python, folder, name) for name in ("newton", "general")}
        paper = _count(
            libraries["newton"], lambda steps: _paper(make_paper_problem(COUNTED, dtype=torch.float64), steps)
        )
        photo = _count(libraries["general"], lambda steps: _photo(COUNTED, steps, torch.float64)())
    problem = make_paper_problem(4096)
    steps = _paper(problem, 50).iterations.double()
    # counted in float64, which takes more steps to its tolerance
    paper = replace(paper, steps=float(steps.mean()), whole=paper.ends + paper.step * float(steps.mean()))
    print(f"one core: {peak:.1f} GFLOP/s of float32 fused multiply-adds, {bandwidth:.1f} GB/s copied\n")
    print("| case | operations at both ends | a step | steps | a frame | bytes |")
    print("|---|---|---|---|---|---|")
    for case, found, size in (("paper", paper, PAPER_BYTES), ("photo", photo, PHOTO_BYTES)):
        counts = f"{found.ends:,.0f} | {found.step:,.0f} | {found.steps:.2f} | {found.whole:,.0f}"
        print(f"| {case} | {counts} | {size:,} |")
    print("\n| case | batch | us a frame | GFLOP/s | of the peak | GB/s | of the memory |")
    print("|---|---|---|---|---|---|---|")
    lines = [
        ("paper", 1, paper, PAPER_BYTES, peak, lambda: _paper(_first(problem), 50)),
        ("paper", 4096, paper, PAPER_BYTES, peak, lambda: _paper(problem, 50)),
        ("paper, no steps", 4096, replace(paper, whole=paper.ends), PAPER_BYTES, peak, lambda: _paper(problem, 0)),
        # half as many lanes in double precision
        ("photo", 1, photo, PHOTO_BYTES, peak / 2, _photo(1, 50, torch.float32)),
        ("photo", 1024, photo, PHOTO_BYTES, peak / 2, _photo(1024, 50, torch.float32)),
    ]
    for case, batch, found, size, limit, run in lines:
        each = 1e6 * fastest(run, 3.0) / batch
        rate, moved = 1e-3 * found.whole / each, 1e-3 * size / each
        shares = f"{rate:.1f} | {rate / limit:.1%} | {moved:.2f} | {moved / bandwidth:.1%}"
        print(f"| {case} | {batch} | {each:.2f} | {shares} |")
    slowest = float(steps.reshape(-1, PAPER_LANES).amax(-1).mean())
    print(f"\npaper: {paper.steps:.2f} steps a frame, {slowest:.2f} of the slowest of {PAPER_LANES} side by side")


def _paper(problem: PaperProblem, steps: int) -> DirectionResult:
    config = DirectionConfig(hold_root=True, backend="native", max_iterations=steps)
    return solve_directions(problem.tree, problem.keypoints, problem.offsets, problem.twist, config=config)


def _first(problem: PaperProblem) -> PaperProblem:
    return replace(problem, keypoints=problem.keypoints[0], twist=problem.twist[0])


def _photo(frames: int, steps: int, dtype: torch.dtype) -> Callable[[], SolveResult]:
    case = photo_case(frames, dtype=dtype)
    config = replace(case.config, backend="native", max_iterations=steps)
    return lambda: solve(case.skeleton, case.evidence, case.start, config)


def _counting_library(python: Path, folder: Path, kernel: str) -> ctypes.CDLL:
    source, library = folder / f"{kernel}.cpp", folder / f"{kernel}.so"
    source.write_text(f'#include "counted.h"\n#include "tree_{kernel}.cpp"\n')
    flags = ("-std=c++17", "-O1", "-fPIC", "-shared", "-DIKOL_LANES_BYTES=8", "-DIKOL_VARIANT=counted", "-w")
    _run(python, "-m", "ziglang", "c++", *flags, f"-I{NATIVE}", f"-I{HERE}", source, "-o", library)
    return ctypes.CDLL(str(library))


def _count(library: ctypes.CDLL, solve_with: Callable[[int], DirectionResult | SolveResult]) -> Operations:
    """Solve without steps and with all of them, the counting kernel in the place of the real ones."""
    counter = ctypes.c_longlong.in_dll(library, "ikol_operations")
    own, own_general = native.find_library, general_native.find_library
    native.find_library = _replacement(library, "ikol_tree_counted")
    general_native.find_library = _replacement(library, "ikol_general_counted")
    try:
        solve_with(0)
        ends, counter.value = counter.value, 0
        result = solve_with(50)
        whole = counter.value
    finally:
        native.find_library, general_native.find_library = own, own_general
    taken = float(result.iterations.sum())
    return Operations(ends / COUNTED, (whole - ends) / taken, whole / COUNTED, taken / COUNTED)


def _replacement(library: ctypes.CDLL, name: str) -> Callable[[], object]:
    if not hasattr(library, name):
        return lambda: None
    function = getattr(library, name)
    if name == "ikol_tree_counted":
        run = lambda call, double, backward, _variant: function(ctypes.c_void_p(call), double, backward)  # noqa: E731
        return lambda: native.Library(run, 0)
    return lambda: general_native.Library(lambda call, single, _variant: function(ctypes.c_void_p(call), single), 0)


def _run(*command: object) -> str:
    return subprocess.run([str(each) for each in command], check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""How near the paper's kernel is to what the machine can do: `.venv/bin/python scripts/compare_kernels/limits.py`.

Operations are counted by running the method on counting numbers (count_operations.py), bytes from the arrays that a
frame reads and writes, the machine's limits by peak.c. One thread, batches of 4,096 and one frame. Prints a table.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "bench_peers"))

from runner import environment, write_problem  # noqa: E402

from ikol.evaluation.bench import bench_solver, make_paper_problem  # noqa: E402
from ikol.solver.directions import DirectionConfig, solve_directions  # noqa: E402

FRAMES, LANES = 4096, 16
NODES, JOINTS = 29, 24
BYTES = 4 * (3 * NODES + JOINTS + 9 * JOINTS + 3 + 1 + 2)  # keypoints, twists; rotations, root, cost, status and steps


def main() -> None:
    torch.set_num_threads(1)
    python = environment("kernels")
    with tempfile.TemporaryDirectory() as folder:
        write_problem(Path(folder) / "problem.npz")
        counted = json.loads(_run(python, HERE / "count_operations.py", Path(folder) / "problem.npz"))
        program = Path(folder) / "peak"
        _run(python, "-m", "ziglang", "cc", "-O3", "-ffast-math", HERE / "peak.c", "-o", program)
        peak, bandwidth = map(float, _run(program).split())
    problem = make_paper_problem(FRAMES)
    config = DirectionConfig(hold_root=True, backend="native")
    result = solve_directions(problem.tree, problem.keypoints, problem.offsets, problem.twist, config=config)
    mean = float(result.iterations.double().mean())
    slowest = float(result.iterations.reshape(-1, LANES).amax(-1).double().mean())
    parts = {part: sum(kinds.values()) for part, kinds in counted["per_frame"].items()}
    slow = sum(kinds.get("division or root", 0) for kinds in counted["per_frame"].values())
    step = parts["steps"] / counted["steps_per_frame"]
    useful = parts["start"] + step * mean + parts["rebuild"]
    executed = parts["start"] + step * slowest + parts["rebuild"]
    print(f"one core: {peak:.1f} GFLOP/s of fused multiply-adds, {bandwidth:.1f} GB/s copied")
    print(
        f"start {parts['start']:,.0f}, a step {step:,.0f}, rotations {parts['rebuild']:,.0f} operations; {BYTES} bytes"
    )
    print(f"{mean:.2f} steps a frame, {slowest:.2f} of the slowest of {LANES} side by side")
    print(
        f"{useful:,.0f} operations a frame, {executed:,.0f} with the waiting; {slow:,.0f} divisions and roots in a frame"
    )
    print("\n| batch | us a frame | GFLOP/s | of the peak | with the waiting | GB/s | of the memory |")
    print("|---|---|---|---|---|---|---|")
    for line in bench_solver(("paper",), (1, FRAMES), ("native",), seconds=5.0):
        rate = 1e-3 * useful / line.us_per_frame
        done = 1e-3 * (useful if line.batch == 1 else executed) / line.us_per_frame
        moved = 1e-3 * BYTES / line.us_per_frame
        print(
            f"| {line.batch} | {line.us_per_frame:.2f} | {rate:.1f} | {rate / peak:.1%} | {done / peak:.1%} | "
            f"{moved:.2f} | {moved / bandwidth:.1%} |"
        )


def _run(*command: object) -> str:
    return subprocess.run([str(each) for each in command], check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()

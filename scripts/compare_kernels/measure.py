# SPDX-License-Identifier: Apache-2.0
"""Time one kernel: `measure.py cpp|numba|warp PROBLEM.npz OUT.json`. Needs numpy and what the kernel needs.

One thread. The time to the first result, then one frame (mean over different frames of the fastest call) and 4,096.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

FRAMES, SINGLES = 4096, 32
Solve = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""keypoints (n, 29, 3) and twists (n, 24) to local rotations (n, 24, 3, 3)."""


def main() -> None:
    kernel, path, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    sys.path.append(str(Path(__file__).parents[1] / "bench_peers"))
    from harness import GAP, load_problem  # noqa: PLC0415

    problem = load_problem(path)
    keypoints, twist = problem.keypoints.astype(np.float32), problem.twist.astype(np.float32)
    make = {"cpp": _cpp, "numba": _numba, "warp": _warp}[kernel]
    started = time.perf_counter()
    one = make(problem.parents, problem.offsets, 1)
    one(keypoints[:1], twist[:1])
    first = time.perf_counter() - started
    many = make(problem.parents, problem.offsets, FRAMES)
    rotmat = many(keypoints, twist)
    rms = np.sqrt(np.square(problem.distances(rotmat.astype(np.float64))).mean(-1))
    singles = [_fastest(lambda k=k: one(keypoints[k : k + 1], twist[k : k + 1]), 0.05) for k in range(SINGLES)]
    report = {
        "first_s": first,
        "us_one_frame": 1e6 * sum(singles) / SINGLES,
        "us_per_frame": 1e6 * _fastest(lambda: many(keypoints, twist), 3.0) / FRAMES,
        "converged": float((rms <= problem.optimum + GAP).mean()),
    }
    out.write_text(json.dumps(report))


def _cpp(parents: np.ndarray, offsets: np.ndarray, _frames: int) -> Solve:
    import torch  # noqa: PLC0415

    from ikol.body.joint_tree import JointTree  # noqa: PLC0415
    from ikol.solver.directions import DirectionConfig, solve_directions  # noqa: PLC0415

    torch.set_num_threads(1)
    tree = JointTree(tuple(map(str, range(len(parents)))), tuple(parents.tolist()))
    bones, config = torch.tensor(offsets, dtype=torch.float32), DirectionConfig(hold_root=True, backend="native")

    def solve(keypoints: np.ndarray, twist: np.ndarray) -> np.ndarray:
        given = torch.from_numpy(keypoints), bones, torch.from_numpy(twist)
        return solve_directions(tree, *given, config=config).local_rotmat.numpy()

    return solve


def _numba(parents: np.ndarray, offsets: np.ndarray, frames: int) -> Solve:
    from numba_newton import solve_range  # noqa: PLC0415
    from numba_tree import make_tables  # noqa: PLC0415

    tables, bones = make_tables(parents), offsets.astype(np.float32)
    rotmat = np.empty((frames, len(tables.joints), 3, 3), np.float32)
    iterations = np.empty(frames, np.int32)

    def solve(keypoints: np.ndarray, twist: np.ndarray) -> np.ndarray:
        solve_range(tables, keypoints, bones, twist, rotmat, iterations, 0, frames)
        return rotmat

    return solve


def _warp(parents: np.ndarray, offsets: np.ndarray, frames: int) -> Solve:
    from warp_newton import Solver  # noqa: PLC0415

    solver = Solver(parents, offsets, frames)
    return lambda keypoints, twist: solver.solve(keypoints, twist)[0]


def _fastest(run: Callable[[], object], seconds: float) -> float:
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    main()

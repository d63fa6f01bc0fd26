# SPDX-License-Identifier: Apache-2.0
"""What every peer goes through: the same frames, the first of its settings that converges, one frame, then batches.

Runs inside the peer's environment, so it needs numpy only. A peer gives its settings from fast to slow; each says how
to get ready for some frames (in its own format, from its own start, not timed) and what to time.
"""

import argparse
import importlib.metadata
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

GAP = 1e-4  # metres: a frame is at the optimum if its RMS distance is no further above it (as in solver_comparison.py)
ENOUGH = 0.998  # part of the frames; faster settings below it are passed over
SINGLES = 16


@dataclass(frozen=True)
class Problem:
    """Keypoints of a tree whose nodes 0 to 23 are joints, the rest ends that do not turn. Metres, root at 0."""

    parents: np.ndarray  # (29,)
    offsets: np.ndarray  # (29, 3) from the parent
    keypoints: np.ndarray  # (frames, 29, 3)
    twist: np.ndarray  # (frames, 24) radians
    optimum: np.ndarray  # (frames,) RMS distance at the optimum, metres

    @property
    def num_joints(self) -> int:
        """How many nodes have children."""
        return int(self.parents.max()) + 1

    def places(self, local_rotmat: np.ndarray) -> np.ndarray:
        """Where the nodes are: (frames, joints, 3, 3) -> (frames, 29, 3)."""
        turned = np.empty_like(local_rotmat)
        turned[:, 0] = local_rotmat[:, 0]
        places = np.zeros((len(local_rotmat), len(self.parents), 3))
        for node, parent in enumerate(self.parents[1:], start=1):
            places[:, node] = places[:, parent] + turned[:, parent] @ self.offsets[node]
            if node < self.num_joints:
                turned[:, node] = turned[:, parent] @ local_rotmat[:, node]
        return places

    def distances(self, local_rotmat: np.ndarray) -> np.ndarray:
        """(frames, 28) metres from the keypoints, the root's left out."""
        gap = self.places(local_rotmat) - self.keypoints[: len(local_rotmat)]
        return np.linalg.norm(gap, axis=-1)[:, 1:]

    def root_rotmat(self, keypoints: np.ndarray) -> np.ndarray:
        """Return the start of the peers that have none: the root turned to its children (Kabsch), (frames, 3, 3)."""
        children = np.flatnonzero(self.parents == 0)
        covariance = np.einsum("nki,kj->nij", keypoints[:, children] - keypoints[:, :1], self.offsets[children])
        u, _, vt = np.linalg.svd(covariance)
        u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
        return u @ vt


@dataclass(frozen=True)
class Setting:
    """One way to use the peer."""

    name: str
    prepare: Callable[[np.ndarray], tuple[Callable[[], object], Callable[[object], np.ndarray]]]
    """keypoints (n, 29, 3) -> (what is timed, its result -> local rotations (n, joints, 3, 3))."""


def load_problem(path: Path) -> Problem:
    """Read what the runner has written."""
    with np.load(path) as arrays:
        return Problem(**{name: arrays[name] for name in Problem.__dataclass_fields__})


def measure(
    package: str,
    make_settings: Callable[[Problem], Sequence[Setting]],
    *,
    frames: int,
    batches: Sequence[int],
    processes: int = 1,
    set_threads: Callable[[int], object] | None = None,
    note: str = "",
) -> None:
    """Choose a setting, time it and write the result.

    Args:
        package: name on PyPI; "" for what is in this repository.
        make_settings: the problem to the settings, the fastest first.
        frames: how many to judge convergence by.
        batches: sizes to try.
        processes: how many can run side by side where the peer takes one frame at a time on one core; its throughput
            is multiplied by it, which is more than it could reach.
        set_threads: how the package is told; each figure is then the better of one thread and one a core.
        note: what else a reader must know.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("problem", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each figure")
    options = parser.parse_args()
    problem = load_problem(options.problem)
    chosen, tried = choose(problem, make_settings(problem), frames)
    keypoints = problem.keypoints
    single, rates = math.inf, []
    for threads in (1, os.cpu_count() or 1) if set_threads else (None,):
        if set_threads and threads:
            set_threads(threads)
        single = min(single, _time_singles(chosen.prepare, keypoints, options.seconds))
        for batch in batches:
            run, _ = chosen.prepare(keypoints[:batch])
            rates.append((batch, processes * batch / _fastest(run, options.seconds)))
    rates.append((1, processes / single))
    batch, rate = max(rates, key=lambda each: each[1])
    best = next(each for each in tried if each["setting"] == chosen.name)
    report = {
        "name": f"{package}@{importlib.metadata.version(package)}" if package else None,
        **best,
        "us_one_frame": 1e6 * single,
        "batch": batch,
        "frames_per_s": rate,
        "rates": rates,
        "tried": tried,
        "note": note,
    }
    options.out.write_text(json.dumps(report, indent=1))


def choose(problem: Problem, settings: Sequence[Setting], frames: int) -> tuple[Setting, list[dict]]:
    """Return the first setting that reaches the optimum, or the best of all, and how each tried one did."""
    tried: list[dict] = []
    for setting in settings:
        run, rotations = setting.prepare(problem.keypoints[:frames])
        distance = problem.distances(np.asarray(rotations(run()), dtype=np.float64))
        rms = np.sqrt(np.square(distance).mean(-1))
        optimum = problem.optimum[:frames]
        share = float((rms <= optimum + GAP).mean())
        tried.append(
            {
                "setting": setting.name,
                "frames": frames,
                "residual_mm": 1e3 * float(distance.mean()),
                "rms_mm": 1e3 * float(np.sqrt(np.square(rms).mean())),
                "optimum_rms_mm": 1e3 * float(np.sqrt(np.square(optimum).mean())),
                "converged": share,
            }
        )
        if share >= ENOUGH:
            return setting, tried
    best = max(range(len(tried)), key=lambda index: (tried[index]["converged"], -tried[index]["rms_mm"]))
    return settings[best], tried


def _time_singles(prepare: Callable, keypoints: np.ndarray, seconds: float) -> float:
    """Mean over different frames of each one's fastest time."""
    runs = [prepare(keypoints[index : index + 1])[0] for index in range(SINGLES)]
    fastest = [_fastest(runs[0], seconds / 2)]
    left = (seconds / 2) / max(fastest[0], 1e-6) / SINGLES  # so many repeats of each fit
    if left >= 1:
        fastest += [_fastest(run, seconds / 2 / SINGLES) for run in runs[1:]]
    return sum(fastest) / len(fastest)


def _fastest(run: Callable[[], object], seconds: float) -> float:
    """Shortest time of at least two runs; the first, which may compile, does not count."""
    start = time.perf_counter()
    run()
    if time.perf_counter() - start > 4 * seconds:
        return time.perf_counter() - start
    fastest, end, repeats = math.inf, time.perf_counter() + seconds, 0
    while repeats < 2 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        fastest = min(fastest, time.perf_counter() - start)
        repeats += 1
    return fastest

# SPDX-License-Identifier: Apache-2.0
"""Count the operations of the paper's kernel: `count_operations.py PROBLEM.npz`, in an environment with numba.

Runs numba_newton.py uncompiled on numbers that count. An addition, a multiplication, a division, a root, a comparison
that chooses a number: one each, as in a table of a processor's throughput; moves are free.
"""

import json
import math
import os
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace

os.environ["NUMBA_DISABLE_JIT"] = "1"

import numba_newton
import numba_tree
import numpy as np

FRAMES = 12
counts: Counter[str] = Counter()


class Counted:
    """A number that counts what is done with it."""

    __array_ufunc__ = None  # so that numpy's numbers leave the operation to this class

    def __init__(self, value: float) -> None:
        self.value = float(value)

    def __float__(self) -> float:
        return self.value

    def __neg__(self) -> "Counted":
        return Counted(-self.value)

    def __abs__(self) -> "Counted":
        return Counted(abs(self.value))

    def __pow__(self, power: int) -> "Counted":
        counts["arithmetic"] += power - 1
        return Counted(self.value**power)


def _operation(name: str, kind: str) -> None:
    def apply(self: Counted, other: object) -> object:
        counts[kind] += 1
        result = getattr(self.value, name)(float(other))
        return result if isinstance(result, bool) else Counted(result)

    setattr(Counted, name, apply)


for each in ("add", "sub", "mul"):
    _operation(f"__{each}__", "arithmetic")
    _operation(f"__r{each}__", "arithmetic")
for each in ("truediv", "rtruediv"):
    _operation(f"__{each}__", "division or root")
for each in ("lt", "le", "gt", "ge"):
    _operation(f"__{each}__", "comparison")


def _function(name: str) -> object:
    def apply(value: object) -> Counted:
        counts["division or root" if name == "sqrt" else "sine or cosine"] += 1
        return Counted(getattr(math, name)(float(value)))

    return apply


def main() -> None:
    sys.path.append(str(Path(__file__).parents[1] / "bench_peers"))
    from harness import load_problem  # noqa: PLC0415

    problem = load_problem(Path(sys.argv[1]))
    shim = SimpleNamespace(sqrt=_function("sqrt"), sin=_function("sin"), cos=_function("cos"))
    numba_newton.math = numba_tree.math = shim
    tables = numba_tree.make_tables(problem.parents)
    count = np.vectorize(Counted, otypes=[object])
    offsets, twist = count(problem.offsets), count(problem.twist[:FRAMES])
    totals: dict[str, Counter[str]] = {"start": Counter(), "steps": Counter(), "rebuild": Counter()}
    steps = 0
    for frame in range(FRAMES):
        plain = numba_tree.make_work(tables, problem.offsets.astype(np.float32))
        work = numba_tree.Work(*(count(array) for array in plain))
        work.y[:] = count(problem.keypoints[frame])
        out = np.empty((FRAMES, len(tables.joints), 3, 3), dtype=object)
        for part, run in (
            ("start", partial(numba_tree.start, tables, work, offsets)),
            ("steps", partial(numba_newton.minimise, tables, work, offsets)),
            ("rebuild", partial(numba_newton.rebuild, tables, work, twist, out, frame)),
        ):
            counts.clear()
            result = run()
            totals[part] += counts
            steps += result if part == "steps" else 0
    report = {part: {kind: number / FRAMES for kind, number in total.items()} for part, total in totals.items()}
    print(json.dumps({"steps_per_frame": steps / FRAMES, "per_frame": report}))


if __name__ == "__main__":
    main()

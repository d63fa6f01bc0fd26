# SPDX-License-Identifier: Apache-2.0
"""Compare the C++ kernel of the paper's problem with the same method in numba and in NVIDIA Warp: prints a table.

    .venv/bin/python scripts/compare_kernels/compare.py

One thread, on the CPU, 29 keypoints with 10 mm of noise, run to convergence. numba and Warp run in an environment of
their own (.cache/peers/kernels), first with an empty cache of compiled code, then with a full one.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "bench_peers"))

from runner import environment, write_problem  # noqa: E402

NATIVE = HERE.parents[1] / "ikol" / "solver" / "native"
SOURCES = {
    "cpp": [NATIVE / "tree_newton.cpp", *NATIVE.glob("lanes.h")],
    "numba": [HERE / "numba_tree.py", HERE / "numba_newton.py"],
    "warp": [HERE / "warp_newton.py"],
}
PACKAGES = {"numba": ("numba", "llvmlite"), "warp": ("warp",)}
PLATFORMS = {
    "cpp": "Linux x64 and Arm, Windows x64, macOS Arm: one library each, any Python",
    "numba": "Linux x64 and Arm, Windows x64, macOS Arm; a wheel a Python version, months after its release",
    "warp": "Linux x64 and Arm, Windows x64, macOS Arm (CPU only); GPU: NVIDIA",
}


def main() -> None:
    print("| kernel | one frame | of 4,096 | converged | first result | again | installed | lines | platforms |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        write_problem(Path(folder) / "problem.npz")
        for kernel in SOURCES:
            print(_row(kernel, Path(folder)), flush=True)


def _row(kernel: str, folder: Path) -> str:
    python = Path(sys.executable) if kernel == "cpp" else environment("kernels")
    cache = folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    variables = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "WARP_CACHE_PATH": str(cache), "NUMBA_NUM_THREADS": "1"}
    reports = []
    for _ in range(2):
        out = folder / "out.json"
        command = [python, HERE / "measure.py", kernel, folder / "problem.npz", out]
        subprocess.run(command, check=True, env=variables, stdout=subprocess.DEVNULL)
        reports.append(json.loads(out.read_text()))
    cold, warm = reports
    lines = sum(len(source.read_text().splitlines()) for source in SOURCES[kernel])
    figures = f"{warm['us_one_frame']:.1f} us | {warm['us_per_frame']:.2f} us | {warm['converged']:.2%}"
    starts = f"{cold['first_s']:.2f} s | {warm['first_s']:.2f} s"
    return f"| {kernel} | {figures} | {starts} | {_size(kernel, python):.1f} MB | {lines} | {PLATFORMS[kernel]} |"


def _size(kernel: str, python: Path) -> float:
    """Megabytes on disk."""
    if kernel == "cpp":
        from ikol.solver.directions.native import library_path  # noqa: PLC0415

        return library_path().stat().st_size / 1e6
    site = next(python.parents[1].glob("lib/python3*/site-packages"))
    packages = [folder for name in PACKAGES[kernel] for folder in (site / name, site / f"{name}.libs")]
    files = [file for folder in packages for file in folder.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Run the kernels of other platforms in emulators and compare them with this machine's.

    .venv/bin/python scripts/check_native/check.py

Needs `pip install ikol[build-native]` and, as far as they are there, qemu-user-static with libc6-arm64-cross (64-bit
Arm) and wine64 (Windows): Debian's packages of these names. A platform whose emulator is missing is named and left out.
There is no emulator for macOS; its library holds the same Arm code as Linux's.
"""

import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from ikol.evaluation.bench import make_paper_problem
from ikol.solver.directions import DirectionConfig, DirectionResult, native, solve_directions

FRAMES = 37  # no multiple of a register: the last one is partly filled
QEMU = ("qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu")
PLATFORMS = {
    "linux-aarch64": ("aarch64-linux-gnu.2.17", "libikol_tree.so", QEMU),
    "windows-x86_64": ("x86_64-windows-gnu", "ikol_tree.dll", ("wine64",)),
}


def main() -> int:
    """Check every platform that can be emulated; 1 when one differs or none could be run."""
    outcomes: list[bool] = []
    with tempfile.TemporaryDirectory() as scratch:
        for platform, (target, library, emulator) in PLATFORMS.items():
            program = _find(emulator[0])
            if program is None:
                print(f"{platform}: not run, {emulator[0]} is not installed")
                continue
            runner = Path(scratch) / f"run_tree_{platform}{'.exe' if 'windows' in target else ''}"
            source = Path(__file__).with_name("run_tree.c")
            zig = (sys.executable, "-m", "ziglang", "cc", "-target", target)
            subprocess.run([*zig, "-O1", str(source), "-o", str(runner)], check=True)
            command = (program, *emulator[1:], str(runner), str(native.FOLDER / "lib" / platform / library))
            outcomes += [_agrees(platform, command, Path(scratch), dtype) for dtype in (torch.float32, torch.float64)]
    return 0 if outcomes and all(outcomes) else 1


def _find(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/lib/wine")


def _agrees(platform: str, command: tuple[str, ...], scratch: Path, dtype: torch.dtype) -> bool:
    problem = make_paper_problem(FRAMES, dtype=dtype)
    config = DirectionConfig(hold_root=True, backend="native")
    here = solve_directions(problem.tree, problem.keypoints, problem.offsets, problem.twist, config=config)
    there = _run(command, scratch, dtype, config)
    gap = float(((there.cost - here.cost) / here.cost).abs().max())
    turn = float((there.local_rotmat - here.local_rotmat).abs().max())
    # other instructions round and fuse differently; both stop within the tolerance of the same minimum
    limit = 1e-4 if dtype == torch.float32 else 1e-9
    is_good = gap < limit and turn < 100 * limit and bool((there.status == 0).all())
    verdict = "agrees" if is_good else "DIFFERS"
    print(f"{platform} {dtype}: {verdict}; cost within {gap:.1e} relative, rotations within {turn:.1e}")
    return is_good


def _run(command: tuple[str, ...], scratch: Path, dtype: torch.dtype, config: DirectionConfig) -> DirectionResult:
    problem = make_paper_problem(FRAMES, dtype=dtype)
    nodes, joints, is_double = problem.tree.num_joints, problem.twist.shape[-1], dtype == torch.float64
    head = (nodes, joints, FRAMES, is_double, config.hold_root, config.max_iterations, native.TOLERANCE[dtype])
    arrays = (problem.keypoints, problem.offsets, problem.twist)
    content = struct.pack(f"<6id{nodes}i", *head, *problem.tree.parents)
    (scratch / "input").write_bytes(content + b"".join(array.numpy().tobytes() for array in arrays))
    environment = {**os.environ, "WINEDEBUG": "-all", "WINEPREFIX": str(scratch / "wine")}
    subprocess.run([*command, "input", "output"], check=True, cwd=scratch, env=environment)
    rest = memoryview((scratch / "output").read_bytes())
    parts: list[torch.Tensor] = []
    shapes = ((FRAMES, joints, 3, 3), (FRAMES, 3), (FRAMES,), (FRAMES,), (FRAMES,))
    for shape, kind in zip(shapes, (dtype, dtype, dtype, torch.int32, torch.int32), strict=True):
        size = torch.Size(shape).numel() * kind.itemsize
        parts.append(torch.frombuffer(bytearray(rest[:size]), dtype=kind).reshape(shape))
        rest = rest[size:]
    return DirectionResult(parts[0], parts[1], parts[2], parts[3], parts[4])


if __name__ == "__main__":
    sys.exit(main())

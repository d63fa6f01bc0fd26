# SPDX-License-Identifier: Apache-2.0
"""Run the kernels of other platforms in emulators and compare them with this machine's.

    .venv/bin/python scripts/check_native/check.py [KERNEL ...]

Calls of each kernel are recorded here with all memory that they can reach, repeated there (`run_call.c`), and what both
wrote is compared. Needs `pip install ikol[build-native]` and, as far as they are there, qemu-user-static with
libc6-arm64-cross (64-bit Arm) and wine64 (Windows): Debian's packages of these names. A platform whose emulator is
missing is named and left out. There is no emulator for macOS; its library holds the same Arm code as Linux's.
"""

import ctypes
import gc
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ikol.body.default_body import load_default_body
from ikol.evaluation.bench import make_paper_problem
from ikol.evaluation.photo_case import photo_case
from ikol.evaluation.sequence_case import sequence_case
from ikol.solver import (
    Anchor,
    BonePrior,
    Pins,
    Points2D,
    ShapePrior,
    elastic_bones,
    native_library,
    solve,
)
from ikol.solver.directions import DirectionConfig, solve_directions
from ikol.solver.sequence import solve_sequence

FRAMES = 37  # no multiple of a register: the last one is partly filled
QEMU = ("qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu")
PLATFORMS = {
    "linux-aarch64": ("aarch64-linux-gnu.2.17", "libikol_{}.so", QEMU),
    "windows-x86_64": ("x86_64-windows-gnu", "ikol_{}.dll", ("wine64",)),
}
# other instructions may round and fuse differently, though so far they did not; relative to the largest number of each
# array
AGREE = {"tree": 1e-6, "general": 1e-6, "adjoint": 1e-6, "linearise": 1e-9, "band": 1e-9}
CALLS = {"ikol_band_run": 5}  # its phases; of the others one


@dataclass(frozen=True)
class Region:
    """Memory that a call can reach."""

    base: int
    size: int
    kind: np.dtype | None
    """None for a structure."""

    def read(self) -> bytes:
        """Return its bytes as they are now."""
        return ctypes.string_at(self.base, self.size)


class Recorder:
    """In the place of an exported function: records its first call, or calls."""

    def __init__(self, name: str, function: Callable[..., int]) -> None:
        """Stand before `function`."""
        self.name, self.function = name, function
        self.argtypes, self.restype = (), ctypes.c_int
        self.calls: list[list[int]] = []
        self.regions: list[Region] = []
        self.before: list[bytes] = []
        self.after: list[bytes] = []

    def __call__(self, *arguments: int | None) -> int:
        """Call it."""
        values = [0 if value is None else int(value) for value in arguments]
        if not self.calls:
            self.regions = _reached(values)
            self.before = [region.read() for region in self.regions]
        is_recorded = len(self.calls) < CALLS.get(self.name, 1)
        code = self.function(*arguments)
        if is_recorded:
            self.calls.append(values)
            self.after = [region.read() for region in self.regions]
        return code

    def content(self) -> bytes:
        """Return the input of `run_call`."""
        parts = [struct.pack("<q", len(self.regions))]
        for region, content in zip(self.regions, self.before, strict=True):
            parts += [struct.pack("<3q", region.base, region.size, region.kind is None), content]
        parts.append(struct.pack("<q", len(self.name)) + self.name.encode())
        parts.append(struct.pack("<2q", len(self.calls), len(self.calls[0])))
        for value in (value for call in self.calls for value in call):
            is_address = any(region.base <= value < region.base + region.size for region in self.regions)
            parts.append(struct.pack("<2q", value, is_address))
        return b"".join(parts)


def _reached(values: list[int]) -> list[Region]:
    """Return the memory behind addresses, and behind those that structures there hold."""
    known: list[Region] = []
    tracked = gc.get_objects()
    for item in (*tracked, *gc.get_referents(*tracked)):  # arrays of numpy are not tracked, what holds them is
        kind = type(item)  # not isinstance, which some objects warn of
        if issubclass(kind, torch.Tensor) and item.device.type == "cpu" and item.layout == torch.strided:
            dtype = torch.empty(0, dtype=item.dtype).numpy().dtype
            known.append(Region(item.untyped_storage().data_ptr(), item.untyped_storage().nbytes(), dtype))
        elif issubclass(kind, np.ndarray) and item.dtype != object and item.flags.c_contiguous:
            known.append(Region(item.ctypes.data, item.nbytes, item.dtype))
        elif issubclass(kind, ctypes.Structure | ctypes.Array):
            known.append(Region(ctypes.addressof(item), ctypes.sizeof(item), None))
    known.sort(key=lambda region: -region.size)
    found: list[Region] = []
    queue = list(values)
    while queue:
        address = queue.pop()
        if any(region.base <= address < region.base + region.size for region in found):
            continue
        region = next((each for each in known if each.base <= address < each.base + each.size), None)
        if region is not None:
            found.append(region)
            if region.kind is None:
                queue += [word for (word,) in struct.iter_unpack("<q", region.read()[: region.size // 8 * 8])]
    return found


def main() -> int:
    """Check every platform that can be emulated; 1 when one differs or none could be run."""
    torch.set_num_threads(1)
    kernels = sys.argv[1:] or list(AGREE)
    recorders = _record(kernels)
    outcomes: list[bool] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        for platform, (target, library, emulator) in PLATFORMS.items():
            program = _find(emulator[0])
            if program is None:
                print(f"{platform}: not run, {emulator[0]} is not installed")
                continue
            runner = Path(scratch) / f"run_call_{platform}{'.exe' if 'windows' in target else ''}"
            source = Path(__file__).with_name("run_call.c")
            zig = (sys.executable, "-m", "ziglang", "cc", "-target", target)
            subprocess.run([*zig, "-O1", str(source), "-o", str(runner)], check=True)
            for kernel in kernels:
                path = native_library.FOLDER / "lib" / platform / library.format(kernel)
                command = (program, *emulator[1:], str(runner), str(path))
                outcomes.append(_agrees(platform, kernel, command, Path(scratch), recorders[kernel]))
    return 0 if outcomes and all(outcomes) else 1


def _record(kernels: list[str]) -> dict[str, Recorder]:
    """Solve something with every kernel."""
    recorders: dict[str, Recorder] = {}
    opened = native_library.open_library

    class Watched:
        def __init__(self, path: Path) -> None:
            self.handle = opened(path)

        def __getattr__(self, name: str) -> object:
            function = getattr(self.handle, name)
            if not name.endswith("_run"):
                return function
            function.argtypes, function.restype = None, ctypes.c_int
            kernel = name.removeprefix("ikol_").removesuffix("_run")
            return recorders.setdefault(kernel, Recorder(name, _typed(function)))

    native_library.open_library = Watched
    work = {"tree": _directions, "general": _photo, "adjoint": _gradients, "linearise": _sequence, "band": _sequence}
    for part in dict.fromkeys(work[kernel] for kernel in kernels):
        part()
    return recorders


def _typed(function: Callable[..., int]) -> Callable[..., int]:
    return lambda *arguments: function(*(None if value is None else ctypes.c_int64(value) for value in arguments))


def _directions() -> None:
    problem = make_paper_problem(FRAMES, dtype=torch.float64)
    config = DirectionConfig(hold_root=True, backend="native")
    solve_directions(problem.tree, problem.keypoints, problem.offsets, problem.twist, config=config)


def _photo() -> None:
    case = photo_case(FRAMES, dtype=torch.float64)
    solve(case.skeleton, case.evidence, case.start, replace(case.config, backend="native"))


def _gradients() -> None:
    """Photographs without an anchor, so with twists that neighbours can take; lengths unknown, a hand pinned."""
    case = photo_case(FRAMES, dtype=torch.float64)
    tree, betas, like = case.skeleton.tree, case.skeleton.num_betas, case.start.betas
    evidence = [
        replace(block, target=block.target.requires_grad_()) if isinstance(block, Points2D) else block
        for block in case.evidence
        if not isinstance(block, Anchor)
    ]
    hand = load_default_body().points.to(dtype=like.dtype).select(("L_Wrist",))
    evidence.append(Pins(hand, case.skeleton.posed_points(hand, case.truth)))
    evidence.append(ShapePrior(like.new_zeros(betas), like.new_ones(betas)))
    evidence.append(BonePrior(like.new_ones(tree.num_joints), like.new_full((tree.num_joints,), 0.05)))
    config = replace(case.config, backend="native", solve_shape=True, bone_groups=elastic_bones(tree))
    state = solve(case.skeleton, evidence, case.start, config).state
    assert state.bone_scale is not None
    parts = (state.local_rotmat.square(), state.local_rotmat[..., 0, 1], state.betas, state.bone_scale)
    torch.autograd.backward(torch.stack([part.sum() for part in parts]).sum())


def _sequence() -> None:
    case = sequence_case(FRAMES, dtype=torch.float64)
    frames = case.frames
    start = solve(frames.skeleton, frames.evidence, frames.start, frames.config)
    solve_sequence(frames.skeleton, frames.evidence, start.state, case.sequence_evidence, case.config)


def _find(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/lib/wine")


def _agrees(platform: str, kernel: str, command: tuple[str, ...], scratch: Path, call: Recorder) -> bool:
    (scratch / "input").write_bytes(call.content())
    environment = {**os.environ, "WINEDEBUG": "-all", "WINEPREFIX": str(scratch / "wine")}
    if code := subprocess.run([*command, "input", "output"], check=False, cwd=scratch, env=environment).returncode:
        print(f"{platform} {kernel}: FAILS with code {code}")
        return False
    rest = (scratch / "output").read_bytes()
    worst, gaps = 0.0, list[tuple[int, float]]()
    for region, before, after in zip(call.regions, call.before, call.after, strict=True):
        content, rest = rest[: region.size], rest[region.size :]
        if region.kind is None or before == after or region.kind.kind != "f":
            continue
        old, here, there = (np.frombuffer(each, dtype=region.kind) for each in (before, after, content))
        is_written = old.view(f"u{old.itemsize}") != here.view(f"u{old.itemsize}")
        here, there = here[is_written], there[is_written]
        finite = np.isfinite(here)
        if not np.array_equal(here[~finite], there[~finite], equal_nan=True):
            worst = np.inf
        gap, size = np.abs(there - here)[finite].max(initial=0.0), np.abs(here[finite]).max(initial=1e-300)
        gaps.append((region.size, float(np.nan_to_num(gap / size, nan=np.inf))))
    # the band also writes its factor, which is larger than the solution and may be in another type than its memory's
    gaps = [min(gaps)] if kernel == "band" and gaps else gaps
    worst = max(worst, *(gap for _, gap in gaps), 0.0)
    is_good = len(gaps) > 0 and worst < AGREE[kernel]
    print(f"{platform} {kernel}: {'agrees' if is_good else 'DIFFERS'}; {len(gaps)} arrays within {worst:.1e} relative")
    return is_good


if __name__ == "__main__":
    sys.exit(main())

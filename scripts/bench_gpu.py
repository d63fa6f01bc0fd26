# SPDX-License-Identifier: Apache-2.0
"""Check and time the paper's problem on a GPU, and print the cases as `ikol bench solver` does.

**Never run**: no GPU was lent while it was written. Its parts ran on a CPU, with the kernel's source compiled as plain
C++ in the GPU's place. The limits below are those of the data sheet of NVIDIA's H200.

    python scripts/bench_gpu.py --json gpu.json

For each precision: agreement with the CPU's kernel on 4,096 frames (results and derivatives), then frames a second of
the whole call from Python and of the kernel alone, forward and backward, and a sweep over warps per multiprocessor and
compiler options; then all evidence of a photograph through the general kernel, forward. More warps hide more latency
but share the caches: each thread's working set is 3 KB in float32.
Imports: ikol, torch.
"""

import argparse
import ctypes
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ikol.evaluation.bench.paper import PaperProblem, make_paper_problem, paper_residuals
from ikol.evaluation.bench.report import BenchCase, fastest, report_line, timed_case
from ikol.evaluation.photo_case import SolveCase, photo_case
from ikol.solver import solve
from ikol.solver.cuda_compiler import Kernel, Source, compile_source, load_kernel
from ikol.solver.directions import DirectionConfig, DirectionResult, cuda, native, solve_directions

BATCHES = (4096, 65536, 1048576)
PHOTO_BATCHES = (4096, 16384)
MADE = 65536  # different frames; larger batches repeat them
DTYPES = (torch.float32, torch.float64)
PEAK_BYTES = 4.8e12
PEAK_FLOPS = {torch.float32: 67e12, torch.float64: 34e12}
ITERATION_FLOPS = 6767  # counted, see the notes on the tree elimination
WARPS = (1, 2, 4, 8, 16)
OPTIONS = {"exact division": (), "fast division": ("--prec-div=false", "--prec-sqrt=false")}
CONFIG = DirectionConfig(hold_root=True, backend="native")


@dataclass(frozen=True)
class Agreement:
    """How far the GPU is from the CPU's kernel on the same frames."""

    dtype: str
    same_status: float
    """Part of the frames."""
    cost_error: float
    """The largest, relative."""
    rotmat_error: float
    """The 99 % quantile over frames of the largest entry."""
    gradient_error: float
    """The median over frames and inputs, relative, at the CPU's optimum."""


def frame_bytes(nodes: int, joints: int, dtype: torch.dtype, *, backward: bool) -> int:
    """Return the fewest bytes that one frame moves: keypoints, twists and what is made; the bones are shared."""
    item = torch.finfo(dtype).bits // 8
    numbers = 3 * nodes + joints + 9 * joints + 3
    if backward:  # the solution and its gradient in, four gradients out
        numbers += 9 * joints + 3 + 7 * nodes + joints
        return numbers * item + 4
    return (numbers + 1) * item + 8


def arrays_on(problem: PaperProblem, frames: int, device: torch.device) -> native.Arrays:
    """Return the first frames on a device, repeated where there are not so many."""
    index = torch.arange(frames) % len(problem.keypoints)
    keypoints, twist = (each.to(device)[index.to(device)] for each in (problem.keypoints, problem.twist))
    return native.Arrays(keypoints, problem.offsets.to(device), None, twist)


def kernel_of(problem: PaperProblem, device: torch.device, *, backward: bool = False) -> Kernel:
    """Return the kernel as the library would load it."""
    kernel = cuda.find_kernel(problem.tree.parents, problem.keypoints.dtype, device, backward=backward)
    assert kernel is not None, "the kernel could not be made: see the log"
    return kernel


def compare(problem: PaperProblem, device: torch.device, frames: int = 4096) -> Agreement:
    """Solve and differentiate on both."""
    arrays, parents = arrays_on(problem, frames, torch.device("cpu")), problem.tree.parents
    library = native.find_library()
    assert library is not None
    joints = arrays.twist.shape[-1]
    wanted = native.solve_native(library, parents, joints, arrays, CONFIG)
    there = arrays_on(problem, frames, device)
    found = cuda.solve_cuda(kernel_of(problem, device), parents, joints, there, CONFIG)
    generator = torch.Generator().manual_seed(0)
    shapes = (wanted.local_rotmat.shape, wanted.root.shape)
    gradients = [torch.randn(shape, generator=generator, dtype=torch.float64).to(wanted.root.dtype) for shape in shapes]
    ones = torch.ones_like(arrays.keypoints[..., 0])
    moved = DirectionResult(*(each.to(device) for each in vars(wanted).values()))
    slopes = native.differentiate_native(
        library, parents, arrays._replace(weights=ones), wanted, (gradients[0], gradients[1]), True
    )
    rest = (moved, (gradients[0].to(device), gradients[1].to(device)), True)
    there = there._replace(weights=ones.to(device))
    found_slopes = cuda.differentiate_cuda(kernel_of(problem, device, backward=True), parents, there, *rest)
    errors = [
        (a.cpu() - b).flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1).clamp_min(1e-30)
        for a, b in zip(found_slopes, slopes, strict=True)
        if a is not None and b is not None
    ]
    apart = (found.local_rotmat.cpu() - wanted.local_rotmat).abs().amax((-1, -2, -3))
    return Agreement(
        str(problem.keypoints.dtype).removeprefix("torch."),
        float((found.status.cpu() == wanted.status).double().mean()),
        float(((found.cost.cpu() - wanted.cost).abs() / wanted.cost).max()),
        float(apart.double().quantile(0.99)),
        float(torch.stack(errors).median()),
    )


def launches(run: Callable[[], None], seconds: float) -> float:
    """Return the time of one launch, from many in a row."""
    run()
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    count = max(3, math.ceil(seconds / (time.perf_counter() - start)))
    start = time.perf_counter()
    for _ in range(count):
        run()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / count


def forward_run(kernel: Kernel, problem: PaperProblem, arrays: native.Arrays) -> Callable[[], None]:
    """Return what starts the kernel alone."""
    call, result = native.solve_call(problem.tree.parents, arrays.twist.shape[-1], arrays, CONFIG)
    return _starter(kernel, call, (arrays, result))


def backward_run(kernel: Kernel, problem: PaperProblem, arrays: native.Arrays) -> Callable[[], None]:
    """Return what starts the derivative's kernel alone, at the solution."""
    parents, device = problem.tree.parents, arrays.keypoints.device
    result = cuda.solve_cuda(kernel_of(problem, device), parents, arrays.twist.shape[-1], arrays, CONFIG)
    gradients = (torch.randn_like(result.local_rotmat), torch.randn_like(result.root))
    call, outputs = native.derivative_call(parents, arrays, result, gradients, True)
    return _starter(kernel, call, (arrays, result, gradients, outputs))


def _starter(kernel: Kernel, packed: bytes, kept: tuple[object, ...]) -> Callable[[], None]:
    call = native.Call.from_buffer_copy(packed)
    flag = torch.zeros((), dtype=torch.int32, device=kernel.device)
    blocks = min(-(-call.frames // kernel.block), kernel.resident_blocks)

    def run(_alive: tuple[object, ...] = (*kept, flag)) -> None:
        kernel.launch(blocks, call, ctypes.c_void_p(flag.data_ptr()))

    return run


def variants(source: Source, device: torch.device) -> dict[str, Kernel]:
    """Return the kernel with other compiler options and numbers of warps per multiprocessor."""
    properties = torch.cuda.get_device_properties(device)
    found: dict[str, Kernel] = {}
    for name, options in OPTIONS.items():
        cubin = compile_source(source, (properties.major, properties.minor), options).cubin
        kernel = load_kernel(cubin, "ikol_tree", cuda.BLOCK, device)
        for warps in WARPS:
            resident = min(warps * properties.multi_processor_count, kernel.resident_blocks)
            found[f"{name}, {warps} warps"] = replace(kernel, resident_blocks=resident)
    return found


def bench(problem: PaperProblem, device: torch.device, batches: tuple[int, ...], seconds: float) -> list[BenchCase]:
    """Time one precision at all sizes."""
    dtype = problem.keypoints.dtype
    precision = str(dtype).removeprefix("torch.")
    nodes, joints = len(problem.tree.parents), problem.twist.shape[-1]
    lines: list[BenchCase] = []
    for batch in batches:
        arrays = arrays_on(problem, batch, device)

        def call(arrays: native.Arrays = arrays) -> DirectionResult:
            return solve_directions(problem.tree, arrays.keypoints, arrays.offsets, arrays.twist, config=CONFIG)

        result = call()
        flops = float(result.iterations.double().mean()) * ITERATION_FLOPS
        residual, converged = _quality(problem, result)
        runs: dict[str, float] = {"paper": fastest(call, seconds)}
        runs["paper, kernel"] = launches(forward_run(kernel_of(problem, device), problem, arrays), seconds)
        derivative = kernel_of(problem, device, backward=True)
        weighted = arrays._replace(weights=torch.ones_like(arrays.keypoints[..., 0]))
        runs["backward, kernel"] = launches(backward_run(derivative, problem, weighted), seconds)
        if batch == max(batches):
            for name, kernel in variants(
                cuda.kernel_source(problem.tree.parents, dtype, backward=False), device
            ).items():
                runs[f"paper, kernel, {name}"] = launches(forward_run(kernel, problem, arrays), seconds / 4)
        for name, whole in runs.items():
            moved = frame_bytes(nodes, joints, dtype, backward=name.startswith("backward"))
            note = f"input and output at {moved * batch / whole / PEAK_BYTES:.1%} of {PEAK_BYTES / 1e12} TB/s"
            if not name.startswith("backward"):
                peak = PEAK_FLOPS[dtype]
                note += f", arithmetic at {flops * batch / whole / peak:.1%} of {peak / 1e12:.0f} TFLOP/s"
            line = timed_case(name, batch, f"cuda {precision}", whole / batch, residual, converged)
            lines.append(replace(line, note=note))
            print(report_line(lines[-1]))
    return lines


def _quality(problem: PaperProblem, result: DirectionResult) -> tuple[float, float]:
    """The residual over the first frames in millimetres, and the part that converged."""
    count = min(len(result.root), 4096)
    first: list[Tensor] = [each[:count].cpu() for each in vars(result).values()]
    distance = paper_residuals(problem, DirectionResult(*first))[:, 1:]
    return 1e3 * float(distance.mean()), float((result.status == 0).double().mean())


def on_device(value: Any, device: torch.device) -> Any:
    """Return a tree of dataclasses, tuples and tensors on a device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(on_device(each, device) for each in value)
    if is_dataclass(value) and not isinstance(value, type):
        changed = {each.name: on_device(getattr(value, each.name), device) for each in fields(value) if each.init}
        return replace(value, **changed)
    return value


def bench_photo(device: torch.device, batches: tuple[int, ...], seconds: float) -> list[BenchCase]:
    """Time all evidence of a photograph, in float32 outside."""
    lines: list[BenchCase] = []
    for batch in batches:
        case = photo_case(batch)
        there = on_device(case, device)

        def call(case: SolveCase = there) -> torch.Tensor:
            return solve(case.skeleton, case.evidence, case.start, replace(case.config, backend="native")).cost

        few = photo_case(64)
        wanted, found = (call(each) for each in (few, on_device(few, device)))
        apart = float(((found.cpu() - wanted) / wanted).abs().max())
        whole = fastest(call, seconds)
        line = timed_case("photo", batch, "cuda float32", whole / batch, None, None)
        lines.append(replace(line, note=f"costs within {apart:.1e} of the CPU's"))
        print(report_line(lines[-1]))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the report here")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each measurement")
    parser.add_argument("--batch", type=int, action="append", help="only this size (default: three)")
    parser.add_argument("--device", default="cuda:0")
    options = parser.parse_args()
    device = torch.device(options.device)
    agreements: list[Agreement] = []
    lines: list[BenchCase] = []
    for dtype in DTYPES:
        problem = make_paper_problem(MADE, dtype=dtype)
        agreements.append(compare(problem, device))
        print(agreements[-1])
        lines += bench(problem, device, tuple(options.batch or BATCHES), options.seconds)
    lines += bench_photo(device, tuple(options.batch or PHOTO_BATCHES), options.seconds)
    machine = {"gpu": torch.cuda.get_device_name(device), "torch": torch.__version__, "cuda": torch.version.cuda}
    report = {"machine": machine, "cases": list(map(asdict, lines)), "agreement": list(map(asdict, agreements))}
    text = json.dumps(report, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()

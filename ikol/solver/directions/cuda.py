# SPDX-License-Identifier: Apache-2.0
"""The same kernel on a GPU: compiled for one tree at its first use, then called as on the CPU.

One thread solves one frame. Imports: torch, ctypes, the compiler, what the CPU's side hands to the kernel.
"""

import ctypes
import logging
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from ikol.errors import InputError
from ikol.solver.cuda_compiler import CudaError, Kernel, Source, cached_cubin, load_kernel
from ikol.solver.directions.config import DirectionConfig, DirectionResult
from ikol.solver.directions.native import (
    ALL,
    FOLDER,
    INVALID_VALUES,
    Arrays,
    Call,
    Slopes,
    Solution,
    derivative_call,
    solve_call,
)

BLOCK = 32  # threads: one warp, so that a few thousand frames already spread over the whole GPU
# Blocks on a multiprocessor at most. More hide more latency, but 8 warps with 3 KB a thread already use the first-level
# cache three times over and H200's second-level cache twice. A guess: scripts/bench_gpu.py measures 1 to 16.
BLOCKS = 8
SCALARS = {torch.float32: "float", torch.float64: "double"}
# The driver sets local memory aside for every thread that the GPU could hold; more than this part of all is too much.
LARGEST_SHARE = 0.25
_WRONG_ROOM = 2
_LOGGER = logging.getLogger(__name__)


def kernel_source(parents: tuple[int, ...], dtype: torch.dtype, *, backward: bool) -> Source:
    """Return what NVRTC compiles for one tree."""
    defines = {
        "IKOL_DEVICE": "1",
        "IKOL_NODES": str(len(parents)),
        "IKOL_PARENTS": ",".join(map(str, parents)),
        "IKOL_SCALAR_TYPE": SCALARS[dtype],
        "IKOL_BACKWARD": str(int(backward)),
        "IKOL_BLOCK": str(BLOCK),
    }
    text = (FOLDER / "tree_newton.cpp").read_text(encoding="utf-8")
    header = ("lanes.h", (FOLDER / "lanes.h").read_text(encoding="utf-8"))
    return Source(text, (header,), tuple(f"-D{name}={value}" for name, value in defines.items()))


@lru_cache(maxsize=64)
def find_kernel(
    parents: tuple[int, ...], dtype: torch.dtype, device: torch.device, *, backward: bool = False
) -> Kernel | None:
    """Return the kernel of a tree, or None with one line in the log when it cannot be used."""
    try:
        properties = torch.cuda.get_device_properties(device)
        source = kernel_source(parents, dtype, backward=backward)
        cubin = cached_cubin(source, (properties.major, properties.minor))
        kernel = load_kernel(cubin, "ikol_tree", BLOCK, device, BLOCKS)
        threads = properties.multi_processor_count * properties.max_threads_per_multi_processor
        if kernel.local_bytes * threads > LARGEST_SHARE * properties.total_memory:
            raise CudaError(f"a tree of {len(parents)} nodes needs {kernel.local_bytes} bytes a thread, too much here")
    except (CudaError, OSError, AttributeError) as error:
        _warn_once(str(error))
        return None
    return kernel


@lru_cache(maxsize=16)
def _warn_once(reason: str) -> None:
    _LOGGER.warning("the compiled solver is not used on the GPU, PyTorch takes its place: %s", reason)


def solve_cuda(
    kernel: Kernel, parents: tuple[int, ...], num_joints: int, arrays: Arrays, config: DirectionConfig
) -> DirectionResult:
    """Solve on the device of the arrays. Waits for the end, to tell of invalid input.

    Raises:
        InputError: numbers that are not finite, or a negative weight.
    """
    call, result = solve_call(parents, num_joints, arrays, config)
    any_invalid = _launch(kernel, call, arrays.keypoints)
    problem = int(any_invalid)
    assert problem != _WRONG_ROOM, "tree_newton.cpp: room() is not what lay_out() takes"
    if problem:
        raise InputError(INVALID_VALUES)
    return result


def differentiate_cuda(
    kernel: Kernel,
    parents: tuple[int, ...],
    arrays: Arrays,
    result: DirectionResult | Solution,
    gradients: tuple[Tensor, Tensor | None],
    hold_root: bool,
    wanted: Sequence[bool] = ALL,
) -> Slopes:
    """Return the derivative of a loss, as `differentiate_native` does. Does not wait for the end."""
    call, outputs = derivative_call(parents, arrays, result, gradients, hold_root, wanted)
    _launch(kernel, call, arrays.keypoints)
    return outputs


def _launch(kernel: Kernel, packed: bytes, like: Tensor) -> Tensor:
    any_invalid, call = like.new_zeros((), dtype=torch.int32), Call.from_buffer_copy(packed)
    blocks = min(-(-call.frames // kernel.block), kernel.resident_blocks)
    if blocks:
        kernel.launch(blocks, call, ctypes.c_void_p(any_invalid.data_ptr()))
    return any_invalid

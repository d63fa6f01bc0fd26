# SPDX-License-Identifier: Apache-2.0
"""The general solve's kernel on a GPU: one thread solves a run of frames, with its working memory in local memory.

The same source as on the CPU, compiled by NVRTC at its first use, which takes about a minute; then the machine code is
in the user's cache. Imports: torch, ctypes, the compiler, what the CPU's side hands to the kernel.
"""

import ctypes
import logging
from collections.abc import Callable
from functools import lru_cache

import torch

from ikol.solver.cuda_compiler import CudaError, Kernel, Source, cached_cubin, load_kernel
from ikol.solver.general_native import SOURCES, Block, Call, Library
from ikol.solver.native_library import FOLDER

BLOCK = 32  # threads: one warp
SCRATCH = (3 << 15, 3 << 16, 3 << 17)  # bytes of a thread, the first that is enough; local memory ends at 512 KB
LARGEST_SHARE = 0.25  # of the GPU's memory, which the driver sets aside for the local memory of all its threads
_TOO_LITTLE = 2  # what the kernel reports
_LOGGER = logging.getLogger(__name__)
FindKernel = Callable[[int], Kernel]


def kernel_source(scratch: int) -> Source:
    """Return what NVRTC compiles, for one size of a thread's working memory."""
    *headers, kernel = ((name, (FOLDER / name).read_text(encoding="utf-8")) for name in SOURCES if name != "entry.h")
    options = ("-DIKOL_DEVICE=1", f"-DIKOL_BLOCK={BLOCK}", f"-DIKOL_SCRATCH={scratch}")
    return Source(kernel[1], tuple(headers), options)


@lru_cache(maxsize=8)
def find_library(device: torch.device) -> Library | None:
    """Return the kernel on a GPU, or None with one line in the log when it cannot be used."""
    try:
        _find_kernel(device, SCRATCH[0])
    except (CudaError, OSError, AttributeError) as error:
        _LOGGER.warning("the compiled solver is not used on the GPU, PyTorch takes its place: %s", error)
        return None
    return make_library(device, lambda scratch: _find_kernel(device, scratch))


@lru_cache(maxsize=8)
def _find_kernel(device: torch.device, scratch: int) -> Kernel:
    properties = torch.cuda.get_device_properties(device)
    threads = properties.multi_processor_count * properties.max_threads_per_multi_processor
    if scratch * threads > LARGEST_SHARE * properties.total_memory:
        raise CudaError(f"it needs {scratch} bytes a thread, too much for this one")
    cubin = cached_cubin(kernel_source(scratch), (properties.major, properties.minor))
    return load_kernel(cubin, "ikol_general", BLOCK, device)


def make_library(device: torch.device, find_kernel: FindKernel) -> Library:
    """Return kernels of several sizes as one library; `find_kernel`: that for some bytes of working memory."""
    enough: dict[bytes, int] = {}  # what a problem of some shape has needed

    def run(address: int, _queue: int | None, _is_single: int, _variant: int) -> int:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        call, shape, _table = to_device(Call.from_address(address), device)
        for scratch in SCRATCH[enough.get(shape, 0) :]:
            kernel = find_kernel(scratch)
            trouble = torch.zeros((), dtype=torch.int32, device=device)
            blocks = min(-(-call.frames // kernel.block), kernel.resident_blocks)
            kernel.launch(blocks, call, ctypes.c_void_p(trouble.data_ptr()))
            if int(trouble) != _TOO_LITTLE:
                enough[shape] = SCRATCH.index(scratch)
                return 0
        return _TOO_LITTLE

    return Library(run, 0, is_threaded=False)


def to_device(call: Call, device: torch.device) -> tuple[Call, bytes, torch.Tensor]:
    """Return the call with its tables of numbers on the device, what decides the memory it needs, and the tables.

    The tensors that it points to are there already. The tables must be kept until the kernel has run.
    """
    call = Call.from_buffer_copy(call)
    blocks = (Block * call.blocks).from_buffer_copy(ctypes.string_at(call.block, ctypes.sizeof(Block) * call.blocks))
    counts = {"parents": call.joints, "point_joints": call.points, "bone_groups": call.joints}
    owners: list[tuple[ctypes.Structure, str, int]] = [(call, name, count) for name, count in counts.items()]
    for block in blocks:
        owners += [(block, "index", block.count), (block, "reference_index", block.reference_count)]
    owners = [(owner, name, count) for owner, name, count in owners if getattr(owner, name) and count]
    whole = [ctypes.string_at(getattr(owner, name), 4 * count) for owner, name, count in owners]
    starts = [sum(-(-len(each) // 8) * 8 for each in whole[:number]) for number in range(len(whole) + 1)]
    table = torch.empty(starts[-1] + ctypes.sizeof(blocks), dtype=torch.uint8, device=device)
    for (owner, name, _), start in zip(owners, starts, strict=False):
        setattr(owner, name, table.data_ptr() + start)
    call.block = table.data_ptr() + starts[-1]
    padded = b"".join(each + bytes(-len(each) % 8) for each in whole)
    table.copy_(torch.frombuffer(bytearray(padded + bytes(blocks)), dtype=torch.uint8))
    shape = repr((call.joints, call.points, call.betas, call.solve_shape, [(b.kind, b.count) for b in blocks], padded))
    return call, shape.encode(), table

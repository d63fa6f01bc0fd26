# SPDX-License-Identifier: Apache-2.0
"""The block-banded Cholesky by the compiled kernel, on two threads where that pays. Imports: torch, ctypes.

Frames are eliminated from both ends towards the middle; how many threads do it makes no difference to the result.
"""

import ctypes
import logging
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.solver.native_library import Library, library_path, load_kernel, run_parts, try_loading

SOURCES = ("lanes.h", "entry.h", "band.cpp")
THREAD_FLOPS = 1e8  # about 27 frames of a body, a millisecond: handing over to a thread costs about a tenth of that
_PAD = 8  # solutions have as many columns as registers of any size divide
_NOT_DEFINITE = 1
_LOGGER = logging.getLogger(__name__)


class _Call(ctypes.Structure):
    """`struct ikol_band_call`, field by field."""

    _fields_ = (  # pyright: ignore[reportIncompatibleUnannotatedOverride] - ctypes takes any sequence
        *((name, ctypes.c_void_p) for name in ("panels", "solution")),
        *((name, ctypes.c_int64) for name in ("frames", "size", "reach", "sides", "stride")),
    )


@lru_cache(maxsize=1)
def find_library() -> Library | None:
    """Return the kernel, or None with one line in the log when it cannot be used."""
    what = "the compiled band is not used, PyTorch takes its place"
    return try_loading(lambda: load_library(library_path("band")), _LOGGER, what)


@lru_cache(maxsize=4)
def log_device(device: torch.device) -> None:
    """Say once that a device has no compiled band."""
    _LOGGER.info("the compiled band is not used on %s, PyTorch takes its place", device)


def load_library(path: Path) -> Library:
    """Load the kernel; raises as `load_kernel` does."""
    sizes = ("ikol_band_size", ctypes.sizeof(_Call))
    return load_kernel(path, "band", (ctypes.c_void_p, ctypes.c_int, ctypes.c_int), sizes)


def can_solve(panels: Tensor) -> bool:
    """Say whether the kernel takes this band."""
    if panels.device.type != "cpu":
        log_device(panels.device)
        return False
    is_plain = panels.dtype == torch.float64 and panels.is_contiguous() and not panels.requires_grad
    return is_plain and panels.numel() > 0 and find_library() is not None


def solve_native(
    panels: Float[Tensor, "frames columns all"], reach: int, library: Library | None = None
) -> Float[Tensor, "frames columns sides"] | None:
    """Return the x with A x = b, None where A is not positive definite. Overwrites the panels; see `solve_band`."""
    library = find_library() if library is None else library
    assert library is not None
    frames, size, stride = panels.shape
    sides = stride - reach * size
    solution = panels.new_empty(frames, size, -(-sides // _PAD) * _PAD)
    call = _Call(panels.data_ptr(), solution.data_ptr(), frames, size, reach, sides, stride)
    address, flops = ctypes.addressof(call), float(frames * size * size * stride * reach)
    threads = torch.get_num_threads() if flops > THREAD_FLOPS else 1

    def run(phase: int, count: int) -> int:
        return max(library.run(address, phase + part, library.variant) for part in range(count))

    # from both ends, between them, then back to both ends
    code = run_parts(run, 2, 1, threads)
    code = code or run(2, 1)
    code = code or run_parts(lambda part, count: run(3 + part, count), 2, 1, threads)
    if code > _NOT_DEFINITE:
        raise MemoryError("no memory for the band's rows")
    return solution[..., :sides] if code == 0 else None

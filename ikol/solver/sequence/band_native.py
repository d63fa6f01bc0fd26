# SPDX-License-Identifier: Apache-2.0
"""The block-banded Cholesky by the compiled kernel, on two threads where that pays. Imports: torch, ctypes.

Frames are eliminated from both ends towards the middle; how many threads do it makes no difference to the result.
"""

import ctypes
import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ikol.solver.native_library import Library, library_path, load_kernel, run_parts, try_loading

SOURCES = ("lanes.h", "entry.h", "band.cpp")
THREAD_FLOPS = 1e8  # about 27 frames of a body, a millisecond: handing over to a thread costs about a tenth of that
_PAD = 8  # registers of any size divide so many numbers
_NOT_DEFINITE = 1
_LOGGER = logging.getLogger(__name__)


class _Call(ctypes.Structure):
    """`struct ikol_band_call`, field by field."""

    _fields_ = (  # pyright: ignore[reportIncompatibleUnannotatedOverride] - ctypes takes any sequence
        *((name, ctypes.c_void_p) for name in ("source", "diagonal", "right", "change", "changed", "index", "left")),
        *((name, ctypes.c_void_p) for name in ("factor", "solution")),
        *((name, ctypes.c_int64) for name in ("frames", "size", "reach", "sides")),
        *((name, ctypes.c_int64) for name in ("source_frame", "source_row", "is_rough")),
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
    is_plain = panels.dtype == torch.float64 and panels.stride(-1) == 1 and not panels.requires_grad
    return is_plain and panels.numel() > 0 and find_library() is not None


@dataclass(frozen=True, eq=False)
class Stretches:
    """Successive frames of a band, several times, which do not touch those of the next stretch."""

    index: Int[Tensor, "some"]
    """Which frames of the band."""
    left: Int[Tensor, "some"]
    """How many of its stretch come after each."""
    changed: Int[Tensor, "some"]
    """Which of `change` is added to a frame's own block, or -1."""
    change: Float[Tensor, "changes columns columns"]


class Memory:
    """Room for a factor, used again: fresh pages for each solve take longer than filling them."""

    def __init__(self) -> None:
        self._room = torch.empty(0, dtype=torch.float64)

    def take(self, count: int) -> Tensor:
        """Return as much, with anything in it; what was taken before is no longer valid."""
        if len(self._room) < count:
            self._room = torch.empty(count, dtype=torch.float64)
        return self._room[:count]


def _padded(count: int) -> int:
    return -(-count // _PAD) * _PAD


def solve_native(
    panels: Float[Tensor, "frames columns all"],
    reach: int,
    diagonal: Float[Tensor, "some columns"] | None = None,
    right: Float[Tensor, "some columns"] | None = None,
    stretches: Stretches | None = None,
    memory: Memory | None = None,
    *,
    is_rough: bool = False,
    library: Library | None = None,
) -> Float[Tensor, "some columns sides"] | None:
    """Return the x with A x = b, None where A is not positive definite; see `solve_band`."""
    library = find_library() if library is None else library
    assert library is not None
    size, width = panels.shape[1:]
    frames = len(panels) if stretches is None else len(stretches.index)
    sides = width - reach * size + (right is not None)
    stride = reach * _padded(size) + _padded(sides)
    numbers = frames * size * stride
    factor = (Memory() if memory is None else memory).take(-(-numbers // 2) if is_rough else numbers)
    solution = panels.new_empty(frames, size, _padded(sides))
    call = _Call(source=panels.data_ptr(), factor=factor.data_ptr(), solution=solution.data_ptr(), is_rough=is_rough)
    call.frames, call.size, call.reach, call.sides = frames, size, reach, sides
    call.source_frame, call.source_row = panels.stride(0), panels.stride(1)
    given = {"diagonal": diagonal, "right": right}
    if stretches is not None:
        given |= {name: getattr(stretches, name) for name in ("index", "left", "changed", "change")}
    kept = {name: part.contiguous() for name, part in given.items() if part is not None}
    for name, part in kept.items():
        setattr(call, name, part.data_ptr())
    address, flops = ctypes.addressof(call), float(frames * size * size * stride * reach)
    threads = torch.get_num_threads() if flops > THREAD_FLOPS else 1

    def run(phase: int, count: int) -> int:
        return max(library.run(address, phase + part, library.variant) for part in range(count))

    # from both ends, between them, then back to both ends
    code = run_parts(run, 2, 1, threads)
    code = code or run(2, 1)
    code = code or run_parts(lambda part, count: run(3 + part, count), 2, 1, threads)
    del kept
    if code > _NOT_DEFINITE:
        raise MemoryError("no memory for the band's rows")
    return solution[..., :sides] if code == 0 else None

# SPDX-License-Identifier: Apache-2.0
"""The compiled kernel behind a function: finds the library, hands pointers over, splits large batches over threads.

No copies of arrays that are contiguous already. Imports: torch, ctypes, the result types.
"""

import ctypes
import logging
import struct
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ikol.errors import InputError
from ikol.solver import native_library
from ikol.solver.directions.config import TOLERANCE, DirectionConfig, DirectionResult
from ikol.solver.native_library import Library, load_kernel, try_loading

FOLDER = native_library.FOLDER
THREAD_FRAMES = 1024  # at about 2 us a frame, two threads start to win over the 0.1 ms that handing over costs
SOURCES = ("lanes.h", "entry.h", "tree_newton.cpp")
_INVALID_INPUT = 3  # return code of ikol_tree_run
INVALID_VALUES = (
    "keypoints, offsets, twist and weights must be finite and weights not negative, got others; give a missing "
    "keypoint the weight 0, it is not read then"
)
_LOGGER = logging.getLogger(__name__)


class Call(ctypes.Structure):
    """`struct ikol_tree_call` of tree_newton.cpp, field by field."""

    _fields_ = (  # pyright: ignore[reportIncompatibleUnannotatedOverride] - ctypes takes any sequence
        *((name, ctypes.c_int32) for name in ("nodes", "hold_root", "max_iterations", "reserved")),
        ("frames", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("parents", "keypoints", "offsets", "weights", "twist")),
        *((f"{name}_stride", ctypes.c_int64) for name in ("keypoints", "offsets", "weights", "twist")),
        ("tolerance", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("rotmat", "root", "cost", "status", "iterations")),
        *((name, ctypes.c_void_p) for name in ("grad_rotmat", "grad_root")),
        *((f"grad_{name}", ctypes.c_void_p) for name in ("keypoints", "offsets", "weights", "twist")),
    )


_CALL = struct.Struct("@4iq5P4qd5P2P4P")
"""A `Call` as bytes, 0 for no pointer: to fill the structure field by field takes as long as a quarter of a solve."""


class Arrays(NamedTuple):
    """The inputs: contiguous, of one dtype, on one device; each with the batch dimension, or without any."""

    keypoints: Tensor
    offsets: Tensor
    weights: Tensor | None
    twist: Tensor


def library_path() -> Path:
    """Return where the library of this platform is, or would be."""
    return native_library.library_path("tree")


@lru_cache(maxsize=1)
def find_library() -> Library | None:
    """Return the kernel, or None with one line in the log when it cannot be used."""
    what = "the compiled solver is not used, PyTorch takes its place"
    return try_loading(lambda: load_library(library_path()), _LOGGER, what)


def load_library(path: Path) -> Library:
    """Load the kernel; raises as `load_kernel` does."""
    return load_kernel(path, "tree", (ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int))


def solve_native(
    library: Library, parents: tuple[int, ...], num_joints: int, arrays: Arrays, config: DirectionConfig
) -> DirectionResult:
    """Solve on the CPU.

    Raises:
        InputError: numbers that are not finite, or a negative weight.
    """
    call, result = solve_call(parents, num_joints, arrays, config)
    _run(library, call, num_joints, arrays.keypoints.element_size(), 0)
    return result


def solve_call(
    parents: tuple[int, ...], num_joints: int, arrays: Arrays, config: DirectionConfig
) -> tuple[bytes, DirectionResult]:
    """Return the `Call` of the kernel, and the result that it will fill."""
    keypoints = arrays.keypoints
    batch, new = keypoints.shape[:-2], keypoints.new_empty
    rotmat, root, cost = new((*batch, num_joints, 3, 3)), new((*batch, 3)), new(batch)
    status, iterations = new((2, *batch), dtype=torch.int32).unbind()
    call = _CALL.pack(
        *_problem(parents, arrays, config.hold_root, config.max_iterations),
        *(TOLERANCE[keypoints.dtype], rotmat.data_ptr(), root.data_ptr()),
        *(cost.data_ptr(), status.data_ptr(), iterations.data_ptr(), 0, 0, 0, 0, 0, 0),
    )
    return call, DirectionResult(rotmat, root, cost, status, iterations)


class Solution(NamedTuple):
    """What a derivative needs of a result."""

    local_rotmat: Tensor
    root: Tensor
    status: Tensor


Slopes = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]
"""Of a loss: to keypoints, offsets, weights and twist, one row a frame; None where nobody asks."""
ALL = (True, True, True, True)


def differentiate_native(
    library: Library,
    parents: tuple[int, ...],
    arrays: Arrays,
    result: DirectionResult | Solution,
    gradients: tuple[Tensor, Tensor | None],
    hold_root: bool,
    wanted: Sequence[bool] = ALL,
    *,
    one_step: bool = False,
) -> Slopes:
    """Return the derivative of a loss.

    `gradients`: of the loss to the local rotations and to the root, contiguous, None for zeros; `wanted`: which of the
    four to return; `one_step`: of a Gauss-Newton step more, not of the optimum.
    """
    call, slopes = derivative_call(parents, arrays, result, gradients, hold_root, wanted)
    _run(library, call, result.local_rotmat.shape[-3], arrays.keypoints.element_size(), 1 + one_step)
    return slopes


def derivative_call(
    parents: tuple[int, ...],
    arrays: Arrays,
    result: DirectionResult | Solution,
    gradients: tuple[Tensor, Tensor | None],
    hold_root: bool,
    wanted: Sequence[bool] = ALL,
) -> tuple[bytes, Slopes]:
    """Return the `Call` of the kernel, and the derivative that it will fill."""
    keypoints, twist, rotmat = arrays.keypoints, arrays.twist, result.local_rotmat
    # empty_like: taking a tensor's shape for a new one takes longer than the allocation
    on_keypoints = torch.empty_like(keypoints) if wanted[0] else None
    on_offsets = torch.empty_like(keypoints) if wanted[1] else None
    on_weights = keypoints.new_empty(keypoints.shape[:-1]) if wanted[2] else None
    on_twist = None
    if wanted[3]:
        on_twist = torch.empty_like(twist) if twist.ndim > 1 else keypoints.new_empty(rotmat.shape[:-2])
    on_rotmat, on_root = gradients
    call = _CALL.pack(
        *_problem(parents, arrays, hold_root, 0),
        *(0.0, rotmat.data_ptr(), result.root.data_ptr(), 0, result.status.data_ptr(), 0),
        on_rotmat.data_ptr(),
        0 if on_root is None else on_root.data_ptr(),
        0 if on_keypoints is None else on_keypoints.data_ptr(),
        0 if on_offsets is None else on_offsets.data_ptr(),
        0 if on_weights is None else on_weights.data_ptr(),
        0 if on_twist is None else on_twist.data_ptr(),
    )
    return call, (on_keypoints, on_offsets, on_weights, on_twist)


@lru_cache(maxsize=64)
def _parents(parents: tuple[int, ...]) -> tuple[object, int]:
    """The parents as a C array, kept alive, and its address."""
    array = (ctypes.c_int32 * len(parents))(*parents)
    return array, ctypes.addressof(array)


def _problem(parents: tuple[int, ...], arrays: Arrays, hold_root: bool, max_iterations: int) -> tuple[int, ...]:
    """The fields of a `Call` up to the tolerance."""
    keypoints, offsets, weights, twist = arrays.keypoints, arrays.offsets, arrays.weights, arrays.twist
    nodes = len(parents)
    return (
        *(nodes, hold_root, max_iterations, 0, keypoints.numel() // (3 * nodes), _parents(parents)[1]),
        *(keypoints.data_ptr(), offsets.data_ptr(), 0 if weights is None else weights.data_ptr(), twist.data_ptr()),
        *(3 * nodes, 3 * nodes if offsets.ndim > 2 else 0),
        nodes if weights is not None and weights.ndim > 1 else 0,
        twist.shape[-1] if twist.ndim > 1 else 0,
    )


def _steps(call: Call, joints: int, item: int) -> dict[str, int]:
    """Bytes from frame to frame of each array."""
    point, frame = 3 * call.nodes * item, 9 * joints * item
    steps = {name: getattr(call, f"{name}_stride") * item for name in ("keypoints", "offsets", "weights", "twist")}
    steps |= {"rotmat": frame, "root": 3 * item, "cost": item, "status": 4, "iterations": 4}
    steps |= {"grad_rotmat": frame, "grad_root": 3 * item, "grad_keypoints": point, "grad_offsets": point}
    return steps | {"grad_weights": call.nodes * item, "grad_twist": joints * item}


def _run(library: Library, packed: bytes, joints: int, item: int, backward: int) -> None:
    """Run the call, on several threads where that pays; `backward`: 0 to solve, 1 to differentiate, 2 for one step."""
    call = Call.from_buffer_copy(packed)
    frames = call.frames
    if frames == 0:
        return
    threads = 1 if frames < 2 * THREAD_FRAMES else min(torch.get_num_threads(), frames // THREAD_FRAMES)
    if threads < 2:
        _check(library.run(packed, item == 8, backward, library.variant))
        return
    steps = _steps(call, joints, item)
    parts: list[Call] = []
    share = -(-frames // (threads * 16)) * 16  # whole registers
    for first in range(0, frames, share):
        part = Call.from_buffer_copy(call)
        part.frames = min(share, frames - first)
        for name, step in steps.items():
            pointer = getattr(call, name)
            if pointer is not None:
                setattr(part, name, pointer + first * step)
        parts.append(part)

    def run(part: Call) -> int:
        return library.run(ctypes.addressof(part), item == 8, backward, library.variant)

    for code in native_library.pool(threads).map(run, parts):  # ctypes lets go of the interpreter's lock
        _check(code)


def _check(code: int) -> None:
    if code == _INVALID_INPUT:
        raise InputError(INVALID_VALUES)
    if code:
        raise MemoryError(f"the compiled solver failed with code {code}")

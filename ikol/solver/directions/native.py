# SPDX-License-Identifier: Apache-2.0
"""The compiled kernel behind a function: finds the library, hands pointers over, splits large batches over threads.

No copies of arrays that are contiguous already. Imports: torch, ctypes, the result types.
"""

import ctypes
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

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


@dataclass(frozen=True, eq=False)
class Arrays:
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
) -> tuple[Call, DirectionResult]:
    """Return what the kernel is called with, and the result that it will fill."""
    keypoints = arrays.keypoints
    batch, new = keypoints.shape[:-2], keypoints.new_empty
    rotmat, root, cost = new((*batch, num_joints, 3, 3)), new((*batch, 3)), new(batch)
    status, iterations = new((2, *batch), dtype=torch.int32).unbind()
    call = Call(
        *_problem(parents, arrays, config.hold_root, config.max_iterations),
        *(TOLERANCE[keypoints.dtype], rotmat.data_ptr(), root.data_ptr()),
        *(cost.data_ptr(), status.data_ptr(), iterations.data_ptr()),
    )
    return call, DirectionResult(rotmat, root, cost, status, iterations)


ALL = (True, True, True, True)


def differentiate_native(
    library: Library,
    parents: tuple[int, ...],
    arrays: Arrays,
    result: DirectionResult,
    gradients: tuple[Tensor, Tensor | None],
    hold_root: bool,
    wanted: Sequence[bool] = ALL,
    *,
    one_step: bool = False,
) -> tuple[Tensor, ...]:
    """Return the derivative of a loss to keypoints, offsets, weights and twist, one row a frame.

    `gradients`: of the loss to the local rotations and to the root, contiguous, None for zeros; `wanted`: which of the
    four to return; `one_step`: of a Gauss-Newton step more, not of the optimum.
    """
    call, outputs = derivative_call(parents, arrays, result, gradients, hold_root, wanted)
    _run(library, call, result.local_rotmat.shape[-3], arrays.keypoints.element_size(), 1 + one_step)
    return outputs


def derivative_call(
    parents: tuple[int, ...],
    arrays: Arrays,
    result: DirectionResult,
    gradients: tuple[Tensor, Tensor | None],
    hold_root: bool,
    wanted: Sequence[bool] = ALL,
) -> tuple[Call, tuple[Tensor, ...]]:
    """Return what the kernel is called with, and the gradients that it will fill."""
    keypoints, rotmat = arrays.keypoints, result.local_rotmat
    batch, nodes, new = keypoints.shape[:-2], len(parents), keypoints.new_empty
    outputs = (  # empty_like: taking a tensor's shape for a new one takes longer than the allocation
        torch.empty_like(keypoints) if wanted[0] else None,
        torch.empty_like(keypoints) if wanted[1] else None,
        new((*batch, nodes)) if wanted[2] else None,
        new((*batch, rotmat.shape[-3])) if wanted[3] else None,
    )
    call = Call(
        *_problem(parents, arrays, hold_root, 0),
        *(0.0, rotmat.data_ptr(), result.root.data_ptr(), None, result.status.data_ptr(), None),
        *(None if each is None else each.data_ptr() for each in (*gradients, *outputs)),
    )
    return call, tuple(each for each in outputs if each is not None)


@lru_cache(maxsize=64)
def _parents(parents: tuple[int, ...]) -> tuple[object, int]:
    """The parents as a C array, kept alive, and its address."""
    array = (ctypes.c_int32 * len(parents))(*parents)
    return array, ctypes.addressof(array)


def _problem(parents: tuple[int, ...], arrays: Arrays, hold_root: bool, max_iterations: int) -> tuple[int | None, ...]:
    """The fields of a `Call` up to the tolerance. All at once: to set them one by one takes as long as a solve."""
    keypoints, offsets, weights, twist = arrays.keypoints, arrays.offsets, arrays.weights, arrays.twist
    nodes = len(parents)
    return (
        *(nodes, hold_root, max_iterations, 0, keypoints.numel() // (3 * nodes), _parents(parents)[1]),
        *(keypoints.data_ptr(), offsets.data_ptr(), None if weights is None else weights.data_ptr(), twist.data_ptr()),
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


def _run(library: Library, call: Call, joints: int, item: int, backward: int) -> None:
    """Run the call, on several threads where that pays; `backward`: 0 to solve, 1 to differentiate, 2 for one step."""
    frames = call.frames
    if frames == 0:
        return
    threads = 1 if frames < 2 * THREAD_FRAMES else min(torch.get_num_threads(), frames // THREAD_FRAMES)
    if threads < 2:
        _check(library.run(ctypes.addressof(call), item == 8, backward, library.variant))
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

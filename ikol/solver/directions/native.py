# SPDX-License-Identifier: Apache-2.0
"""The compiled kernel behind a function: finds the library, hands pointers over, splits large batches over threads.

No copies of arrays that are contiguous already. Imports: torch, ctypes, the result types.
"""

import ctypes
import logging
import math
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
SOURCES = ("lanes.h", "tree_newton.cpp")
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
    call, result, steps = solve_call(parents, num_joints, arrays, config)
    _run(library, call, steps, arrays.keypoints.element_size(), backward=False)
    return result


def solve_call(
    parents: tuple[int, ...], num_joints: int, arrays: Arrays, config: DirectionConfig
) -> tuple[Call, DirectionResult, dict[str, int]]:
    """Return what the kernel is called with, the result that it will fill, and bytes from frame to frame of it."""
    keypoints = arrays.keypoints
    batch = keypoints.shape[:-2]
    new = keypoints.new_empty
    rotmat, root, cost = new((*batch, num_joints, 3, 3)), new((*batch, 3)), new(batch)
    status, iterations = new((2, *batch), dtype=torch.int32).unbind()
    call = _call(parents, arrays)
    call.hold_root, call.max_iterations = config.hold_root, config.max_iterations
    call.tolerance = TOLERANCE[keypoints.dtype]
    call.rotmat, call.root, call.cost = rotmat.data_ptr(), root.data_ptr(), cost.data_ptr()
    call.status, call.iterations = status.data_ptr(), iterations.data_ptr()
    item = keypoints.element_size()
    steps = {"rotmat": num_joints * 9 * item, "root": 3 * item, "cost": item, "status": 4, "iterations": 4}
    return call, DirectionResult(rotmat, root, cost, status, iterations), steps


Gradients = tuple[Tensor, Tensor, Tensor, Tensor]


def differentiate_native(
    library: Library,
    parents: tuple[int, ...],
    arrays: Arrays,
    result: DirectionResult,
    gradients: tuple[Tensor, Tensor],
    hold_root: bool,
) -> Gradients:
    """Return the derivative of a loss to keypoints, offsets, weights and twist, one row a frame.

    `gradients`: of the loss to the local rotations and to the root, contiguous.
    """
    call, outputs, steps = derivative_call(parents, arrays, result, gradients, hold_root)
    _run(library, call, steps, arrays.keypoints.element_size(), backward=True)
    return outputs


def derivative_call(
    parents: tuple[int, ...],
    arrays: Arrays,
    result: DirectionResult,
    gradients: tuple[Tensor, Tensor],
    hold_root: bool,
) -> tuple[Call, Gradients, dict[str, int]]:
    """Return what the kernel is called with, the gradients that it will fill, and bytes from frame to frame."""
    keypoints = arrays.keypoints
    batch = keypoints.shape[:-2]
    nodes, joints, item = len(parents), result.local_rotmat.shape[-3], keypoints.element_size()
    new = keypoints.new_empty
    outputs = new((*batch, nodes, 3)), new((*batch, nodes, 3)), new((*batch, nodes)), new((*batch, joints))
    call = _call(parents, arrays)
    call.hold_root = hold_root
    call.rotmat, call.root, call.status = (
        result.local_rotmat.data_ptr(),
        result.root.data_ptr(),
        result.status.data_ptr(),
    )
    call.grad_rotmat, call.grad_root = gradients[0].data_ptr(), gradients[1].data_ptr()
    call.grad_keypoints, call.grad_offsets = outputs[0].data_ptr(), outputs[1].data_ptr()
    call.grad_weights, call.grad_twist = outputs[2].data_ptr(), outputs[3].data_ptr()
    frame, point = joints * 9 * item, nodes * 3 * item
    steps = {"rotmat": frame, "root": 3 * item, "status": 4, "grad_rotmat": frame, "grad_root": 3 * item}
    steps |= {"grad_keypoints": point, "grad_offsets": point, "grad_weights": nodes * item, "grad_twist": joints * item}
    return call, outputs, steps


@lru_cache(maxsize=64)
def _parents(parents: tuple[int, ...]) -> tuple[object, int]:
    """The parents as a C array, kept alive, and its address."""
    array = (ctypes.c_int32 * len(parents))(*parents)
    return array, ctypes.addressof(array)


def _call(parents: tuple[int, ...], arrays: Arrays) -> Call:
    call = Call()
    call.nodes, call.frames = len(parents), math.prod(arrays.keypoints.shape[:-2])
    call.parents = _parents(parents)[1]
    call.keypoints, call.keypoints_stride = arrays.keypoints.data_ptr(), 3 * len(parents)
    call.offsets, call.twist = arrays.offsets.data_ptr(), arrays.twist.data_ptr()
    if arrays.offsets.ndim > 2:
        call.offsets_stride = 3 * len(parents)
    if arrays.twist.ndim > 1:
        call.twist_stride = arrays.twist.shape[-1]
    if arrays.weights is not None:
        call.weights = arrays.weights.data_ptr()
        if arrays.weights.ndim > 1:
            call.weights_stride = len(parents)
    return call


def _run(library: Library, call: Call, steps: dict[str, int], item: int, *, backward: bool) -> None:
    """Run the call, on several threads where that pays. `steps`: bytes from frame to frame of each array."""
    frames = call.frames
    if frames == 0:
        return
    threads = min(torch.get_num_threads(), frames // THREAD_FRAMES)
    if threads < 2:
        _check(library.run(ctypes.addressof(call), item == 8, backward, library.variant))
        return
    for name in ("keypoints", "offsets", "weights", "twist"):
        steps[name] = getattr(call, f"{name}_stride") * item
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

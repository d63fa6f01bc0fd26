# SPDX-License-Identifier: Apache-2.0
"""The normal equations of many frames by the compiled kernel: what `normal_equations` does in PyTorch.

For translation and rotations as unknowns, on the CPU; with lengths among them PyTorch does it.
Imports: torch, ctypes, the packed problem.
"""

import ctypes
import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ikol.solver.config import SolveConfig
from ikol.solver.general_native import SOURCES as GENERAL
from ikol.solver.general_native import Call, PackedProblem, point_to_state, run_call
from ikol.solver.linear import WIDE
from ikol.solver.native_library import Library, library_path, load_kernel, try_loading
from ikol.solver.problem import Problem
from ikol.solver.state import SolveState

SOURCES = (*GENERAL[:4], "general_linearise.h", "entry.h", "tree_linearise.cpp")
_LOGGER = logging.getLogger(__name__)


class _Linearise(ctypes.Structure):
    """`struct ikol_linearise`, field by field."""

    _fields_ = (  # pyright: ignore[reportIncompatibleUnannotatedOverride] - ctypes takes any sequence
        *((name, ctypes.c_int32) for name in ("extras", "with_bending")),
        ("convexity", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("extra_joints", "extra", "hessian", "gradient")),
        *((name, ctypes.c_int64) for name in ("hessian_frame", "hessian_row")),
    )


@dataclass(frozen=True, eq=False)
class ExtraRows:
    """What more rows on points say, each about a place that a joint carries; world axes."""

    joint_index: Int[Tensor, "extras"]
    information: Float[Tensor, "frames extras 3 3"]
    force: Float[Tensor, "frames extras 3"]
    arm: Float[Tensor, "frames extras 3"]
    """From the joint to the place."""


@lru_cache(maxsize=1)
def find_library() -> Library | None:
    """Return the kernel, or None with one line in the log when it cannot be used."""
    what = "compiled normal equations are not used, PyTorch takes their place"
    return try_loading(lambda: load_library(library_path("linearise")), _LOGGER, what)


def load_library(path: Path) -> Library:
    """Load the kernel; raises as `load_kernel` does."""
    sizes = ("ikol_linearise_sizes", ctypes.sizeof(Call) << 16 | ctypes.sizeof(_Linearise))
    return load_kernel(path, "linearise", (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int), sizes)


def find_lineariser(problem: Problem, config: SolveConfig) -> "Lineariser | None":
    """Return the kernel for a problem; None where only PyTorch can do it, or the settings ask for that."""
    like = problem.skeleton.joints_template
    has_lengths = config.solve_shape or problem.bone_groups.shape[-1] > 0
    is_known = like.device.type == "cpu" and like.dtype in (torch.float32, WIDE)
    if config.backend == "torch" or has_lengths or not is_known:
        return None
    library = find_library()
    return None if library is None else Lineariser(library, problem, config)


class Lineariser:
    """Assembles the normal equations of one problem, again and again."""

    def __init__(self, library: Library, problem: Problem, config: SolveConfig) -> None:
        self._library = library
        # joints that are held keep the rotations that they are given, to the bit: here all are taken as they are
        none_free = torch.zeros(problem.skeleton.tree.num_joints, 3, dtype=torch.bool)
        self._packed = PackedProblem(problem, config, none_free)

    def run(
        self,
        state: SolveState,
        extra: ExtraRows,
        hessian: Float[Tensor, "frames columns columns"],
        *,
        with_bending: bool = False,
        convexity: float = 1.0,
    ) -> Float[Tensor, "frames columns"]:
        """Write H of each frame and return g, in all columns of translation and rotations.

        Args:
            state: of as many frames as the problem has.
            extra: rows that the problem does not know of, robust losses counted.
            hessian: to be written to; its rows are contiguous, its frames and rows may lie apart.
            with_bending: whether to add the second-order part; see `bending`.
            convexity: of the robust losses.

        Raises:
            MemoryError: there is not enough.
        """
        frames, size = hessian.shape[:2]
        call, asked = Call.from_buffer_copy(self._packed.call), _Linearise()
        kept = point_to_state(call, state)
        for name in ("transl", "rotmat", "shape"):  # outputs of a solve, which must be there and are not written to
            setattr(call, f"out_{name}", getattr(call, name))
        for name in ("cost", "initial_cost", "gradient_norm", "status", "iterations"):
            setattr(call, name, call.transl)
        packed = _packed_rows(extra)
        joints = extra.joint_index.to(torch.int32).contiguous()
        gradient = hessian.new_empty(frames, size)
        asked.extras, asked.with_bending, asked.convexity = len(joints), with_bending, convexity
        asked.extra_joints, asked.extra = joints.data_ptr(), packed.data_ptr()
        asked.hessian, asked.gradient = hessian.data_ptr(), gradient.data_ptr()
        asked.hessian_frame, asked.hessian_row = hessian.stride(0), hessian.stride(1)
        address, library = ctypes.addressof(asked), self._library
        run_call(lambda part: library.run(part, address, library.variant), call, frames)
        del kept
        return gradient


def _packed_rows(extra: ExtraRows) -> Float[Tensor, "frames extras 12"]:
    upper = extra.information.flatten(2)[..., (0, 1, 2, 4, 5, 8)]
    return torch.cat((upper, extra.force, extra.arm), dim=-1).to(WIDE).contiguous()

# SPDX-License-Identifier: Apache-2.0
"""Cost and normal equations of many frames, linked or not, by the compiled kernel; PyTorch does the same elsewhere.

For translation and rotations as unknowns, on the CPU; with lengths among them PyTorch does it.
Imports: torch, ctypes, the packed problem.
"""

import ctypes
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.solver.config import SolveConfig
from ikol.solver.general_native import SOURCES as GENERAL
from ikol.solver.general_native import THREAD_FRAMES, Call, PackedProblem, point_to_state
from ikol.solver.linear import WIDE
from ikol.solver.native_library import Library, library_path, load_kernel, run_parts, try_loading
from ikol.solver.problem import Problem
from ikol.solver.residuals import LimitTerm, OnJoints, Range, Rows
from ikol.solver.robust import Huber, RobustLoss
from ikol.solver.state import SolveState

SOURCES = (*GENERAL[:4], "general_linearise.h", "entry.h", "tree_linearise.cpp")
_LOGGER = logging.getLogger(__name__)


class _Link(ctypes.Structure):
    """`struct ikol_link`, field by field."""

    _fields_ = (  # pyright: ignore[reportIncompatibleUnannotatedOverride] - ctypes takes any sequence
        *((name, ctypes.c_int32) for name in ("kind", "loss", "count", "width")),
        ("loss_width", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("index", "weight", "stencil")),
        ("weight_stride", ctypes.c_int64),
        *((name, ctypes.c_double) for name in ("up_x", "up_y", "up_z", "height", "below")),
    )


class _Linearise(ctypes.Structure):
    """`struct ikol_linearise`, field by field."""

    _fields_ = (  # pyright: ignore[reportIncompatibleUnannotatedOverride] - ctypes takes any sequence
        *((name, ctypes.c_int32) for name in ("links", "reach", "with_bending", "unused")),
        *((name, ctypes.c_int64) for name in ("begin", "end", "origin")),
        ("convexity", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("link", "cost", "hessian", "gradient", "limits")),
        *((name, ctypes.c_int64) for name in ("hessian_frame", "hessian_row")),
    )


class LinkKind(IntEnum):
    """What a link looks at."""

    POINTS = 0
    """sum_k stencil_k x_{r + k}."""
    ROTATIONS = 1
    """stencil_2 Log(R_{r+1}^T R_{r+2}) - stencil_0 Log(R_r^T R_{r+1}) of all joints."""
    FLOOR = 2
    """up . x - height, where points are below it or have a weight."""


@dataclass(frozen=True, eq=False)
class FloorRows:
    """The floor of a link of that kind."""

    up: tuple[float, float, float]
    height: float
    weight: float
    """Of what is below it, besides the link's."""


@dataclass(frozen=True, eq=False)
class LinkRows:
    """Rows about successive frames, or the floor."""

    kind: LinkKind
    loss: RobustLoss | None
    first: int
    """Where its points lie in the problem's table."""
    weight: Float[Tensor, "#rows count"]
    stencil: Float[Tensor, "#rows width"]
    floor: FloorRows | None = None


@lru_cache(maxsize=1)
def find_library() -> Library | None:
    """Return the kernel, or None with one line in the log when it cannot be used."""
    what = "compiled normal equations are not used, PyTorch takes their place"
    return try_loading(lambda: load_library(library_path("linearise")), _LOGGER, what)


def load_library(path: Path) -> Library:
    """Load the kernel; raises as `load_kernel` does."""
    sizes = ("ikol_linearise_sizes", ctypes.sizeof(Call) << 20 | ctypes.sizeof(_Linearise) << 10 | ctypes.sizeof(_Link))
    return load_kernel(path, "linearise", (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int), sizes)


def find_lineariser(problem: Problem, config: SolveConfig, links: Sequence[LinkRows] = ()) -> "Lineariser | None":
    """Return the kernel for a problem; None where only PyTorch can do it, or the settings ask for that."""
    like = problem.skeleton.joints_template
    has_lengths = config.solve_shape or problem.bone_groups.shape[-1] > 0
    is_known = like.device.type == "cpu" and like.dtype in (torch.float32, WIDE)
    if config.backend == "torch" or has_lengths or not is_known:
        return None
    library = find_library()
    return None if library is None else Lineariser(library, problem, config, links)


class Lineariser:
    """Costs and normal equations of one problem and what links its frames, again and again.

    States may be those of some successive frames only; then `first` says which frame of the problem they begin with.
    """

    def __init__(self, library: Library, problem: Problem, config: SolveConfig, links: Sequence[LinkRows] = ()) -> None:
        self._library = library
        # joints that are held keep the rotations that they are given, to the bit: here all are taken as they are
        none_free = torch.zeros(problem.skeleton.tree.num_joints, 3, dtype=torch.bool)
        self._packed = PackedProblem(problem, config, none_free)
        self._limits = [term for term in problem.terms if isinstance(term, LimitTerm)]
        self._kept: list[Tensor] = []
        links = [link for link in links if link.weight.shape[-1] and len(link.stencil)]
        self._links = (_Link * len(links))(*(self._pack(link) for link in links))
        call = self._packed.call
        for name in ("transl", "rotmat", "shape"):  # outputs of a solve, which must be there and are not written to
            setattr(call, f"out_{name}", call.joints_template)
        for name in ("cost", "initial_cost", "gradient_norm", "status", "iterations"):
            setattr(call, name, call.joints_template)

    def _pack(self, link: LinkRows) -> _Link:
        weight, stencil = link.weight.to(WIDE).contiguous(), link.stencil.to(WIDE).contiguous()
        count, width = weight.shape[-1], stencil.shape[-1]
        loss = 0 if link.loss is None else 1 if isinstance(link.loss, Huber) else 2
        packed = _Link(int(link.kind), loss, count, width, 1.0 if link.loss is None else link.loss.k)
        if link.kind != LinkKind.ROTATIONS:
            index = torch.from_numpy(self._packed.point_index[link.first : link.first + count]).contiguous()
            packed.index = index.data_ptr()
            self._kept.append(index)
        packed.weight, packed.stencil = weight.data_ptr(), stencil.data_ptr()
        packed.weight_stride = count if len(weight) > 1 else 0
        self._kept += (weight, stencil)
        if link.floor is not None:
            packed.up_x, packed.up_y, packed.up_z = link.floor.up
            packed.height, packed.below = link.floor.height, link.floor.weight
        return packed

    def cost(self, state: SolveState, first: int, convexity: float) -> Float[Tensor, "frames"]:
        """Return what each frame costs, with the rows that begin with it; rows that touch others are left out."""
        cost = torch.empty(len(state.transl), dtype=WIDE)
        asked = self._asked(first, len(cost), convexity)
        asked.cost, asked.origin = cost.data_ptr(), first
        self._run(state, first, slice(0, len(cost)), asked)
        return cost

    def run(
        self,
        state: SolveState,
        first: int,
        inner: slice,
        hessian: Float[Tensor, "inner columns all"],
        *,
        with_bending: bool = False,
        convexity: float = 1.0,
    ) -> tuple[Float[Tensor, "inner columns"], tuple[Rows, ...]]:
        """Write H of some frames; return g, in all columns of translation and rotations, and the limits' rows.

        Args:
            state: of successive frames; rows of links that touch others are left out.
            first: see above.
            inner: which of them are asked for.
            hessian: to be written to: blocks of a frame with itself, of which the upper triangle, and, as many as
                there is room for, the next ones.
                Its rows are contiguous, its frames and rows may lie apart. What links cannot tie stays as it is.
            with_bending: whether to add the second-order part; see `bending`.
            convexity: of the robust losses.

        Raises:
            MemoryError: there is not enough.
        """
        frames, size, width = hessian.shape
        gradient = hessian.new_empty(frames, size)
        groups = [len(term.limits.joint_index) for term in self._limits]
        limits = hessian.new_empty(frames, sum(groups), 18)
        asked = self._asked(first, len(state.transl), convexity)
        asked.reach, asked.with_bending, asked.origin = width // size, with_bending, first + inner.start
        asked.hessian, asked.gradient, asked.limits = hessian.data_ptr(), gradient.data_ptr(), limits.data_ptr()
        asked.hessian_frame, asked.hessian_row = hessian.stride(0), hessian.stride(1)
        self._run(state, first, inner, asked)
        return gradient, tuple(map(_limit_rows, self._limits, limits.split(groups, dim=1)))

    def _asked(self, first: int, frames: int, convexity: float) -> _Linearise:
        asked = _Linearise(links=len(self._links), reach=1, begin=first, end=first + frames, convexity=convexity)
        asked.link = ctypes.addressof(self._links)
        return asked

    def _run(self, state: SolveState, first: int, inner: slice, asked: _Linearise) -> None:
        call, address, library = Call.from_buffer_copy(self._packed.call), ctypes.addressof(asked), self._library
        kept = point_to_state(call, state)
        for name in ("transl", "rotmat", "shape", "bone_scale"):  # as if they began with the problem's first frame
            if getattr(call, name):
                ahead = first * getattr(call, f"{name}_stride") * self._packed.like.element_size()
                setattr(call, name, getattr(call, name) - ahead)

        def run(start: int, count: int) -> int:
            part = Call.from_buffer_copy(call)
            part.first, part.frames = first + inner.start + start, count
            return library.run(ctypes.addressof(part), address, library.variant)

        code = run_parts(run, inner.stop - inner.start, THREAD_FRAMES, torch.get_num_threads())
        del kept
        if code:
            raise MemoryError(f"the compiled normal equations failed with code {code}")


def _limit_rows(term: LimitTerm, raw: Float[Tensor, "frames limited 18"]) -> Rows:
    above, below, weight = raw[..., :3], raw[..., 3:6], term.weight.to(WIDE).expand(len(raw), -1, -1)
    residual = above.clamp(min=0.0) + below.clamp(max=0.0)
    return Rows(
        term.name,
        residual,
        weight * (residual != 0),
        raw[..., 9:].unflatten(-1, (3, 3)),
        OnJoints(term.limits.joint_index),
        range=Range(above, below, weight),
    )

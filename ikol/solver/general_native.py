# SPDX-License-Identifier: Apache-2.0
"""The general solve's compiled kernel: terms become flat arrays, the library is called on threads.

Here: packing and the call. Not here: checks of what users give (`problem`), the mathematics (native/general_*.h).
No copies of arrays that are contiguous. Imports: torch, ctypes, the problem, its terms, the results.
"""

import ctypes
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from ikol.errors import InputError
from ikol.solver import residuals as res
from ikol.solver.config import SolveConfig
from ikol.solver.levenberg_marquardt import Minimised, evaluate
from ikol.solver.native_library import Library, library_path, load_kernel, pool, run_parts, try_loading
from ikol.solver.problem import Problem
from ikol.solver.result import BlockResidual, SolveResult
from ikol.solver.robust import Huber, RobustLoss
from ikol.solver.state import SolveState

SOURCES = (
    *("lanes.h", "general_rows.h", "general_problem.h", "general_pose.h", "general_factor.h"),
    *("entry.h", "tree_general.cpp"),
)
REPORT_FRAMES = 4096  # a fifth of a second, after which somebody who waits may want to stop
THREAD_FRAMES = 16  # at about 20 us a frame, two threads win over the 0.1 ms that handing over costs
_LOGGER = logging.getLogger(__name__)
# enum ikol_general_kind
_POINTS_3D, _RELATIVE, _POINTS_2D, _ORIENTATION, _ANCHOR, _TWIST, _LIMITS, _SHAPE, _BONES = range(9)
_ROWS = (3, 3, 2, 3, 3, 1, 3, 1, 1)


class Block(ctypes.Structure):
    """`struct ikol_general_block`, field by field."""

    _fields_ = (  # pyright: ignore[reportIncompatibleUnannotatedOverride] - ctypes takes any sequence
        *((name, ctypes.c_int32) for name in ("kind", "loss", "count", "reference_count")),
        ("loss_width", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("index", "reference_index")),
        *((name, ctypes.c_void_p) for name in ("target", "weight", "frame", "constants")),
        *((f"{name}_stride", ctypes.c_int64) for name in ("target", "weight", "frame")),
        *((name, ctypes.c_void_p) for name in ("residual", "robust")),
    )


class Call(ctypes.Structure):
    """`struct ikol_general_call`, field by field."""

    _fields_ = (  # pyright: ignore[reportIncompatibleUnannotatedOverride] - ctypes takes any sequence
        *((name, ctypes.c_int32) for name in ("joints", "points", "betas", "blocks")),
        *((name, ctypes.c_int32) for name in ("is_double", "solve_shape", "free_transl", "max_iterations")),
        *((name, ctypes.c_int64) for name in ("first", "frames")),
        *((name, ctypes.c_void_p) for name in ("parents", "point_joints", "bone_groups", "free_axes")),
        *((name, ctypes.c_void_p) for name in ("joints_template", "joints_shapedirs")),
        *((name, ctypes.c_void_p) for name in ("points_rest", "points_shapedirs", "block")),
        *((name, ctypes.c_void_p) for name in ("transl", "rotmat", "shape", "bone_scale")),
        *((f"{name}_stride", ctypes.c_int64) for name in ("transl", "rotmat", "shape", "bone_scale")),
        *((name, ctypes.c_double) for name in ("max_step", "initial_damping", "cost_tolerance", "gradient_tolerance")),
        *((name, ctypes.c_double) for name in ("gnc_start", "gnc_factor")),
        *((name, ctypes.c_void_p) for name in ("out_transl", "out_rotmat", "out_shape", "out_bone_scale")),
        *((name, ctypes.c_void_p) for name in ("cost", "initial_cost", "gradient_norm", "status", "iterations")),
    )


@lru_cache(maxsize=1)
def find_library() -> Library | None:
    """Return the kernel, or None with one line in the log when it cannot be used."""
    what = "the compiled solver is not used, PyTorch takes its place"
    return try_loading(lambda: load_library(library_path("general")), _LOGGER, what)


def load_library(path: Path) -> Library:
    """Load the kernel; raises as `load_kernel` does."""
    sizes = ("ikol_general_sizes", ctypes.sizeof(Call) << 16 | ctypes.sizeof(Block))
    return load_kernel(path, "general", (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int), sizes)


def library_for(config: SolveConfig, like: Tensor) -> Library | None:
    """Return the kernel where a solve can use it; `like`: a tensor of its device and type.

    Raises:
        InputError: the settings insist on it and it cannot be used.
    """
    if config.backend == "torch":
        return None
    library = None
    if like.dtype in (torch.float32, torch.float64):
        if like.device.type == "cpu":
            library = find_library()
        elif like.device.type == "cuda":
            from ikol.solver import general_cuda  # noqa: PLC0415 - it builds on this module

            library = general_cuda.find_library(like.device)
    if library is None and config.backend == "native":
        raise InputError(
            f"the compiled solver cannot be used for {like.dtype} on {like.device}, or its library does not load here; "
            "use backend='auto'"
        )
    return library


def minimise_native(
    library: Library, problem: Problem, initial: SolveState, config: SolveConfig, free: Bool[Tensor, "joints 3"]
) -> Minimised:
    """Do what `levenberg_marquardt.minimise` does; it ends in the same optimum, on another path."""
    found = PackedProblem(problem, config, free).run(library, initial, (len(initial.transl),))
    end = evaluate(problem, found.state)
    return Minimised(end, found.status, found.iterations, found.initial_cost, found.gradient_norm)


@dataclass(frozen=True, eq=False)
class _PackedBlock:
    """One term's place in the C array, and what a result of it looks like."""

    name: str
    kind: int
    loss: RobustLoss | None
    count: int
    rows: int
    is_grouped: bool
    """False for the betas, whose rows are one group."""


class PackedProblem:
    """A problem as the kernel takes it. Holds all tensors that the addresses point to."""

    def __init__(self, problem: Problem, config: SolveConfig, free: Bool[Tensor, "joints 3"]) -> None:
        self.problem = problem
        self.config = config
        self.free = free
        self.like = problem.skeleton.joints_template
        self.live: dict[str, Tensor] = {}
        """Those of the arrays that want a gradient, with history; "3 target" is the target of the fourth block."""
        self._kept: dict[str, Tensor | np.ndarray] = {}
        skeleton, tree = problem.skeleton, problem.skeleton.tree
        call = self.call = Call()
        call.joints, call.betas, call.blocks = tree.num_joints, skeleton.num_betas, len(problem.terms)
        call.is_double = self.like.dtype == torch.float64
        call.solve_shape, call.free_transl = config.solve_shape, config.free_transl
        call.max_iterations = config.max_iterations
        for name in ("max_step", "initial_damping", "cost_tolerance", "gradient_tolerance", "gnc_start", "gnc_factor"):
            setattr(call, name, getattr(config, name))
        call.parents = self._whole("parents", tree.parents)
        call.free_axes = self._keep("free_axes", free.to(torch.uint8))
        call.joints_template = self._keep("joints_template", skeleton.joints_template)
        call.joints_shapedirs = self._keep("joints_shapedirs", skeleton.joints_shapedirs)
        groups = problem.bone_groups
        self.has_groups = groups.shape[-1] > 0
        if self.has_groups:
            number = torch.where(groups.sum(-1) > 0, groups.argmax(-1), -1)
            call.bone_groups = self._whole("bone_groups", number.tolist())
        self.point_index = self._points()
        """Where each of the problem's points is in the table."""
        self.blocks = (Block * len(problem.terms))()
        call.block = ctypes.addressof(self.blocks)
        self.packed = [self._pack(number, term) for number, term in enumerate(problem.terms)]

    def _keep(self, name: str, tensor: Tensor) -> int:
        if tensor.requires_grad:
            self.live[name] = tensor
        tensor = tensor.detach().contiguous()
        self._kept[name] = tensor
        return tensor.data_ptr()

    def _whole(self, name: str, numbers: Sequence[int] | np.ndarray) -> int:
        array = np.asarray(numbers, dtype=np.int32)
        self._kept[name] = array
        return array.ctypes.data

    def _points(self) -> np.ndarray:
        """Put every different point into the table once; return where each of the problem's is."""
        problem = self.problem
        joints = problem.point_joints.detach()
        rest, shapedirs = problem.point_rest, problem.point_shapedirs
        parts = (joints[:, None].to(rest), rest.detach(), shapedirs.detach().flatten(1))
        if rest.requires_grad:  # points at one place may come from different tensors: each keeps its gradient
            parts = (torch.arange(len(joints))[:, None].to(rest),)
        keys = torch.cat(parts, dim=1).contiguous().cpu().numpy()
        raw = keys.view(np.dtype((np.void, keys.dtype.itemsize * keys.shape[1]))).ravel()
        _, first, place = np.unique(raw, return_index=True, return_inverse=True)
        self.call.points = len(first)
        self.call.point_joints = self._whole("point_joints", joints.cpu().numpy()[first])
        self.call.points_rest = self._keep("points_rest", rest[first])
        self.call.points_shapedirs = self._keep("points_shapedirs", shapedirs[first])
        return place.astype(np.int32)

    def _pack(self, number: int, term: res.Term) -> _PackedBlock:
        """Fill in the C structure of one term."""
        block, loss = self.blocks[number], getattr(term, "loss", None)

        def place(first: int, count: int) -> int:
            return self._whole(f"{number} points {first}", self.point_index[first : first + count])

        match term:
            case res.PointTerm() | res.PixelTerm() | res.RelativePointTerm():
                block.count = term.target.shape[-2]
                block.index = place(term.first, block.count)
                self.set_rows(block, f"{number}", term.target, term.weight)
                block.kind = _POINTS_3D
                if isinstance(term, res.PixelTerm):
                    block.kind = _POINTS_2D
                    camera = term.camera
                    parts = (camera.focal, camera.center, camera.R_camera_world.flatten(-2), camera.t_camera_world)
                    frames = max(len(part) for part in parts)
                    self._frame(block, number, torch.cat([part.expand(frames, -1) for part in parts], dim=-1))
                elif isinstance(term, res.RelativePointTerm):
                    block.kind = _RELATIVE
                    self._frame(block, number, term.axes.flatten(1))
                    block.reference_count = len(term.reference.weights)
                    block.reference_index = place(term.reference.first, block.reference_count)
                    block.constants = self._keep(f"{number} constants", term.reference.weights)
            case res.OrientationTerm() | res.AnchorTerm():
                block.kind = _ORIENTATION if isinstance(term, res.OrientationTerm) else _ANCHOR
                block.count = len(term.joint_index)
                block.index = self._whole(f"{number} joints", term.joint_index.tolist())
                self.set_rows(block, f"{number}", term.reference, term.weight)
            case res.TwistTerm():
                block.kind, block.count = _TWIST, len(term.joint_index)
                block.index = self._whole(f"{number} joints", term.joint_index.tolist())
                self.set_rows(block, f"{number}", term.angle, term.weight)
                block.constants = self._keep(f"{number} constants", term.axis)
            case res.LimitTerm():
                limits = term.limits
                block.kind, block.count = _LIMITS, len(limits.joint_index)
                block.index = self._whole(f"{number} joints", limits.joint_index.tolist())
                self.set_rows(block, f"{number}", None, term.weight)
                is_hinge = limits.is_hinge.to(limits.axes)[:, None]
                parts = (limits.axes.flatten(1), limits.swing_range, limits.twist_range, is_hinge)
                block.constants = self._keep(f"{number} constants", torch.cat(parts, dim=-1))
            case res.ShapeTerm() | res.BoneTerm():
                block.kind = _SHAPE if isinstance(term, res.ShapeTerm) else _BONES
                block.count = term.mean[0].numel()
                self.set_rows(block, f"{number}", term.mean, term.weight)
        if loss is not None:
            block.loss = 1 if isinstance(loss, Huber) else 2
            block.loss_width = loss.k
        is_shape = block.kind == _SHAPE
        return _PackedBlock(term.name, block.kind, loss, block.count, _ROWS[block.kind], not is_shape)

    def set_rows(self, block: Block, name: str, target: Tensor | None, weight: Tensor) -> None:
        """Point to the targets and weights of a block: one row a frame, or one for all."""
        if target is not None:
            self.set_target(block, name, target)
        block.weight = self._keep(f"{name} weight", weight)
        block.weight_stride = weight.numel() // len(weight) if len(weight) > 1 else 0

    def set_target(self, block: Block, name: str, target: Tensor) -> None:
        """Point to other targets of a block, one row a frame or one for all; for a problem that is solved again."""
        block.target = self._keep(f"{name} target", target)
        block.target_stride = target.numel() // len(target) if len(target) > 1 else 0

    def _frame(self, block: Block, number: int, frame: Tensor) -> None:
        block.frame = self._keep(f"{number} frame", frame)
        block.frame_stride = frame.shape[-1] if len(frame) > 1 else 0

    def run(
        self,
        library: Library,
        initial: SolveState,
        batch: tuple[int, ...],
        report: Callable[[int, Tensor, int], None] | None = None,
    ) -> SolveResult:
        """Solve from a flat batch of states, each with one row or as many as frames.

        Args:
            library: the kernel.
            initial: the states.
            batch: the shape of the result.
            report: called after every `REPORT_FRAMES` frames and at the end with the most iterations so far, the costs,
                NaN of frames to come, and how many those are; may raise to stop.

        Raises:
            MemoryError: there is not enough.
        """
        frames, call, new = len(initial.transl), self.call, self.like.new_empty
        joints, betas = call.joints, call.betas
        state: dict[str, Tensor] = {"transl": new(*batch, 3), "local_rotmat": new(*batch, joints, 3, 3)}
        state["betas"] = new(*batch, betas)
        scale = initial.bone_scale
        if scale is None and self.has_groups:
            scale = self.like.new_ones(1, joints)
        if scale is not None:
            state["bone_scale"] = new(*batch, joints)
        held = point_to_state(call, replace(initial, bone_scale=scale))
        outputs = (state["transl"], state["local_rotmat"], state["betas"], state.get("bone_scale"))
        for name, output in zip(("transl", "rotmat", "shape", "bone_scale"), outputs, strict=True):
            setattr(call, f"out_{name}", None if output is None else output.data_ptr())
        cost, initial_cost, gradient_norm = new(batch), new(batch), new(batch)
        call.cost, call.initial_cost = cost.data_ptr(), initial_cost.data_ptr()
        call.gradient_norm = gradient_norm.data_ptr()
        ends = new((2, *batch), dtype=torch.int32)
        status, iterations = ends.unbind()
        call.status, call.iterations = status.data_ptr(), iterations.data_ptr()
        rows: list[tuple[Tensor, Tensor]] = []
        for block, packed in zip(self.blocks, self.packed, strict=True):
            groups, width = (packed.count, packed.rows) if packed.is_grouped else (1, packed.count)
            rows.append((new(*batch, groups, width), new(*batch, packed.count)))
            block.residual, block.robust = rows[-1][0].data_ptr(), rows[-1][1].data_ptr()
        step = max(frames, 1) if report is None or not library.is_threaded else REPORT_FRAMES
        if report is not None:
            cost.fill_(math.nan)
        for first in range(0, frames, step):
            call.first, call.frames = first, min(step, frames - first)
            check(_run(library, call))
            if report is not None:
                ended = first + call.frames
                report(int(iterations.view(-1)[:ended].max()), cost.clone(), frames - ended)
        if report is not None and not frames:
            report(0, cost, 0)
        del held
        return SolveResult(
            state=SolveState(**state),
            status=status.long(),
            iterations=iterations.long(),
            cost=cost,
            initial_cost=initial_cost,
            gradient_norm=gradient_norm,
            residuals=tuple(map(_block_residual, self.packed, rows)),
        )


def _block_residual(packed: _PackedBlock, rows: tuple[Tensor, Tensor]) -> BlockResidual:
    residual, robust = rows
    if not packed.is_grouped:
        robust = robust.amax(-1, keepdim=True) if packed.count else robust.new_zeros(*robust.shape[:-1], 1)
    return BlockResidual(name=packed.name, residual=residual, robust_weight=robust)


def point_to_state(call: Call, state: SolveState) -> list[Tensor]:
    """Point a call to a flat batch of states; return what must be kept alive."""
    kept: list[Tensor] = []
    parts = (state.transl, state.local_rotmat, state.betas, state.bone_scale)
    for name, part in zip(("transl", "rotmat", "shape", "bone_scale"), parts, strict=True):
        if part is None:
            continue
        # a view that repeats one row is passed as that row
        is_shared = len(part) == 1 or part.stride(0) == 0
        row = (part[:1] if is_shared else part).contiguous()
        kept.append(row)
        setattr(call, name, row.data_ptr())
        setattr(call, f"{name}_stride", 0 if is_shared else row.stride(0))
    return kept


def _run(library: Library, call: Call) -> int:
    """Run a call; on threads where that pays, each of which takes the next frame when it has room for one."""
    address, frames = ctypes.addressof(call), call.frames
    threads = min(torch.get_num_threads(), frames // THREAD_FRAMES) if library.is_threaded else 1
    if threads < 2:
        return library.run(address, None, frames == 1, library.variant)
    queue = ctypes.c_int64(call.first)
    following = ctypes.addressof(queue)

    def work(_: int) -> int:
        return library.run(address, following, 0, library.variant)

    return max(pool(threads).map(work, range(threads)))


def run_call(run: Callable[[int], int], call: Call, frames: int) -> None:
    """Call run(address of a part of the call) for all frames, on threads where that pays.

    Raises:
        MemoryError: there is not enough.
    """

    def run_part(first: int, count: int) -> int:
        part = Call.from_buffer_copy(call)
        part.first, part.frames = first, count
        return run(ctypes.addressof(part))

    if frames == 0:
        return
    check(run_parts(run_part, frames, THREAD_FRAMES, torch.get_num_threads()))


def check(code: int) -> None:
    """Raise where a kernel says that it could not run.

    Raises:
        MemoryError: there is not enough.
    """
    if code == 1:
        raise InputError("the compiled solver was given a problem that makes no sense; please report this")
    if code:
        raise MemoryError(f"the compiled solver failed with code {code}")

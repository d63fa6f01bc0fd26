# SPDX-License-Identifier: Apache-2.0
"""The derivative of the optimum by the compiled kernel: what `attach` does in PyTorch, in some microseconds a frame.

Where a gradient is wanted of what the kernel takes as a constant (shape directions, axes, limits, rotations that are
held), `attach` does it.
Imports: torch, ctypes, the packed problem.
"""

import ctypes
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ikol.solver.general_native import SOURCES as GENERAL
from ikol.solver.general_native import Call, PackedProblem, point_to_state, run_call
from ikol.solver.native_library import Library, library_path, load_kernel, try_loading
from ikol.solver.pins import TAUT, Springs
from ikol.solver.result import SolveResult
from ikol.solver.state import SolveState

SOURCES = (*GENERAL[:-1], "general_adjoint.h", "tree_adjoint.cpp")
_LOGGER = logging.getLogger(__name__)
CONSTANTS = ("constants", "shapedirs")  # how names of arrays end that the kernel has no derivative for
# what an optimum is made of, and what the kernel calls the gradient of a loss to it
_PARTS = {"transl": "transl", "local_rotmat": "rotmat", "betas": "shape", "bone_scale": "scale", "cost": "cost"}


class _BlockGradient(ctypes.Structure):
    """`struct ikol_general_block_gradient`, field by field."""

    _fields_ = (  # pyright: ignore[reportIncompatibleUnannotatedOverride] - ctypes takes any sequence
        *((name, ctypes.c_void_p) for name in ("target", "weight", "frame")),
    )


class _Gradient(ctypes.Structure):
    """`struct ikol_general_gradient`, field by field."""

    _fields_ = (  # pyright: ignore[reportIncompatibleUnannotatedOverride] - ctypes takes any sequence
        *((name, ctypes.c_void_p) for name in ("status", "transl", "rotmat", "shape", "scale", "cost")),
        *((name, ctypes.c_void_p) for name in ("joints_template", "points_rest", "betas", "bone_scale", "block")),
        *((name, ctypes.c_void_p) for name in ("pin_force", "pin_stiffness")),
        ("taut", ctypes.c_double),
        *((name, ctypes.c_int32) for name in ("pins", "one_step")),
    )


@lru_cache(maxsize=1)
def find_library() -> Library | None:
    """Return the kernel, or None with one line in the log when it cannot be used."""
    what = "the compiled derivative is not used, PyTorch takes its place"
    return try_loading(lambda: load_library(library_path("adjoint")), _LOGGER, what)


def load_library(path: Path) -> Library:
    """Load the kernel; raises as `load_kernel` does."""
    sizes = ("ikol_adjoint_sizes", ctypes.sizeof(Call) << 16 | ctypes.sizeof(_Gradient))
    return load_kernel(path, "adjoint", (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int), sizes)


def can_attach(packed: PackedProblem, initial: SolveState) -> bool:
    """Say whether the kernel has the derivative to everything that wants it; `initial`: a flat batch."""
    config = packed.config
    is_turned = initial.local_rotmat.requires_grad and not bool(packed.free.all())
    is_moved = initial.transl.requires_grad and not config.free_transl
    is_constant = any(name.endswith(CONSTANTS) for name in packed.live)
    if config.backward == "unrolled" or is_turned or is_moved or is_constant:
        return False
    return find_library() is not None


def attach_native(
    packed: PackedProblem, initial: SolveState, result: SolveResult, springs: Springs | None = None
) -> SolveResult:
    """Return the same result whose states have a derivative to everything that the solve was given.

    Items that have not converged get no gradient. Only where `can_attach` says so.

    Args:
        packed: the problem, whose `live` tensors have history.
        initial: flat batch; what is held keeps its derivative.
        result: of any batch shape, without history.
        springs: that hold the pins there, if there are pins.
    """
    library = find_library()
    assert library is not None
    state, frames = result.state, result.status.numel()
    held: dict[str, Tensor] = {} if packed.call.solve_shape else {"betas": initial.betas}
    if initial.bone_scale is not None:
        held["bone_scale"] = initial.bone_scale
    live = packed.live | {name: part for name, part in held.items() if part.requires_grad}
    adjoint = _Adjoint(library, packed, result, springs, tuple(live))
    found = dict(zip(adjoint.outputs, _Optimum.apply(adjoint, *live.values()), strict=True))  # pyright: ignore
    cost = found.pop("cost")
    for name, part in held.items():
        start = part.expand(frames, -1).reshape(*state.transl.shape[:-1], -1)
        # bones of a group change by the same amount: what they differ by is held
        found[name] = found[name] + (start - start.detach()) if name in found else start
    return replace(result, state=replace(state, **found), cost=cost)


@dataclass(frozen=True, eq=False)
class _Adjoint:
    """What the backward pass needs of the forward one."""

    library: Library
    packed: PackedProblem
    result: SolveResult
    springs: Springs | None
    names: tuple[str, ...]
    """Of the arrays that want a gradient."""

    @property
    def outputs(self) -> dict[str, Tensor]:
        """What has been solved for, and the costs."""
        state, packed = self.result.state, self.packed
        found = {"transl": state.transl, "local_rotmat": state.local_rotmat, "cost": self.result.cost}
        if packed.call.solve_shape:
            found["betas"] = state.betas
        if packed.has_groups and state.bone_scale is not None:
            found["bone_scale"] = state.bone_scale
        return found

    def gradients(self, outputs: Sequence[Tensor], live: Sequence[Tensor]) -> list[Tensor]:
        """Return the gradient of a loss to each of `live`, from that to each of `outputs`."""
        frames, end = self.result.status.numel(), self.result.state
        flat = replace(
            end,
            transl=end.transl.reshape(frames, 3),
            local_rotmat=end.local_rotmat.reshape(frames, -1, 3, 3),
            betas=end.betas.reshape(frames, -1),
            bone_scale=None if end.bone_scale is None else end.bone_scale.reshape(frames, -1),
        )
        call, state = Call.from_buffer_copy(self.packed.call), _Gradient()
        kept = point_to_state(call, flat)
        for name in ("transl", "rotmat", "shape"):  # outputs of a solve, which must be there and are not written to
            setattr(call, f"out_{name}", getattr(call, name))
        for name in ("cost", "initial_cost", "gradient_norm", "status", "iterations"):
            setattr(call, name, call.transl)
        blocks = (_BlockGradient * max(call.blocks, 1))()
        given = (self.result.status.to(torch.int32).contiguous(), *(output.contiguous() for output in outputs))
        for name, tensor in zip(("status", *(_PARTS[name] for name in self.outputs)), given, strict=True):
            setattr(state, name, tensor.data_ptr())
        state.block = ctypes.addressof(blocks)
        if self.springs is not None:
            force, stiffness = self.springs.force.contiguous(), self.springs.stiffness.contiguous()
            given = (*given, force, stiffness)
            state.pin_force, state.pin_stiffness, state.taut = force.data_ptr(), stiffness.data_ptr(), TAUT
            state.pins = next(i for i, term in enumerate(self.packed.problem.terms) if term is self.packed.problem.pins)
        state.one_step = self.packed.config.backward == "one_step"
        found: list[Tensor] = []
        for name, tensor in zip(self.names, live, strict=True):
            # arrays of the skeleton have no batch dimension
            shape = tensor.shape if name in ("joints_template", "points_rest") else tensor.shape[1:]
            output = tensor.new_empty(frames, *shape)
            number, _, field = name.rpartition(" ")
            setattr(blocks[int(number)] if number else state, field, output.data_ptr())
            found.append(output)
        address = ctypes.addressof(state)
        run_call(lambda part: self.library.run(part, address, self.library.variant), call, frames)
        del kept, given
        return [
            output if len(tensor) == frames and output.shape == tensor.shape else output.sum(0).reshape(tensor.shape)
            for output, tensor in zip(found, live, strict=True)
        ]


class _Optimum(torch.autograd.Function):
    """The states and their costs, as they are."""

    @staticmethod
    def forward(ctx, adjoint: _Adjoint, *live: Tensor):  # pyright: ignore
        ctx.adjoint = adjoint
        ctx.save_for_backward(*live)
        return tuple(part.clone() for part in adjoint.outputs.values())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *outputs: Tensor):  # pyright: ignore
        return None, *ctx.adjoint.gradients(outputs, ctx.saved_tensors)

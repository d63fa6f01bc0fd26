# SPDX-License-Identifier: Apache-2.0
"""Solves that are kept ready: during a drag only targets and the start change from one solve to the next."""

import math

import torch
from torch import Tensor

from ikol.body.model import BodyModel
from ikol.camera import Camera
from ikol.errors import InputError
from ikol.pipeline.blocks import block_targets, solver_blocks
from ikol.pipeline.evidence import Anchor, Keypoints2D, NamedEvidence, Orientations, Pins, Shape, ViewKeypoints2D
from ikol.pipeline.problem import Problem, camera_of
from ikol.solver import PreparedSolve, SolveResult, SolveState
from ikol.solver.checks import check_rotations

KEPT = 8  # structures: a drag has one or two, two characters and a few locks a handful; each takes some 100 KB


class PreparedProblems:
    """The last few problems, by what they are made of, ready to be solved with other numbers."""

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], tuple[BodyModel, PreparedSolve]] = {}

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._kept)

    def solve(self, problem: Problem, begin: SolveState) -> SolveResult:
        """Solve a problem from a state.

        Raises:
            InputError: its numbers cannot be used.
        """
        targets, key = block_targets(problem), _structure(problem)
        # taken out while it works: it is not for several threads at once
        kept = self._kept.pop(key, None)
        if kept is None:
            prepared = PreparedSolve(problem.skeleton, solver_blocks(problem, targets), begin, problem.config)
            result = prepared.solve()
        else:
            prepared = kept[1]
            _check_numbers(problem, targets, begin)
            result = prepared.solve(begin, targets)
        while len(self._kept) >= KEPT:
            self._kept.pop(next(iter(self._kept)), None)
        self._kept[key] = (problem.body, prepared)
        return result


def _structure(problem: Problem) -> tuple[object, ...]:
    """Return what distinguishes problems beside the targets and the start. The body is kept, so its id is."""
    return (
        id(problem.body),
        None if problem.camera is None else _structure_of_camera(problem.camera),
        problem.joints,
        problem.solve_shape,
        problem.initial is None,
        problem.start is None,
        tuple(map(_structure_of_block, problem.evidence)),
    )


def _structure_of_block(block: NamedEvidence) -> tuple[object, ...]:
    names = () if isinstance(block, Anchor | Shape) else block.names
    sigma = b"" if isinstance(block, Pins) else _bytes(block.sigma)
    match block:
        case Keypoints2D():
            own = block.is_robust
        case ViewKeypoints2D():
            own = _structure_of_camera(camera_of(block.intrinsics, block.extrinsics))
        case _:
            own = None
    return (type(block), names, sigma, own)


def _structure_of_camera(camera: Camera) -> tuple[object, ...]:
    parts = (camera.focal, camera.center, camera.R_camera_world, camera.t_camera_world)
    return (camera.width, camera.height, *map(_bytes, parts))


def _bytes(tensor: Tensor) -> bytes:
    return tensor.numpy().tobytes()


def _check_numbers(problem: Problem, targets: dict[str, Tensor], begin: SolveState) -> None:
    """Refuse numbers that a prepared solve would take unseen."""
    begins = (("start", part) for part in (begin.transl, begin.local_rotmat, begin.betas))
    for name, target in (*targets.items(), *begins):
        if not math.isfinite(float(target.sum())):
            raise InputError(f"{name} holds NaN or infinite numbers")
    check_rotations("start: local_rotmat", begin.local_rotmat)
    for block in problem.evidence:
        if isinstance(block, Anchor | Orientations):
            rotmat = block.local_rotmat if isinstance(block, Anchor) else block.rotmat
            used = block.sigma.isfinite()[:, None, None]
            check_rotations(type(block).__name__, torch.where(used, rotmat, torch.eye(3, dtype=rotmat.dtype)))

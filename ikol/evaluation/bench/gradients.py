# SPDX-License-Identifier: Apache-2.0
"""What gradients cost beside the forward pass, by kind of problem. Imports: torch, the solver, its cases."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ikol.body.default_body import load_default_body
from ikol.evaluation.bench.paper import make_paper_problem, paper_residuals, paper_skeleton
from ikol.evaluation.bench.report import Backend, BenchCase, fastest, timed_case
from ikol.evaluation.photo_case import SolveCase, photo_case
from ikol.solver import (
    Anchor,
    BonePrior,
    Evidence,
    Huber,
    Limits,
    Pins,
    Points2D,
    Points3D,
    RelativePoints3D,
    ShapePrior,
    SolveResult,
    SolveState,
    Twist,
    elastic_bones,
    solve,
)
from ikol.solver.directions import DirectionConfig, DirectionResult, IKOLLayer
from ikol.solver.directions.config import Backward

SIGMA = 0.01  # metres
BLOCK = 2e-3  # seconds timed at once: where the machine is shared a process's own clock is off by tens of microseconds
MISSING = 0.3  # part of the joints
LIVE = (Points3D, Points2D, RelativePoints3D, Pins)  # blocks whose targets want a gradient
LAYER: dict[str, Backward] = {
    "layer": "implicit",
    "layer_one_step": "one_step",
    "layer_unrolled": "unrolled",
}
NOTHING = "nothing"
"""A function of PyTorch's with the layer's inputs and outputs and no content: what autograd takes for itself."""
SOLVES = {
    "joints": "24 joints in space, nothing else",
    "twists": "joints, four twists",
    "limits": "joints, limits",
    "missing": "joints of which 30 % are missing, limits, Huber",
    "picture": "landmarks on the picture and in space, limits, twists",
    "photo": "the same with an anchor",
    "joints_one_step": "joints, of one step",
    "joints_unrolled": "joints, through five steps",
    "pins": "joints, a hand pinned",
    "shape": "joints, betas unknown",
    "elastic": "joints, lengths of bones unknown",
}
"""Kinds of problems of the general solve, and what they are given."""
THROUGH_TORCH = ("layer_unrolled", "joints_unrolled")
"""What PyTorch differentiates, step by step: not in large batches."""


@dataclass(frozen=True, eq=False)
class Pass:
    """A forward pass through which gradients go."""

    inputs: Sequence[Tensor]
    forward: Callable[[], SolveResult | DirectionResult]

    def rotmat(self) -> Tensor:
        """Return the rotations of one pass."""
        result = self.forward()
        return result.state.local_rotmat if isinstance(result, SolveResult) else result.local_rotmat


def bench_gradient(name: str, batch: int, backend: Backend, seconds: float) -> BenchCase:
    """Time the derivative of a kind of problem, of `LAYER` or `SOLVES`, or of `NOTHING`, beside its forward pass.

    Processor time of one thread, so that other programs do not count.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if name == NOTHING:
            made = _nothing_pass(batch, backend)
        else:
            made = layer_pass(batch, backend, LAYER[name]) if name in LAYER else _solve_pass(name, batch, backend)
        line = _timed(f"backward_{name}", made, batch, backend, seconds)
        with torch.no_grad():
            status = made.forward().status
    finally:
        torch.set_num_threads(threads)
    return replace(line, converged=float((status == 0).double().mean()))


def layer_pass(batch: int, backend: Backend, backward: Backward = "implicit") -> Pass:
    """Return the layer with keypoints, twists and betas that want gradients."""
    skeleton, problem = paper_skeleton(), make_paper_problem(batch)
    layer = IKOLLayer(skeleton, DirectionConfig(hold_root=True, backend=backend, backward=backward))
    betas = torch.zeros(batch, skeleton.num_betas)
    inputs = [each.clone().requires_grad_() for each in (problem.keypoints, problem.twist, betas)]
    return Pass(inputs, lambda: layer(*inputs))


class _Nothing(torch.autograd.Function):
    @staticmethod
    def forward(ctx, keypoints, twist, betas, like, gradients):  # pyright: ignore
        ctx.gradients = gradients
        return torch.empty_like(like[0]), torch.empty_like(like[1])

    @staticmethod
    def backward(ctx, *_):  # pyright: ignore
        return (*ctx.gradients, None, None)


def _nothing_pass(batch: int, backend: Backend) -> Pass:
    layer = layer_pass(batch, backend)
    with torch.no_grad():
        result = layer.forward()
    assert isinstance(result, DirectionResult)
    like, gradients = (result.local_rotmat, result.root), tuple(map(torch.zeros_like, layer.inputs))

    def forward() -> DirectionResult:
        rotmat, root = _Nothing.apply(*layer.inputs, like, gradients)  # pyright: ignore[reportGeneralTypeIssues]
        return DirectionResult(rotmat, root, result.cost, result.status, result.iterations)

    return Pass(layer.inputs, forward)


def layer_distance(batch: int, made: Pass) -> float:
    """Return how far the layer's joints are from their keypoints, mm."""
    with torch.no_grad():
        result = made.forward()
        assert isinstance(result, DirectionResult)
        return 1e3 * float(paper_residuals(make_paper_problem(batch), result)[:, 1:].mean())


def _solve_pass(name: str, batch: int, backend: Backend) -> Pass:
    case = photo_case(batch)
    config = replace(case.config, backend=backend)
    if name not in ("photo", "picture"):
        case = _joints_case(name, case)
    if name == "joints_one_step":
        config = replace(config, backward="one_step")
    elif name == "joints_unrolled":
        config = replace(config, backward="unrolled")
    elif name == "shape":
        config = replace(config, solve_shape=True)
    elif name == "elastic":
        config = replace(config, bone_groups=elastic_bones(case.skeleton.tree))
    evidence: list[Evidence] = []
    inputs: list[Tensor] = []
    for block in case.evidence:
        if isinstance(block, Anchor) and name == "picture":
            continue
        if isinstance(block, LIVE):
            inputs.append(block.target.clone().requires_grad_())
            evidence.append(replace(block, target=inputs[-1]))
        else:
            evidence.append(block)
    # without a start the solve begins at the points' least-squares pose, which belongs to the forward pass
    start = case.start if name in ("photo", "picture") else None
    return Pass(inputs, lambda: solve(case.skeleton, evidence, start, config))


def _joints_case(name: str, case: SolveCase) -> SolveCase:
    """Return noisy joints of the photograph's poses in place of the landmarks."""
    generator = torch.Generator().manual_seed(0)
    body, skeleton = load_default_body(), case.skeleton
    joints = body.points.select(body.tree.names)
    truth = SolveState(*(part.float() for part in (case.truth.transl, case.truth.local_rotmat, case.truth.betas)))
    places = skeleton.posed_points(joints, truth)
    target = places + SIGMA * torch.randn(places.shape, generator=generator)
    sigma = torch.full(places.shape[:2], SIGMA)
    loss = None
    if name == "missing":
        sigma[torch.rand(sigma.shape, generator=generator) < MISSING] = math.inf
        loss = Huber(3.0)
    evidence: list[Evidence] = [Points3D(joints, target, sigma, loss)]
    if name == "twists":
        evidence += [block for block in case.evidence if isinstance(block, Twist)]
    if name in ("limits", "missing"):
        evidence += [block for block in case.evidence if isinstance(block, Limits)]
    if name == "pins":
        hand = body.points.select(("L_Wrist",))
        evidence.append(Pins(hand, skeleton.posed_points(hand, truth)))
    if name == "shape":
        evidence.append(ShapePrior(torch.zeros(skeleton.num_betas), torch.ones(skeleton.num_betas)))
    if name == "elastic":
        count = skeleton.tree.num_joints
        evidence.append(BonePrior(torch.ones(count), torch.full((count,), 0.05)))
    return replace(case, evidence=tuple(evidence))


def _timed(case: str, made: Pass, batch: int, backend: Backend, seconds: float) -> BenchCase:
    """Time forward and backward together less forward without gradients: what forward prepares counts as backward.

    The note has both as a training loop sees them, one after the other. The difference of two times is noisy: it is
    never taken as less than what the backward pass alone took.
    """
    gradient = torch.randn(made.rotmat().shape, generator=torch.Generator().manual_seed(0))
    there, back = [math.inf], [math.inf]
    with torch.no_grad():
        repeats = math.ceil(BLOCK / max(fastest(made.rotmat, 0.0), 1e-6))

    def alone() -> None:
        for _ in range(repeats):
            made.rotmat()

    def both() -> None:
        forth = home = 0.0
        for _ in range(repeats):
            start = time.process_time()
            found = made.rotmat()
            middle = time.process_time()
            torch.autograd.grad(found, made.inputs, gradient, allow_unused=True)
            home += time.process_time() - middle
            forth += middle - start
        there[0], back[0] = min(there[0], forth / repeats), min(back[0], home / repeats)

    with torch.no_grad():
        forward = fastest(alone, seconds, time.process_time) / repeats
    backward = max(fastest(both, seconds, time.process_time) / repeats - forward, back[0])
    line = timed_case(case, batch, backend, backward / batch, None, None)
    forward_us, there_us, back_us = (1e6 * each / batch for each in (forward, there[0], back[0]))
    loop = f"({forward_us:.3g} us; in a loop {there_us:.3g} us forward, {back_us:.3g} us backward)"
    return replace(line, peer="its own forward pass", ratio=forward / backward, note=loop)

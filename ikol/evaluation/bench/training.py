# SPDX-License-Identifier: Apache-2.0
"""What the solver costs inside a training step: beside a network, and backward beside forward.

Imports: torch, the solver, its cases.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ikol.evaluation.bench.paper import make_paper_problem, paper_residuals, paper_skeleton
from ikol.evaluation.bench.report import Backend, BenchCase, fastest, timed_case
from ikol.evaluation.photo_case import photo_case
from ikol.solver import Evidence, Points2D, RelativePoints3D, SolveResult, solve
from ikol.solver.directions import DirectionConfig, DirectionResult, IKOLLayer

RESNET_BATCH = 8  # pictures measured; more only take longer, as the time is that of the arithmetic
STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # ResNet-34: channels and blocks


class ResNet34(nn.Module):
    """The network that the layer stands behind. Source: He et al., CVPR 2016, table 1."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        blocks: list[nn.Module] = []
        channels = 64
        for width, count in STAGES:
            for index in range(count):
                blocks.append(_Block(channels, width, stride=2 if index == 0 and width > 64 else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 29 * 3))

    def forward(self, pictures: Tensor) -> Tensor:
        """Return as many numbers as 29 keypoints have."""
        return self.head(self.blocks(self.stem(pictures)))


class _Block(nn.Module):
    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.skip = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(self.path(features) + self.skip(features))


def bench_train_step(batch: int, backend: Backend, seconds: float) -> BenchCase:
    """Time forward, loss and backward of the layer beside those of a ResNet-34 on as many pictures of 256 x 256.

    The network's time is that of 8 pictures, taken as many times: on a CPU it grows with their number.
    """
    inputs, forward, distance = _layer(batch, backend)

    def step() -> DirectionResult:
        for each in inputs:
            each.grad = None
        result = forward()
        torch.autograd.backward(result.local_rotmat.square().sum())
        return result

    converged = _share(step().status)
    per_frame = fastest(step, seconds) / batch
    network = ResNet34()
    pictures = torch.randn(RESNET_BATCH, 3, 256, 256)

    def train() -> None:
        network.zero_grad()
        torch.autograd.backward(network(pictures).square().mean())

    per_picture = fastest(train, seconds) / RESNET_BATCH
    share, whole = per_frame / per_picture, per_picture * batch
    return replace(
        timed_case("train_step", batch, backend, per_frame, distance, converged),
        peer="ResNet-34 at 256 x 256, forward and backward",
        ratio=per_picture / per_frame,
        note=f"{100 * share:.2g} % of the {whole:.1f} s of the network, timed on {RESNET_BATCH}",
    )


def bench_backward(batch: int, backend: Backend, seconds: float) -> BenchCase:
    """Time the derivative of the layer beside its forward pass."""
    inputs, forward, distance = _layer(batch, backend)
    result = forward()
    line = _backward("backward", batch, backend, seconds, lambda: forward().local_rotmat, inputs)
    return replace(line, residual_mm=distance, converged=_share(result.status))


def bench_backward_photo(batch: int, backend: Backend, seconds: float) -> BenchCase:
    """Time the derivative of the general solve, to all landmarks of a photograph, beside its forward pass."""
    case = photo_case(batch)
    evidence: list[Evidence] = []
    inputs: list[Tensor] = []
    for block in case.evidence:
        if isinstance(block, Points2D | RelativePoints3D):
            inputs.append(block.target.clone().requires_grad_())
            evidence.append(replace(block, target=inputs[-1]))
        else:
            evidence.append(block)
    config = replace(case.config, backend=backend)

    def forward() -> SolveResult:
        return solve(case.skeleton, evidence, case.start, config)

    result = forward()
    line = _backward("backward_photo", batch, backend, seconds, lambda: forward().state.local_rotmat, inputs)
    return replace(line, converged=_share(result.status))


def _layer(batch: int, backend: Backend) -> tuple[list[Tensor], Callable[[], DirectionResult], float]:
    """Return inputs that want gradients, the call of the layer, and the residual in mm."""
    skeleton, problem = paper_skeleton(), make_paper_problem(batch)
    layer = IKOLLayer(skeleton, DirectionConfig(hold_root=True, backend=backend))
    betas = torch.zeros(batch, skeleton.num_betas)
    inputs = [each.clone().requires_grad_() for each in (problem.keypoints, problem.twist, betas)]

    def forward() -> DirectionResult:
        return layer(*inputs)

    with torch.no_grad():
        distance = 1e3 * float(paper_residuals(problem, forward())[:, 1:].mean())
    return inputs, forward, distance


def _backward(
    case: str,
    batch: int,
    backend: Backend,
    seconds: float,
    rotmat: Callable[[], Tensor],
    inputs: Sequence[Tensor],
) -> BenchCase:
    """Time forward and backward together less forward without gradients: what forward prepares counts as backward.

    The note has both as a training loop sees them, one after the other. The difference of two times is noisy: it is
    never taken as less than what the backward pass alone took.
    """
    gradient = torch.randn(rotmat().shape, generator=torch.Generator().manual_seed(0))
    there, back = [math.inf], [math.inf]

    def both() -> None:
        start = time.perf_counter()
        found = rotmat()
        middle = time.perf_counter()
        torch.autograd.grad(found, inputs, gradient, allow_unused=True)
        back[0] = min(back[0], time.perf_counter() - middle)
        there[0] = min(there[0], middle - start)

    with torch.no_grad():
        forward = fastest(rotmat, seconds)
    backward = max(fastest(both, seconds) - forward, back[0])
    line = timed_case(case, batch, backend, backward / batch, None, None)
    loop = f"in a loop {1e6 * there[0] / batch:.3g} us forward, {1e6 * back[0] / batch:.3g} us backward"
    return replace(line, peer="its own forward pass", ratio=forward / backward, note=loop)


def _share(status: Tensor) -> float:
    return float((status == 0).double().mean())

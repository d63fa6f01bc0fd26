# SPDX-License-Identifier: Apache-2.0
"""What the solver costs inside a training step, beside a network. Imports: torch, the cases of gradients."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from ikol.evaluation.bench.gradients import layer_distance, layer_pass
from ikol.evaluation.bench.report import Backend, BenchCase, fastest, timed_case

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
    made = layer_pass(batch, backend)

    def step() -> Tensor:
        for each in made.inputs:
            each.grad = None
        rotmat = made.rotmat()
        torch.autograd.backward(rotmat.square().sum())
        return rotmat

    with torch.no_grad():
        converged = float((made.forward().status == 0).double().mean())
    per_frame = fastest(step, seconds) / batch
    network = ResNet34()
    pictures = torch.randn(RESNET_BATCH, 3, 256, 256)

    def train() -> None:
        network.zero_grad()
        torch.autograd.backward(network(pictures).square().mean())

    per_picture = fastest(train, seconds) / RESNET_BATCH
    share, whole = per_frame / per_picture, per_picture * batch
    return replace(
        timed_case("train_step", batch, backend, per_frame, layer_distance(batch, made), converged),
        peer="ResNet-34 at 256 x 256, forward and backward",
        ratio=per_picture / per_frame,
        note=f"{100 * share:.2g} % of the {whole:.1f} s of the network, timed on {RESNET_BATCH}",
    )

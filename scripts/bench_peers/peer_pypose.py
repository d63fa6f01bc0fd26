# SPDX-License-Identifier: Apache-2.0
"""pypose: Levenberg-Marquardt on 24 SO3 parameters in PyTorch, Jacobian by automatic differentiation, adaptive damping.

Its optimiser takes all frames of a batch as one dense problem, so frames go one by one. From the T-pose with the root
turned and 2 mrad of noise: its logarithm has no derivative at the identity.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import pypose
import torch
from harness import Problem, Setting, measure


def make_settings(problem: Problem) -> list[Setting]:
    return [
        Setting(f"LM, Cholesky, adaptive damping, {steps} steps", partial(_prepare, problem, steps=steps))
        for steps in (12, 20)
    ]


class _Body(torch.nn.Module):
    def __init__(self, problem: Problem, quaternions: torch.Tensor) -> None:
        super().__init__()
        self.parents = problem.parents
        self.offsets = torch.tensor(problem.offsets, dtype=torch.float32)
        self.turns = pypose.Parameter(pypose.SO3(quaternions))

    def forward(self, keypoints: torch.Tensor) -> torch.Tensor:
        turned, places = [self.turns[0]], [torch.zeros(3)]
        for node, parent in enumerate(self.parents[1:], start=1):
            places.append(places[parent] + turned[parent].Act(self.offsets[node]))
            if node < len(self.turns):
                turned.append(turned[parent] @ self.turns[node])
        return (torch.stack(places[1:]) - keypoints[1:]).flatten()


def _prepare(
    problem: Problem, keypoints: np.ndarray, *, steps: int
) -> tuple[Callable[[], object], Callable[[object], np.ndarray]]:
    generator = torch.Generator().manual_seed(0)
    targets = torch.tensor(keypoints, dtype=torch.float32)
    roots = pypose.mat2SO3(torch.tensor(problem.root_rotmat(keypoints), dtype=torch.float32)).tensor()

    def run() -> torch.Tensor:
        return torch.stack([solve(*each) for each in zip(targets, roots, strict=True)])

    def solve(points: torch.Tensor, root: torch.Tensor) -> torch.Tensor:
        start = torch.zeros(problem.num_joints, 4)
        start[:, :3] = 1e-3 * torch.randn(problem.num_joints, 3, generator=generator)
        start[:, 3] = 1
        start[0] = root
        body = _Body(problem, start / start.norm(dim=-1, keepdim=True))
        optimizer = pypose.optim.LM(
            body,
            strategy=pypose.optim.strategy.Adaptive(damping=1e-3),
            solver=pypose.optim.solver.Cholesky(),
            min=1e-6,
        )
        for _ in range(steps):
            optimizer.step(points)
        return body.turns.matrix().detach()

    def rotations(found: torch.Tensor) -> np.ndarray:
        return found.double().numpy()

    return run, rotations


if __name__ == "__main__":
    measure(
        "pypose", make_settings, frames=12, batches=(1,), set_threads=torch.set_num_threads, note="one frame at a time"
    )

# SPDX-License-Identifier: Apache-2.0
"""The released IKOL, from its published formulas (ikol.solver.baselines): 18 swing angles, five steps, damping 0.1.

In PyTorch, batched. Also with more steps and less damping, which its axes keep from the optimum all the same. It is
given the true twists.
"""

from functools import partial

import torch
from harness import Problem, Setting, measure
from published import prepare

from ikol.solver.baselines import ReleasedIkolConfig, solve_released_ikol


def make_settings(problem: Problem) -> list[Setting]:
    return [
        Setting(
            f"{steps} steps, damping {damping:g}",
            partial(
                prepare,
                problem,
                partial(solve_released_ikol, config=ReleasedIkolConfig(iterations=steps, damping=damping)),
            ),
        )
        for steps, damping in ((5, 0.1), (20, 1e-4))
    ]


if __name__ == "__main__":
    measure("", make_settings, frames=256, batches=(64, 256), set_threads=torch.set_num_threads)

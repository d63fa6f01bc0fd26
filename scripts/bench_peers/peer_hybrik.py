# SPDX-License-Identifier: Apache-2.0
"""HybrIK's analytic inverse kinematics, from its published formulas (ikol.solver.baselines), in PyTorch, batched.

It has no unknowns to converge: the residual is what it leaves. It is given the true twists.
"""

from functools import partial

import torch
from harness import Problem, Setting, measure
from published import prepare

from ikol.solver.baselines import HybrikConfig, solve_hybrik


def make_settings(problem: Problem) -> list[Setting]:
    return [
        Setting(rule, partial(prepare, problem, partial(solve_hybrik, config=HybrikConfig(rule=rule))))
        for rule in ("naive", "adaptive")
    ]


if __name__ == "__main__":
    measure("", make_settings, frames=1024, batches=(256, 1024, 4096), set_threads=torch.set_num_threads)

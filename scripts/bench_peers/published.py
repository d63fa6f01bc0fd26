# SPDX-License-Identifier: Apache-2.0
"""Readies the methods of ikol.solver.baselines, which run in the project's own environment."""

from collections.abc import Callable

import numpy as np
import torch
from harness import Problem

from ikol.body.joint_tree import JointTree
from ikol.solver.baselines import BaselineProblem, BaselineResult


def prepare(
    problem: Problem, solve: Callable[[BaselineProblem], BaselineResult], keypoints: np.ndarray
) -> tuple[Callable[[], object], Callable[[object], np.ndarray]]:
    """Return what to time and how to read its result."""
    tree = JointTree(tuple(map(str, range(len(problem.parents)))), tuple(problem.parents.tolist()))
    rest = np.zeros_like(problem.offsets)
    for node, parent in enumerate(tree.parents[1:], start=1):
        rest[node] = rest[parent] + problem.offsets[node]
    twist = np.zeros(keypoints.shape[:2])
    first = np.flatnonzero((problem.keypoints == keypoints[0]).all((1, 2)))[0]
    twist[:, : problem.num_joints] = problem.twist[first : first + len(keypoints)]
    values = (torch.tensor(value, dtype=torch.float32) for value in (rest, keypoints, twist))
    given = BaselineProblem(tree, *values)

    def run() -> BaselineResult:
        with torch.no_grad():
            return solve(given)

    def rotations(found: BaselineResult) -> np.ndarray:
        return found.local_rotmat[:, : problem.num_joints].double().numpy()

    return run, rotations

# SPDX-License-Identifier: Apache-2.0
"""pymomentum: damped Gauss-Newton with a line search on 72 Euler angles, compiled, one problem a thread.

Lengths in centimetres, which its damping and thresholds are made for. From the T-pose with the root turned.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from harness import Problem, Setting, measure
from pymomentum import geometry, solver
from scipy.spatial.transform import Rotation

CENTIMETRES = 100.0


def make_settings(problem: Problem) -> list[Setting]:
    return [
        Setting(
            f"Cholesky, damping {damping:g}, {steps} steps",
            partial(_prepare, problem, _character(problem), damping=damping, steps=steps),
        )
        for steps in (8, 12, 16, 20, 30, 50)
        for damping in (1e-2, 1e-4)
    ]


def _character(problem: Problem) -> geometry.Character:
    count = problem.num_joints
    no_turn = np.array((0, 0, 0, 1), dtype=np.float32)
    joints = [
        geometry.Joint(str(joint), int(problem.parents[joint]), no_turn, _centimetres(problem.offsets[joint]))
        for joint in range(count)
    ]
    skeleton = geometry.Skeleton(joints)
    # each joint has 7 parameters: translation, rotation, scale
    rows = (7 * np.arange(count)[:, None] + 3 + np.arange(3)).ravel()
    transform = np.zeros((7 * count, 3 * count), dtype=np.float32)
    transform[rows, np.arange(3 * count)] = 1
    names = [f"{joint}{axis}" for joint in range(count) for axis in "xyz"]
    return geometry.Character("body", skeleton, geometry.ParameterTransform(names, skeleton, transform))


def _centimetres(metres: np.ndarray) -> np.ndarray:
    return (CENTIMETRES * metres).astype(np.float32)


def _prepare(
    problem: Problem, character: geometry.Character, keypoints: np.ndarray, *, damping: float, steps: int
) -> tuple[Callable[[], object], Callable[[object], np.ndarray]]:
    count = problem.num_joints
    nodes = np.arange(1, len(problem.parents))
    is_end = nodes >= count
    carriers = torch.tensor(np.where(is_end, problem.parents[nodes], nodes), dtype=torch.int32)
    offsets = torch.tensor(_centimetres(np.where(is_end[:, None], problem.offsets[nodes], 0.0)))
    start = np.zeros((len(keypoints), 3 * count), dtype=np.float32)
    start[:, :3] = Rotation.from_matrix(problem.root_rotmat(keypoints)).as_euler("xyz")
    options = solver.SolverOptions(
        linear_solver=solver.LinearSolverType.Cholesky,
        levmar_lambda=damping,
        min_iter=4,
        max_iter=steps,
        threshold=1.0,
        line_search=True,
    )
    run = partial(
        solver.solve_ik,
        character=character,
        active_parameters=torch.ones(3 * count, dtype=torch.bool),
        model_parameters_init=torch.tensor(start),
        active_error_functions=[solver.ErrorFunctionType.Position],
        error_function_weights=torch.ones(1),
        options=options,
        position_cons_parents=carriers,
        position_cons_offsets=offsets,
        position_cons_weights=torch.ones(len(nodes)),
        position_cons_targets=torch.tensor(_centimetres(keypoints[:, 1:])),
    )

    def rotations(found: torch.Tensor) -> np.ndarray:
        angles = found.double().numpy().reshape(-1, 3)
        return Rotation.from_euler("xyz", angles).as_matrix().reshape(-1, count, 3, 3)

    return run, rotations


if __name__ == "__main__":
    measure("pymomentum-cpu", make_settings, frames=256, batches=(256, 1024))

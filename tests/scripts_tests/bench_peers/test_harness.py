# SPDX-License-Identifier: Apache-2.0
"""What the peers are judged by is right: where a pose puts the nodes, and which of their settings is taken."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from ikol.evaluation.bench import PaperProblem, make_paper_problem
from ikol.evaluation.bench.paper import paper_residuals
from ikol.solver.directions import DirectionConfig, DirectionResult, solve_directions


@pytest.fixture(scope="module")
def harness() -> ModuleType:
    path = Path(__file__).parents[3] / "scripts" / "bench_peers" / "harness.py"
    spec = importlib.util.spec_from_file_location("bench_peers_harness", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for their annotations
    spec.loader.exec_module(module)
    return module


def solved(problem: PaperProblem, steps: int) -> DirectionResult:
    config = DirectionConfig(hold_root=True, max_iterations=steps)
    return solve_directions(problem.tree, problem.keypoints, problem.offsets, problem.twist, config=config)


def problem_of(harness: ModuleType, given: PaperProblem):
    distance = paper_residuals(given, solved(given, 50))[:, 1:]
    offsets = given.offsets.clone()
    offsets[0] = 0
    return harness.Problem(
        parents=np.array(given.tree.parents),
        offsets=offsets.numpy(),
        keypoints=(given.keypoints - given.keypoints[:, :1]).numpy(),
        twist=given.twist.numpy(),
        optimum=distance.square().mean(-1).sqrt().numpy(),
    )


def test_distances_are_those_of_the_solver(harness: ModuleType) -> None:
    given = make_paper_problem(5, dtype=torch.float64)
    result = solved(given, 50)
    found = problem_of(harness, given).distances(result.local_rotmat.numpy())
    # the same sums in another order, of lengths below 2 m
    np.testing.assert_allclose(found, paper_residuals(given, result)[:, 1:].numpy(), rtol=0, atol=1e-13)


def test_the_first_setting_at_the_optimum_is_taken(harness: ModuleType) -> None:
    given = make_paper_problem(8, dtype=torch.float64)

    def setting(steps: int):
        rotmat = solved(given, steps).local_rotmat.numpy()
        return harness.Setting(str(steps), lambda _keypoints: (lambda: None, lambda _found: rotmat))

    chosen, tried = harness.choose(problem_of(harness, given), [setting(steps) for steps in (0, 50, 60)], 8)
    assert chosen.name == "50"
    assert [each["setting"] for each in tried] == ["0", "50"]
    assert tried[0]["converged"] < tried[1]["converged"] == 1.0


def test_the_start_turns_the_root_to_its_children(harness: ModuleType) -> None:
    problem = problem_of(harness, make_paper_problem(3, dtype=torch.float64))
    turn = np.array(((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)))
    keypoints = np.broadcast_to(problem.offsets @ turn.T, (1, *problem.offsets.shape))
    # of a rest pose that was turned, exact but for rounding
    np.testing.assert_allclose(problem.root_rotmat(keypoints)[0], turn, atol=1e-12)

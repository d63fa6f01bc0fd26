# SPDX-License-Identifier: Apache-2.0
"""theseus: batched Levenberg-Marquardt on 24 SO(3) variables in PyTorch, float64, dense Cholesky, analytic Jacobian.

Its automatic Jacobians take five times as long. Its sparse Cholesky, which does not build everywhere, is not used and
replaced by an empty module. From the T-pose with the root turned.
"""

import sys
import types
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from harness import Problem, Setting, measure

sys.modules["sksparse"] = types.ModuleType("sksparse")
sys.modules["sksparse.cholmod"] = types.ModuleType("sksparse.cholmod")
for name in ("Factor", "analyze_AAt", "cholesky_AAt"):
    setattr(sys.modules["sksparse.cholmod"], name, object)

import theseus  # noqa: E402


def make_settings(problem: Problem) -> list[Setting]:
    return [
        Setting(
            f"LM, analytic Jacobian, {'adaptive ' if adaptive else ''}damping {damping:g}, {steps} steps",
            partial(_prepare, problem, steps=steps, damping=damping, adaptive=adaptive),
        )
        for steps in (10, 15, 20, 40)
        for damping, adaptive in ((1e-4, False), (1e-3, False), (1e-2, False), (1e-2, True))
    ]


class _Keypoints(theseus.CostFunction):
    """Places of the nodes minus the keypoints; a joint's rotation is varied from the right."""

    def __init__(
        self, problem: Problem, turns: list[theseus.SO3], target: theseus.Variable, weight: theseus.CostWeight
    ) -> None:
        super().__init__(weight, name="keypoints")
        self.problem, self.turns, self.target = problem, turns, target
        self.offsets = torch.tensor(problem.offsets)
        above = np.zeros((len(problem.parents), problem.num_joints))
        for node, parent in enumerate(problem.parents[1:], start=1):
            above[node] = above[parent]
            above[node, parent] = 1
        self.above = torch.tensor(above[1:])
        for variable in (*turns, target):
            setattr(self, variable.name, variable)
        self.register_optim_vars([turn.name for turn in turns])
        self.register_aux_vars([target.name])

    def _pose(self) -> tuple[torch.Tensor, torch.Tensor]:
        local = [getattr(self, f"r{joint}").tensor for joint in range(self.problem.num_joints)]
        turned, places = [local[0]], [torch.zeros_like(local[0][..., 0])]
        for node, parent in enumerate(self.problem.parents[1:], start=1):
            places.append(places[parent] + turned[parent] @ self.offsets[node])
            if node < len(local):
                turned.append(turned[parent] @ local[node])
        return torch.stack(places, 1), torch.stack(turned, 1)

    def error(self) -> torch.Tensor:
        return self._pose()[0][:, 1:].flatten(1) - self.keypoints.tensor

    def jacobians(self) -> tuple[list[torch.Tensor], torch.Tensor]:
        places, turned = self._pose()
        lever = (places[:, 1:, None] - places[:, None, : self.problem.num_joints]) * self.above[..., None]
        local = torch.einsum("njab,nkja->nkjb", turned, lever)  # G^T lever; d x = G [d]x local = -G [local]x d
        x, y, z = local.unbind(-1)
        zero = torch.zeros_like(x)
        cross = torch.stack((zero, z, -y, -z, zero, x, y, -x, zero), -1).unflatten(-1, (3, 3))
        jacobian = torch.einsum("njab,nkjbc->njkac", turned, cross).flatten(2, 3)
        return list(jacobian.unbind(1)), places[:, 1:].flatten(1) - self.keypoints.tensor

    def dim(self) -> int:
        return 3 * (len(self.problem.parents) - 1)

    def _copy_impl(self, new_name: str | None = None) -> "_Keypoints":
        return _Keypoints(self.problem, [turn.copy() for turn in self.turns], self.target.copy(), self.weight.copy())


def _prepare(
    problem: Problem, keypoints: np.ndarray, *, steps: int, damping: float, adaptive: bool
) -> tuple[Callable[[], object], Callable[[object], np.ndarray]]:
    count, size = problem.num_joints, len(keypoints)
    turns = [theseus.SO3(name=f"r{joint}", dtype=torch.float64) for joint in range(count)]
    target = theseus.Variable(torch.zeros(1, 3 * (len(problem.parents) - 1), dtype=torch.float64), name="keypoints")
    objective = theseus.Objective(dtype=torch.float64)
    one = theseus.ScaleCostWeight(torch.ones(1, 1, dtype=torch.float64))
    objective.add(_Keypoints(problem, turns, target, one))
    optimizer = theseus.LevenbergMarquardt(
        objective,
        linear_solver_cls=theseus.CholeskyDenseSolver,
        max_iterations=steps,
        step_size=1.0,
        abs_err_tolerance=1e-10,
        rel_err_tolerance=1e-7,
    )
    layer = theseus.TheseusLayer(optimizer)
    inputs = {f"r{joint}": torch.eye(3, dtype=torch.float64).repeat(size, 1, 1) for joint in range(count)}
    inputs["r0"] = torch.tensor(problem.root_rotmat(keypoints))
    inputs["keypoints"] = torch.tensor(keypoints[:, 1:].reshape(size, -1))

    def run() -> dict[str, torch.Tensor]:
        with torch.no_grad():
            kwargs = {"damping": damping, "adaptive_damping": adaptive}
            return layer.forward({name: value.clone() for name, value in inputs.items()}, optimizer_kwargs=kwargs)[0]

    def rotations(found: dict[str, torch.Tensor]) -> np.ndarray:
        return torch.stack([found[f"r{joint}"] for joint in range(count)], 1).numpy()

    return run, rotations


if __name__ == "__main__":
    measure("theseus-ai", make_settings, frames=64, batches=(64, 256), set_threads=torch.set_num_threads)

# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from autodiff import autodiff_jacobian
from rigs import random_rotmats, smpl_points, smpl_skeleton
from torch import Tensor

from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.solver.evidence import Evidence, Points3D, RelativePoints3D
from ikol.solver.levenberg_marquardt import evaluate
from ikol.solver.normal_equations import normal_equations
from ikol.solver.problem import build_problem, flatten_state
from ikol.solver.state import SolveState

RIG, POINTS = smpl_skeleton(2), smpl_points(2)


def make_evidence(kind: str) -> Evidence:
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(35, 3, dtype=torch.float64, generator=generator)
    sigma = 0.5 + torch.rand(35, dtype=torch.float64, generator=generator)
    if kind == "points_3d":
        return Points3D(POINTS, target, sigma)
    axes = random_rotmats((), 1.0, seed=1)
    return RelativePoints3D(POINTS, target, sigma, axes, POINTS.select(("L_Hip", "nose")))


@pytest.mark.parametrize("kind", ["points_3d", "relative_points_3d"])
def test_gauss_newton_and_bending_are_the_hessian_of_the_cost(kind: str) -> None:
    # residuals that are linear in the points leave nothing else, in translation and rotations
    problem = build_problem(RIG, [make_evidence(kind)], ())
    start = SolveState(
        transl=torch.ones(3, dtype=torch.float64),
        local_rotmat=random_rotmats((24,), 0.5, seed=2),
        betas=torch.tensor((0.5, -1.0), dtype=torch.float64),
    )
    state = flatten_state(start, RIG, ())
    here = evaluate(problem, state)
    found = normal_equations(problem, here.posed, here.rows, with_shape=True)

    def cost(step: Tensor) -> Tensor:
        moved = SolveState(
            transl=state.transl + step[:3],
            local_rotmat=state.local_rotmat @ rotvec_to_rotmat(step[3:75].unflatten(0, (24, 3))),
            betas=state.betas,
        )
        return evaluate(problem, moved).cost().sum()

    zero = torch.zeros(75, dtype=torch.float64)
    hessian = autodiff_jacobian(lambda at: autodiff_jacobian(cost, at), zero)
    newton = (found.gauss_newton.hessian + found.bending)[0, :75, :75]
    error = (newton - hessian).abs().max() / hessian.abs().max()
    assert error < 1e-12, f"{float(error):.2e}"
    assert found.bending.abs().max() > 0.1 * hessian.abs().max()
    assert torch.equal(found.bending[0, 75:], torch.zeros(2, 77, dtype=torch.float64))

# SPDX-License-Identifier: Apache-2.0
import torch
from autodiff import autodiff_jacobian
from rigs import random_rotmats, smpl_points, smpl_skeleton
from torch import Tensor

from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.solver.evidence import Points3D
from ikol.solver.jacobian import length_motion, motion_subspaces, point_subspaces
from ikol.solver.levenberg_marquardt import evaluate
from ikol.solver.problem import Problem, build_problem, flatten_state
from ikol.solver.residuals import Posed
from ikol.solver.state import SolveState

RIG, POINTS = smpl_skeleton(3), smpl_points(3)


def make_case() -> tuple[Problem, SolveState]:
    zero = torch.zeros(35, 3, dtype=torch.float64)
    problem = build_problem(RIG, [Points3D(POINTS, zero, torch.ones(35, dtype=torch.float64))], (2,))
    generator = torch.Generator().manual_seed(0)
    state = SolveState(
        transl=torch.randn(2, 3, dtype=torch.float64, generator=generator),
        local_rotmat=random_rotmats((2, 24), 0.5, seed=1),
        betas=torch.randn(2, 3, dtype=torch.float64, generator=generator),
    )
    return problem, flatten_state(state, RIG, (2,))


def posed_after(problem: Problem, state: SolveState, step: Tensor) -> Posed:
    moved = SolveState(
        transl=state.transl + step[:3],
        local_rotmat=state.local_rotmat @ rotvec_to_rotmat(step[3:75].unflatten(0, (24, 3))),
        betas=state.betas + step[75:],
    )
    return evaluate(problem, moved).posed


def test_every_unknown_moves_every_point_as_autodiff_says() -> None:
    problem, state = make_case()
    posed = evaluate(problem, state).posed
    blocks = point_subspaces(posed)[:, :, None] @ motion_subspaces(posed)[:, None]
    # a point moves with the blocks that carry it
    jacobian = blocks * problem.carries.T[None, :, :, None, None]
    # the root's shape direction from the origin, the others' from the parent
    shapedirs = RIG.joints_shapedirs
    offsets = torch.cat((shapedirs[:1], shapedirs[1:] - shapedirs[problem.parents[1:]]))[None]
    arms = problem.point_shapedirs - shapedirs[problem.point_joints]
    shape = length_motion(posed, problem.parents, problem.ancestors, offsets, problem.point_joints, arms)
    analytic = torch.cat((jacobian.transpose(-2, -3).flatten(-2), shape), dim=-1)
    zero = torch.zeros(78, dtype=torch.float64)
    twin = autodiff_jacobian(lambda step: posed_after(problem, state, step).points, zero)
    error = (analytic - twin).abs().max()
    assert error < 1e-13, f"{float(error):.2e}"  # metres per radian, through a tree of depth 9


def test_subspaces_hold_the_turn_of_each_joint_in_the_world() -> None:
    problem, state = make_case()
    posed = evaluate(problem, state).posed
    assert torch.equal(motion_subspaces(posed)[:, 1:, :3], posed.global_rotmat)
    assert torch.equal(motion_subspaces(posed)[:, 0, :3], torch.zeros(2, 3, 3, dtype=torch.float64))

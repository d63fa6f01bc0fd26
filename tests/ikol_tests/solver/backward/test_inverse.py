# SPDX-License-Identifier: Apache-2.0
"""What is left out of the inverse of a second derivative, and what is not."""

import math
from dataclasses import replace

import torch
from derivative_cases import noise
from solve_cases import POINTS, RIG, sigmas, true_state
from torch import Tensor

from ikol.body.joint_tree import JointTree
from ikol.body.points import AttachedPoints
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.solver import Anchor, Points3D, Skeleton, SolveConfig, SolveState, SolveStatus, solve
from ikol.solver.backward.inverse import LEAST_SEEN, invert

JOINTS = POINTS.select(RIG.tree.names)
TIGHT = SolveConfig(backend="torch", gnc_start=1.0, gradient_tolerance=1e-11, cost_tolerance=0.0, max_iterations=300)


def test_a_straight_limb_before_a_target_out_of_reach_follows_it() -> None:
    # no row sees the bend of a straight limb; the pull of the target keeps it straight
    rest = 0.3 * torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [2.0, 0.0, 0.0]], dtype=torch.float64)
    limb = Skeleton.from_rest_joints(JointTree(("a", "b", "c"), (-1, 0, 1)), rest)
    end = AttachedPoints(("c",), torch.tensor([2]), rest[2:], rest.new_zeros(1, 3, 0))
    config = replace(TIGHT, free_transl=False, free_joints=torch.tensor([True, True, False]))
    target = torch.tensor([[0.8, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    result = solve(limb, [Points3D(end, target, sigmas(1))], None, config)
    assert result.status == SolveStatus.CONVERGED
    joints = limb.pose(result.state).joints
    for joint in (1, 2):
        (found,) = torch.autograd.grad(joints[joint, 1], target, retain_graph=True)
        # the limb points at the target: its joints move as those of a rigid rod of 0.8 m would
        wanted = torch.tensor([[0.0, float(rest[joint, 0]) / 0.8, 0.0]], dtype=torch.float64)
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def loss_of(state: SolveState) -> Tensor:
    return (noise(24, 3, 3, seed=50) * state.local_rotmat).sum()


def test_gradients_are_bounded_without_a_prior_where_neighbours_are_missing() -> None:
    state = true_state((20,))
    nearly_straight = rotvec_to_rotmat(1e-3 * noise(20, 24, 3, seed=60))
    sigma = torch.where(noise(20, 24, seed=63) > -0.5, 0.01, math.inf).double()  # a third of them is missing
    target = RIG.posed_points(JOINTS, replace(state, local_rotmat=nearly_straight)).requires_grad_()
    config = SolveConfig(max_iterations=200)
    result = solve(RIG, [Points3D(JOINTS, target, sigma)], None, config)
    (gradient,) = torch.autograd.grad(loss_of(result.state), target)
    # 316 rad over a lever of 10 cm, and the 200 numbers of the loss: far more than comes out
    assert float(gradient.abs().max()) < 1e4, f"{float(gradient.abs().max()):.1e}"
    assert bool(gradient.any())


def test_a_weak_prior_beside_keypoints_of_a_millimetre_is_not_left_out() -> None:
    # twists are seen by the prior only, 1e-7 of what keypoints see of the joints
    state = true_state(())
    reference = state.local_rotmat.clone().requires_grad_()
    evidence = [
        Points3D(JOINTS, RIG.posed_points(JOINTS, state), sigmas(24, value=0.001)),
        Anchor(reference, sigmas(24, value=1.0)),
    ]
    result = solve(RIG, evidence, state, TIGHT)
    turned = (result.state.local_rotmat[21] * noise(3, 3, seed=62)).sum()
    (gradient,) = torch.autograd.grad(turned, reference)
    # of the wrist all but nothing else is known than its prior: it follows it, and no other joint's
    assert float(gradient[21].norm()) > 0.5
    assert float(gradient[1].norm()) < 0.1 * float(gradient[21].norm())


def test_what_no_row_sees_is_left_out_whatever_the_second_derivative_says() -> None:
    rows = torch.diag(torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64))[None]
    hessian = rows.clone()
    hessian[0, 2, 2] = hessian[0, 3, 3] = 1e-4
    right = torch.eye(4, dtype=torch.float64)[None]
    assert not invert(hessian, rows).solve(right)[0, 2:].any()
    faint = torch.diag(torch.tensor([1.0, 0.5 * LEAST_SEEN], dtype=torch.float64))
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]], dtype=torch.float64)
    mixed = (1e6 * turn @ faint @ turn.mT)[None]
    # of 1e6 / rad^2 half of LEAST_SEEN is still known to less than ten radians
    torch.testing.assert_close(invert(mixed, mixed).solve(mixed), torch.eye(2, dtype=torch.float64)[None])

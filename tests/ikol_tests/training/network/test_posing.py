# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from training_files import make_poses

from ikol.body.default_body import load_default_body
from ikol.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from ikol.training.network.config import Layer
from ikol.training.network.posing import PosingLayer


def _posing(**settings: object) -> PosingLayer:
    return PosingLayer(load_default_body(dtype=torch.float32), Layer(**settings))


@pytest.fixture
def truth() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    joints, rotvec, betas = (torch.from_numpy(array) for array in make_poses(4))
    return joints - joints[:, :1], rotvec_to_rotmat(rotvec), betas


def _off_deg(found: torch.Tensor, true: torch.Tensor) -> float:
    return float(torch.rad2deg(rotmat_to_rotvec(found.mT @ true).norm(dim=-1)).max())


@pytest.mark.parametrize(("solver", "atol_deg"), [("ikol", 0.1), ("hybrik", 1.0)])
def test_true_keypoints_give_the_true_rotations(truth, solver: str, atol_deg: float):
    joints, rotmat, betas = truth
    posing = _posing(solver=solver).eval()
    # the chest's twist about the neck is what all its bones say for ours, and for HybrIK's SVD
    assert _off_deg(posing(joints, posing.twist_of(rotmat, betas), betas), rotmat) < atol_deg


def test_the_released_steps_end_near_the_true_joints_and_not_at_them(truth):
    joints, rotmat, betas = truth
    posing = _posing(solver="released").eval()
    found = posing(joints, posing.twist_of(rotmat, betas), betas)
    off = 1000 * (posing.joints(found, betas) - joints).norm(dim=-1).mean()
    # five steps damped by 0.1 leave about a centimetre at the ends of the limbs (docs/results.md: 18 mm)
    assert 1.0 < off < 60.0


@pytest.mark.parametrize("gradient", ["end_to_end", "detached"])
def test_detached_keypoints_get_no_gradient_and_twists_do(truth, gradient: str):
    joints, rotmat, betas = truth
    posing = _posing(gradient=gradient)
    keypoints = (joints + 0.01).requires_grad_()
    twist = posing.twist_of(rotmat, betas).requires_grad_()
    (posing(keypoints, twist, betas) - torch.eye(3)).square().sum().backward()
    assert twist.grad is not None
    assert bool(twist.grad.any())
    assert (keypoints.grad is not None and bool(keypoints.grad.any())) == (gradient == "end_to_end")


def test_24_keypoints_leave_the_leaves_to_the_network(truth):
    joints, rotmat, betas = truth
    posing = PosingLayer(load_default_body(dtype=torch.float32), Layer(), num_keypoints=24)
    leaves = [joint for joint, children in enumerate(posing.tree.children) if not children]
    found = posing(joints[:, :24], posing.twist_of(rotmat, betas), betas, rotmat[:, leaves])
    assert _off_deg(found, rotmat) < 0.1


def test_half_precision_is_solved_in_float32(truth):
    joints, rotmat, betas = truth
    posing = _posing()
    found = posing(joints.half(), posing.twist_of(rotmat, betas).half(), betas.half())
    assert found.dtype == torch.float32
    # half floats keep 1 mm of 2 m, half a degree of a forearm
    assert _off_deg(found, rotmat) < 3.0

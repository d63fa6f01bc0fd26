# SPDX-License-Identifier: Apache-2.0
import math
from pathlib import Path

import pytest
import torch
from training_files import make_h36m

from ikol.regressor.networks import NetworkConfig
from ikol.training.network.batches import Batch, CroppedSamples, collate
from ikol.training.network.config import Augmentation, Losses
from ikol.training.network.losses import Prediction, pose_losses, total_loss, uvd_target
from ikol.training.network.sources.annotations import open_annotations

SIZE, EXTENT = 64, 2.2
NETWORK = NetworkConfig(input_size=SIZE, heatmap_size=SIZE // 4)


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    source = open_annotations("h36m", make_h36m(tmp_path, count=2), tmp_path / "images", is_smpl=True)
    return collate([CroppedSamples([source], NETWORK, Augmentation())[0, index, -1] for index in (0, 1)])


def _right(batch: Batch) -> tuple[Prediction, torch.Tensor]:
    """Return a prediction that is the truth, and the true twist."""
    twist = torch.linspace(-1, 1, 24).expand(2, 24)
    relative = batch.joints - batch.joints[:, :1]
    scale = batch.focal.mean(-1) / (batch.joints[:, 0, 2] * batch.crop_side)
    circle = torch.stack((twist.cos(), twist.sin()), -1)[:, 1:]
    uvd = uvd_target(batch, SIZE, EXTENT)[0]
    return Prediction(uvd, None, batch.betas, circle, scale, relative, batch.local_rotmat, relative), twist


def _losses(prediction: Prediction, batch: Batch, twist: torch.Tensor) -> dict[str, float]:
    return {name: float(term) for name, term in pose_losses(prediction, batch, twist, SIZE, EXTENT).items()}


def test_the_truth_costs_nothing(batch: Batch):
    prediction, twist = _right(batch)
    assert max(map(abs, _losses(prediction, batch, twist).values())) < 1e-6


@pytest.mark.parametrize(
    ("field", "term"),
    [("uvd", "uvd"), ("betas", "betas"), ("twist", "twist"), ("local_rotmat", "rotations"), ("joints", "joints"),
     ("scale", "scale")],
)  # fmt: skip
def test_each_error_costs_its_own_term_alone(batch: Batch, field: str, term: str):
    prediction, twist = _right(batch)
    wrong = prediction._replace(**{field: getattr(prediction, field) + 0.01})
    losses = _losses(wrong, batch, twist)
    assert losses.pop(term) > 1e-5
    assert max(map(abs, losses.values())) < 1e-6


def test_what_is_not_known_has_no_say_and_finite_gradients(batch: Batch):
    prediction, twist = _right(batch)
    nothing = batch._replace(
        has_pixels=torch.zeros_like(batch.has_pixels),
        has_joints=torch.zeros_like(batch.has_joints),
        has_rotations=torch.zeros_like(batch.has_rotations),
        has_twist=torch.zeros_like(batch.has_twist),
        has_betas=torch.zeros_like(batch.has_betas),
    )
    wanted = [prediction.uvd, prediction.betas, prediction.twist, prediction.local_rotmat, prediction.joints]
    wrong = [(tensor + 1.0).requires_grad_() for tensor in wanted]
    unknown = Prediction(wrong[0], None, wrong[1], wrong[2], prediction.scale, prediction.keypoints, wrong[3], wrong[4])
    total = total_loss(pose_losses(unknown, nothing, twist, SIZE, EXTENT), Losses(joints=1.0))
    gradients = torch.autograd.grad(total, wrong)
    assert float(total.detach()) == 0.0
    assert not any(bool(gradient.any()) for gradient in gradients)


def test_two_dimensional_samples_train_uv_and_not_depth(batch: Batch):
    prediction, twist = _right(batch)
    flat = batch._replace(has_joints=torch.zeros_like(batch.has_joints))
    uvd = prediction.uvd.clone().requires_grad_()
    terms = pose_losses(prediction._replace(uvd=uvd + 0.01), flat, twist, SIZE, EXTENT)
    (gradient,) = torch.autograd.grad(terms["uvd"], uvd)
    assert bool(gradient[..., :2].any())
    assert not bool(gradient[..., 2].any())


def test_a_joint_that_says_it_is_unsure_pulls_less(batch: Batch):
    prediction, twist = _right(batch)
    gradients = []
    for sigma in (0.01, 0.1):
        uvd = prediction.uvd.clone().requires_grad_()
        doubt = torch.full(uvd.shape[:2], sigma)
        terms = pose_losses(prediction._replace(uvd=uvd + 0.01, sigma=doubt), batch, twist, SIZE, EXTENT)
        gradients.append(float(torch.autograd.grad(terms["uvd"], uvd)[0].abs().max()))
    assert gradients[0] == pytest.approx(10 * gradients[1], rel=1e-4)


def test_keypoints_weigh_what_they_do_in_the_released_code(batch: Batch):
    # there uvd is multiplied by 64 before it is compared, with a weight of 1: 0.01 of the crop costs 0.64
    prediction, twist = _right(batch)
    terms = pose_losses(prediction._replace(uvd=prediction.uvd + 0.01), batch, twist, SIZE, EXTENT)
    assert float(total_loss(terms, Losses())) == pytest.approx(0.64, rel=1e-4)
    # its likelihood, log(sigma) + |e| / sigma, is weighed with 1 as it is
    doubt = torch.full(prediction.uvd.shape[:2], 0.1)
    terms = pose_losses(prediction._replace(sigma=doubt), batch, twist, SIZE, EXTENT)
    assert float(total_loss(terms, Losses())) == pytest.approx(math.log(0.1), rel=1e-4)


def test_a_twist_that_is_known_counts_without_rotations_and_the_others_do_not(batch: Batch):
    prediction, twist = _right(batch)
    some = torch.zeros_like(batch.has_twist)
    some[0, 5] = True
    alone = batch._replace(has_rotations=torch.zeros_like(batch.has_rotations), has_twist=some)
    said = prediction.twist.clone().requires_grad_()
    terms = pose_losses(prediction._replace(twist=said + 0.1), alone, twist, SIZE, EXTENT)
    (gradient,) = torch.autograd.grad(terms["twist"], said)
    # twists begin with the second joint
    assert gradient.abs().sum(-1).nonzero().tolist() == [[0, 4]]

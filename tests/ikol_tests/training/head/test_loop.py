# SPDX-License-Identifier: Apache-2.0
"""Training the head: it learns, gradients pass the layer, and the switch of the ablation does what it says."""

from dataclasses import replace

import pytest
import torch

from ikol.body.default_body import load_default_body
from ikol.errors import InputError
from ikol.regressor.head.inputs import NUM_COMPONENTS, canonical
from ikol.regressor.head.network import NUM_TREE, HeadOutput
from ikol.solver.directions import IKOLLayer
from ikol.training.head.config import TrainingConfig
from ikol.training.head.examples import AugmentationConfig, HeadExamples, augmented
from ikol.training.head.loop import HeadTrainer
from ikol.training.head.losses import LossWeights, Through, geodesic, rotation_loss
from ikol.training.head.simulation import SimulationConfig, simulate
from ikol.training.head.transplant import transplanted
from ikol.training.head.truth import PosedBodies
from ikol.training.poses import PoseSample

BODY = load_default_body()
BODIES = PosedBodies(BODY)
TINY = TrainingConfig(steps=30, batch=32, width=64, depth=1, dropout=0.0, warmup=5, poses=8)


def some_poses(count: int, seed: int = 0) -> PoseSample:
    """Poses about the rest pose that need no motion to be fetched."""
    generator = torch.Generator().manual_seed(seed)
    turns = 0.3 * torch.randn(count, 24, 3, generator=generator)
    skew = torch.zeros(count, 24, 3, 3)
    skew[..., 0, 1], skew[..., 1, 0] = -turns[..., 2], turns[..., 2]
    skew[..., 0, 2], skew[..., 2, 0] = turns[..., 1], -turns[..., 1]
    skew[..., 1, 2], skew[..., 2, 1] = -turns[..., 0], turns[..., 0]
    betas = torch.randn(count, 10, generator=generator)
    return PoseSample(torch.linalg.matrix_exp(skew), betas, torch.arange(count), torch.arange(count))


def some_examples(count: int, seed: int = 0) -> HeadExamples:
    poses = some_poses(count, seed)
    generator = torch.Generator().manual_seed(seed)
    return HeadExamples(*simulate(BODIES, poses.local_rotmat, poses.betas, generator, SimulationConfig()))


def truthful(examples: HeadExamples) -> tuple[HeadOutput, torch.Tensor]:
    """What a head would say that knows everything, and its joints as a leaf."""
    truth = examples.truth
    joints = truth.joints.clone().requires_grad_()
    count = len(examples)
    twist = torch.stack((truth.twist.cos(), truth.twist.sin()), -1).requires_grad_()
    ones = torch.ones(count, 24)
    output = HeadOutput(
        joints, torch.ones_like(joints), twist, ones, truth.betas, truth.betas.abs(), truth.hips, truth.hips.abs()
    )
    return output, joints


def test_a_step_on_the_same_people_lowers_the_loss() -> None:
    trainer = HeadTrainer(TINY, BODY, some_poses(8))
    losses: list[float] = []
    trainer.run(lambda step, parts: losses.append(float(parts.total(LossWeights()).detach())), every=29)
    assert losses[-1] < losses[0] - 1.0, losses


def test_inner_values_are_hidden_of_some_rendered_people_and_of_all_transplanted_ones() -> None:
    people = some_examples(400)
    told = replace(people, landmarks=replace(people.landmarks, inner=torch.ones(400, 2, NUM_COMPONENTS)))
    generator = torch.Generator().manual_seed(0)
    changed = augmented(told, generator, AugmentationConfig(blind=0.25), is_rendered=True)
    known = canonical(changed.landmarks).features[:, -1]
    # 300 of 400 are expected, with a standard deviation of 9
    assert 260 < float(known.sum()) < 340
    poses = some_poses(4)
    moved = transplanted(BODIES, poses.local_rotmat, poses.betas, told, generator)
    assert not canonical(moved.landmarks).features[:, -1].any()


def test_the_same_seed_gives_the_same_head() -> None:
    config = replace(TINY, steps=3)
    one, other = (HeadTrainer(config, BODY, some_poses(8)).run(lambda step, parts: None) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_the_truth_has_no_rotation_error() -> None:
    output, _ = truthful(some_examples(6))
    loss = rotation_loss(output, some_examples(6).truth, IKOLLayer(BODIES.skeleton), "end_to_end")
    # the layer's bones follow the betas, the twist's axes the mean body: 0.3 degrees on average
    assert float(loss.detach()) < 0.01


@pytest.mark.parametrize(("through", "reaches"), [("end_to_end", True), ("detached", False)])
def test_rotations_train_the_joints_end_to_end_only(through: Through, reaches: bool) -> None:
    examples = some_examples(6)
    output, joints = truthful(examples)
    moved = replace(output, joints=joints + 0.02)
    other = some_examples(6, 1).truth  # of which the rotations are far off
    rotation_loss(moved, other, IKOLLayer(BODIES.skeleton), through).backward()
    assert (joints.grad is not None and bool(joints.grad[:, :NUM_TREE].abs().sum() > 0)) == reaches
    assert output.twist.grad is not None
    assert output.twist.grad.abs().sum() > 0


def test_without_the_layer_there_is_no_rotation_loss() -> None:
    output, _ = truthful(some_examples(2))
    assert float(rotation_loss(output, some_examples(2).truth, IKOLLayer(BODIES.skeleton), "none")) == 0.0


def test_geodesic_is_the_angle_and_has_a_gradient_at_the_truth() -> None:
    eye = torch.eye(3, requires_grad=True)
    quarter = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    # the guard adds 1e-6 to the square of the chord
    assert float(geodesic(eye, quarter).detach()) == pytest.approx(torch.pi / 2, abs=1e-3)
    geodesic(eye, torch.eye(3)).backward()
    assert eye.grad is not None
    assert bool(eye.grad.isfinite().all())


def test_mirrored_truth_is_what_the_mirrored_rotations_give() -> None:
    truth = some_examples(5).truth.mirrored()
    again, _ = BODIES.truth(truth.local_rotmat, truth.betas)
    # float32 metres through a chain of ten rotations
    assert (again.joints - truth.joints).abs().max() < 1e-5
    assert (again.twist - truth.twist).abs().max() < 1e-4


@pytest.mark.parametrize("is_rendered", [False, True])
def test_changed_people_are_still_seen_where_they_are(is_rendered: bool) -> None:
    quiet = SimulationConfig(image_error=0.0, swapped=0.0, cut=0.0)
    poses = some_poses(12)
    generator = torch.Generator().manual_seed(0)
    people = HeadExamples(*simulate(BODIES, poses.local_rotmat, poses.betas, generator, quiet))
    config = AugmentationConfig(focal=0.0, image_error=0.0)
    changed = augmented(people, generator, config, is_rendered=is_rendered)
    points = changed.truth.joints[:, NUM_TREE:] + changed.truth.hips[:, None]
    # float32, pixels over focal length
    assert (points[..., :2] / points[..., 2:] - changed.landmarks.rays).abs().max() < 1e-5


def test_a_transplanted_error_is_that_of_its_donor() -> None:
    donor = some_examples(1)
    turned = HeadExamples(donor.landmarks, donor.truth)
    poses = some_poses(4, 3)
    people = transplanted(BODIES, poses.local_rotmat, poses.betas, turned, torch.Generator().manual_seed(0))

    def error(examples: HeadExamples) -> torch.Tensor:
        points = examples.truth.joints[:, NUM_TREE:] + examples.truth.hips[:, None]
        return examples.landmarks.rays - points[..., :2] / points[..., 2:]

    assert (error(people) - error(donor)).abs().max() < 1e-5
    assert bool(canonical(people.landmarks).features.isfinite().all())


def test_shares_of_a_batch_beyond_one_are_refused() -> None:
    with pytest.raises(InputError, match="together at most 1"):
        TrainingConfig(rendered=0.8, transplanted=0.5)

# SPDX-License-Identifier: Apache-2.0
import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_files import make_h36m, make_posing

from ikol.regressor.networks import NetworkConfig
from ikol.regressor.networks.camera_space import uvd_to_pixels
from ikol.training.network.augmentation import person_crop
from ikol.training.network.batches import Batch, CroppedSamples, StepKeys, collate, step_seed
from ikol.training.network.config import Augmentation
from ikol.training.network.losses import uvd_target
from ikol.training.network.samples import TrainingSample
from ikol.training.network.sources.annotations import AnnotatedPictures, open_annotations

SIZE = 64
BOX = NetworkConfig(input_size=SIZE, heatmap_size=SIZE // 4)
CIRCLE = NetworkConfig(input_size=SIZE, heatmap_size=SIZE // 4, framing="circle")


@pytest.fixture
def source(tmp_path: Path) -> AnnotatedPictures:
    return open_annotations("h36m", make_h36m(tmp_path, count=3), tmp_path / "images", is_smpl=True)


def _all_keys(steps: range, world_size: int = 1) -> list[list[tuple[int, int, int]]]:
    shares = [
        list(StepKeys([10, 20], [1.0, 3.0], 4 // world_size, steps, 7, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    return [list(itertools.chain(*parts)) for parts in zip(*shares, strict=True)]


def test_a_step_sees_the_same_samples_after_a_resume():
    assert _all_keys(range(6))[3:] == _all_keys(range(3, 6))


def test_two_processes_share_what_one_would_see():
    assert _all_keys(range(5), world_size=2) == _all_keys(range(5))


def test_sources_are_seen_by_their_shares():
    keys = list(itertools.chain(*_all_keys(range(500))))
    share = sum(source == 1 for source, *_ in keys) / len(keys)
    # 2000 draws with a probability of 3/4: the standard deviation is 1 %
    assert share == pytest.approx(0.75, abs=0.04)


def test_seeds_differ_between_steps_and_processes():
    assert len({step_seed(0, step, rank) for step in range(10) for rank in range(4)}) == 40


def test_the_same_key_gives_the_same_sample(source: AnnotatedPictures):
    samples = CroppedSamples([source], BOX, Augmentation())
    first, second = samples[0, 1, 12345], samples[0, 1, 12345]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("seed", [-1, 1, 2, 3, 4, 5])
def test_crops_map_their_truth_back_to_the_picture(source: AnnotatedPictures, seed: int):
    batch = collate([CroppedSamples([source], BOX, Augmentation())[0, 0, seed]])
    uvd, known = uvd_target(batch, SIZE, 2.2)
    back = uvd_to_pixels(uvd, batch.crops, SIZE)
    # float32 pixels of a picture of 128
    torch.testing.assert_close(back[known[..., 0]], batch.pixels[known[..., 0]], atol=1e-3, rtol=0)
    projected = batch.joints[..., :2] / batch.joints[..., 2:] * batch.focal[:, None] + batch.center[:, None]
    torch.testing.assert_close(projected, batch.pixels, atol=2e-3, rtol=0)


def test_the_mirror_image_of_the_mirror_image_is_the_sample(source: AnnotatedPictures):
    sample = source.sample(0)
    twice = sample.mirrored().mirrored()
    assert np.array_equal(twice.picture, sample.picture)
    for name in ("pixels", "joints", "local_rotmat", "twist"):
        np.testing.assert_allclose(getattr(twice, name), getattr(sample, name), atol=1e-5, err_msg=name)


def test_mirrored_rotations_pose_the_mirrored_joints(source: AnnotatedPictures):
    sample = source.sample(0)
    sample = replace(sample, betas=np.zeros_like(sample.betas))
    posing = make_posing()

    def posed(of):
        return posing.joints(torch.from_numpy(of.local_rotmat)[None], torch.from_numpy(of.betas)[None])[0].numpy()

    plain, mirrored = replace(sample, joints=posed(sample)), sample.mirrored()
    # the body is symmetric to 1 mm
    np.testing.assert_allclose(posed(mirrored), plain.mirrored().joints, atol=2e-3)


def test_a_mirrored_sample_has_the_twists_of_its_mirrored_rotations(source: AnnotatedPictures):
    posing = make_posing()

    def twists(of: TrainingSample) -> np.ndarray:
        return posing.twist_of(torch.from_numpy(of.local_rotmat)[None], torch.zeros(1, 10))[0].numpy()

    sample = source.sample(0)
    sample = replace(sample, twist=twists(sample))
    mirrored = sample.mirrored()
    # about bones that are symmetric to 1 mm, so to a degree of the shortest
    np.testing.assert_allclose(mirrored.twist[1:], twists(mirrored)[1:], atol=0.02)
    assert np.abs(mirrored.twist[1:]).max() > 0.2


def test_parts_of_a_batch_are_its_samples(source: AnnotatedPictures):
    samples = CroppedSamples([source], BOX, Augmentation())
    batch = collate([samples[0, index, -1] for index in (0, 1, 2, 0)])
    parts = list(batch.parts(2))
    assert [len(part.pictures) for part in parts] == [2, 2]
    assert torch.equal(Batch(*(torch.cat(pair) for pair in zip(*parts, strict=True))).joints, batch.joints)


class _OneSample:
    def __init__(self, only: TrainingSample):
        self._only = only

    def __len__(self) -> int:
        return 1

    def sample(self, index: int) -> TrainingSample:
        return self._only


@pytest.mark.parametrize("seed", [-1, 1, 2])
def test_a_circle_around_the_body_holds_it_upright(source: AnnotatedPictures, seed: int):
    upright = source.sample(0)
    on_the_side = (upright.pixels - 50.0) @ np.array([[0, 1], [-1, 0]], np.float32) + 50.0
    lying = _OneSample(replace(upright, pixels=on_the_side))
    little_moves = Augmentation(rotation_deg=5.0, scale=0.05, shift=0.02, occluded=0.0)
    batch = collate([CroppedSamples([lying], CIRCLE, little_moves)[0, 0, seed]])
    uvd, known = uvd_target(batch, SIZE, 2.2)
    assert bool(known[..., :2].all())
    hips, shoulders = uvd[0, 1:3, :2].mean(0), uvd[0, 16:18, :2].mean(0)
    up = shoulders - hips
    # the changes move the hips by 2 % of the crop at most and turn by 5 degrees at most
    assert float(hips.abs().max()) < 0.03
    assert float(up[1]) < 0
    assert abs(math.degrees(math.atan2(float(up[0]), -float(up[1])))) < 5.1


def test_a_person_of_unknown_hips_is_framed_by_the_box(source: AnnotatedPictures):
    sample = source.sample(0)
    known = sample.has_pixels.copy()
    known[1] = False
    hidden, plain = person_crop(replace(sample, has_pixels=known), "circle"), person_crop(sample)
    assert torch.equal(hidden.center, plain.center)
    assert torch.equal(hidden.side, plain.side)

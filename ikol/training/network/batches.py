# SPDX-License-Identifier: Apache-2.0
"""Which samples a step sees, and how they become tensors.

Both depend on the seed and the step's number alone: not on how many processes read, nor on what ran before. That is
what lets a training go on bit for bit after it was killed. Imports: torch, numpy.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ikol.regressor.crops import Crops, sample_crops
from ikol.regressor.networks.pose_network import OUTSIDE, NetworkConfig
from ikol.training.network.augmentation import person_crop, random_colours, random_crop, random_occlusion
from ikol.training.network.config import Augmentation
from ikol.training.network.samples import SampleSource, TrainingSample

_SAMPLING, _CHANGING = 0, 1  # streams of random numbers that must not depend on each other
_FROM_CROP = ("pictures", "crop_center", "crop_side", "crop_rotation")
_OF_JOINTS = ("pixels", "has_pixels", "joints", "has_joints")
Key = tuple[int, int, int]
"""Source, sample in it, seed of its augmentation; the seed is negative where nothing is changed."""


class Batch(NamedTuple):
    """Crops as tensors and the truth in the whole picture's pixels and axes; `TrainingSample` says what it means.

    A tuple, since Fabric cannot look into frozen dataclasses.
    """

    pictures: Float[Tensor, "batch 3 size size"]
    """0 to 1."""
    crop_center: Float[Tensor, "batch 2"]
    crop_side: Float[Tensor, " batch"]
    crop_rotation: Float[Tensor, " batch"]
    focal: Float[Tensor, "batch 2"]
    center: Float[Tensor, "batch 2"]
    pixels: Float[Tensor, "batch joints 2"]
    has_pixels: Bool[Tensor, "batch joints"]
    joints: Float[Tensor, "batch joints 3"]
    has_joints: Bool[Tensor, "batch joints"]
    local_rotmat: Float[Tensor, "batch 24 3 3"]
    has_rotations: Bool[Tensor, " batch"]
    twist: Float[Tensor, "batch 24"]
    has_twist: Bool[Tensor, "batch 24"]
    betas: Float[Tensor, "batch 10"]
    has_betas: Bool[Tensor, " batch"]

    @property
    def crops(self) -> Crops:
        """The windows that the pictures are; none is mirrored, mirroring changes the sample before it is cropped."""
        is_mirrored = torch.zeros_like(self.crop_side, dtype=torch.bool)
        return Crops(self.crop_center, self.crop_side, self.crop_rotation, is_mirrored)

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on another device."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))

    def parts(self, count: int) -> Iterator["Batch"]:
        """Split the batch into equal parts."""
        return (Batch(*part) for part in zip(*(tensor.chunk(count) for tensor in self), strict=True))


class CroppedSamples(Dataset[Batch]):
    """Samples of several sources, cropped and changed as their keys say."""

    def __init__(self, sources: Sequence[SampleSource], network: NetworkConfig, settings: Augmentation) -> None:
        self._sources, self._size, self._settings = sources, network.input_size, settings
        self._framing, self._joints = network.framing, network.num_joints

    def __getitem__(self, key: Key) -> Batch:
        """Return one sample as a batch without its leading dimension."""
        source, index, seed = key
        sample = self._sources[source].sample(index)
        if seed < 0:
            crop = person_crop(sample, self._framing)
            return self._to_tensors(self._cut(sample, crop), crop, sample)
        generator = np.random.Generator(np.random.Philox(seed))
        if generator.uniform() < self._settings.mirrored:
            sample = sample.mirrored()
        crop = random_crop(sample, self._settings, generator, self._framing)
        picture = random_colours(self._cut(sample, crop), self._settings, generator)
        return self._to_tensors(random_occlusion(picture, self._settings, generator), crop, sample)

    def _cut(self, sample: TrainingSample, crop: Crops) -> Tensor:
        return sample_crops(sample.picture, crop, self._size, OUTSIDE[self._framing])[0]

    def _to_tensors(self, picture: Tensor, crop: Crops, sample: TrainingSample) -> Batch:
        known = {name: getattr(sample, name) for name in Batch._fields if name not in _FROM_CROP}
        # SMPL's 24 joints are the first of the 29
        known |= {name: known[name][: self._joints] for name in _OF_JOINTS}
        return Batch(
            pictures=picture,
            crop_center=crop.center[0],
            crop_side=crop.side[0],
            crop_rotation=crop.rotation[0],
            **{name: _tensor(value) for name, value in known.items()},
        )


def _tensor(value: object) -> Tensor:
    tensor = torch.as_tensor(value)
    return tensor.float() if tensor.is_floating_point() else tensor


def collate(samples: Sequence[Batch]) -> Batch:
    """Put samples into one batch."""
    return Batch(*(torch.stack(tensors) for tensors in zip(*samples, strict=True)))


class StepKeys(Sampler[list[Key]]):
    """The keys of each step's samples on one process: drawn with replacement, sources by their shares."""

    def __init__(
        self,
        sizes: Sequence[int],
        shares: Sequence[float],
        batch_size: int,
        steps: range,
        seed: int,
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Make the sampler.

        Args:
            sizes: how many samples each source has.
            shares: of the sources.
            batch_size: samples a step on this process.
            steps: the numbers of the steps that are to come.
            seed: of the training.
            rank: number of this process.
            world_size: how many processes share a step.
        """
        self._sizes, self._batch_size, self._steps, self._seed = np.array(sizes), batch_size, steps, seed
        self._shares = np.array(shares) / np.sum(shares)
        self._rank, self._world_size = rank, world_size

    def __len__(self) -> int:
        """Return how many steps are to come."""
        return len(self._steps)

    def __iter__(self) -> Iterator[list[Key]]:
        """Give the keys of one step after the other."""
        for step in self._steps:
            generator = np.random.Generator(np.random.Philox(key=_seeds(self._seed, step, _SAMPLING)))
            count = self._batch_size * self._world_size
            sources = generator.choice(len(self._sizes), size=count, p=self._shares)
            indices = (generator.uniform(size=count) * self._sizes[sources]).astype(int)
            seeds = generator.integers(0, 2**62, size=count)
            mine = slice(self._rank * self._batch_size, (self._rank + 1) * self._batch_size)
            yield [(int(s), int(i), int(k)) for s, i, k in zip(sources[mine], indices[mine], seeds[mine], strict=True)]


def _seeds(seed: int, step: int, stream: int) -> np.ndarray:
    return np.random.SeedSequence([seed, step, stream]).generate_state(2, np.uint64)


def step_seed(seed: int, step: int, rank: int) -> int:
    """Return the seed of what the network draws in a step, such as dropout."""
    return int(np.random.SeedSequence([seed, step, _CHANGING, rank]).generate_state(1, np.uint64)[0] >> 1)


def make_loader(samples: CroppedSamples, keys: Sampler[list[Key]] | list[list[Key]], workers: int) -> DataLoader[Batch]:
    """Return batches in the order of their keys."""
    return DataLoader(
        samples,
        batch_sampler=keys,  # pyright: ignore[reportArgumentType] - keys may be any object that the data set takes
        num_workers=workers,
        collate_fn=collate,
        persistent_workers=False,
        multiprocessing_context="spawn" if workers else None,  # a forked torch may hang in its own threads
    )

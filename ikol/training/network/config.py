# SPDX-License-Identifier: Apache-2.0
"""Everything that decides how a training runs: read from TOML, checked, kept as JSON beside each checkpoint.

The defaults of losses, augmentation and schedule are those of the released IKOL (ResNet-34); docs/training.md says
where the paper and its code differ. Imports: msgspec, the network.
"""

import json
import math
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from ikol.errors import InputError
from ikol.regressor.networks import NetworkConfig

Positive = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Weight = Annotated[float, Meta(ge=0)]


class Source(Struct, frozen=True, forbid_unknown_fields=True):
    """One data set."""

    kind: Literal["rendered", "h36m", "mpi_inf_3dhp", "3dpw", "coco"]
    path: str
    """A folder (rendered), or an annotation file in HybrIK's layout (the others)."""
    pictures: str = ""
    """The folder that the file names of an annotation start from."""
    share: Annotated[float, Meta(gt=0)] = 1.0
    """How many of the samples come from here, relative to the others' shares."""


class Augmentation(Struct, frozen=True, forbid_unknown_fields=True):
    """How pictures are changed; every share is a probability, every other number the largest change."""

    scale: Share = 0.3
    rotation_deg: Annotated[float, Meta(ge=0, le=180)] = 30.0
    rotated: Share = 0.6
    shift: Share = 0.05
    """Of the box."""
    colour: Share = 0.2
    occluded: Share = 0.5
    mirrored: Share = 0.5


class Layer(Struct, frozen=True, forbid_unknown_fields=True):
    """How the loss reaches the network through the layer."""

    solver: Literal["ikol", "released", "hybrik", "regression"] = "ikol"
    """Our layer, the released IKOL's steps, HybrIK's analytic solution, or none: the network says the rotations
    (`network.rotations`)."""
    gradient: Literal["end_to_end", "detached"] = "end_to_end"
    """`detached`: keypoints and shape enter the layer as constants, so the loss on rotations trains the twists only."""
    backward: Literal["implicit", "one_step", "unrolled"] = "implicit"
    steps: Positive = 5
    """Of `unrolled`, and of the released IKOL."""
    damping: Annotated[float, Meta(gt=0)] = 0.1
    """Of the released IKOL, square metres."""


class Losses(Struct, frozen=True, forbid_unknown_fields=True):
    """Weights of the terms. Source: the released configuration."""

    uvd: Weight = 64.0
    """On shares of the crop. The released weight is 1, on 64 times as much (`weighted_l1_loss`)."""
    betas: Weight = 1.0
    twist: Weight = 0.01
    rotations: Weight = 0.01
    joints: Weight = 0.0
    """On the joints after the layer, metres."""
    scale: Weight = 0.1
    """On the scale of networks with a camera. Not in the released configuration, whose network has none."""


class Schedule(Struct, frozen=True, forbid_unknown_fields=True):
    """How long and how fast."""

    steps: Positive
    batch_size: Positive = 32
    """Samples a step on each process, over all its accumulated parts."""
    accumulate: Positive = 1
    """Parts of a batch that follow each other, for memory."""
    learning_rate: Annotated[float, Meta(gt=0)] = 1e-3
    backbone: Annotated[float, Meta(ge=0, le=1)] = 1.0
    """Share of the rate at which the backbone learns: less than 1 where it knows more than the rest, 0 to keep it."""
    kept: Share = 0.0
    """Share of the backbone's tensors that stay as they are, from the picture on: the last blocks learn with fewer
    pictures, and faster."""
    warm_up: Annotated[int, Meta(ge=0)] = 0
    """Steps over which the rate rises from zero."""
    milestones: tuple[Positive, ...] = ()
    """Steps after which the rate is multiplied by `decay`."""
    decay: Annotated[float, Meta(gt=0, le=1)] = 0.1
    clip: Annotated[float, Meta(ge=0)] = 0.0
    """Largest norm of the gradient; 0 for no limit."""
    ema: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Decay of the running mean of the weights; 0 for none."""
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        warm = min(1.0, (step + 1) / self.warm_up) if self.warm_up else 1.0
        return self.learning_rate * warm * self.decay ** sum(step >= milestone for milestone in self.milestones)


class Output(Struct, frozen=True, forbid_unknown_fields=True):
    """What is written, and how often (in steps)."""

    folder: str
    checkpoint_every: Positive = 1000
    keep: Positive = 3
    """Checkpoints; older ones are deleted."""
    validate_every: Positive = 1000
    pictures: Annotated[int, Meta(ge=0, le=64)] = 8
    """How many validation pictures are drawn."""
    log_every: Positive = 20


class Machine(Struct, frozen=True, forbid_unknown_fields=True):
    """Where it runs. Under torchrun and Slurm the number of processes comes from there."""

    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    devices: Positive = 1
    nodes: Positive = 1
    workers: Annotated[int, Meta(ge=0, le=256)] = 0
    """Processes that read pictures, for each device."""
    timeout_seconds: Annotated[float, Meta(gt=0)] = 600.0
    """After which a process that waits for another one gives up."""


class TrainConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """One training."""

    train: Annotated[tuple[Source, ...], Meta(min_length=1)]
    schedule: Schedule
    output: Output
    validation: tuple[Source, ...] = ()
    network: NetworkConfig = msgspec.field(default_factory=lambda: NetworkConfig(camera=1))
    body: str = ""
    """An SMPL file whose rotations and betas the data has; empty for the default body."""
    weights: str = ""
    """A state dict to begin with; empty for random weights."""
    augmentation: Augmentation = Augmentation()
    layer: Layer = Layer()
    losses: Losses = Losses()
    machine: Machine = Machine()
    seed: Annotated[int, Meta(ge=0, lt=2**32)] = 0

    def __post_init__(self) -> None:
        if self.schedule.batch_size % self.schedule.accumulate:
            raise ValueError(
                f"schedule.batch_size ({self.schedule.batch_size}) must be a multiple of schedule.accumulate "
                f"({self.schedule.accumulate})"
            )
        if self.layer.solver == "regression" and not self.network.rotations:
            raise ValueError('layer.solver = "regression" needs network.rotations = true')
        if not math.isfinite(self.schedule.learning_rate):
            raise ValueError("schedule.learning_rate must be finite")


def read_config(path: Path) -> TrainConfig:
    """Read a TOML file, or the JSON that is kept with a training.

    Raises:
        InputError: it is neither, or a field is unknown, missing or out of range.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return msgspec.convert(json.loads(text) if path.suffix == ".json" else tomllib.loads(text), TrainConfig)
    except msgspec.ValidationError as error:
        raise InputError(f"{path.name} cannot be used: {error}") from error
    except (ValueError, RecursionError) as error:  # of TOML, JSON and UTF-8
        raise InputError(f"{path.name} is no {'JSON' if path.suffix == '.json' else 'TOML'}: {error}") from error


def config_json(config: TrainConfig) -> str:
    """Return the configuration as JSON, as it is kept with a checkpoint."""
    return msgspec.json.format(msgspec.json.encode(config), indent=2).decode()

# SPDX-License-Identifier: Apache-2.0
"""What the experiments share: their size, the warmed-up network, a variant's training, what it says of test pictures.

Every variant starts from the same warmed-up network and trains all of it with the same samples in the same order; two
seeds differ in samples and dropout. A training that is there already is not done again.
"""

import argparse
import json
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from landmarks import LandmarkNetwork, landmark_batch, train_landmarks
from safetensors.torch import load_file, save_file
from torch import Tensor

from ikol.body.default_body import load_default_body
from ikol.body.model import BodyModel
from ikol.regressor.networks import NetworkConfig
from ikol.regressor.networks.camera_space import root_depth, uvd_to_camera
from ikol.training.network.batches import Batch, CroppedSamples, make_loader
from ikol.training.network.config import (
    Augmentation,
    Layer,
    Losses,
    Machine,
    Output,
    Schedule,
    Source,
    TrainConfig,
)
from ikol.training.network.loop import CHECKPOINTS, train
from ikol.training.network.losses import Prediction
from ikol.training.network.model import PoseModel, camera_of
from ikol.training.network.sources import open_source

WARM_UP = Layer(solver="regression")  # a loss on rotations that needs no layer, so that no variant is at home


class Size(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How large the experiments are; the defaults are for one CPU core and an hour."""

    folder: str = "out/experiments/small"
    train: str = "out/rendered/train"
    test: str = "out/rendered/test"
    """Motions and subjects that the training has not."""
    test_samples: int = 256
    backbone: Literal["landmarks", "pictures"] = "landmarks"
    """What stands before the layer: a small network on top of BlazePose, which is frozen, or `network`."""
    network: NetworkConfig = msgspec.field(default_factory=lambda: NetworkConfig(camera=1, rotations=True))
    augmentation: Augmentation = Augmentation()
    losses: Losses = Losses(uvd=1.0, betas=0.01, twist=0.1, rotations=0.3, scale=0.1)
    """Rotations count nearly 2,000 times as much beside keypoints as in the released configuration, in which no variant
    would differ from another."""
    warm_up: Schedule = Schedule(
        steps=4000, batch_size=64, learning_rate=1e-3, warm_up=50, milestones=(2500, 3500), clip=5.0
    )
    schedule: Schedule = Schedule(
        steps=300, batch_size=32, learning_rate=5e-4, warm_up=20, milestones=(200, 260), clip=5.0
    )
    seeds: int = 3
    machine: Machine = Machine()


SIZES = {
    "small": Size(),
    "pictures": Size(  # the whole of the paper's chain on one CPU core: it runs, and learns little
        folder="out/experiments/pictures",
        backbone="pictures",
        network=NetworkConfig(
            backbone="resnet18",
            input_size=64,
            heatmap_size=16,
            depth_cells=16,
            deconv_channels=(64, 64, 64),
            camera=1,
            rotations=True,
        ),
        augmentation=Augmentation(occluded=0.0, rotation_deg=15.0),
        warm_up=Schedule(steps=600, batch_size=32, learning_rate=1e-3, warm_up=50, milestones=(430, 540), clip=5.0),
        schedule=Schedule(steps=60, batch_size=16, learning_rate=3e-4, warm_up=5, milestones=(45,), clip=5.0),
    ),
    "large": Size(  # for a GPU
        folder="out/experiments/large",
        backbone="pictures",
        warm_up=Schedule(
            steps=12000, batch_size=128, learning_rate=1e-3, warm_up=500, milestones=(9000, 11000), clip=5.0
        ),
        schedule=Schedule(
            steps=3000, batch_size=128, learning_rate=3e-4, warm_up=100, milestones=(2000, 2700), clip=5.0
        ),
        seeds=5,
        machine=Machine(workers=8),
    ),
}


@dataclass
class Study:
    """An experiment that runs: its size, and what it says."""

    name: str
    size: Size
    started: float = field(default_factory=time.monotonic)

    @property
    def folder(self) -> Path:
        """Of all that the size's experiments leave."""
        return Path(self.size.folder)

    @property
    def device(self) -> torch.device:
        """Where models are measured."""
        wanted = self.size.machine.accelerator
        return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")

    def finish(self, table: str, values: object) -> None:
        """Print the table and write the numbers."""
        minutes = (time.monotonic() - self.started) / 60
        found = {"seconds": round(60 * minutes), "size": msgspec.to_builtins(self.size), "values": values}
        path = self.folder / f"{self.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"{table}\n\n{minutes:.1f} minutes; numbers in {path}")


def read_study(name: str, text: str | None) -> Study:
    """Return the experiment that the command line asks for."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--size", choices=tuple(SIZES), default="small")
    parser.add_argument("--config", type=Path, help="TOML with fields of Size; what it leaves out is the size's")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    values: dict[str, Any] = msgspec.to_builtins(SIZES[options.size])
    if options.config is not None:
        for key, value in tomllib.loads(options.config.read_text(encoding="utf-8")).items():
            values[key] = {**values[key], **value} if isinstance(value, dict) else value
    return Study(name, msgspec.convert(values, Size, strict=False))


def train_config(size: Size, name: str, layer: Layer, schedule: Schedule, seed: int, weights: str = "") -> TrainConfig:
    """Return one training of a size."""
    folder = str(Path(size.folder) / name)
    return TrainConfig(
        train=(Source("rendered", size.train),),
        schedule=schedule,
        output=Output(folder, checkpoint_every=150, keep=1, log_every=5 if weights else 20),
        network=size.network,
        weights=weights,
        augmentation=size.augmentation,
        layer=layer,
        losses=size.losses,
        machine=size.machine,
        seed=seed,
    )


def warmed_up(study: Study, layer: Layer = WARM_UP) -> PoseModel:
    """Return the network that all variants start from, trained if it is not there yet, with a layer behind it."""
    config = train_config(study.size, "warm_up", WARM_UP, study.size.warm_up, 0)
    return _trained(study, config, layer)


def trained(study: Study, name: str, layer: Layer, seed: int) -> PoseModel:
    """Return one variant with one seed, trained if it is not there yet."""
    size = study.size
    warmed_up(study)
    weights = str(_weights(Path(size.folder) / "warm_up"))
    return _trained(study, train_config(size, f"{name}_{seed}", layer, size.schedule, seed + 1, weights), layer)


def _weights(folder: Path) -> Path:
    inside = sorted(folder.glob(f"{CHECKPOINTS}/step_*/network.safetensors"))
    return inside[-1] if inside else folder / "network.safetensors"


@torch.enable_grad()  # an experiment that only measures may be the first to need a training
def _trained(study: Study, config: TrainConfig, layer: Layer) -> PoseModel:
    folder = Path(config.output.folder)
    if study.size.backbone == "pictures":
        train(config)
        model = PoseModel(config.network, layer, body())
    else:
        model = make_landmark_model(config.network, layer)
        if not _weights(folder).exists():
            _train_landmarks(study.size, config, folder)
    model.network.load_state_dict(load_file(_weights(folder)))
    return model.to(study.device).eval()


def make_landmark_model(network: NetworkConfig, layer: Layer) -> PoseModel:
    """Return a model that reads landmarks, with random weights."""
    model = PoseModel(network, layer, body())
    setattr(model, "network", LandmarkNetwork(network))  # noqa: B010 - says what a PoseNetwork says
    return model


def _train_landmarks(size: Size, config: TrainConfig, folder: Path) -> None:
    torch.manual_seed(config.seed)
    batches = [landmark_batch(Path(size.train), config.network, body(), crop) for crop in range(2)]
    model = make_landmark_model(config.network, config.layer)
    if config.weights:
        model.network.load_state_dict(load_file(config.weights))
    else:
        seen = torch.cat([batch.pictures for batch in batches])
        model.network.load_state_dict(
            {**model.network.state_dict(), "mean": seen.mean(0), "deviation": seen.std(0).clamp_min(1e-3)}
        )
    begun = time.process_time()
    losses = train_landmarks(model, batches, config)
    folder.mkdir(parents=True, exist_ok=True)
    report = {"losses": losses, "cpu_seconds": time.process_time() - begun, "config": msgspec.to_builtins(config)}
    (folder / "training.json").write_text(json.dumps(report) + "\n", encoding="utf-8")
    save_file(model.network.state_dict(), folder / "network.safetensors")


def body() -> BodyModel:
    """Return the body that was rendered."""
    return load_default_body(dtype=torch.float32)


def test_batch(size: Size) -> Batch:
    """Return the test samples, evenly spread, uncropped by chance."""
    if size.backbone == "landmarks":
        batch = landmark_batch(Path(size.test), size.network, body(), crop=0)
        total = len(batch.pictures)
        count = min(size.test_samples, total)
        rows = torch.arange(count) * total // count
        return Batch(*(tensor[rows] for tensor in batch))
    source = open_source(Source("rendered", size.test))
    samples = CroppedSamples([source], size.network, size.augmentation)
    count = min(size.test_samples, len(source))
    keys = [(0, index * len(source) // count, -1) for index in range(count)]
    return next(iter(make_loader(samples, [keys], 0)))


@torch.no_grad()
def predict(model: PoseModel, batch: Batch, device: torch.device, at_once: int = 64) -> Prediction:
    """Return what a model says of a batch, on the CPU."""
    parts: list[Prediction] = []
    for piece in batch.parts(-(-len(batch.pictures) // at_once)):
        found: Prediction = model(piece.to(device))
        parts.append(Prediction(*(None if value is None else value.cpu() for value in found)))
    return Prediction(*(None if values[0] is None else torch.cat(values) for values in zip(*parts, strict=True)))


def predicted_root(prediction: Prediction, batch: Batch, network: NetworkConfig) -> Tensor:
    """Return where the network sees the pelvis (batch, 3), metres in the camera's axes."""
    assert prediction.scale is not None
    camera = camera_of(batch)
    depth = root_depth(prediction.scale, batch.crops, camera)
    place = uvd_to_camera(prediction.uvd, batch.crops, network.input_size, network.depth_extent, camera, depth)
    return place[:, 0]

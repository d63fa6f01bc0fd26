#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Train and measure a picture network: pixels to rotations, BlazePose's landmarks to begin with.

- `picture_network.py heads`: its layers, on landmarks that were seen before;
- `ikol train scripts/experiments/picture_network.toml`: the same layers on crops of pictures;
- `picture_network.py measure`: on the test pictures; draws them into docs/pictures. With `--frozen FOLDER` also a
  training whose backbone stayed as it was (the same file with `backbone = 0.0` and another folder).
"""

import argparse
import json
from pathlib import Path

import matplotlib as mpl
import msgspec
import numpy as np
import torch
from figures import PICTURES, cell
from measures import POSE_COLUMNS, Numbers, pose_errors, table
from PIL import Image
from safetensors.torch import save_file
from study import Size, Study, body, predict, predicted_root, test_batch, trained
from variants import LAYERS, NAMES

from ikol.regressor.networks import NetworkConfig, load_pose_network, load_tensors, read_tensors
from ikol.rendering.dataset import RenderedDataset
from ikol.training.network.batches import Batch
from ikol.training.network.config import Losses, Schedule
from ikol.training.network.losses import Prediction
from ikol.training.network.model import PoseModel

mpl.use("Agg")
from matplotlib import pyplot as plt

HEADS = Size(
    folder="out/pictures/heads",
    network=NetworkConfig(camera=1, rotations=True, framing="circle"),
    losses=Losses(uvd=1.0, betas=0.01, twist=0.1, rotations=0.3, scale=0.1),
    schedule=Schedule(steps=1500, batch_size=64, learning_rate=5e-4, warm_up=20, milestones=(1000, 1350), clip=5.0),
)
BEHIND = ("ikol", "hybrik", "regression")
ROWS, COLUMNS, SMOOTHED = 2, 8, 40


def train_heads() -> None:
    """Train the layers through the layer on what BlazePose has seen (the observations of the data set)."""
    study = Study("heads", HEADS)
    weights = trained(study, "ikol", LAYERS["ikol"], 0).network.state_dict()
    save_file({f"heads.{name}": tensor for name, tensor in weights.items()}, study.folder / "network.safetensors")


def before(training: Path) -> PoseModel:
    """Return the network that a training began with: the shipped backbone, and the layers on landmarks seen before."""
    model = PoseModel(load_pose_network(training).config, LAYERS["ikol"], body())
    load_tensors(model.network, read_tensors(Path(HEADS.folder) / "network.safetensors"))
    return model.eval()


def model_of(training: Path, layer: str) -> PoseModel:
    """Return a training's network with a layer behind it."""
    network = load_pose_network(training)
    model = PoseModel(network.config, LAYERS[layer], body())
    model.network = network
    return model.eval()


def errors(model: PoseModel, batch: Batch, said: Prediction) -> Numbers:
    """Return the errors of a prediction, the distance from the camera being the network's own."""
    root = predicted_root(said, batch, model.network.config)
    return pose_errors(model.posing, body(), batch, said.local_rotmat, said.betas, root)


def blind(model: PoseModel, batch: Batch) -> Numbers:
    """Return the errors of saying what the network says on average: those of a network that sees nothing."""
    grey = batch._replace(pictures=batch.pictures.mean(0, keepdim=True).expand_as(batch.pictures))
    return errors(model, batch, predict(model, grey, torch.device("cpu")))


def curves(training: Path) -> None:
    """Draw the losses of both parts of the training."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6))
    for name, label in (("warm_up", "regression, warm-up"), ("ikol_0", "through the layer")):
        losses = np.array(json.loads((Path(HEADS.folder) / name / "training.json").read_text())["losses"])
        left.plot(np.convolve(losses, np.full(SMOOTHED, 1 / SMOOTHED), "valid"), label=label)
    left.set(title="heads on landmarks: loss", xlabel="step", yscale="log")
    left.legend()
    lines = [json.loads(line) for line in (training / "journal.jsonl").read_text().splitlines()]
    for name in ("uvd", "joints"):
        steps, values = np.array([(line["step"], line[name]) for line in lines if line["group"] == "train"]).T
        right.plot(steps, values, label={"uvd": "keypoints, share of the crop", "joints": "joints, m"}[name])
    right.set(title="then on crops of pictures: terms of the loss, single steps", xlabel="step", yscale="log")
    right.legend()
    figure.tight_layout()
    figure.savefig(PICTURES / "picture_network_losses.png", dpi=100)


def grid(test: Path, model: PoseModel, batch: Batch, said: Prediction) -> None:
    """Draw test pictures, evenly spread, with the true skeleton in white and the network's in red."""
    source, total = RenderedDataset(test), len(batch.pictures)
    place = said.joints + predicted_root(said, batch, model.network.config)[:, None]
    pixels = place[..., :2] / place[..., 2:] * batch.focal[:, None] + batch.center[:, None]
    chosen = [number * total // (ROWS * COLUMNS) for number in range(ROWS * COLUMNS)]
    cells = [
        cell(
            source[row * len(source) // total].picture,
            batch.pixels[row].numpy(),
            pixels[row].numpy(),
            model.posing.tree.parents,
        )
        for row in chosen
    ]
    rows = [np.concatenate(cells[first : first + COLUMNS], 1) for first in range(0, len(cells), COLUMNS)]
    Image.fromarray(np.concatenate(rows)).save(PICTURES / "picture_network_predictions.jpg", quality=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("heads", "measure"))
    parser.add_argument("--training", type=Path, default=Path("out/pictures/network"))
    parser.add_argument("--frozen", type=Path)
    parser.add_argument("--test", type=Path, default=Path("out/rendered/test"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "heads":
        train_heads()
        return
    model = model_of(options.training, "ikol")
    size = Size(test=str(options.test), backbone="pictures", network=model.network.config)
    batch = test_batch(size)
    said = {layer: predict(model_of(options.training, layer), batch, torch.device("cpu")) for layer in BEHIND}
    rows = {"an average picture in place of each": [blind(model, batch)]}
    beside = {"before the first step on pictures": before(options.training)}
    if options.frozen:
        beside["trained as long, the backbone as it was"] = model_of(options.frozen, "ikol")
    rows |= {name: [errors(each, batch, predict(each, batch, torch.device("cpu")))] for name, each in beside.items()}
    rows |= {NAMES[layer]: [errors(model, batch, found)] for layer, found in said.items()}
    study = Study("pictures", msgspec.structs.replace(size, folder=str(options.training)))
    study.finish(table(rows, POSE_COLUMNS, f"{len(batch.pictures)} test pictures"), rows)
    curves(options.training)
    grid(options.test, model, batch, said["ikol"])


if __name__ == "__main__":
    main()

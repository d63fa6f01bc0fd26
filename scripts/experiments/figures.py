#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draw the loss curves of the trained variants, and what they say of test pictures, into docs/pictures."""

import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from PIL import Image, ImageDraw
from study import Study, predict, predicted_root, read_study, test_batch, trained
from variants import LAYERS, NAMES

from ikol.rendering.dataset import RenderedDataset

mpl.use("Agg")
from matplotlib import pyplot as plt

PICTURES = Path(__file__).parents[2] / "docs/pictures"
DRAWN = ("regression", "hybrik", "released", "ikol")
COUNT, HEIGHT, SMOOTHED = 8, 260, 40
TRUTH, FOUND = (255, 255, 255), (255, 64, 64)


def curves(study: Study) -> None:
    """Draw the running mean of each variant's loss, over all seeds."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4), width_ratios=(1, 2))
    left.plot(*_smooth(*_losses(study.folder / "warm_up")), color="black")
    left.set(title="warm-up, shared by all", xlabel="step", ylabel="loss", yscale="log")
    for name in LAYERS:
        runs = [_losses(folder) for folder in sorted(study.folder.glob(f"{name}_[0-9]"))]
        if runs:
            right.plot(*_smooth(runs[0][0], np.mean([losses for _, losses in runs], 0)), label=NAMES[name])
    right.set(title=f"variants, mean of seeds, running mean of {SMOOTHED} steps", xlabel="step", yscale="log")
    right.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    figure.savefig(PICTURES / "experiments_losses.png", dpi=100)


def _losses(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and their losses: of a training on landmarks, or of `ikol train`, which writes down some of them."""
    if (folder / "training.json").exists():
        losses = json.loads((folder / "training.json").read_text())["losses"]
        return np.arange(1, len(losses) + 1), np.array(losses)
    lines = map(json.loads, (folder / "journal.jsonl").read_text().splitlines())
    # a training that was resumed has some steps twice
    found = {line["step"]: line["total"] for line in lines if line["group"] == "train"}
    return np.array([*found]), np.array([*found.values()])


def _smooth(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the running mean over `SMOOTHED` steps, each at the last of them."""
    count = min(len(steps), max(1, SMOOTHED * len(steps) // int(steps[-1])))
    return steps[count - 1 :], np.convolve(values, np.full(count, 1 / count), "valid")


@torch.no_grad()
def grid(study: Study) -> None:
    """Draw test pictures, a column each, with the true skeleton in white and each variant's in red, a row each."""
    batch = test_batch(study.size)
    count, every = len(batch.pictures), len(batch.pictures) // COUNT
    chosen = torch.arange(COUNT) * every
    source = RenderedDataset(Path(study.size.test))
    pictures = [source[int(index) * len(source) // count].picture for index in chosen]
    rows: list[np.ndarray] = []
    for name in DRAWN:
        model = trained(study, name, LAYERS[name], 0)
        said = predict(model, batch, study.device)
        place = said.joints + predicted_root(said, batch, study.size.network)[:, None]
        pixels = place[..., :2] / place[..., 2:] * batch.focal[:, None] + batch.center[:, None]
        cells = [
            cell(picture, batch.pixels[index].numpy(), pixels[index].numpy(), model.posing.tree.parents)
            for picture, index in zip(pictures, chosen.tolist(), strict=True)
        ]
        rows.append(np.concatenate(cells, 1))
    Image.fromarray(np.concatenate(rows)).save(PICTURES / "experiments_predictions.jpg", quality=80)


def cell(picture: np.ndarray, true: np.ndarray, found: np.ndarray, parents: tuple[int, ...]) -> np.ndarray:
    """Return a test picture of a fixed height with the true skeleton in white and the one that was found in red."""
    scale = HEIGHT / max(picture.shape[:2])
    made = Image.new("RGB", (HEIGHT * 3 // 4, HEIGHT), (40, 40, 40))
    shown = Image.fromarray(picture).resize((round(picture.shape[1] * scale), round(picture.shape[0] * scale)))
    left, top = (made.width - shown.width) // 2, (HEIGHT - shown.height) // 2
    made.paste(shown, (left, top))
    pen = ImageDraw.Draw(made)
    for points, colour in ((true, TRUTH), (found, FOUND)):
        placed = points * scale + [left, top]
        for child, parent in enumerate(parents[1:], start=1):
            pen.line([*placed[parent].tolist(), *placed[child].tolist()], colour, 2)
    return np.asarray(made)


def main() -> None:
    study = read_study("figures", __doc__)
    curves(study)
    grid(study)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""The whole training of a head: data in, weights with their scores out. Imports: the parts."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from ikol.body.default_body import load_default_body
from ikol.evaluation.motion_clips import CLIPS
from ikol.regressor.head import LandmarkHead
from ikol.regressor.head.network import InnerComponents
from ikol.regressor.head.prediction import Calibration
from ikol.regressor.head.weights import encode_head
from ikol.training.head.config import TrainingConfig
from ikol.training.head.evaluation import HeadScores, calibrate, judge, scores
from ikol.training.head.examples import HeadExamples
from ikol.training.head.loop import HeadTrainer
from ikol.training.head.losses import Losses
from ikol.training.head.rendered import rendered_examples
from ikol.training.head.truth import PosedBodies
from ikol.training.observations import read_observations
from ikol.training.poses import PoseSample, sample_poses

Progress = Callable[[float, str], None]
_READING = 0.05  # share of the progress
_FITTED = 8000  # crops of which the components of their inner values are found


def train_head(config: TrainingConfig, data: Path, out: Path, motion: Path, progress: Progress) -> str:
    """Train a head, calibrate it on the validation people, and write it; return what was written beside it, as JSON.

    Args:
        config: settings.
        data: folder of the rendered people: train, val, and test where it is there.
        out: where the weights go; the JSON goes beside them.
        motion: where the motion clips are kept, or fetched to.
        progress: told how far it is.

    Raises:
        InputError: there are no observations.
    """
    body = load_default_body()
    bodies = PosedBodies(body)

    components = InnerComponents()

    def people(split: str) -> HeadExamples:
        seen = read_observations(data / split)
        if split == "train":
            torch.manual_seed(config.seed)  # which directions it begins with
            components.fit(seen.inner[: _FITTED // seen.inner.shape[1]].flatten(0, 1))
        return rendered_examples(seen, bodies, components, lambda fraction, text: progress(_READING * fraction, text))

    train, val = people("train"), people("val")
    poses = everyday_first(sample_poses(config.poses, config.seed + 1, "train", folder=motion), config)
    trainer = HeadTrainer(config, body, poses, train, components)

    def report(step: int, losses: Losses) -> None:
        text = " ".join(f"{name} {float(value.detach()):.2f}" for name, value in vars(losses).items())
        progress(_READING + (1 - _READING) * (step + 1) / config.steps, text)

    network = trainer.run(report, every=max(1, config.steps // 200))
    judged = judge(network, val)
    calibration = calibrate(judged)
    found: dict[str, HeadScores] = {"val": scores(judged, calibration, trainer.layer)}
    if any((data / "test").glob("observations_*.safetensors")):
        found["test"] = scores(judge(network, people("test")), calibration, trainer.layer)
    content = encode_head(LandmarkHead(network, calibration, body.name))
    summary = _summary(config, calibration, found, len(train), hashlib.sha256(content).hexdigest())
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(content)
    out.with_suffix(".json").write_text(summary + "\n", encoding="utf-8")
    return summary


def everyday_first(poses: PoseSample, config: TrainingConfig) -> PoseSample:
    """Return the poses without most of those of captured motion."""
    generator = torch.Generator().manual_seed(config.seed)
    is_lucky = torch.rand(len(poses.motion_id), generator=generator) < config.captured
    kept = (poses.motion_id >= len(CLIPS)) | is_lucky
    return PoseSample(poses.local_rotmat[kept], poses.betas[kept], poses.motion_id[kept], poses.subject_id[kept])


def _summary(
    config: TrainingConfig, calibration: Calibration, found: dict[str, HeadScores], people: int, sha256: str
) -> str:
    return json.dumps(
        {
            "sha256": sha256,
            "rendered_people": people,
            "config": asdict(config),
            "calibration": asdict(calibration),
            "scores": {split: asdict(value) for split, value in found.items()},
        },
        indent=1,
    )

# SPDX-License-Identifier: Apache-2.0
"""How good a model is on samples that it does not learn from, in the field's metrics, with pictures.

Imports: torch, Pillow, the metrics.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from ikol.evaluation.metrics import mpjpe, pa_mpjpe
from ikol.geometry.rotations import rotmat_to_rotvec
from ikol.regressor.networks.heatmaps import crop_coordinates
from ikol.training.network.batches import Batch, CroppedSamples, make_loader
from ikol.training.network.config import TrainConfig
from ikol.training.network.losses import Prediction, uvd_target
from ikol.training.network.model import PoseModel
from ikol.training.network.samples import SampleSource

MAX_SAMPLES = 1024  # of all sources together; a validation is a look, `ikol evaluate` is the measurement
_ROW = 4  # pictures beside each other
_TRUTH, _FOUND = (255, 255, 255), (255, 64, 64)


@dataclass(frozen=True)
class Validation:
    """Means over the samples; lengths in millimetres, angles in degrees. What no sample knows is left out."""

    numbers: dict[str, float]
    picture: UInt8[np.ndarray, "height width 3"] | None
    """Crops with the true skeleton in white and the predicted one in red."""


@torch.no_grad()
def validate(
    model: PoseModel, sources: Sequence[SampleSource], config: TrainConfig, device: torch.device
) -> Validation:
    """Measure the model on samples that are spread evenly over the sources."""
    was_training = model.training
    model.eval()
    samples = CroppedSamples(sources, config.network, config.augmentation)
    total = sum(len(source) for source in sources)
    every = max(1, -(-total // MAX_SAMPLES))
    keys = [(number, index, -1) for number, source in enumerate(sources) for index in range(0, len(source), every)]
    size = max(1, config.schedule.batch_size // config.schedule.accumulate)
    values: dict[str, list[Tensor]] = {}
    drawn: list[np.ndarray] = []
    for batch in make_loader(samples, [keys[i : i + size] for i in range(0, len(keys), size)], config.machine.workers):
        here = batch.to(device)
        prediction: Prediction = model(here)
        for name, errors in _errors(model, prediction, here).items():
            values.setdefault(name, []).append(errors.cpu())
        drawn += _drawn(model, prediction, here, config.output.pictures - len(drawn))
    model.train(was_training)
    numbers = {name: float(torch.cat(parts).mean()) for name, parts in values.items() if sum(map(len, parts))}
    return Validation(numbers, _grid(drawn))


def _errors(model: PoseModel, prediction: Prediction, batch: Batch) -> dict[str, Float[Tensor, " samples"]]:
    """Return the errors of the samples that know the truth."""
    truth = batch.joints - batch.joints[:, :1]
    is_known = batch.has_joints[:, 0] & (batch.has_joints.sum(-1) > 2)
    valid = batch.has_joints[is_known]
    uvd, has_uvd = uvd_target(batch, model.network.config.input_size, model.network.config.depth_extent)
    has_uv = has_uvd[..., :2].all(-1)
    apart = (prediction.uvd - uvd)[..., :2].norm(dim=-1)
    turned = prediction.local_rotmat.mT @ batch.local_rotmat
    angle = torch.rad2deg(rotmat_to_rotvec(turned[batch.has_rotations]).norm(dim=-1))
    twist = torch.atan2(*prediction.twist.flip(-1).unbind(-1))
    wanted = model.posing.twist_of(batch.local_rotmat, batch.betas)[:, 1:]
    off = torch.remainder(twist - wanted + torch.pi, 2 * torch.pi) - torch.pi
    return {
        "mpjpe_before_mm": 1000 * mpjpe(prediction.keypoints[is_known], truth[is_known], valid),
        "mpjpe_mm": 1000 * mpjpe(prediction.joints[is_known], truth[is_known], valid),
        "pa_mpjpe_mm": 1000 * pa_mpjpe(prediction.joints[is_known], truth[is_known], valid),
        "rotation_deg": angle.mean(-1),
        "twist_deg": torch.rad2deg(off[batch.has_rotations].abs()).mean(-1),
        "pixels_percent": 100 * apart[has_uv],
    }


def _drawn(model: PoseModel, prediction: Prediction, batch: Batch, count: int) -> list[np.ndarray]:
    """Return the first pictures of a batch with both skeletons."""
    size = model.network.config.input_size
    uvd, has_uvd = uvd_target(batch, size, model.network.config.depth_extent)
    has_uv = has_uvd[..., :2].all(-1).cpu()
    true, found = (size * crop_coordinates(each, size).cpu() for each in (uvd, prediction.uvd))
    pictures: list[np.ndarray] = []
    for index in range(min(max(count, 0), len(batch.pictures))):
        picture = (batch.pictures[index].permute(1, 2, 0).cpu().numpy() * 255).astype(np.uint8)
        image = Image.fromarray(picture)
        pen = ImageDraw.Draw(image)
        for child, parent in enumerate(model.posing.tree.parents):
            if parent < 0:
                continue
            if bool(has_uv[index, child] & has_uv[index, parent]):
                pen.line([*true[index, parent].tolist(), *true[index, child].tolist()], _TRUTH, 1)
            pen.line([*found[index, parent].tolist(), *found[index, child].tolist()], _FOUND, 1)
        pictures.append(np.asarray(image))
    return pictures


def _grid(pictures: list[np.ndarray]) -> np.ndarray | None:
    if not pictures:
        return None
    missing = -len(pictures) % _ROW
    filled = pictures + [np.zeros_like(pictures[0])] * missing
    return np.concatenate([np.concatenate(filled[i : i + _ROW], 1) for i in range(0, len(filled), _ROW)], 0)

# SPDX-License-Identifier: Apache-2.0
"""Every frame of a calibrated recording annotated by triangulating what a landmark network sees in its views.

The result is a pseudo ground truth: it has the network's definition of the landmarks, and what all views get wrong
together it has wrong too. Imports: numpy, torch, the pipeline.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ikol.distortion import undistort
from ikol.evaluation.landmark_cache import LandmarkCache
from ikol.evaluation.recording import (
    LIMB_LANDMARKS,
    MAX_REPROJECTION_PX,
    MIN_VIEWS,
    Clip,
    RecordedCamera,
    recorded_cameras,
)
from ikol.evaluation.triangulation import triangulate
from ikol.pipeline import Model, PosePipeline
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS, NUM_LANDMARKS

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Difference:
    """How far two annotations are apart on the limb landmarks that both call good, millimetres."""

    median_mm: float
    mean_mm: float
    p95_mm: float
    points: int


def annotate(
    folder: Path,
    calibration: dict[str, np.ndarray],
    pipeline: PosePipeline,
    frames: int,
    *,
    model: Model = "heavy",
    cache: LandmarkCache | None = None,
    progress: Progress | None = None,
) -> dict[str, np.ndarray]:
    """Return an annotation of the first frames, in the layout of `ikol.evaluation.recording`.

    Args:
        folder: with the clips.
        calibration: an annotation whose cameras are taken.
        pipeline: whose landmark network looks.
        frames: how many, from the first on; all clips must have them.
        model: landmark network.
        cache: landmarks of earlier runs; kept there under the names of the recording's samples.
        progress: told how far it is, 0 to 1, and what comes next.

    Raises:
        InputError: a clip is missing or too short.
    """
    cameras = recorded_cameras(folder, calibration)
    pixels = np.full((len(cameras), frames, NUM_LANDMARKS, 2), np.nan)
    for view, camera in enumerate(cameras):
        clip = Clip(camera.clip)
        for frame in range(frames):
            if progress is not None:
                progress((view * frames + frame) / (len(cameras) * frames), f"{camera.name} frame {frame}")
            pixels[view, frame] = _seen(camera, clip, frame, pipeline, model, cache)
    if cache is not None:
        cache.save()
    projections = np.stack([camera.projection for camera in cameras])
    found = triangulate(pixels.reshape(len(cameras), -1, 2), projections, MAX_REPROJECTION_PX)
    shape = (frames, NUM_LANDMARKS)
    return {
        "frames": np.arange(frames),
        "joints": found.points.reshape(*shape, 3).astype(np.float32),
        "reproj_px": found.error_px.reshape(shape).astype(np.float32),
        "n_views": found.num_views.reshape(shape).astype(np.uint8),
        **{key: calibration[key] for key in ("cam", "K", "dist", "R", "t")},
    }


def _seen(
    camera: RecordedCamera, clip: Clip, frame: int, pipeline: PosePipeline, model: Model, cache: LandmarkCache | None
) -> np.ndarray:
    """Return where an ideal pinhole would see the landmarks, (33, 2) pixels; NaN when nobody is found."""
    name = f"{model}: {camera.name} frame {frame}"
    person = None if cache is None else cache.find(name)
    lens = camera.intrinsics(1, 1)
    if person is None:
        rgb = clip.frame(frame)
        lens = camera.intrinsics(rgb.shape[1], rgb.shape[0])
        found = pipeline.detect_rgb(rgb, intrinsics=lens, model=model, max_persons=1).persons
        if not found:
            return np.full((NUM_LANDMARKS, 2), np.nan)
        person = found[0].landmarks
        if cache is not None:
            cache.keep(name, person)
    pixels = undistort(person.image_points.double(), lens.focal, lens.center, lens.distortion)
    return torch.where(person.in_picture[:, None], pixels, torch.nan).numpy()


def difference(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> Difference:
    """Return how far two annotations are apart in the frames that both have."""
    frames = np.intersect1d(one["frames"], other["frames"])
    limb = [BLAZEPOSE_LANDMARKS.index(name) for name in LIMB_LANDMARKS]
    joints, good = zip(*(_limbs(each, frames, limb) for each in (one, other)), strict=True)
    apart = 1000.0 * np.linalg.norm(joints[0] - joints[1], axis=-1)[good[0] & good[1]]
    return Difference(float(np.median(apart)), float(apart.mean()), float(np.percentile(apart, 95)), len(apart))


def _limbs(annotation: dict[str, np.ndarray], frames: np.ndarray, limb: list[int]) -> tuple[np.ndarray, np.ndarray]:
    rows = np.searchsorted(annotation["frames"], frames)
    good = (annotation["n_views"] >= MIN_VIEWS) & (annotation["reproj_px"] < MAX_REPROJECTION_PX)
    return annotation["joints"][rows][:, limb], good[rows][:, limb]

# SPDX-License-Identifier: Apache-2.0
"""Every frame of a calibrated recording annotated by triangulating what a landmark network sees in its views.

The result is a pseudo ground truth: it has the network's definition of the landmarks, and what all views get wrong
together it has wrong too. It comes from the landmarks on the pictures alone; nothing of a solved body enters it.
Imports: numpy, torch, the pipeline.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from ikol.distortion import undistort
from ikol.evaluation.camera_refinement import refine_cameras
from ikol.evaluation.landmark_cache import LandmarkCache
from ikol.evaluation.recording import (
    MAX_REPROJECTION_PX,
    MIN_VIEWS,
    Clip,
    RecordedCamera,
    recorded_cameras,
)
from ikol.evaluation.trajectories import smooth_paths
from ikol.evaluation.triangulation import reprojection_residual, triangulate
from ikol.pipeline import Model, PosePipeline
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS, LIMB_LANDMARKS, NUM_LANDMARKS

Progress = Callable[[float, str], None]
_KEPT = (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
BONES = tuple(
    (BLAZEPOSE_LANDMARKS.index(first), BLAZEPOSE_LANDMARKS.index(last))
    for first, last in (
        *((f"{side}_{first}", f"{side}_{last}") for side in ("left", "right") for first, last in _KEPT),
        ("left_hip", "right_hip"),
    )
)
"""Landmarks whose distance a body keeps; that of the shoulders changes when arms are raised."""
FIRST_BODY_LANDMARK = BLAZEPOSE_LANDMARKS.index("left_shoulder")  # faces say little of where cameras stand


@dataclass(frozen=True)
class Difference:
    """How far two annotations are apart on the limb landmarks that both call good, millimetres."""

    median_mm: float
    mean_mm: float
    p95_mm: float
    points: int


@dataclass(frozen=True, eq=False)
class Sightings:
    """What the cameras of a recording see; pixels of ideal pinholes."""

    cameras: tuple[RecordedCamera, ...]
    pixels: Float[np.ndarray, "views frames 33 2"]
    """NaN where a camera does not see the landmark."""
    sigma_px: Float[np.ndarray, "views frames 33"]

    def triangulated(self) -> Float[np.ndarray, "frames 33 3"]:
        """Return each landmark of each frame from the views that agree on it; NaN where none do."""
        found = triangulate(self.pixels.reshape(len(self.cameras), -1, 2), self._projections(), MAX_REPROJECTION_PX)
        return found.points.reshape(*self.pixels.shape[1:3], 3)

    def with_refined_cameras(self) -> "Sightings":
        """Return the same with cameras that stand where the views agree."""
        body = slice(FIRST_BODY_LANDMARK, None)
        points = self.triangulated()[:, body].reshape(-1, 3)
        views = len(self.cameras)
        pixels, sigma = self.pixels[:, :, body].reshape(views, -1, 2), self.sigma_px[:, :, body].reshape(views, -1)
        return replace(self, cameras=refine_cameras(self.cameras, points, pixels, sigma))

    def paths(self) -> Float[np.ndarray, "frames 33 3"]:
        """Return the landmarks' paths, of all frames together."""
        return smooth_paths(self.triangulated(), self.pixels, self.sigma_px, self._projections(), BONES)

    def distances(self, points: Float[np.ndarray, "frames 33 3"]) -> Float[np.ndarray, "views frames 33"]:
        """Return how far from what each camera sees the points are, pixels; NaN where it sees nothing."""
        flat = self.pixels.reshape(len(self.cameras), -1, 2)
        residual = reprojection_residual(points.reshape(-1, 3), flat, self._projections())
        return np.linalg.norm(residual, axis=-1).reshape(self.sigma_px.shape)

    def _projections(self) -> Float[np.ndarray, "views 3 4"]:
        return np.stack([camera.projection for camera in self.cameras])


def sightings(
    folder: Path,
    calibration: dict[str, np.ndarray],
    pipeline: PosePipeline,
    frames: int,
    *,
    model: Model = "heavy",
    cache: LandmarkCache | None = None,
    progress: Progress | None = None,
) -> Sightings:
    """Look for the person on all pictures of the first frames.

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
    sigma_px = np.ones((len(cameras), frames, NUM_LANDMARKS))
    for view, camera in enumerate(cameras):
        clip = Clip(camera.clip)
        for frame in range(frames):
            if progress is not None:
                progress((view * frames + frame) / (len(cameras) * frames), f"{camera.name} frame {frame}")
            seen = _seen(camera, clip, frame, pipeline, model, cache)
            if seen is not None:
                pixels[view, frame], sigma_px[view, frame] = seen
    if cache is not None:
        cache.save()
    return Sightings(cameras, pixels, sigma_px)


def annotate(seen: Sightings, calibration: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return an annotation, in the layout of `ikol.evaluation.recording`.

    The cameras are refined first, then the paths of all landmarks are found from all views and frames at once. A view
    counts where it is within `MAX_REPROJECTION_PX` of the path.

    Args:
        seen: what the cameras see.
        calibration: the annotation that their lenses come from.
    """
    seen = seen.with_refined_cameras()
    points = seen.paths()
    distance = np.nan_to_num(seen.distances(points), nan=np.inf)
    is_used = distance < MAX_REPROJECTION_PX
    views = is_used.sum(0)
    return {
        "frames": np.arange(len(points)),
        "joints": np.where(views[..., None] >= 2, points, np.nan).astype(np.float32),
        "reproj_px": np.where(is_used, distance, 0.0).max(0).astype(np.float32),
        "n_views": views.astype(np.uint8),
        **{key: calibration[key] for key in ("cam", "K", "dist")},
        "R": np.stack([camera.R for camera in seen.cameras]),
        "t": np.stack([camera.t for camera in seen.cameras]),
    }


def held_out(seen: Sightings, view: int) -> tuple[float, float]:
    """Return how far from what one camera sees the landmarks are that the others give, pixels, median of the limbs.

    First of frames triangulated one by one with the cameras as they are, then of paths with the refined cameras. The
    camera itself takes part in the refinement of its own six numbers and nowhere else.
    """
    limb = [BLAZEPOSE_LANDMARKS.index(name) for name in LIMB_LANDMARKS]
    refined = seen.with_refined_cameras()
    pixels = seen.pixels.copy()
    pixels[view] = np.nan
    before = seen.distances(replace(seen, pixels=pixels).triangulated())
    after = refined.distances(replace(refined, pixels=pixels).paths())
    return float(np.nanmedian(before[view][:, limb])), float(np.nanmedian(after[view][:, limb]))


def _seen(
    camera: RecordedCamera, clip: Clip, frame: int, pipeline: PosePipeline, model: Model, cache: LandmarkCache | None
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return where an ideal pinhole would see the landmarks, (33, 2) and how sure that is, (33,), pixels.

    NaN outside the picture; None when nobody is found.
    """
    name = f"{model}: {camera.name} frame {frame}"
    person = None if cache is None else cache.find(name)
    lens = camera.intrinsics(1, 1)
    if person is None:
        rgb = clip.frame(frame)
        lens = camera.intrinsics(rgb.shape[1], rgb.shape[0])
        found = pipeline.detect_rgb(rgb, intrinsics=lens, model=model, max_persons=1).persons
        if not found:
            return None
        person = found[0].landmarks
        if cache is not None:
            cache.keep(name, person)
    pixels = undistort(person.image_points.double(), lens.focal, lens.center, lens.distortion)
    pixels = torch.where(person.in_picture[:, None], pixels, torch.nan)
    return pixels.numpy(), person.image_sigma.double().numpy()


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

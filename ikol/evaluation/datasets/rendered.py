# SPDX-License-Identifier: Apache-2.0
"""The rendered set of `ikol.rendering` as a data set: the default body, so every metric is exact."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from ikol.evaluation.datasets.sample_list import SMPL_JOINTS
from ikol.evaluation.samples import EvaluationSample, Truth
from ikol.pipeline import Intrinsics
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS
from ikol.rendering.dataset import RenderedDataset, RenderedSample


@dataclass(frozen=True, eq=False)
class RenderedSet:
    """Every `every`-th picture of a folder of shards."""

    source: RenderedDataset
    every: int
    name = "rendered"
    scored = SMPL_JOINTS
    origin = ("Pelvis",)
    body = None

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(range(0, len(self.source), self.every))

    def __iter__(self) -> Iterator[EvaluationSample]:
        """Give one after the other, shard by shard."""
        for index, rendered in enumerate(self.source):
            if index % self.every == 0:
                yield _sample(rendered, index)


def load_rendered(folder: Path, *, every: int = 1) -> RenderedSet:
    """Return a folder that `scripts/render_dataset` has made.

    Raises:
        InputError: it holds no shards.
        FileFormatError: a file is no shard.
    """
    return RenderedSet(RenderedDataset(folder), every)


def _sample(rendered: RenderedSample, index: int) -> EvaluationSample:
    camera = rendered.camera
    local = rendered.local_rotmat.double()
    focal, center = ((float(pair[0]), float(pair[1])) for pair in (camera.focal, camera.center))
    points = torch.cat((rendered.joints_camera, rendered.landmarks_camera)).double()
    return EvaluationSample(
        name=f"picture {index}",
        intrinsics=Intrinsics(camera.width, camera.height, focal, center, "given"),
        truth=Truth(
            (*SMPL_JOINTS, *BLAZEPOSE_LANDMARKS),
            points,
            torch.ones(len(points), dtype=torch.bool),
            camera_rotmat=torch.cat((camera.R_camera_world.double() @ local[:1], local[1:])),
            betas=rendered.betas.double(),
            up=camera.R_camera_world[:, 1].double(),
        ),
        picture=_kept(rendered.picture),
    )


def _kept(picture: UInt8[np.ndarray, "height width 3"]) -> Callable[[], np.ndarray]:
    return lambda: picture

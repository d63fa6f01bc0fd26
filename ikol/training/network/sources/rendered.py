# SPDX-License-Identifier: Apache-2.0
"""The rendered data set as samples: everything is known, also what the picture hides. Imports: torch, the data set."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ikol.body.default_body import load_default_body
from ikol.rendering.dataset import RenderedDataset
from ikol.solver import Skeleton, SolveState
from ikol.training.network.posing import skeleton_29
from ikol.training.network.samples import TrainingSample

_UNUSED = np.zeros(24, np.float32)  # the twist follows from the rotations


@dataclass(frozen=True, eq=False)
class RenderedPictures:
    """Samples of a folder of shards."""

    shards: RenderedDataset
    skeleton: Skeleton
    """Of the body that was rendered, with the ends of its limbs."""

    def __len__(self) -> int:
        """Return how many pictures there are."""
        return len(self.shards)

    def sample(self, index: int) -> TrainingSample:
        """Read one picture."""
        found = self.shards[index]
        joints = found.camera.to_camera(self._joints(found.local_rotmat, found.transl, found.betas)).numpy()
        (fx, fy), (cx, cy) = found.camera.focal.tolist(), found.camera.center.tolist()
        pixels = joints[:, :2] / joints[:, 2:] * np.array([fx, fy], np.float32) + np.array([cx, cy], np.float32)
        rotmat = found.local_rotmat.clone()
        rotmat[0] = found.camera.R_camera_world @ rotmat[0]
        low, high = pixels.min(0), pixels.max(0)
        everything = np.ones(len(joints), bool)
        return TrainingSample(
            picture=found.picture,
            box=(float(low[0]), float(low[1]), float(high[0]), float(high[1])),
            focal=(fx, fy),
            center=(cx, cy),
            pixels=pixels.astype(np.float32),
            has_pixels=everything,
            joints=joints,
            has_joints=everything,
            local_rotmat=rotmat.numpy(),
            has_rotations=True,
            twist=_UNUSED,
            has_twist=_UNUSED.astype(bool),
            betas=found.betas.numpy(),
            has_betas=True,
        )

    def _joints(self, local_rotmat: Tensor, transl: Tensor, betas: Tensor) -> Tensor:
        ends = torch.eye(3).expand(self.skeleton.tree.num_joints - len(local_rotmat), 3, 3)
        return self.skeleton.pose(SolveState(transl, torch.cat((local_rotmat, ends)), betas)).joints


def open_rendered(folder: Path) -> RenderedPictures:
    """Return the pictures of a folder that scripts/render_dataset has made.

    Raises:
        InputError: it holds none.
    """
    body = load_default_body(dtype=torch.float32)
    return RenderedPictures(RenderedDataset(folder), skeleton_29(body))

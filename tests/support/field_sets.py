# SPDX-License-Identifier: Apache-2.0
"""Truth for small data sets in the field's layouts: the default body stands before a camera."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from recordings import BODY, FOCAL, HEIGHT, WIDTH, camera_around, walking_pose

from ikol.geometry.rotations import rotmat_to_rotvec
from ikol.pipeline.placement import point_positions


@dataclass(frozen=True)
class StandingPerson:
    """One person in the world and before a camera, as the field writes it down."""

    rotvec: np.ndarray
    """(24, 3), the root's relative to the world."""
    transl: np.ndarray
    joints_world: np.ndarray
    joints_camera: np.ndarray
    T_camera_world: np.ndarray
    K: np.ndarray
    betas: np.ndarray

    @property
    def pixels(self) -> np.ndarray:
        """Where the joints are on the picture."""
        seen = self.joints_camera @ self.K.T
        return seen[:, :2] / seen[:, 2:]

    @property
    def rotvec_camera(self) -> np.ndarray:
        """With the root's rotation relative to the camera."""
        root = torch.from_numpy(self.T_camera_world[:3, :3]) @ walking_pose().local_rotmat[0]
        return np.concatenate((rotmat_to_rotvec(root)[None].numpy(), self.rotvec[1:]))


def standing_person() -> StandingPerson:
    """Return the walking pose before a camera at the side."""
    pose, camera = walking_pose(), camera_around(40.0)
    world = point_positions(BODY, pose, BODY.tree.names)
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = camera.R_camera_world.numpy(), camera.t_camera_world.numpy()
    return StandingPerson(
        rotvec=rotmat_to_rotvec(pose.local_rotmat).numpy(),
        transl=pose.transl.numpy(),
        joints_world=world.numpy(),
        joints_camera=camera.to_camera(world).numpy(),
        T_camera_world=T,
        K=np.array([[FOCAL, 0.0, WIDTH / 2], [0.0, FOCAL, HEIGHT / 2], [0.0, 0.0, 1.0]]),
        betas=pose.betas.numpy(),
    )


def write_picture(path: Path) -> None:
    """Write a small grey picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT), (90, 90, 90)).save(path)

# SPDX-License-Identifier: Apache-2.0
"""Evidence of photographs: recorded, or made from a known pose of the default body before a level camera."""

from pathlib import Path

import numpy as np
import torch

from ikol.body.model import BodyModel
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.pipeline import Intrinsics, Keypoints2D, Pose, RelativeKeypoints3D
from ikol.pipeline.placement import point_positions
from ikol.pipeline.prior import relaxed_rotmat
from ikol.regressor import BLAZEPOSE_LANDMARKS

LENS = Intrinsics(1080, 1920, (1700.0, 1700.0), (540.0, 960.0), "given")
LEVEL = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
PLACED = (LEVEL, torch.zeros(3, dtype=torch.float64))
"""The extrinsics of that camera."""


def known_pose(body: BodyModel, seed: int = 0, spread: float = 0.25) -> Pose:
    """A random pose inside anatomical limits: knees and elbows bend forwards only."""
    generator = torch.Generator().manual_seed(seed)
    names = body.tree.names
    rotvec = spread * torch.randn(len(names), 3, generator=generator, dtype=torch.float64)
    for joint, name in enumerate(names):
        if "Knee" in name:
            rotvec[joint] = torch.tensor([0.5, 0.0, 0.0], dtype=torch.float64)
        elif "Elbow" in name:
            rotvec[joint] = torch.tensor([0.0, -0.7 if name[0] == "L" else 0.7, 0.0], dtype=torch.float64)
        elif any(part in name for part in ("Foot", "Hand", "Wrist", "Collar", "Spine", "Neck", "Head", "Ankle")):
            rotvec[joint] *= 0.2
    rotmat = relaxed_rotmat(names, torch.float64) @ rotvec_to_rotmat(rotvec)
    transl = torch.tensor([0.2, 0.3, -4.0], dtype=torch.float64)
    return Pose(transl, rotmat, torch.zeros(body.num_betas, dtype=torch.float64))


def seen_as(
    body: BodyModel, pose: Pose, names: tuple[str, ...] = BLAZEPOSE_LANDMARKS
) -> tuple[Keypoints2D, RelativeKeypoints3D]:
    """Return exact 2D and hip-relative evidence of a pose before a level camera at the world's origin."""
    camera_points = point_positions(body, pose, names) @ LEVEL
    pixels = camera_points[:, :2] / camera_points[:, 2:] * torch.tensor(LENS.focal) + torch.tensor(LENS.center)
    hips = point_positions(body, pose, ("left_hip", "right_hip")).mean(0) @ LEVEL
    count = len(names)
    return (
        Keypoints2D(names, pixels.double(), torch.full((count,), 8.0, dtype=torch.float64)),
        RelativeKeypoints3D(
            names, camera_points - hips, torch.tensor([0.03, 0.03, 0.09], dtype=torch.float64).expand(count, 3).clone()
        ),
    )


def recorded(picture: str) -> tuple[Intrinsics, Keypoints2D, RelativeKeypoints3D]:
    """Return what the network sees on a photograph of a whole person: tests/golden/pipeline/make_detections.py.

    Args:
        picture: "p2s_front_step" or "p2s_back_leg_raised".
    """
    path = Path(__file__).parents[1] / "golden" / "pipeline" / "detections.npz"
    with np.load(path, allow_pickle=False) as file:
        lens = file[f"{picture}_lens"].tolist()
        pixels, world = (torch.from_numpy(file[f"{picture}_{kind}"]).double() for kind in ("pixels", "world"))
    intrinsics = Intrinsics(int(lens[0]), int(lens[1]), (lens[2], lens[3]), (lens[4], lens[5]), "default")
    return (
        intrinsics,
        Keypoints2D(BLAZEPOSE_LANDMARKS, pixels[:, :2], pixels[:, 2]),
        RelativeKeypoints3D(BLAZEPOSE_LANDMARKS, world[:, :3], world[:, 3:]),
    )

# SPDX-License-Identifier: Apache-2.0
"""Motions and markers to be written and read again, and damaged files of any format."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from ikol.body import load_default_body
from ikol.body.kinematics import forward_kinematics
from ikol.body.smpl_trees import MODELS
from ikol.exchange import Keypoints, Motion
from ikol.exchange.point_names import BLAZEPOSE
from ikol.geometry.rotations import rotvec_to_rotmat

ROUND_TRIP = 1e-4  # metres, for each joint of each frame; the formats' own rounding is below a tenth of it


def walking(model: str = "SMPL", frames: int = 7, fps: float = 25.0) -> Motion:
    """Return somebody who turns around while all joints move, mostly upright; two angles are at a quarter turn."""
    tree = MODELS[model]
    generator = torch.Generator().manual_seed(frames)
    rotvec = 0.4 * torch.randn(frames, tree.num_joints, 3, generator=generator, dtype=torch.float64)
    rotvec[:, 0] *= 0.2
    turn = torch.zeros(frames, 3, dtype=torch.float64)
    turn[:, 1] = torch.linspace(0, 5, frames)
    local = rotvec_to_rotmat(rotvec)
    local[:, 0] = rotvec_to_rotmat(turn) @ local[:, 0]
    quarter = torch.tensor([[torch.pi / 2, 0.0, 0.0], [0.0, torch.pi / 2, 0.0]], dtype=torch.float64)
    local[0, 4], local[-1, 5] = rotvec_to_rotmat(quarter)
    transl = torch.randn(frames, 3, generator=generator, dtype=torch.float64) + torch.tensor([0.0, 1.0, 0.0])
    betas = torch.linspace(-1, 1, 10, dtype=torch.float64)[None]
    return Motion(tree.names, local, transl, betas, fps, "female")


def joints_of(motion: Motion, model: str = "SMPL") -> torch.Tensor:
    """Return where the joints are, (F, J, 3); fingers and face hang on the default body at made-up places."""
    body, tree = load_default_body(torch.float64), MODELS[model]
    rest = torch.zeros(tree.num_joints, 3, dtype=torch.float64)
    places = dict(zip(body.tree.names, body.joints_template, strict=True))
    for joint, name in enumerate(tree.names):
        hanging = rest[tree.parents[joint]] + torch.tensor([0.02, 0.01, 0.03], dtype=torch.float64)
        rest[joint] = places.get(name, hanging)
    return forward_kinematics(tree, rest, motion.on(tree).local_rotmat, motion.transl).joints


def markers(frames: int = 5) -> Keypoints:
    """Return BlazePose's landmarks on a walking body in space, of which some are missing."""
    body = load_default_body(torch.float64)
    motion = walking(frames=frames)
    names = ("L_Hand", *BLAZEPOSE)
    points = body.points.select(names)
    pose = forward_kinematics(body.tree, body.joints_template, motion.local_rotmat, motion.transl)
    places = points.posed_points(points.rest, body.joints_template, pose)
    confidence = torch.ones(frames, len(names), dtype=torch.float64)
    confidence[1, 3] = confidence[-1, 10] = 0
    return Keypoints(names, places * (confidence > 0)[..., None], confidence, 120.0)


def picture_points(frames: int = 3, names: tuple[str, ...] = BLAZEPOSE) -> Keypoints:
    """Return points on a picture of 640 x 480 pixels."""
    generator = torch.Generator().manual_seed(frames)
    size = torch.tensor([640.0, 480.0], dtype=torch.float64)
    points = torch.rand(frames, len(names), 2, generator=generator, dtype=torch.float64) * size
    confidence = 0.1 + 0.8 * torch.rand(frames, len(names), generator=generator, dtype=torch.float64)
    return Keypoints(names, points, confidence, 30.0, (640, 480))


def damaged(path: Path, write: Callable[[Path], None], every: int = 24) -> Iterator[Path]:
    """Give files that were cut off, or in which a byte was changed."""
    write(path)
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // every)):
        path.write_bytes(whole[:place])
        yield path
        other = bytearray(whole)
        other[place] ^= 0x55
        path.write_bytes(bytes(other))
        yield path

# SPDX-License-Identifier: Apache-2.0
"""Recordings for tests: landmarks of a posed body seen by cameras around it, with clips that show nothing."""

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from ikol.body.default_body import load_default_body
from ikol.camera import Camera
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.pipeline import Intrinsics, Keypoints2D, NamedEvidence, Pose, RelativeKeypoints3D
from ikol.pipeline.placement import point_positions
from ikol.pipeline.prior import relaxed_rotmat
from ikol.regressor.landmarks import BLAZEPOSE_LANDMARKS

WIDTH, HEIGHT, FOCAL = 480, 640, 600.0
LENS = Intrinsics(WIDTH, HEIGHT, (FOCAL, FOCAL), (WIDTH / 2, HEIGHT / 2), "given")
DISTANCE = 3.0
BODY = load_default_body(dtype=torch.float64)
Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])  # from Y up


def camera_around(yaw_deg: float, pitch_deg: float = 5.0) -> Camera:
    """Return a camera three metres from the middle of a standing person, looking at it."""
    level = torch.diag(torch.tensor((1.0, -1.0, -1.0), dtype=torch.float64))
    turn = rotvec_to_rotmat(torch.deg2rad(torch.tensor([[0.0, yaw_deg, 0.0], [pitch_deg, 0.0, 0.0]]).double()))
    R = level @ turn[1] @ turn[0]
    middle = torch.tensor((0.0, 0.95, 0.0), dtype=torch.float64)
    t = torch.tensor((0.0, 0.0, DISTANCE), dtype=torch.float64) - R @ middle
    pair = torch.tensor((FOCAL, FOCAL), dtype=torch.float64)
    center = torch.tensor((WIDTH / 2, HEIGHT / 2), dtype=torch.float64)
    return Camera(pair, center, R, t, WIDTH, HEIGHT)


def walking_pose(betas: Tensor | None = None) -> Pose:
    """Return a pose with arms and legs out of the plane, standing at the origin."""
    local = relaxed_rotmat(BODY.tree.names, torch.float64).clone()
    for name, rotvec in (
        ("L_Hip", (-0.5, 0.0, 0.05)),
        ("R_Hip", (0.35, 0.0, 0.0)),
        ("L_Knee", (0.4, 0.0, 0.0)),
        ("R_Knee", (0.5, 0.0, 0.0)),
        ("L_Elbow", (0.0, -0.9, 0.0)),
        ("R_Elbow", (0.0, 0.5, 0.0)),
        ("Pelvis", (0.05, 0.3, 0.0)),
    ):
        joint = BODY.tree.names.index(name)
        local[joint] = rotvec_to_rotmat(torch.tensor(rotvec, dtype=torch.float64)) @ local[joint]
    shape = torch.zeros(BODY.num_betas, dtype=torch.float64) if betas is None else betas
    pose = Pose(torch.zeros(3, dtype=torch.float64), local, shape)
    lowest = point_positions(BODY, pose, BODY.points.names)[:, 1].min()
    return Pose(torch.stack((lowest * 0, -lowest, lowest * 0)), local, shape)


def seen_by(pose: Pose, camera: Camera, *, sigma_px: float = 3.0, sigma_m: float = 0.05) -> tuple[NamedEvidence, ...]:
    """Return what a perfect landmark network says about a pose, with the doubts of a real one."""
    points = point_positions(BODY, pose, BLAZEPOSE_LANDMARKS)
    seen = camera.to_camera(points)
    hips = [BLAZEPOSE_LANDMARKS.index(name) for name in ("left_hip", "right_hip")]
    count = len(points)
    return (
        Keypoints2D(BLAZEPOSE_LANDMARKS, camera.project(points), torch.full((count,), sigma_px).double()),
        RelativeKeypoints3D(
            BLAZEPOSE_LANDMARKS, seen - seen[hips].mean(0), torch.full((count, 3), sigma_m, dtype=torch.float64)
        ),
    )


@dataclass(frozen=True)
class WrittenRecording:
    """A recording in a folder."""

    folder: Path
    truth: Path
    cameras: tuple[Camera, ...]
    pose: Pose


def write_recording(folder: Path, yaws_deg: tuple[float, ...], frames: int = 1) -> WrittenRecording:
    """Write grey clips, and the truth of one pose that stands still."""
    pose = walking_pose()
    cameras = tuple(camera_around(yaw) for yaw in yaws_deg)
    for number in range(len(cameras)):
        write_clip(folder / f"test_cam{number + 1:02d}.mp4", np.full((HEIGHT, WIDTH, 3), 128, np.uint8), frames)
    joints = point_positions(BODY, pose, BLAZEPOSE_LANDMARKS).numpy() @ Z_UP.T
    truth = folder / "test_pseudo_gt_x.npz"
    write_truth(truth, np.repeat(joints[None], frames, axis=0), cameras)
    return WrittenRecording(folder, truth, cameras, pose)


def write_truth(path: Path, joints_z_up: np.ndarray, cameras: tuple[Camera, ...]) -> None:
    """Write an annotation whose points all cameras agree on."""
    frames, points = joints_z_up.shape[:2]
    K = [[[c.focal[0], 0, c.center[0]], [0, c.focal[1], c.center[1]], [0, 0, 1]] for c in cameras]
    np.savez(
        path,
        frames=np.arange(frames),
        joints=joints_z_up,
        reproj_px=np.ones((frames, points)),
        n_views=np.full((frames, points), 4.0),
        cam=np.array([f"cam{number + 1:02d}" for number in range(len(cameras))]),
        K=np.array(K, dtype=np.float64),
        dist=np.zeros((len(cameras), 4)),
        R=np.stack([camera.R_camera_world.numpy() @ Z_UP.T for camera in cameras]),
        t=np.stack([camera.t_camera_world.numpy() for camera in cameras]),
    )


def write_clip(path: Path, rgb: np.ndarray, frames: int = 1) -> None:
    """Write a clip that shows one picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width = rgb.shape[:2]
        stream.bit_rate = 50_000_000
        stream.pix_fmt = "yuv420p"
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())

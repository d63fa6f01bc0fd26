# SPDX-License-Identifier: Apache-2.0
"""Small annotation files with pictures, in the layouts that HybrIK trains from, and a training that takes seconds."""

import json
from pathlib import Path

import msgspec
import numpy as np
import torch
from PIL import Image, ImageDraw

from ikol.body.default_body import DEFAULT_BODY_PATH, load_default_body
from ikol.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from ikol.training.network.config import Layer, Machine, Output, Schedule, Source, TrainConfig
from ikol.training.network.posing import PosingLayer

WIDTH, HEIGHT, FOCAL = 96, 128, 150.0


def make_posing() -> PosingLayer:
    """Return the layer of the default body."""
    return PosingLayer(load_default_body(dtype=torch.float32), Layer())


def make_poses(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return joints in camera axes (count, 29, 3) metres, rotation vectors (count, 24, 3) and betas (count, 10)."""
    generator = torch.Generator().manual_seed(seed)
    rotvec = 0.3 * torch.randn(count, 24, 3, generator=generator)
    betas = 0.5 * torch.randn(count, 10, generator=generator)
    rotmat = rotvec_to_rotmat(rotvec)
    # a person who stands upright before a camera whose y points down and who looks at it
    rotmat[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ rotmat[:, 0]
    joints = make_posing().joints(rotmat, betas) + torch.tensor([0.0, 0.1, 3.0])
    return joints.numpy(), rotmat_to_rotvec(rotmat).numpy(), betas.numpy()


def project(joints: np.ndarray) -> np.ndarray:
    """Return pixels of joints in camera axes."""
    return joints[..., :2] / joints[..., 2:] * FOCAL + np.array([WIDTH / 2, HEIGHT / 2])


def draw(pixels: np.ndarray, path: Path) -> None:
    """Draw a person of dots."""
    image = Image.new("RGB", (WIDTH, HEIGHT), (90, 110, 130))
    pen = ImageDraw.Draw(image)
    for number, (x, y) in enumerate(pixels):
        pen.ellipse([x - 3, y - 3, x + 3, y + 3], fill=(8 * number, 255 - 8 * number, 128))
    image.save(path)


def make_h36m(folder: Path, count: int = 6, seed: int = 0) -> Path:
    """Write pictures and an annotation file in Human3.6M's layout (millimetres), and return the file."""
    joints, rotvec, betas = make_poses(count, seed)
    images, annotations = [], []
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for index in range(count):
        pixels = project(joints[index])
        name = f"s_01_act_02_subact_01_ca_01_{index:06d}.png"
        draw(pixels, folder / "images" / name)
        low, high = pixels.min(0), pixels.max(0)
        camera = {"f": [FOCAL, FOCAL], "c": [WIDTH / 2, HEIGHT / 2]}
        images.append({"id": index, "file_name": name, "width": WIDTH, "height": HEIGHT, "cam_param": camera})
        annotations.append(
            {
                "image_id": index,
                "bbox": [*low.tolist(), *(high - low).tolist()],
                "smpl_joints": (1000 * joints[index]).tolist(),
                "thetas": rotvec[index].tolist(),
                "betas": betas[index].tolist(),
                "angle_twist": {"angle": [0.1] * 22 + [-999.0], "cos": [], "sin": []},
                "root_coord": (1000 * joints[index, 0]).tolist(),
            }
        )
    path = folder / "annotations.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


def small_config(folder: Path, **changes: object) -> TrainConfig:
    """Return a training of a tiny network on the pictures of `make_h36m`, all in `folder`."""
    network = {
        "backbone": "resnet18",
        "input_size": 64,
        "heatmap_size": 16,
        "depth_cells": 8,
        "deconv_channels": [8, 8, 8],
        "camera": 1,
    }
    source = Source("h36m", str(folder / "annotations.json"), str(folder / "images"))
    settings = {
        "train": [msgspec.to_builtins(source)],
        "schedule": msgspec.to_builtins(Schedule(steps=4, batch_size=2, learning_rate=1e-3, ema=0.9, clip=1.0)),
        "output": msgspec.to_builtins(Output(str(folder / "out"), checkpoint_every=2, log_every=1)),
        "machine": msgspec.to_builtins(Machine(accelerator="cpu")),
        "network": network,
        "body": str(DEFAULT_BODY_PATH),
        **changes,
    }
    return msgspec.convert(settings, TrainConfig)

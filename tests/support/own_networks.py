# SPDX-License-Identifier: Apache-2.0
"""Small networks of the signatures that users bring, and manifests for them.

The keypoint networks say that every joint is where the picture is brightest, so that where a joint lands on the picture
is known.
"""

import hashlib
import io
import json
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

NUM_COCO, NUM_SMPL = 17, 24


class BrightestMaps(nn.Module):
    """Heat maps (joints, rows, columns) of a quarter of the picture's size, and something of each other output."""

    def __init__(self, joints: int = NUM_COCO) -> None:
        super().__init__()
        self.joints = joints
        self.pool = nn.AvgPool2d(4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = self.pool(x.mean(1, keepdim=True)).expand(-1, self.joints, -1, -1)
        places = torch.arange(self.joints * 3, dtype=torch.float32).reshape(1, self.joints, 3)
        return {
            "maps": maps,
            "joints3d": places,
            "conf": torch.linspace(0.2, 1.0, self.joints)[None],
            "twist": torch.linspace(-1.0, 1.0, 23)[None],
            "betas": torch.arange(10.0)[None],
        }


class Distributions(nn.Module):
    """RTMPose's form: the distribution over columns and over rows, two cells a pixel."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        bright = x.mean(1)
        across = bright.amax(1).repeat_interleave(2, -1)
        down = bright.amax(2).repeat_interleave(2, -1)
        return across[:, None].expand(-1, 17, -1), down[:, None].expand(-1, 17, -1)


class LikeNlf(nn.Module):
    """NLF's method: whole pictures (bytes) in, a list with a tensor a picture out."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    @torch.jit.export
    def detect_smpl_batched(self, images: Tensor, default_fov_degrees: float = 55.0) -> dict[str, list[Tensor]]:
        persons = 2
        height, width = images.shape[-2:]
        focal = float(max(height, width)) / (2.0 * torch.tan(torch.tensor(default_fov_degrees) * 3.14159265 / 360.0))
        steps = torch.arange(24, dtype=torch.float32)
        joints = torch.stack((steps * 10.0, 500.0 - steps * 20.0, 3000.0 + steps * 5.0), 1)[None].repeat(persons, 1, 1)
        pixels = joints[..., :2] / joints[..., 2:] * focal + torch.tensor([width / 2.0, height / 2.0])
        pose = torch.zeros(persons, 72)
        pose[:, 3 * 18 : 3 * 18 + 3] = torch.tensor([0.4, 0.0, 0.0])  # the left elbow, about the upper arm's x
        boxes = torch.tensor([[10.0, 20.0, 100.0, 200.0, 0.9], [150.0, 20.0, 80.0, 200.0, 0.6]])
        return {
            "boxes": [boxes],
            "pose": [pose],
            "betas": [torch.ones(persons, 10)],
            "trans": [torch.zeros(persons, 3)],
            "joints3d": [joints],
            "joints2d": [pixels],
            "joint_uncertainties": [torch.full((persons, 24), 0.05)],
        }


class KnowsTruth(nn.Module):
    """NLF's method for a person whose joints (camera axes, metres) and rotation vectors it was told."""

    def __init__(self, joints: Tensor, rotvec: Tensor, box: list[float]) -> None:
        super().__init__()
        self.joints = nn.Buffer(1000.0 * joints.float()[None])
        self.pose = nn.Buffer(rotvec.float().reshape(1, -1))
        self.box = nn.Buffer(torch.tensor([[*box, 0.95]]))

    def forward(self, x: Tensor) -> Tensor:
        return x

    @torch.jit.export
    def detect_smpl_batched(self, images: Tensor, default_fov_degrees: float = 55.0) -> dict[str, list[Tensor]]:
        height, width = images.shape[-2:]
        focal = float(max(height, width)) / (2.0 * torch.tan(torch.tensor(default_fov_degrees) * 3.14159265 / 360.0))
        pixels = self.joints[..., :2] / self.joints[..., 2:] * focal + torch.tensor([width / 2.0, height / 2.0])
        return {
            "boxes": [self.box],
            "pose": [self.pose],
            "betas": [torch.zeros(1, 10)],
            "joints3d": [self.joints],
            "joints2d": [pixels],
        }


def torchscript_bytes(module: nn.Module) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript, which users' files are all the same
        torch.jit.save(torch.jit.script(module.eval()), buffer)
    return buffer.getvalue()


def exported_bytes(module: nn.Module, size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(module.eval(), (torch.zeros(1, 3, *size),)), buffer)
    return buffer.getvalue()


def onnx_maps_bytes(size: tuple[int, int], joints: int = NUM_COCO) -> bytes:
    """Return an ONNX network like `BrightestMaps`: average pooling, then a 1x1 convolution from colours to joints."""
    from onnx import TensorProto, helper, numpy_helper

    rows, columns = size
    weight = np.full((joints, 3, 1, 1), 1.0 / 3.0, dtype=np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("AveragePool", ["picture"], ["small"], kernel_shape=[4, 4], strides=[4, 4]),
            helper.make_node("Conv", ["small", "weight"], ["maps"], kernel_shape=[1, 1]),
        ],
        "maps",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, rows, columns])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, [1, joints, rows // 4, columns // 4])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8  # what the oldest supported runtime reads
    return model.SerializeToString()


def write_network(folder: Path, data: bytes, suffix: str, **manifest) -> Path:
    """Write a network and its manifest; return the manifest's path."""
    (folder / f"network{suffix}").write_bytes(data)
    fields = {
        "name": "test network",
        "file": f"network{suffix}",
        "sha256": hashlib.sha256(data).hexdigest(),
    } | manifest
    path = folder / "network.json"
    path.write_text(json.dumps(fields))
    return path


def bright_spot(x: float, y: float, width: int = 320, height: int = 240) -> np.ndarray:
    """Return a dark picture that is brightest at a place: a Gaussian of 6 pixels."""
    columns, rows = np.arange(width) + 0.5, np.arange(height) + 0.5
    spot = np.exp(-0.5 * (((columns[None] - x) / 6.0) ** 2 + ((rows[:, None] - y) / 6.0) ** 2))
    return np.repeat((255 * spot).round().astype(np.uint8)[:, :, None], 3, 2)

# SPDX-License-Identifier: Apache-2.0
"""Names and shapes of the tensors in published HybrIK and IKOL weight files, written down as rules.

Independent of `ikol.regressor.networks`: from the layouts of the released model definitions (Jeff-sjtu/HybrIK:
Simple3DPoseBaseSMPL, Simple3DPoseBaseSMPL24, Simple3DPoseBaseSMPLCam, HRNetSMPLCam; Juzezhang/IKOL: IKOL24).
"""

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]

RESNET_BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}


def _norm(name: str, channels: int) -> Shapes:
    shapes: Shapes = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return shapes | {f"{name}.num_batches_tracked": ()}


def _block(name: str, inputs: int, width: int, *, deep: bool, down: bool) -> Shapes:
    outputs = 4 * width if deep else width
    kernels = ((inputs, width, 1), (width, width, 3), (width, outputs, 1)) if deep else (
        (inputs, width, 3), (width, width, 3))  # fmt: skip
    shapes: Shapes = {}
    for number, (source, target, kernel) in enumerate(kernels, start=1):
        shapes[f"{name}.conv{number}.weight"] = (target, source, kernel, kernel)
        shapes |= _norm(f"{name}.bn{number}", target)
    if down:
        shapes[f"{name}.downsample.0.weight"] = (outputs, inputs, 1, 1)
        shapes |= _norm(f"{name}.downsample.1", outputs)
    return shapes


def resnet(name: str) -> Shapes:
    """Return torchvision's layout without the classifier."""
    deep = name == "resnet50"
    shapes: Shapes = {"conv1.weight": (64, 3, 7, 7)} | _norm("bn1", 64)
    inputs = 64
    for layer, count in enumerate(RESNET_BLOCKS[name], start=1):
        width = 32 << layer
        outputs = 4 * width if deep else width
        for number in range(count):
            shapes |= _block(
                f"layer{layer}.{number}", inputs, width, deep=deep, down=number == 0 and (layer > 1 or deep)
            )
            inputs = outputs
    return shapes


def hrnet_w48(heatmap_channels: int) -> Shapes:
    """Return the layout of HybrIK's HRNet: classification head's features, and a heat-map layer."""
    widths = (48, 96, 192, 384)
    shapes: Shapes = {"conv1.weight": (64, 3, 3, 3), "conv2.weight": (64, 64, 3, 3)}
    shapes |= _norm("bn1", 64) | _norm("bn2", 64)
    for number in range(4):
        shapes |= _block(f"layer1.{number}", 64 if number == 0 else 256, 64, deep=True, down=number == 0)
    shapes |= {"transition1.0.0.weight": (48, 256, 3, 3)} | _norm("transition1.0.1", 48)
    for stage, source in ((1, 256), (2, 96), (3, 192)):
        name = f"transition{stage}.{stage}.0"
        shapes |= {f"{name}.0.weight": (widths[stage], source, 3, 3)} | _norm(f"{name}.1", widths[stage])
    for stage, modules in ((2, 1), (3, 4), (4, 3)):
        for module in range(modules):
            shapes |= _fusion(f"stage{stage}.{module}", widths[:stage])
    heads = (32, 64, 128, 256)
    for index, head in enumerate(heads):
        shapes |= _block(f"incre_modules.{index}.0", widths[index], head, deep=True, down=True)
    for index in range(3):
        source, target = 4 * heads[index], 4 * heads[index + 1]
        shapes |= {f"downsamp_modules.{index}.0.weight": (target, source, 3, 3)}
        shapes |= {f"downsamp_modules.{index}.0.bias": (target,)} | _norm(f"downsamp_modules.{index}.1", target)
    shapes |= {"final_feat_layer.0.weight": (2048, 1024, 1, 1), "final_feat_layer.0.bias": (2048,)}
    shapes |= _norm("final_feat_layer.1", 2048)
    return shapes | {"final_layer.weight": (heatmap_channels, 48, 1, 1), "final_layer.bias": (heatmap_channels,)}


def _fusion(name: str, widths: tuple[int, ...]) -> Shapes:
    shapes: Shapes = {}
    for branch, width in enumerate(widths):
        for number in range(4):
            shapes |= _block(f"{name}.branches.{branch}.{number}", width, width, deep=False, down=False)
    for target, out in enumerate(widths):
        for source, width in enumerate(widths):
            link = f"{name}.fuse_layers.{target}.{source}"
            if source > target:
                shapes |= {f"{link}.0.weight": (out, width, 1, 1)} | _norm(f"{link}.1", out)
            for step in range(target - source):
                last = out if step == target - source - 1 else width
                shapes |= {f"{link}.{step}.0.weight": (last, width, 3, 3)} | _norm(f"{link}.{step}.1", last)
    return shapes


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def smpl_buffers(num_joints: int) -> Shapes:
    """Return the body's tensors, which the released files carry under `smpl.`; sizes of the body are made smaller."""
    vertices = 7
    shapes: Shapes = {
        "faces_tensor": (5, 3),
        "v_template": (vertices, 3),
        "shapedirs": (vertices, 3, 10),
        "posedirs": (207, 3 * vertices),
        "J_regressor": (24, vertices),
        "J_regressor_h36m": (17, vertices),
        "children_map": (num_joints,),
        "parents": (num_joints,),
        "lbs_weights": (vertices, 24),
    }
    return {f"smpl.{name}": shape for name, shape in shapes.items()}


def _heads(features: int, num_joints: int, *, leaves: bool, camera: int, sigma: bool) -> Shapes:
    shapes = _linear("decshape", features, 10) | _linear("decphi", features, 46) | {"init_shape": (10,)}
    if leaves:
        shapes |= _linear("decleaf", features, 20)
    if camera:
        shapes |= _linear("deccam", features, camera) | {"init_cam": (camera,)}
    if sigma:
        shapes |= _linear("decsigma", features, 29)
    return shapes | smpl_buffers(num_joints)


def _resnet_model(
    name: str, num_joints: int, *, leaves: bool = False, camera: int = 0, sigma: bool = False, depth: int = 64
) -> Shapes:
    channels = 2048 if name == "resnet50" else 512
    shapes = {f"preact.{key}": shape for key, shape in resnet(name).items()}
    for index, source in zip((0, 3, 6), (channels, 256, 256), strict=True):
        shapes |= {f"deconv_layers.{index}.weight": (source, 256, 4, 4)} | _norm(f"deconv_layers.{index + 1}", 256)
    shapes |= {"final_layer.weight": (num_joints * depth, 256, 1, 1), "final_layer.bias": (num_joints * depth,)}
    shapes |= _linear("fc1", channels, 1024) | _linear("fc2", 1024, 1024)
    return shapes | _heads(1024, num_joints, leaves=leaves, camera=camera, sigma=sigma)


def _hrnet_model(depth: int = 64) -> Shapes:
    shapes = {f"preact.{key}": shape for key, shape in hrnet_w48(29 * depth).items()}
    return shapes | _heads(2048, 29, leaves=False, camera=1, sigma=True)


PUBLISHED = {
    "hybrik_base_resnet34": lambda: _resnet_model("resnet34", 29),
    "hybrik_24_resnet34": lambda: _resnet_model("resnet34", 24, leaves=True),
    "ikol_resnet34": lambda: _resnet_model("resnet34", 24, leaves=True),
    "ikol_resnet18": lambda: _resnet_model("resnet18", 24, leaves=True),
    "hybrik_cam_resnet34_2021": lambda: _resnet_model("resnet34", 29, camera=3),
    "hybrik_cam_resnet34": lambda: _resnet_model("resnet34", 29, camera=3, sigma=True),
    "hybrik_cam_resnet50": lambda: _resnet_model("resnet50", 29, camera=3, sigma=True),
    "hybrik_hrnet_w48": _hrnet_model,
}
"""What each released model's file holds."""


def random_state(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    """Return tensors of these shapes that a network can run with: small weights, norms near the identity."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            tensors[name] = torch.tensor(1)
        elif name.endswith(("faces_tensor", "children_map", "parents")):
            tensors[name] = torch.zeros(shape, dtype=torch.long)
        elif name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
            tensors[name] = torch.ones(shape)
        else:
            fan = max(1, torch.Size(shape[1:]).numel())
            tensors[name] = torch.randn(shape, generator=generator) / fan**0.5
    return tensors

# SPDX-License-Identifier: Apache-2.0
"""The paper's network: a crop to 3D heat maps, shape, twist, leaf rotations, camera and confidence.

Names and shapes of its tensors are those of the published HybrIK and IKOL weights, see `checkpoint`. What is here ends
with what the network says in its own units; `camera_space` makes metres of it. Imports: torch, the backbones.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ikol.errors import InputError
from ikol.regressor.networks.blazepose import BLAZEPOSES, INPUT_SIZE, BlazePose, LandmarkLayers
from ikol.regressor.networks.heatmaps import mirrored_uvd, soft_argmax
from ikol.regressor.networks.hrnet import FEATURES, HRNet
from ikol.regressor.networks.joints import LEAVES, NUM_TWISTS, SMPL24, SMPL29, mirror_order
from ikol.regressor.networks.resnet import RESNETS, ResNet

HRNETS = {"hrnet_w32": 32, "hrnet_w48": 48}
NUM_BETAS = 10
# a small file can claim any shape; the network has room for these
MAX_INPUT, MAX_DEPTH_CELLS, MAX_CHANNELS = 2048, 512, 2048
_HIDDEN = 1024
OUTSIDE = {"box": "zeros", "circle": "border"}
"""What a crop shows beyond the picture, by `NetworkConfig.framing`: as published networks and as BlazePose learned."""
_MIRROR_6D = (1.0, -1.0, -1.0, -1.0, 1.0, 1.0)  # of the first two columns of F R F with F = diag(-1, 1, 1)
INITIAL_SCALE = 0.9  # of the crop's side a metre takes, times a metre: a person of 1.7 m fills a crop a little larger


class NetworkConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which network; kept beside its weights."""

    backbone: str = "resnet34"
    """resnet18, 34, 50 or 101, or hrnet_w48 (or w32); or blazepose_full or blazepose_heavy, which begin with the
    shipped weights and have landmarks in place of heat maps: with 29 joints, a camera of 1, rotations, and a `mean` of
    0 and a `std` of 1."""
    num_joints: int = 29
    """24 (SMPL's) or 29 (with the five ends)."""
    input_size: int = 256
    """Pixels along a side of the crop; four times `heatmap_size`."""
    heatmap_size: int = 64
    depth_cells: int = 64
    deconv_channels: tuple[int, int, int] = (256, 256, 256)
    """Of ResNet's three deconvolutions; HRNet has none."""
    leaves: bool = False
    """Whether the five leaves' rotations are predicted as quaternions, as the 24-joint networks do."""
    camera: int = 0
    """0: none; 1: scale; 3: scale and translation. The scale is that of `camera_space.root_depth`."""
    sigma: bool = False
    """Whether each joint's doubt (0 to 1) is predicted."""
    rotations: bool = False
    """Whether all joints' rotations are predicted as well, for a regression without a layer. Not in published ones."""
    depth_extent: float = 2.2
    """Metres of a depth of 1: 2 in the networks without a camera, 2.2 in HybrIK's with one."""
    mean: tuple[float, float, float] = (0.406, 0.457, 0.480)
    """Taken from the pixels (0 to 1, red first) before `std` divides them. These are the published networks' numbers,
    in the order in which their training has them."""
    std: tuple[float, float, float] = (0.225, 0.224, 0.229)
    crop_scale: float = 1.25
    """Side of the crop over the longer side of the person's box."""
    framing: Literal["box", "circle"] = "box"
    """What the crop is drawn around: the person's box; or a circle around the hips that holds all limbs, turned so that
    the trunk is upright, as BlazePose wants it (`Crops.around_body`; the box where hips or shoulders are not known)."""

    def __post_init__(self) -> None:
        backbones = (*RESNETS, *HRNETS, *BLAZEPOSES)
        if self.backbone not in backbones:
            raise InputError(f"unknown backbone {self.backbone!r}; there are {', '.join(backbones)}")
        if self.num_joints not in (24, 29) or self.camera not in (0, 1, 3):
            raise InputError(
                f"num_joints must be 24 or 29 and camera 0, 1 or 3, got {self.num_joints} and {self.camera}"
            )
        if self.input_size != 4 * self.heatmap_size or self.input_size % 32 != 0 or self.depth_cells < 2:
            raise InputError(
                "input_size must be four times heatmap_size and a multiple of 32, and depth_cells 2 or more, got "
                f"{self.input_size}, {self.heatmap_size} and {self.depth_cells}"
            )
        if self.backbone in BLAZEPOSES:
            wanted = {"num_joints": 29, "input_size": INPUT_SIZE, "camera": 1, "sigma": False, "leaves": False}
            wanted |= {"rotations": True, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
            other = sorted(name for name, value in wanted.items() if getattr(self, name) != value)
            if other:
                raise InputError(f"{self.backbone} needs {', '.join(f'{name} = {wanted[name]}' for name in other)}")
        widest = max(self.deconv_channels)
        if self.input_size > MAX_INPUT or self.depth_cells > MAX_DEPTH_CELLS or widest > MAX_CHANNELS:
            raise InputError(
                f"input_size must be at most {MAX_INPUT}, depth_cells {MAX_DEPTH_CELLS} and deconv_channels "
                f"{MAX_CHANNELS}, got {self.input_size}, {self.depth_cells} and {widest}"
            )
        if min(self.input_size, *self.deconv_channels) < 1 or 0.0 in self.std:
            raise InputError("input_size and deconv_channels must be positive, and std not zero")

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Of the heat maps, in order."""
        return SMPL24 if self.num_joints == len(SMPL24) else SMPL29


@dataclass(frozen=True)
class NetworkOutput:
    """What the network says about a batch of crops. Joints are `NetworkConfig.joint_names`."""

    uvd: Float[Tensor, "batch joints 3"]
    """See `heatmaps`; depth 1 is `NetworkConfig.depth_extent`, from the pelvis."""
    uvd_spread: Float[Tensor, "batch joints 3"]
    peak: Float[Tensor, "batch joints"]
    betas: Float[Tensor, "batch 10"]
    twist: Float[Tensor, "batch 23 2"]
    """(cos, sin) of the angle about the bone, of all joints but the root; not normalised."""
    leaf_quat: Float[Tensor, "batch 5 4"] | None
    """Local rotations of `joints.LEAVES`, wxyz; not normalised."""
    camera: Float[Tensor, "batch camera"] | None
    """Scale, and maybe a translation in metres."""
    sigma: Float[Tensor, "batch joints"] | None
    """Doubt, 0 to 1."""
    rotation_6d: Float[Tensor, "batch 24 6"] | None = None
    """Local rotations of SMPL's joints, the root's from rest to the turned crop's axes; see `sixd_to_rotmat`."""

    @property
    def twist_angle(self) -> Float[Tensor, "batch 23"]:
        """Radians. Gradient: of a pair of zeros it is zero."""
        cosine, sine = self.twist.unbind(-1)
        is_zero = (cosine == 0) & (sine == 0)
        return torch.atan2(sine, torch.where(is_zero, torch.ones_like(cosine), cosine))


LANDMARK_SIZES = (len(SMPL29) * 3, NUM_BETAS, NUM_TWISTS * 2, len(SMPL24) * 6, 1)
"""Of what `landmark_output` takes: uvd, betas, twist, rotations, scale."""


def landmark_output(parts: tuple[Tensor, ...]) -> NetworkOutput:
    """Return what layers on top of landmarks say; they have no heat maps, so no spread either."""
    uvd, betas, twist, sixd, scale = (part.float() if part.dtype == torch.bfloat16 else part for part in parts)
    uvd = uvd.unflatten(-1, (-1, 3))
    return NetworkOutput(
        uvd=uvd,
        uvd_spread=torch.zeros_like(uvd),
        peak=torch.ones_like(uvd[..., 0]),
        betas=betas,
        twist=twist.unflatten(-1, (NUM_TWISTS, 2)),
        leaf_quat=None,
        camera=scale + INITIAL_SCALE,
        sigma=None,
        rotation_6d=sixd.unflatten(-1, (len(SMPL24), 6)),
    )


class PoseNetwork(nn.Module):
    """Crops to `NetworkOutput`."""

    init_shape: Tensor
    init_cam: Tensor

    def __init__(self, config: NetworkConfig | None = None) -> None:
        """Make the network with random weights; `checkpoint.load_pose_network` reads some."""
        super().__init__()
        self.config = config = config or NetworkConfig()
        if config.backbone in BLAZEPOSES:
            self.preact = BlazePose(config.backbone)
            self.heads = LandmarkLayers(LANDMARK_SIZES)
            return
        channels = config.num_joints * config.depth_cells
        if config.backbone in HRNETS:
            self.preact = HRNet(channels, HRNETS[config.backbone])
            features = FEATURES
        else:
            self.preact = ResNet(config.backbone)
            self.deconv_layers = _deconvolutions(self.preact.out_channels, config.deconv_channels)
            self.final_layer = nn.Conv2d(config.deconv_channels[-1], channels, 1)
            nn.init.normal_(self.final_layer.weight, std=0.001)
            assert self.final_layer.bias is not None
            nn.init.zeros_(self.final_layer.bias)
            self.fc1 = nn.Linear(self.preact.out_channels, _HIDDEN)
            self.drop1 = nn.Dropout(0.5)
            self.fc2 = nn.Linear(_HIDDEN, _HIDDEN)
            self.drop2 = nn.Dropout(0.5)
            features = _HIDDEN
        self.decshape = nn.Linear(features, NUM_BETAS)
        self.decphi = nn.Linear(features, NUM_TWISTS * 2)
        if config.leaves:
            self.decleaf = nn.Linear(features, len(LEAVES) * 4)
        if config.camera:
            self.deccam = nn.Linear(features, config.camera)
            self.register_buffer("init_cam", torch.tensor([INITIAL_SCALE, 0.0, 0.0][: config.camera]))
        if config.sigma:
            self.decsigma = nn.Linear(features, config.num_joints)
        if config.rotations:
            self.decpose = nn.Linear(features, len(SMPL24) * 6)
        self.register_buffer("init_shape", torch.zeros(NUM_BETAS))

    def prepare(self, pictures: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch 3 size size"]:
        """Return crops (values 0 to 1, red first) as `forward` wants them."""
        mean, std = (pictures.new_tensor(each)[:, None, None] for each in (self.config.mean, self.config.std))
        return (pictures - mean) / std

    def forward(self, pictures: Float[Tensor, "batch 3 size size"]) -> NetworkOutput:
        """Return what the network says of prepared crops (see `prepare`).

        Raises:
            InputError: the crops have another size than the network's.
        """
        config = self.config
        size = config.input_size
        if pictures.shape[-2:] != (size, size):
            raise InputError(f"this network takes crops of {size} x {size} pixels, got {tuple(pictures.shape[-2:])}")
        if isinstance(self.preact, BlazePose):
            return landmark_output(self.heads(self.preact(pictures)))
        maps, features = self._run(pictures)
        batch = len(pictures)
        cells = (config.depth_cells, config.heatmap_size, config.heatmap_size)
        points = soft_argmax(maps.reshape(batch, config.num_joints, *cells))
        # coordinates and the solve behind them are float32 also under autocast
        full = points.uvd.dtype
        return NetworkOutput(
            uvd=points.uvd,
            uvd_spread=points.spread,
            peak=points.peak,
            betas=self.decshape(features).to(full) + self.init_shape,
            twist=self.decphi(features).to(full).reshape(batch, NUM_TWISTS, 2),
            leaf_quat=self.decleaf(features).to(full).reshape(batch, len(LEAVES), 4) if config.leaves else None,
            camera=self.deccam(features).to(full) + self.init_cam if config.camera else None,
            sigma=self.decsigma(features).to(full).sigmoid() if config.sigma else None,
            rotation_6d=self.decpose(features).to(full).reshape(batch, len(SMPL24), 6) if config.rotations else None,
        )

    def _run(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        if isinstance(self.preact, HRNet):
            return self.preact(pictures)
        maps = self.preact(pictures)
        features = self.drop2(self.fc2(self.drop1(self.fc1(maps.mean((-2, -1))))))
        return self.final_layer(self.deconv_layers(maps)), features

    def flip_test(self, pictures: Float[Tensor, "batch 3 size size"]) -> NetworkOutput:
        """Return the mean of what the network says of prepared crops and of their mirror images."""
        own, other = self(pictures), self.mirrored(self(pictures.flip(-1)))
        return NetworkOutput(
            uvd=(own.uvd + other.uvd) / 2,
            # of the mean of the two maps: what is inside them and what is between them
            uvd_spread=((own.uvd_spread.square() + other.uvd_spread.square()) / 2
                        + ((own.uvd - other.uvd) / 2).square()).sqrt(),
            peak=(own.peak + other.peak) / 2,
            betas=(own.betas + other.betas) / 2,
            twist=(own.twist + other.twist) / 2,
            leaf_quat=_mean_quat(own.leaf_quat, other.leaf_quat),
            camera=None if own.camera is None or other.camera is None else _mean_camera(own.camera, other.camera),
            sigma=None if own.sigma is None or other.sigma is None else (own.sigma + other.sigma) / 2,
            rotation_6d=(None if own.rotation_6d is None or other.rotation_6d is None
                         else (own.rotation_6d + other.rotation_6d) / 2),
        )  # fmt: skip

    def mirrored(self, output: NetworkOutput) -> NetworkOutput:
        """Return what would have been said of the mirrored crops, by a network that treats both sides alike."""
        joints = list(mirror_order(self.config.joint_names))
        twists = [index - 1 for index in mirror_order(SMPL24)[1:]]
        leaves = list(mirror_order(LEAVES))
        turn, camera, sigma, sixd = output.leaf_quat, output.camera, output.sigma, output.rotation_6d
        if camera is not None and camera.shape[-1] > 1:
            camera = camera * camera.new_tensor([1.0, -1.0, 1.0])
        return NetworkOutput(
            uvd=mirrored_uvd(output.uvd, self.config.input_size)[:, joints],
            uvd_spread=output.uvd_spread[:, joints],
            peak=output.peak[:, joints],
            betas=output.betas,
            twist=output.twist[:, twists] * output.twist.new_tensor([1.0, -1.0]),
            leaf_quat=None if turn is None else turn[:, leaves] * turn.new_tensor([1.0, 1.0, -1.0, -1.0]),
            camera=camera,
            sigma=None if sigma is None else sigma[:, joints],
            rotation_6d=None if sixd is None else sixd[:, list(mirror_order(SMPL24))] * sixd.new_tensor(_MIRROR_6D),
        )


def _deconvolutions(inputs: int, channels: tuple[int, int, int]) -> nn.Sequential:
    """Return three steps that double the size. Source: Xiao et al., Simple Baselines, 2018."""
    layers: list[nn.Module] = []
    for before, after in zip((inputs, *channels[:-1]), channels, strict=True):
        deconvolution = nn.ConvTranspose2d(before, after, 4, 2, padding=1, bias=False)
        nn.init.normal_(deconvolution.weight, std=0.001)
        layers += [deconvolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _mean_quat(
    own: Float[Tensor, "batch 5 4"] | None, other: Float[Tensor, "batch 5 4"] | None
) -> Float[Tensor, "batch 5 4"] | None:
    if own is None or other is None:
        return None
    is_same_side = (own * other).sum(-1, keepdim=True) >= 0  # q and -q are one rotation
    return (own + torch.where(is_same_side, other, -other)) / 2


def _mean_camera(own: Float[Tensor, "batch c"], other: Float[Tensor, "batch c"]) -> Float[Tensor, "batch c"]:
    """Return the mean translation and the scale of the mean depth, which is one over it."""
    scale = 2.0 / (1.0 / own[:, :1] + 1.0 / other[:, :1])
    return torch.cat([scale, (own[:, 1:] + other[:, 1:]) / 2], -1)

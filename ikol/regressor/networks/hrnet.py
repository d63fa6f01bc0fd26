# SPDX-License-Identifier: Apache-2.0
"""HRNet with a heat-map layer and a feature head, named as HybrIK's and the authors' weights are.

Source: Wang et al., Deep High-Resolution Representation Learning, 2020. Imports: torch, the blocks.
"""

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from ikol.regressor.networks.blocks import BasicBlock, Bottleneck, convolution, residual_layer

_STEM, _LAYER1 = 64, 256
_BLOCKS = 4  # residual blocks of a branch in every module
_MODULES = (1, 4, 3)  # of the stages 2, 3 and 4, which have as many branches
_HEAD_WIDTHS = (32, 64, 128, 256)
FEATURES = 2048


def _step(inputs: int, outputs: int, *, stride: int, active: bool) -> nn.Sequential:
    parts: list[nn.Module] = [convolution(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*parts, nn.ReLU(inplace=True)) if active else nn.Sequential(*parts)


def _up(inputs: int, outputs: int, factor: int) -> nn.Sequential:
    return nn.Sequential(
        convolution(inputs, outputs, 1), nn.BatchNorm2d(outputs), nn.Upsample(scale_factor=factor, mode="nearest")
    )


def _down(inputs: int, outputs: int, steps: int) -> nn.Sequential:
    """Return strided convolutions, the last of which changes the channels and is not followed by a ReLU."""
    layers = [_step(inputs, inputs, stride=2, active=True) for _ in range(steps - 1)]
    return nn.Sequential(*layers, _step(inputs, outputs, stride=2, active=False))


class _Fusion(nn.Module):
    """One module: each branch by itself, then every branch gets the sum of all, resized."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList([residual_layer(BasicBlock, width, width, _BLOCKS) for width in widths])
        self.fuse_layers = nn.ModuleList(
            [nn.ModuleList([self._link(widths, source, target) for source in range(len(widths))])
             for target in range(len(widths))]
        )  # fmt: skip
        self.relu = nn.ReLU(inplace=True)

    @staticmethod
    def _link(widths: Sequence[int], source: int, target: int) -> nn.Module:
        if source == target:
            return nn.Identity()
        if source > target:
            return _up(widths[source], widths[target], 2 ** (source - target))
        return _down(widths[source], widths[target], target - source)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Return the branches' maps."""
        own = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        fused: list[Tensor] = []
        for links in self.fuse_layers:
            assert isinstance(links, nn.ModuleList)
            parts = [link(x) for link, x in zip(links, own, strict=True)]
            total = parts[0]
            for part in parts[1:]:
                total = total + part
            fused.append(self.relu(total))
        return fused


def _transition(before: Sequence[int], after: Sequence[int]) -> nn.ModuleList:
    """Return what makes the next stage's branches: the old ones, and a new one of half the size of the last."""
    layers: list[nn.Module] = [
        nn.Identity() if old == new else _step(old, new, stride=1, active=True)
        for old, new in zip(before, after, strict=False)
    ]
    layers.append(nn.Sequential(_step(before[-1], after[len(before)], stride=2, active=True)))
    return nn.ModuleList(layers)


class HRNet(nn.Module):
    """Pictures to heat maps of 1/4 of their size and a feature vector of 2048."""

    def __init__(self, heatmap_channels: int, width: int = 48) -> None:
        """Make the network with random weights; `width` is the finest branch's, 48 for HRNet-W48."""
        super().__init__()
        widths = [width * 2**i for i in range(4)]
        self.conv1 = convolution(3, _STEM, 3, 2)
        self.bn1 = nn.BatchNorm2d(_STEM)
        self.conv2 = convolution(_STEM, _STEM, 3, 2)
        self.bn2 = nn.BatchNorm2d(_STEM)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = residual_layer(Bottleneck, _STEM, _LAYER1 // Bottleneck.expansion, 4)
        self.transition1 = _transition((_LAYER1,), widths[:2])
        self.stage2 = nn.Sequential(*[_Fusion(widths[:2]) for _ in range(_MODULES[0])])
        self.transition2 = _transition(widths[:2], widths[:3])
        self.stage3 = nn.Sequential(*[_Fusion(widths[:3]) for _ in range(_MODULES[1])])
        self.transition3 = _transition(widths[:3], widths)
        self.stage4 = nn.Sequential(*[_Fusion(widths) for _ in range(_MODULES[2])])
        self.incre_modules = nn.ModuleList(
            [residual_layer(Bottleneck, size, head, 1) for size, head in zip(widths, _HEAD_WIDTHS, strict=True)]
        )
        heads = [head * Bottleneck.expansion for head in _HEAD_WIDTHS]
        self.downsamp_modules = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(near, far, 3, 2, padding=1), nn.BatchNorm2d(far), nn.ReLU(inplace=True))
                for near, far in pairwise(heads)
            ]
        )
        self.final_feat_layer = nn.Sequential(
            nn.Conv2d(heads[-1], FEATURES, 1), nn.BatchNorm2d(FEATURES), nn.ReLU(inplace=True)
        )
        self.final_layer = nn.Conv2d(width, heatmap_channels, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        # heat maps that begin flat: soft-argmax then gives the middle of the crop, which is a sane first guess
        nn.init.normal_(self.final_layer.weight, std=0.001)
        assert self.final_layer.bias is not None
        nn.init.zeros_(self.final_layer.bias)

    def forward(
        self, pictures: Float[Tensor, "batch 3 height width"]
    ) -> tuple[Float[Tensor, "batch channels rows columns"], Float[Tensor, "batch 2048"]]:
        """Return heat maps (before any softmax) and features."""
        x = self.relu(self.bn1(self.conv1(pictures)))
        x = self.layer1(self.relu(self.bn2(self.conv2(x))))
        maps = [x]
        stages = ((self.transition1, self.stage2), (self.transition2, self.stage3), (self.transition3, self.stage4))
        for transition, stage in stages:
            # the new branch grows from the coarsest of the old ones
            maps = [layer(maps[min(i, len(maps) - 1)]) for i, layer in enumerate(transition)]
            maps = stage(maps)
        features = self.incre_modules[0](maps[0])
        for i, down in enumerate(self.downsamp_modules):
            features = self.incre_modules[i + 1](maps[i + 1]) + down(features)
        return self.final_layer(maps[0]), self.final_feat_layer(features).mean((-2, -1))

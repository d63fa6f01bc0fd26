# SPDX-License-Identifier: Apache-2.0
"""ResNet without its classifier, named as torchvision's and AlphaPose's weights are. Imports: torch, the blocks."""

from jaxtyping import Float
from torch import Tensor, nn

from ikol.errors import InputError
from ikol.regressor.networks.blocks import BasicBlock, Bottleneck, residual_layer

_WIDTHS = (64, 128, 256, 512)
_COUNTS: dict[str, tuple[int, ...]] = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
}
RESNETS = tuple(_COUNTS)
_BASIC = ("resnet18", "resnet34")


class ResNet(nn.Module):
    """Pictures to maps of 1/32 of their size. Source: He et al., Deep Residual Learning, 2016."""

    def __init__(self, name: str) -> None:
        """Make the network with random weights.

        Raises:
            InputError: there is no such ResNet.
        """
        super().__init__()
        if name not in _COUNTS:
            raise InputError(f"unknown backbone {name!r}; there are {', '.join(RESNETS)}")
        block = BasicBlock if name in _BASIC else Bottleneck
        self.out_channels = _WIDTHS[-1] * block.expansion
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        inputs = [64] + [width * block.expansion for width in _WIDTHS]
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            residual_layer(block, inputs[i], _WIDTHS[i], _COUNTS[name][i], stride=1 if i == 0 else 2) for i in range(4)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels _ _"]:
        """Return the maps of the last layer."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(pictures))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

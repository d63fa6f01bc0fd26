# SPDX-License-Identifier: Apache-2.0
"""Runs a network of MediaPipe, described as a list of operations, as a torch module.

Knows the ten operations that occur in these networks and nothing about pictures or landmarks. Imports torch and
``ikol.regressor.weights``.
"""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ikol.errors import FileFormatError
from ikol.regressor.weights import GraphOp, NetworkFile

_FUSED_ACTIVATION = {"none": ("none", []), "relu": ("relu", []), "relu6": ("hardtanh", [0.0, 6.0])}


def _activate(x: Tensor, activation: str) -> Tensor:
    # In place: the argument is always a fresh result, and these maps are up to 96 x 128 x 128 for each crop.
    match activation:
        case "relu6":
            return functional.hardtanh_(x, 0.0, 6.0)  # its gradient needs no copy of x, clamp_'s does
        case "relu":
            return x.relu_()
        case _:
            return x


@cache
def has_fused_convolution() -> bool:
    """Say whether torch's oneDNN convolution with a fused activation exists here and does what is expected.

    It is what torch.compile generates on a CPU: 189 instead of 322 ms for six crops on one thread (heavy network, torch
    2.13). It is not public, so it is tried once on a small example and left alone if anything about it has changed.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    x = torch.linspace(-1.0, 1.0, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
    weight = torch.linspace(-2.0, 3.0, 3 * 3 * 3).reshape(3, 1, 3, 3)
    bias = torch.tensor([0.5, -0.5, 1.0])
    try:
        got = _fused_convolution(x, weight, bias, (2, 2), (1, 1), 3, "relu6")
    except (AttributeError, RuntimeError, TypeError):
        return False
    expected = functional.conv2d(x, weight, bias, (2, 2), (1, 1), (1, 1), 3).clamp(0.0, 6.0)
    return torch.allclose(got, expected, atol=1e-5)


def _fused_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    groups: int,
    activation: str,
) -> Tensor:
    name, scalars = _FUSED_ACTIVATION[activation]
    return torch.ops.mkldnn._convolution_pointwise(
        x, weight, bias, list(padding), list(stride), [1, 1], groups, name, scalars, ""
    )


class _Convolution(nn.Module):
    weight: Tensor
    bias: Tensor

    def __init__(self, op: GraphOp, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        # channels_last is what oneDNN and cuDNN run fastest, and what the networks were made for.
        self.register_buffer("weight", weight.float().contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", bias.float())
        top, bottom, left, right = op.padding
        # A stride-2 SAME convolution pads an odd number of pixels, the extra one behind.
        self.uneven = (left, right, top, bottom) if (top, left) != (bottom, right) else None
        self.padding = (0, 0) if self.uneven else (top, left)
        self.stride, self.groups, self.activation = op.stride, op.groups, op.act

    def forward(self, x: Tensor) -> Tensor:
        if self.uneven is not None:
            x = functional.pad(x, self.uneven)
        is_learning = torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad)
        fused = x.device.type == "cpu" and x.dtype == torch.float32 and not is_learning
        if fused and has_fused_convolution():
            with torch.no_grad():  # it has no derivative, and torch warns of that even where none is asked for
                return _fused_convolution(
                    x, self.weight, self.bias, self.stride, self.padding, self.groups, self.activation
                )
        y = functional.conv2d(x, self.weight, self.bias, self.stride, self.padding, (1, 1), self.groups)
        return _activate(y, self.activation)


def _full_precision() -> AbstractContextManager[None]:
    """Keep cuDNN from rounding to TF32, ten bits of 256 pixels; on a CPU nothing changes."""
    return torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False)


def _depth_to_space(x: Tensor, block: int) -> Tensor:
    # TensorFlow takes the block's row and column from the channels' slow end, torch's pixel_shuffle from the fast.
    batch, channels, height, width = x.shape
    kept = channels // block**2
    x = x.reshape(batch, block, block, kept, height, width).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(batch, kept, height * block, width * block)


_between_layers: ContextVar[Callable[[], None] | None] = ContextVar("between_layers", default=None)


@contextmanager
def asking_between_layers(ask: Callable[[], None]) -> Generator[None]:
    """Call ``ask`` between the layers of all networks that this thread runs meanwhile; it may raise ``Cancelled``."""
    token = _between_layers.set(ask)
    try:
        yield
    finally:
        _between_layers.reset(token)


class GraphNetwork(nn.Module):
    """A network of ``ikol.regressor.weights``: pictures (NCHW) in, its named outputs as a tuple, any batch size.

    Outputs that were maps stay NCHW; outputs that TensorFlow flattened are flattened in its order (NHWC).

    Args:
        file: the network.
        inner: numbers of values inside of it that are returned as well, behind the outputs.
    """

    def __init__(self, file: NetworkFile, inner: tuple[int, ...] = ()) -> None:
        super().__init__()
        graph = file.graph
        self.input_size = graph.input_size
        self.output_names = tuple(graph.outputs)
        self._ops = graph.ops
        self._input = graph.input
        self._outputs = (*graph.outputs.values(), *inner)
        self._convolutions = nn.ModuleDict(
            {
                op.name: _Convolution(op, file.tensors[op.name + ".weight"], file.tensors[op.name + ".bias"])
                for op in graph.ops
                if op.op == "conv"
            }
        )
        last_use = {value: i for i, op in enumerate(graph.ops) for value in op.inputs}
        self._free_after = [
            tuple(v for v in set(op.inputs) if last_use[v] == i and v not in self._outputs)
            for i, op in enumerate(graph.ops)
        ]

    def forward(self, pictures: Float[Tensor, "batch 3 height width"]) -> tuple[Tensor, ...]:
        """Return the outputs in the order of ``output_names``, then the inner values."""
        values = {self._input: pictures.contiguous(memory_format=torch.channels_last)}
        ask = _between_layers.get()
        with _full_precision():
            for op, free in zip(self._ops, self._free_after, strict=True):
                if ask is not None:
                    ask()
                values[op.output] = self._run(op, [values[i] for i in op.inputs])
                for value in free:  # the early maps are 15 MB a crop; kept, they would cost hundreds of MB
                    del values[value]
        return tuple(values[i] for i in self._outputs)

    def _run(self, op: GraphOp, inputs: list[Tensor]) -> Tensor:
        x = inputs[0]
        match op.op:
            case "conv":
                return self._convolutions[op.name](x)
            case "add":
                return _activate(x + inputs[1], op.act)
            case "max_pool":
                return functional.max_pool2d(x, op.window)
            case "pad_channels":
                return functional.pad(x, (0, 0, 0, 0, 0, op.count))
            case "resize":
                return functional.interpolate(x, op.size, mode="bilinear", align_corners=False)
            case "depth_to_space":
                return _depth_to_space(x, op.block)
            case "sigmoid":
                return x.sigmoid()
            case "mean":
                return x.mean((2, 3), keepdim=True)
            case "flatten":
                return x.permute(0, 2, 3, 1).reshape(x.shape[0], *op.shape)
            case "concat":
                return torch.cat(inputs, op.dim)
            case _:
                raise FileFormatError(f"the network has an operation {op.op!r}, which this version cannot run")

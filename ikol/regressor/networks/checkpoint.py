# SPDX-License-Identifier: Apache-2.0
"""Weights from files, by name: what kind of network a file is for, and what does not fit, all of it at once.

Files are safetensors, or torch.save's, which are read without running what they contain. Imports: torch, safetensors,
the network.
"""

import json
import logging
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ikol.errors import FileFormatError
from ikol.regressor.networks.pose_network import HRNETS, MAX_CHANNELS, MAX_DEPTH_CELLS, NetworkConfig, PoseNetwork

_logger = logging.getLogger(__name__)
MAX_BYTES = 2**31  # the largest published one, HRNet-W48 with its body, has 0.4 GB
_NESTED = ("model", "state_dict", "network")  # under which training scripts keep the weights
_PREFIXES = ("module.", "model.", "network.")  # of DistributedDataParallel and of wrappers
_BODY = "smpl."  # the body's own tensors lie in the published files; this package has its own body
_OPTIONAL = ("init_shape", "init_cam")
_MAX_LISTED = 12
_SETTINGS = "checkpoint.json"  # beside the weights of `ikol train`
# what torch.load says of files that are none, are cut off, or want to run code
_UNREADABLE = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError)
_RESNET_BLOCKS: dict[tuple[int, ...], str] = {
    (2, 2, 2, 2): "resnet18",
    (3, 4, 6, 3): "resnet34",
    (3, 4, 23, 3): "resnet101",
}


@dataclass(frozen=True)
class LoadReport:
    """What did not fit between a file and a network, by name."""

    missing: tuple[str, ...]
    """In the network, not in the file."""
    unknown: tuple[str, ...]
    """In the file, not in the network."""
    misshapen: tuple[str, ...]
    """In both, with different shapes; with both shapes."""
    ignored: int
    """Tensors of a body model that the file carries along."""

    @property
    def is_complete(self) -> bool:
        """Whether the network has all that it needs; unknown tensors do no harm."""
        return not (self.missing or self.misshapen)

    def __str__(self) -> str:
        """Say it in one sentence a kind; empty when all fits."""
        return "; ".join(
            f"{len(names)} {what} ({', '.join(names[:_MAX_LISTED])}{', ...' if len(names) > _MAX_LISTED else ''})"
            for what, names in (
                ("tensors missing", self.missing),
                ("unknown tensors", self.unknown),
                ("misshapen tensors", self.misshapen),
            )
            if names
        )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a state dict, without the prefixes and the nesting that training scripts add. No code of the file runs.

    Raises:
        FileFormatError: it is none, is too large, or contains other things than tensors.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise FileFormatError(f"{path} has {size >> 20} MB; weights of at most {MAX_BYTES >> 20} MB are read")
    if path.suffix == ".safetensors":
        try:
            tensors = safetensors.torch.load_file(path)
        except (safetensors.SafetensorError, ValueError) as error:
            raise FileFormatError(f"{path} is not a safetensors file: {error}") from error
        return _plain(tensors)
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FileFormatError(
            f"{path} cannot be read as weights without running code that it may contain ({reason}); save the state "
            "dict alone, best as .safetensors"
        ) from error
    for key in _NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found or not all(isinstance(name, str) for name in found):
        raise FileFormatError(f"{path} contains no state dict: expected names with tensors, got {type(found).__name__}")
    tensors = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
    if not tensors:
        raise FileFormatError(f"{path} contains no tensors")
    return _plain(tensors)


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    tensors.pop("n_averaged", None)  # torch's AveragedModel counts in it
    for prefix in _PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def config_of(tensors: Mapping[str, Tensor]) -> NetworkConfig:
    """Return which network a state dict is for, from its names and shapes.

    Depth cells are those of the heat maps' layer; the file does not say how large the crop was, so it is 256 pixels as
    in all published ones.

    Raises:
        FileFormatError: it is for none of those that are known.
    """
    leaves, camera = "decleaf.weight" in tensors, tensors.get("deccam.weight")
    is_hrnet = "preact.transition1.0.0.weight" in tensors
    final = tensors.get("preact.final_layer.weight" if is_hrnet else "final_layer.weight")
    if final is None or "decphi.weight" not in tensors or "decshape.weight" not in tensors:
        raise FileFormatError(
            "the weights are not those of a HybrIK or IKOL network: expected preact.*, final_layer.*, decshape.* and "
            f"decphi.*, got {', '.join(sorted(tensors)[:_MAX_LISTED])}, ...; other networks need a manifest"
        )
    sigma = tensors.get("decsigma.weight")
    num_joints = 24 if leaves else len(sigma) if sigma is not None else 29
    cells, left = divmod(len(final), num_joints)
    if left or not 2 <= cells <= MAX_DEPTH_CELLS or num_joints not in (24, 29):
        raise FileFormatError(
            f"the heat maps' layer has {len(final)} channels, which are no multiple of {num_joints} joints"
        )
    return NetworkConfig(
        backbone=_hrnet(tensors) if is_hrnet else _resnet(tensors),
        num_joints=num_joints,
        depth_cells=cells,
        deconv_channels=(256, 256, 256) if is_hrnet else _deconv_channels(tensors),
        leaves=leaves,
        camera=0 if camera is None else len(camera),
        sigma=sigma is not None,
        depth_extent=2.0 if camera is None else 2.2,
    )


def _hrnet(tensors: Mapping[str, Tensor]) -> str:
    width = len(tensors["preact.transition1.0.0.weight"])
    names = {value: name for name, value in HRNETS.items()}
    if width not in names:
        raise FileFormatError(f"HRNet of width {width} is not known; there are {', '.join(HRNETS)}")
    return names[width]


def _resnet(tensors: Mapping[str, Tensor]) -> str:
    found = [re.match(r"preact\.layer(\d)\.(\d+)\.", name) for name in tensors]
    counts = tuple(max((int(m[2]) + 1 for m in found if m and m[1] == str(i)), default=0) for i in range(1, 5))
    name = _RESNET_BLOCKS.get(counts)
    if name is None:
        raise FileFormatError(f"a ResNet of {counts} blocks is not known; there are {sorted(_RESNET_BLOCKS)}")
    return "resnet50" if name == "resnet34" and "preact.layer1.0.conv3.weight" in tensors else name


def _deconv_channels(tensors: Mapping[str, Tensor]) -> tuple[int, int, int]:
    weights = [tensors.get(f"deconv_layers.{index}.weight") for index in (0, 3, 6)]
    sizes = [weight.shape[1] for weight in weights if weight is not None and weight.ndim == 4]
    if len(sizes) != 3 or max(sizes) > MAX_CHANNELS:
        raise FileFormatError(
            f"the weights need three deconvolutions deconv_layers.0, .3 and .6 of at most {MAX_CHANNELS} channels, "
            f"got {sizes}"
        )
    return sizes[0], sizes[1], sizes[2]


def load_tensors(network: nn.Module, tensors: Mapping[str, Tensor]) -> LoadReport:
    """Put tensors into a network by name; what does not fit is reported and leaves the network as it was there.

    Missing counters of batches and a missing mean shape or scale are not reported: the network's own do.
    """
    own = network.state_dict()
    fitting = {name: value for name, value in tensors.items() if name in own and own[name].shape == value.shape}
    report = LoadReport(
        missing=tuple(
            name
            for name in own
            if name not in tensors and name not in _OPTIONAL and not name.endswith("num_batches_tracked")
        ),
        unknown=tuple(name for name in tensors if name not in own and not name.startswith(_BODY)),
        misshapen=tuple(
            f"{name}: {tuple(tensors[name].shape)} instead of {tuple(own[name].shape)}"
            for name in own
            if name in tensors and name not in fitting
        ),
        ignored=sum(name.startswith(_BODY) and name not in own for name in tensors),
    )
    network.load_state_dict(fitting, strict=False)
    return report


def _trained(path: Path) -> tuple[Path, NetworkConfig]:
    """Return the weights (the averaged ones, where there are) and the settings that a training has left.

    Args:
        path: the folder of a training or of a checkpoint, or weights in the latter.

    Raises:
        FileFormatError: the folder holds no complete checkpoint.
    """
    inside = sorted(found.parent for found in path.glob(f"checkpoints/step_*/{_SETTINGS}"))
    folder = inside[-1] if inside else path if path.is_dir() else path.parent
    try:
        settings = json.loads((folder / _SETTINGS).read_bytes())["values"]["config"]["network"]
        config = msgspec.convert(settings, NetworkConfig)
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise FileFormatError(f"{folder} holds no checkpoint of `ikol train`: {error!r}") from error
    if path.is_file():
        return path, config
    averaged = folder / "ema.safetensors"
    return averaged if averaged.is_file() else folder / "network.safetensors", config


def load_pose_network(path: Path, config: NetworkConfig | None = None) -> PoseNetwork:
    """Read a published or a trained network, ready for use (`eval`).

    Args:
        path: safetensors, or a file of torch.save with a state dict; or the folder of a training of `ikol train`, or
            one of its checkpoints, or a file in one.
        config: which network; None to tell from the names and shapes, or from the training's settings.

    Raises:
        FileFormatError: the file cannot be read, or lacks something; all that is wrong is in the message.
    """
    if path.is_dir() or (path.parent / _SETTINGS).is_file():
        path, trained = _trained(path)
        config = config or trained
    tensors = read_tensors(path)
    network = PoseNetwork(config or config_of(tensors))
    report = load_tensors(network, tensors)
    if not report.is_complete:
        raise FileFormatError(f"{path} does not fit a {network.config.backbone} of this layout: {report}")
    if report.unknown:
        _logger.warning("%s is read, but not all of it is of use: %s", path.name, report)
    return network.eval()

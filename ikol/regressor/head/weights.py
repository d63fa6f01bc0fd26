# SPDX-License-Identifier: Apache-2.0
"""The head's file: safetensors with the network's size and calibration in its metadata, checked against a SHA-256.

Imports: msgspec, safetensors, the network.
"""

import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import msgspec
import safetensors.torch
import torch

from ikol.errors import FileFormatError
from ikol.regressor.head.forearm_network import ForearmNetwork
from ikol.regressor.head.network import HeadNetwork
from ikol.regressor.head.prediction import Calibration, LandmarkHead

HEAD_VERSION = 2
_MAX_BYTES = 20 << 20
_FOREARM = "forearm."
_STATISTICS = ("mean", "scale")
_DATA = files("ikol.regressor") / "data"


# what a file says is allocated before its weights are looked at: at most 70 MB for each network
_Width = Annotated[int, msgspec.Meta(ge=1, le=1024)]
_Depth = Annotated[int, msgspec.Meta(ge=1, le=8)]
_Factor = Annotated[float, msgspec.Meta(gt=0, le=100)]


class HeadDescription(msgspec.Struct, frozen=True):
    """What the JSON in the head's file says."""

    version: int
    width: _Width
    depth: _Depth
    body: str
    calibration: dict[str, _Factor]
    forearm: tuple[_Width, _Depth] | None = None
    """Width and depth of the network that reads the hands."""


def load_head(path: Path | None = None, sha256: str | None = None) -> LandmarkHead:
    """Read the shipped head, or another one.

    Args:
        path: another head's file; None for the shipped one.
        sha256: what the hash of another file must be; None accepts any. That of the shipped one is known.

    Raises:
        FileFormatError: the file is missing, is not the one that was shipped, or is no head.
    """
    source = _DATA / "head.safetensors" if path is None else path
    if path is None:
        sha256 = json.loads((_DATA / "head.json").read_text(encoding="utf-8"))["sha256"]
    try:
        data = source.read_bytes()
    except OSError as error:
        raise FileFormatError(f"the head {source} cannot be read ({error}); install the package again") from error
    got = hashlib.sha256(data).hexdigest()
    if sha256 is not None and got != sha256:
        raise FileFormatError(f"the head {source} has SHA-256 {got}, expected {sha256}; install the package again")
    if len(data) > _MAX_BYTES:
        raise FileFormatError(f"the head {source} has {len(data)} bytes, expected at most {_MAX_BYTES}")
    return decode_head(data, str(source))


def encode_head(head: LandmarkHead) -> bytes:
    """Return a head as the content of a file, its weights in float16."""
    network, forearm = head.network, head.forearm
    description = HeadDescription(
        HEAD_VERSION,
        network.inlet.out_features,
        len(network.blocks),
        head.body,
        {key: float(value) for key, value in vars(head.calibration).items()},
        None if forearm is None else (forearm.inlet.out_features, len(forearm.blocks)),
    )
    values = network.state_dict()
    if forearm is not None:
        values |= {_FOREARM + key: value for key, value in forearm.state_dict().items()}
    tensors = {
        # the statistics of the features are small in number and differ by powers of ten
        key: value.contiguous() if key.removeprefix(_FOREARM) in _STATISTICS else value.to(torch.float16).contiguous()
        for key, value in values.items()
    }
    return safetensors.torch.save(tensors, {"head": msgspec.json.encode(description).decode()})


def decode_head(data: bytes, name: str) -> LandmarkHead:
    """Read the content of a head's file.

    Raises:
        FileFormatError: it is no head.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])["__metadata__"]["head"]
        description = msgspec.json.decode(header, type=HeadDescription)
        network = HeadNetwork(description.width, description.depth)
        tensors = {key: value.float() for key, value in safetensors.torch.load(data).items()}
        forearm = None if description.forearm is None else ForearmNetwork(*description.forearm)
        if forearm is not None:
            own = [key for key in tensors if key.startswith(_FOREARM)]
            forearm.load_state_dict({key.removeprefix(_FOREARM): tensors.pop(key) for key in own})
        network.load_state_dict(tensors)
        calibration = Calibration(**description.calibration)
    except (ValueError, KeyError, TypeError, RuntimeError, msgspec.MsgspecError, safetensors.SafetensorError) as error:
        raise FileFormatError(f"{name} is no head of version {HEAD_VERSION} ({error})") from error
    if description.version != HEAD_VERSION:
        raise FileFormatError(f"{name} is a head of version {description.version}, expected {HEAD_VERSION}")
    return LandmarkHead(network, calibration, description.body, forearm)

# SPDX-License-Identifier: Apache-2.0
"""The shipped network weights: where they lie and how they are read, checked against their SHA-256.

The files are safetensors (numbers and a JSON description, no code) made by scripts/convert_blazepose.py.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
import safetensors.torch
from torch import Tensor

from ikol.errors import FileFormatError

_DATA = files("ikol.regressor") / "data"


class GraphOp(msgspec.Struct, frozen=True):
    """One operation of a network; the fields that an operation does not use keep their defaults."""

    op: str
    inputs: tuple[int, ...]
    output: int
    name: str = ""
    """Prefix of the weights in the file (conv)."""
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Top, bottom, left, right (conv)."""
    groups: int = 1
    act: str = "none"
    """``none``, ``relu`` or ``relu6`` (conv, add)."""
    window: tuple[int, int] = (1, 1)
    size: tuple[int, int] = (1, 1)
    count: int = 0
    block: int = 1
    shape: tuple[int, ...] = ()
    dim: int = 0


class GraphDescription(msgspec.Struct, frozen=True):
    """What the JSON in a weight file says: values are numbered, operations are in the order in which they run."""

    version: int
    source_sha256: str
    input: int
    input_size: int
    outputs: dict[str, int]
    ops: tuple[GraphOp, ...]


@dataclass(frozen=True)
class NetworkFile:
    """A network read from its file: the description and the weights, float16 as stored."""

    graph: GraphDescription
    tensors: dict[str, Tensor]


@cache
def _manifest() -> dict[str, Any]:
    return json.loads((_DATA / "manifest.json").read_text(encoding="utf-8"))


def _metadata(data: bytes) -> dict[str, str]:
    # safetensors: 8 bytes little-endian length, then a JSON header. Only its own file reader returns the metadata, and
    # that would open the file a second time, after the hash was checked.
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length])["__metadata__"]


def load_network(name: str) -> NetworkFile:
    """Read one of the shipped networks.

    Args:
        name: ``blazepose_detector``, ``blazepose_full``, ``blazepose_heavy`` or ``mediapipe_hand``.

    Raises:
        FileFormatError: The file is missing or is not the one that was shipped.
    """
    path = _DATA / f"{name}.safetensors"
    expected = _manifest()["networks"][name]["sha256"]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FileFormatError(f"the network {path} cannot be read ({error}); install the package again") from error
    got = hashlib.sha256(data).hexdigest()
    if got != expected:
        raise FileFormatError(f"the network {path} has SHA-256 {got}, expected {expected}; install the package again")
    graph = msgspec.json.decode(_metadata(data)["graph"], type=GraphDescription)
    return NetworkFile(graph, safetensors.torch.load(data))

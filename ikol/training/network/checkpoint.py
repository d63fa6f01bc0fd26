# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: folders of safetensors with their hashes, complete or not there at all.

A folder is written under another name and renamed when all of it is on the disk, so that whoever kills a training at
any moment leaves the last complete checkpoint. Nothing in it can run code. Imports: torch, safetensors, ikol.errors.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from ikol.errors import FileFormatError

_PREFIX, _UNFINISHED, _LIST = "step_", ".unfinished", "checkpoint.json"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """What a training needs to go on."""

    step: int
    """How many steps are done."""
    tensors: Mapping[str, Mapping[str, Tensor]]
    """By file: `network`, `optimizer`, `ema`."""
    values: Mapping[str, Any]
    """What is not a tensor, as JSON has it: the configuration, the optimizer's settings."""


def save_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write a checkpoint, delete all but the newest `keep`, and return where it is."""
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"{_PREFIX}{checkpoint.step:09d}"
    unfinished = final.with_suffix(_UNFINISHED)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    hashes: dict[str, str] = {}
    for name, tensors in checkpoint.tensors.items():
        data = safetensors.torch.save({key: tensor.contiguous() for key, tensor in tensors.items()})
        _write(unfinished / f"{name}.safetensors", data)
        hashes[name] = hashlib.sha256(data).hexdigest()
    listing = {"step": checkpoint.step, "sha256": hashes, "values": checkpoint.values}
    _write(unfinished / _LIST, json.dumps(listing, indent=1).encode())
    if final.exists():  # the same step again, after a resume from an older one
        shutil.rmtree(final)
    unfinished.rename(final)
    for old in _folders(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())  # a rename may reach the disk before the data does


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"{_PREFIX}*") if path.suffix != _UNFINISHED)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint.

    Raises:
        FileFormatError: a file is missing, damaged, or is not what was written.
    """
    try:
        listing = json.loads((path / _LIST).read_bytes())
        tensors: dict[str, dict[str, Tensor]] = {}
        for name, expected in listing["sha256"].items():
            data = (path / f"{name}.safetensors").read_bytes()
            if hashlib.sha256(data).hexdigest() != expected:
                raise FileFormatError(
                    f"{name}.safetensors of the checkpoint {path.name} is not the file that was written (its SHA-256 "
                    "differs); use another checkpoint"
                )
            tensors[name] = safetensors.torch.load(data)
        return Checkpoint(int(listing["step"]), tensors, listing["values"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, safetensors.SafetensorError) as error:
        raise FileFormatError(f"{path.name} is no complete checkpoint: {error!r}") from error


def load_newest(folder: Path) -> Checkpoint | None:
    """Read the newest checkpoint that is whole, or None where there is none."""
    for path in reversed(_folders(folder)):
        try:
            return load_checkpoint(path)
        except FileFormatError as error:
            _logger.warning("%s; an older one is tried", error)
    return None

# SPDX-License-Identifier: Apache-2.0
"""Typed access to what files of unknown origin hold, with errors that say what was expected. Imports: numpy, json."""

import json
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Float

from ikol.errors import FileFormatError, InputError
from ikol.restricted_pickle import PickleLimits, load_pickle, resolve_array

MAX_JSON_BYTES = 4 << 30  # HybrIK's training annotation of Human3.6M has 1.5 GB
MAX_ARRAY_BYTES = 1 << 30
_LIMITS = PickleLimits(max_steps=50_000_000)  # a sequence of 3DPW holds an array for each frame and actor


class Fields:
    """A mapping of a file, read by keys."""

    def __init__(self, value: object, source: str) -> None:
        """Take a value that should be a mapping.

        Raises:
            FileFormatError: it is none.
        """
        if not isinstance(value, dict):
            raise FileFormatError(f"{source} holds a {type(value).__name__}, expected a mapping of names to values")
        self.values = cast(dict[object, object], value)
        self.source = source

    def __contains__(self, key: str) -> bool:
        """Say whether there is such a key."""
        return key in self.values

    def get(self, key: str) -> object:
        """Return a value.

        Raises:
            FileFormatError: there is none.
        """
        if key not in self.values:
            known = ", ".join(sorted(str(each) for each in self.values)[:20])
            raise FileFormatError(f"{self.source} lacks {key!r}; it has {known or 'nothing'}")
        return self.values[key]

    def fields(self, key: str) -> "Fields":
        """Return a mapping within the mapping."""
        return Fields(self.get(key), f"{self.source}: {key}")

    def items(self, key: str) -> list[object]:
        """Return a list; an array counts as the list of its rows."""
        value = self.get(key)
        if isinstance(value, np.ndarray):
            return list(value)
        if not isinstance(value, list | tuple):
            raise FileFormatError(f"{self.source}: {key} is a {type(value).__name__}, expected a list")
        return list(cast(list[object], value))

    def text(self, key: str) -> str:
        """Return a text."""
        value = self.get(key)
        if not isinstance(value, str):
            raise FileFormatError(f"{self.source}: {key} is a {type(value).__name__}, expected a text")
        return value

    def integer(self, key: str) -> int:
        """Return a whole number."""
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise FileFormatError(f"{self.source}: {key} is {value!r:.40}, expected a whole number")
        return int(value)

    def array(self, key: str, *shape: int | None) -> Float[np.ndarray, "..."]:
        """Return an array of numbers.

        Args:
            key: of the value.
            shape: what is expected; None for an axis of any length.

        Raises:
            FileFormatError: it is none, or has another shape.
        """
        return as_array(self.get(key), f"{self.source}: {key}", *shape)


def as_array(value: object, source: str, *shape: int | None) -> Float[np.ndarray, "..."]:
    """Return a value as an array of numbers of a shape; None stands for an axis of any length.

    Raises:
        FileFormatError: it is none.
    """
    array = resolve_array(value, "the value", source, MAX_ARRAY_BYTES)
    if array.dtype.kind not in "iuf":
        raise FileFormatError(f"{source} has type {array.dtype}, expected numbers")
    if array.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, array.shape, strict=True)):
        expected = tuple("any" if each is None else each for each in shape)
        raise FileFormatError(f"{source} has shape {array.shape}, expected {expected}".replace("'any'", "any"))
    return array.astype(np.float64)


def read_pickle_fields(path: Path) -> Fields:
    """Return the mapping in a pickle, of which nothing is run.

    Raises:
        FileFormatError: it cannot be read.
    """
    return Fields(load_pickle(path, _LIMITS), path.name)


def read_json(path: Path) -> object:
    """Return what a JSON file holds.

    Raises:
        FileFormatError: it is none.
        InputError: there is no such file.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}; name another one")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise FileFormatError(f"{path.name} is larger than {MAX_JSON_BYTES >> 30} GiB, which is the most that is read")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path.name} is not JSON: {error}") from error


def found_files(folder: Path, pattern: str, what: str) -> list[Path]:
    """Return the files of a pattern, in order.

    Args:
        folder: where to look.
        pattern: such as `sequenceFiles/test/*.pkl`.
        what: the data set, for the message.

    Raises:
        InputError: there are none.
    """
    found = sorted(folder.glob(pattern))
    if not found:
        raise InputError(f"{folder} holds no {pattern}; give the folder in which {what} was unpacked")
    return found

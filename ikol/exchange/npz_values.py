# SPDX-License-Identifier: Apache-2.0
"""Values out of an .npz of unknown origin, and arrays into one.

Imports: numpy, ikol.body.array_archive, ikol.errors, ikol.exchange.motion.
"""

import io
import math
from typing import Final

import numpy as np

from ikol.body.array_archive import read_arrays
from ikol.errors import FileFormatError
from ikol.exchange.motion import MAX_VALUES

_MAX_TEXT_BYTES: Final = 1 << 16


def read_numbers(data: bytes, key: str, source: str) -> np.ndarray:
    """Return an array of numbers in float64.

    Raises:
        FileFormatError: it is missing, too large, or holds something else.
    """
    array = read_arrays(data, (key,), source, 8 * MAX_VALUES)[key]
    if array.dtype.kind not in "iuf":
        raise FileFormatError(f"{source}: {key} has type {array.dtype}, expected numbers")
    if array.size > MAX_VALUES:  # of one byte each they take eight times as much here as in the file
        raise FileFormatError(f"{source}: {key} has {array.size} numbers, at most {MAX_VALUES} are read")
    return array.astype(np.float64)


def read_number(data: bytes, key: str, source: str) -> float:
    """Return a single number.

    Raises:
        FileFormatError: it is missing, or is something else.
    """
    array = read_numbers(data, key, source)
    if array.size != 1:
        raise FileFormatError(f"{source}: {key} has shape {array.shape}, expected one number")
    return float(array.reshape(()))


def read_integer(data: bytes, key: str, source: str) -> int:
    """Return a single whole number.

    Raises:
        FileFormatError: it is missing, or is something else.
    """
    value = read_number(data, key, source)
    if not math.isfinite(value):
        raise FileFormatError(f"{source}: {key} is {value}, expected a whole number")
    return int(value)


def texts_of(array: np.ndarray, key: str, source: str) -> list[str]:
    """Return what an array of texts holds.

    Raises:
        FileFormatError: it holds bytes or characters that are no text.
    """
    try:
        return [str(text) for text in array.astype(str).ravel().tolist()]
    except (ValueError, SystemError) as error:  # the latter from numpy, for numbers that are no characters
        raise FileFormatError(f"{source}: {key} holds what is no text") from error


def read_texts(data: bytes, key: str, source: str) -> list[str]:
    """Return a small array of texts.

    Raises:
        FileFormatError: it is missing, or is something else.
    """
    return texts_of(read_arrays(data, (key,), source, _MAX_TEXT_BYTES)[key], key, source)


def npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    """Return the content of a compressed .npz."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()

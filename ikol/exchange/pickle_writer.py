# SPDX-License-Identifier: Apache-2.0
"""A pickle of named arrays, as numpy and Python's own writer make it, for programs that read nothing else.

Imports: numpy.
"""

import struct
from collections.abc import Mapping

import numpy as np


def pickled_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return a pickle of protocol 4 with a dictionary of arrays of numbers."""
    items = b"".join(_text(name) + _array(np.ascontiguousarray(array)) for name, array in arrays.items())
    return b"\x80\x04}(" + items + b"u."


def _array(array: np.ndarray) -> bytes:
    """Return `_reconstruct(ndarray, (0,), b"b")`, then the state: version, shape, type, order, content."""
    shape = b"(" + b"".join(_integer(size) for size in array.shape) + b"t"
    order = array.dtype.newbyteorder("<").str
    dtype = (
        b"cnumpy\ndtype\n" + _text(order[1:]) + b"\x89\x88\x87R(" + _integer(3) + _text("<") + b"NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xff" + _integer(0) + b"tb"
    )
    content = array.astype(order).tobytes()
    data = b"\x8e" + struct.pack("<Q", len(content)) + content
    head = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + _integer(0) + b"\x85C\x01b\x87R"
    return head + b"(" + _integer(1) + shape + dtype + b"\x89" + data + b"tb"


def _integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data

# SPDX-License-Identifier: Apache-2.0
"""What a pickle may hold beside plain Python: arrays, and stand-ins for objects of chumpy and scipy. None runs code.

Arrays are made of the file's bytes here, not by numpy's own `_reconstruct` and `__setstate__`, which trust what they
are given. Imports: numpy.
"""

import codecs
import math
import re
from dataclasses import dataclass, field
from typing import cast

import numpy as np

SPARSE_CLASSES = ("csc_matrix", "csr_matrix", "coo_matrix", "csc_array", "csr_array", "coo_array")
MAX_AXES = 32  # numpy 1's own limit; a body or a motion has at most five
_DTYPE = re.compile(r"[<>=|]?([biuf](1|2|4|8)|c(8|16)|[SU][1-9]\d{0,5})")


@dataclass(eq=False)
class Opaque:
    """A global, or an object made of one, that has a name and nothing else."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class ChumpyObject:
    """An object of a class of chumpy: its attributes as they were saved. `resolve_array` gives the value of some."""

    class_name: str
    state: dict[str, object] = field(default_factory=dict[str, object])


@dataclass(eq=False)
class SparseMatrix:
    """A matrix of scipy.sparse: its attributes as they were saved. `resolve_array` makes it dense."""

    class_name: str
    state: dict[str, object] = field(default_factory=dict[str, object])


@dataclass(eq=False)
class ObjectArray:
    """An array of Python objects: what it holds, as a list; it never becomes an array."""

    shape: tuple[int, ...]
    items: list[object]


@dataclass(eq=False)
class PendingDtype:
    """An array's type while it is read: numpy writes the byte order after it."""

    text: str

    @classmethod
    def of(cls, text: object) -> "PendingDtype":
        """Return the type that is called so."""
        if not isinstance(text, str) or len(text) > 16:
            raise ValueError("an array has a structured or unknown type")
        return cls(text)

    def build(self, state: object) -> None:
        """Take the byte order; the other fields describe structured types, which are refused."""
        order = state[1] if isinstance(state, tuple) and len(state) > 4 else None
        if order not in ("<", ">", "=", "|") or cast(tuple[object, ...], state)[2:5] != (None, None, None):
            raise ValueError("an array has a structured or unknown type")
        self.text = f"{order}{self.text.lstrip('<>=|')}"

    def dtype(self) -> np.dtype | None:
        """Return the type; None for Python objects."""
        if self.text.lstrip("<>=|") in ("O", "O4", "O8"):
            return None
        if not _DTYPE.fullmatch(self.text):
            raise ValueError(f"an array has the type {self.text!r}; numbers and texts are read")
        return np.dtype(self.text)


@dataclass(eq=False)
class PendingArray:
    """An array while it is read: numpy writes its content after it."""

    value: np.ndarray | ObjectArray | None = None

    def build(self, state: object) -> None:
        """Take shape, type and content."""
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise ValueError("an array's content is damaged")
        shape, kind, is_fortran, content = state[-4:]
        if isinstance(kind, PendingDtype) and kind.dtype() is None:
            if not isinstance(content, list) or math.prod(checked_shape(shape)) != len(content):
                raise ValueError("an array of objects does not hold as many as its shape says")
            self.value = ObjectArray(checked_shape(shape), content)
        else:
            self.value = array_of_bytes(content, kind, shape, is_fortran=bool(is_fortran))


def checked_shape(shape: object) -> tuple[int, ...]:
    """Return a shape that an array may have.

    Raises:
        ValueError: it is none.
    """
    sizes = cast(tuple[object, ...], shape) if isinstance(shape, tuple) else ("",)
    if len(sizes) > MAX_AXES or not all(type(size) is int and 0 <= size < 1 << 40 for size in sizes):
        raise ValueError("an array has an impossible shape")
    return cast(tuple[int, ...], sizes)


def array_of_bytes(content: object, kind: object, shape: object, *, is_fortran: bool) -> np.ndarray:
    """Return the array, a read-only view of the bytes, which must be as many as shape and type say.

    Raises:
        ValueError: they are not, or the type is not one of numbers and texts.
    """
    dtype = kind.dtype() if isinstance(kind, PendingDtype) else None
    if dtype is None:
        raise ValueError("an array has no type of numbers or texts")
    data = bytes_of(content)
    sizes = checked_shape(shape)
    if math.prod(sizes) * dtype.itemsize != len(data):
        raise ValueError(f"an array announces {math.prod(sizes) * dtype.itemsize} bytes and holds {len(data)}")
    if not data:
        return np.zeros(sizes, dtype)
    return np.frombuffer(data, dtype).reshape(sizes, order="F" if is_fortran else "C")


def bytes_of(content: object, encoding: object = "latin1") -> bytes:
    """Return bytes that were saved as bytes, or as the text of Python 2.

    Raises:
        ValueError: they were saved as something else.
    """
    if isinstance(content, str):
        try:
            if encoding in ("latin1", "latin-1", "bytes"):
                return codecs.encode(content, "latin1")
        except UnicodeEncodeError as error:
            raise ValueError("a text that stands for bytes holds other characters") from error
    if not isinstance(content, bytes | bytearray):
        raise ValueError(f"expected bytes, got {type(content).__name__}")
    return bytes(content)

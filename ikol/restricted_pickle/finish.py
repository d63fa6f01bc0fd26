# SPDX-License-Identifier: Apache-2.0
"""The last step of reading: what was pending is replaced, and what is shared is measured as if it were written out.

Imports: ikol.restricted_pickle.{objects, rules}.
"""

from typing import NamedTuple, cast

from ikol.restricted_pickle.objects import ChumpyObject, ObjectArray, Opaque, PendingArray, PendingDtype, SparseMatrix
from ikol.restricted_pickle.rules import PickleLimits, RefusedError


class _Finished(NamedTuple):
    value: object
    height: int
    """How many containers lie within each other."""
    size: int
    """How many values there are, written out."""


class Finisher:
    """Turns what the machine has made into what is returned. Each shared part is done once."""

    def __init__(self, limits: PickleLimits) -> None:
        self._limits = limits
        self._done: dict[int, _Finished] = {}  # by id, of values that the caller's root keeps alive
        self._open: set[int] = set()

    def finish(self, value: object) -> object:
        """Return the finished value.

        Raises:
            RefusedError: it nests too deeply, holds itself, or is too large.
            ValueError: an array has no content.
        """
        return self._finish(value, 0).value

    def _finish(self, value: object, depth: int) -> _Finished:
        if isinstance(value, PendingArray):
            if value.value is None:
                raise ValueError("an array has no content")
            value = value.value
        parts = _parts(value)
        if parts is None:
            return _Finished(Opaque("numpy", value.text) if isinstance(value, PendingDtype) else value, 0, 1)
        if id(value) in self._done:
            return self._done[id(value)]
        if id(value) in self._open:
            raise RefusedError("holds a container that holds itself")
        self._check_depth(depth)
        self._open.add(id(value))
        finished = [self._finish(part, depth + 1) for part in parts]
        self._open.discard(id(value))
        height = 1 + max((part.height for part in finished), default=0)
        self._check_depth(height - 1)
        size = 1 + sum(part.size for part in finished)
        if size > self._limits.max_items:
            raise RefusedError(f"holds more than {self._limits.max_items} values, written out")
        self._done[id(value)] = _Finished(_with_parts(value, [part.value for part in finished]), height, size)
        return self._done[id(value)]

    def _check_depth(self, depth: int) -> None:
        if depth >= self._limits.max_depth:
            raise RefusedError(f"nests containers more than {self._limits.max_depth} deep")


def _parts(value: object) -> list[object] | None:
    """Return what a container holds; None for what is none."""
    match value:
        case list() | tuple() | set() | frozenset():
            return list(cast(list[object], value))
        case dict():
            return list(cast(dict[object, object], value).values())
        case ChumpyObject() | SparseMatrix():
            return list(value.state.values())
        case ObjectArray():
            return value.items
        case _:
            return None


def _with_parts(value: object, parts: list[object]) -> object:
    """Return a container like `value` with other parts."""
    match value:
        case tuple():
            return tuple(parts)
        case set() | frozenset():
            return set(parts)
        case dict():
            return dict(zip(cast(dict[object, object], value), parts, strict=True))
        case ChumpyObject() | SparseMatrix():
            return type(value)(value.class_name, dict(zip(value.state, parts, strict=True)))
        case ObjectArray():
            return ObjectArray(value.shape, parts)
        case _:
            return parts

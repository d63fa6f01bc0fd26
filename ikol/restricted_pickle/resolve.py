# SPDX-License-Identifier: Apache-2.0
"""Plain arrays out of what a pickle holds: chumpy's and scipy's objects are evaluated here, without either package.

Imports: numpy, ikol.errors, ikol.restricted_pickle.objects.
"""

from typing import Final, cast

import numpy as np

from ikol.errors import FileFormatError
from ikol.restricted_pickle.objects import MAX_AXES, ChumpyObject, ObjectArray, SparseMatrix

MAX_CHUMPY_DEPTH: Final = 8  # SMPL's files nest two: a selection of an array


def resolve_array(value: object, name: str, source: str, max_bytes: int) -> np.ndarray:
    """Return an array, a chumpy object that holds or selects one, a sparse matrix, or nested lists, as a plain array.

    Args:
        value: from `read_pickle`.
        name: of the value, for messages.
        source: what to call the file in messages.
        max_bytes: the most that the array may take.

    Raises:
        FileFormatError: the value is something else, is damaged, or is too large.
    """
    try:
        return _resolve(value, max_bytes, 0)
    except (ValueError, TypeError, IndexError, KeyError, OverflowError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{source}: {name} is not an array: {error}") from error


def _resolve(value: object, max_bytes: int, depth: int) -> np.ndarray:
    if depth > MAX_CHUMPY_DEPTH:
        raise ValueError(f"it is a chumpy expression of more than {MAX_CHUMPY_DEPTH} levels")
    match value:
        case np.ndarray() | np.generic():
            array = np.asarray(value)
        case ChumpyObject(state={"x": held}):
            array = _resolve(held, max_bytes, depth + 1)
        case ChumpyObject(state={"a": held, "idxs": chosen, **rest}):
            array = _resolve(held, max_bytes, depth + 1).ravel()[_integers(chosen, max_bytes, depth + 1)]
            if rest.get("preferred_shape") is not None:
                array = array.reshape(_integers(rest["preferred_shape"], max_bytes, depth + 1).tolist())
        case ChumpyObject(class_name=name):
            raise ValueError(f"it is a {name}, a computation; save the file again with plain numpy arrays")
        case SparseMatrix(class_name=name, state=state):
            array = _dense(name[:3], state, max_bytes, depth)
        case ObjectArray():
            raise ValueError("it is an array of Python objects")
        case list() | tuple() | int() | float() | bool() | str():
            array = np.array(_checked_nest(cast(object, value), max_bytes // 8))
        case _:
            raise ValueError(f"it is a {type(value).__name__}")
    if array.nbytes > max_bytes or array.dtype.hasobject:
        raise ValueError(f"it takes {array.nbytes} bytes, at most {max_bytes} are accepted")
    return array


def _integers(value: object, max_bytes: int, depth: int) -> np.ndarray:
    array = _resolve(value, max_bytes, depth)
    if array.dtype.kind not in "iu" or 8 * array.size > max_bytes:
        raise ValueError(f"its indices are {array.size} of type {array.dtype}")
    return array.astype(np.int64)


def _dense(form: str, state: dict[str, object], max_bytes: int, depth: int) -> np.ndarray:
    """Return a sparse matrix of the form csc, csr or coo as a dense one."""

    def integers(key: str) -> np.ndarray:
        return _integers(state[key], max_bytes, depth + 1)

    rows, columns = integers("_shape" if "_shape" in state else "shape").tolist()
    if min(rows, columns) < 0 or 8 * rows * columns > max_bytes:
        raise ValueError(f"it is a matrix of {rows} x {columns} numbers, at most {max_bytes} bytes are accepted")
    data = _resolve(state["data"], max_bytes, depth + 1)
    if data.dtype.kind not in "iuf" or 8 * data.size > max_bytes:
        raise ValueError(f"it holds {data.size} values of type {data.dtype}")
    if form == "coo":
        at_row, at_column = (integers("row"), integers("col")) if "row" in state else integers("coords")
    else:
        inner, counts = integers("indices"), np.diff(integers("indptr"))
        outer_size = columns if form == "csc" else rows
        if len(counts) != outer_size or (counts < 0).any() or counts.sum() != len(data):
            raise ValueError("its pointers do not fit its content")
        outer = np.repeat(np.arange(outer_size), counts)
        at_row, at_column = (inner, outer) if form == "csc" else (outer, inner)
    if len(data) and min(at_row.min(), at_column.min()) < 0:
        raise ValueError("it has negative indices")
    dense = np.zeros((rows, columns))
    np.add.at(dense, (at_row, at_column), data)
    return dense


def _checked_nest(value: object, max_items: int) -> object:
    """Return nested lists of numbers or texts, which may be shared parts, if written out they are not too many."""
    if _items_of(value, {}, 0) > max_items:
        raise ValueError(f"it is a list of more than {max_items} items")
    return value


def _items_of(value: object, done: dict[int, int], depth: int) -> int:
    """Return how many items nested lists have, written out; `done` has those of parts by id, each counted once."""
    if isinstance(value, np.ndarray):
        return value.size
    if not isinstance(value, list | tuple):
        if not isinstance(value, int | float | str | np.generic):
            raise ValueError(f"it is a list with a {type(value).__name__} in it")
        return 0
    if depth > MAX_AXES:
        raise ValueError(f"it is a list of lists, more than {MAX_AXES} deep")
    if id(value) not in done:
        parts = cast(list[object], value)
        done[id(value)] = len(parts) + sum(_items_of(part, done, depth + 1) for part in parts)
    return done[id(value)]

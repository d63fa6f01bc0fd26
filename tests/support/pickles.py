# SPDX-License-Identifier: Apache-2.0
"""Pickles for tests: as Python 2 wrote them, with objects of chumpy and scipy that need neither, and hostile ones."""

import pickle
import struct
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType

import numpy as np


class Stored:
    """An object of a class of another package: its name and its attributes are all that a pickle keeps of it."""

    def __init__(self, module: str, name: str, state: Mapping[str, object]) -> None:
        self.module, self.name, self.state = module, name, dict(state)


def chumpy_array(values: np.ndarray) -> Stored:
    """Return a `chumpy.ch.Ch`, as shapedirs are stored."""
    return Stored("chumpy.ch", "Ch", {"x": values, "_dirty_vars": {"x"}, "_itr": None})


def chumpy_select(values: np.ndarray) -> Stored:
    """Return a `chumpy.reordering.Select` of some more values than are wanted, as posedirs are stored."""
    more = np.concatenate([values.ravel()[::-1], np.zeros(3)])
    state = {"a": chumpy_array(more), "idxs": np.arange(values.size)[::-1].copy(), "preferred_shape": values.shape}
    return Stored("chumpy.reordering", "Select", state)


def csc_matrix(dense: np.ndarray) -> Stored:
    """Return a `scipy.sparse.csc.csc_matrix`, as J_regressor is stored."""
    rows, columns = np.nonzero(dense)
    order = np.lexsort((rows, columns))
    pointers = np.searchsorted(columns[order], np.arange(dense.shape[1] + 1))
    state = {
        "_shape": dense.shape,
        "maxprint": 50,
        "indices": rows[order].astype(np.int32),
        "indptr": pointers.astype(np.int32),
        "data": dense[rows[order], columns[order]],
        "format": "csc",
    }
    return Stored("scipy.sparse.csc", "csc_matrix", state)


def python2_pickle(value: object) -> bytes:
    """Return what Python 2 writes at protocol 2: texts and the content of arrays are byte strings."""
    return b"\x80\x02" + b"".join(_python2(value)) + b"."


def _python2(value: object) -> Iterator[bytes]:
    match value:
        case None:
            yield b"N"
        case bool():
            yield b"\x88" if value else b"\x89"
        case int():
            yield b"J" + struct.pack("<i", value)
        case float():
            yield b"G" + struct.pack(">d", value)
        case str() | bytes():
            data = value.encode("latin1") if isinstance(value, str) else value
            yield b"T" + struct.pack("<i", len(data)) + data
        case tuple() | list():
            yield b"("
            for part in value:
                yield from _python2(part)
            yield b"t" if isinstance(value, tuple) else b"l"
        case set():
            yield b"c__builtin__\nset\n"
            yield from _python2(([*value],))
            yield b"R"
        case dict():
            yield b"("
            for key, part in value.items():
                yield from _python2(key)
                yield from _python2(part)
            yield b"d"
        case np.ndarray():
            yield from _python2_array(value)
        case Stored():
            yield f"c{value.module}\n{value.name}\n".encode() + b")\x81"
            yield from _python2(value.state)
            yield b"b"
        case _:
            raise TypeError(type(value))


def _python2_array(value: np.ndarray) -> Iterator[bytes]:
    yield b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n"
    yield from _python2((0,))
    yield from _python2("b")
    yield b"tR("
    yield from _python2(1)
    yield from _python2(tuple(map(int, value.shape)))
    yield b"cnumpy\ndtype\n"
    yield from _python2((value.dtype.str.lstrip("<>|="), 0, 1))
    yield b"R"
    order = value.dtype.str[0]
    yield from _python2((3, order, None, None, None, -1, -1, 0))
    yield b"b"
    is_fortran = value.flags.f_contiguous and not value.flags.c_contiguous
    yield from _python2(is_fortran)
    yield from _python2(value.tobytes(order="F" if is_fortran else "C"))
    yield b"tb"


@contextmanager
def _fake_modules(names: set[str]) -> Iterator[None]:
    """Have packages that are not installed, while something is written."""
    modules = {part: ModuleType(part) for name in names for part in (name, name.split(".")[0])}
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def python3_pickle(value: object, protocol: int = 4) -> bytes:
    """Return what Python 3 writes, with `Stored` objects in it as those of their classes."""
    stored: list[Stored] = []
    _collect(value, stored)
    with _fake_modules({each.module for each in stored}):
        classes = {(each.module, each.name): _class_of(each) for each in stored}
        return pickle.dumps(_replaced(value, classes), protocol)


def _collect(value: object, found: list[Stored]) -> None:
    if isinstance(value, Stored):
        found.append(value)
        value = value.state
    if isinstance(value, dict):
        for part in value.values():
            _collect(part, found)


def _class_of(stored: Stored) -> type:
    made = type(stored.name, (), {"__module__": stored.module})
    setattr(sys.modules[stored.module], stored.name, made)
    return made


def _replaced(value: object, classes: Mapping[tuple[str, str], type]) -> object:
    if isinstance(value, Stored):
        made = classes[value.module, value.name]()
        made.__dict__.update({key: _replaced(part, classes) for key, part in value.state.items()})
        return made
    if isinstance(value, dict):
        return {key: _replaced(part, classes) for key, part in value.items()}
    return value


class Calls:
    """Pickled, it calls something when Python's own reader opens it."""

    def __init__(self, function: object, *arguments: object) -> None:
        self._reduced = (function, arguments)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self._reduced

# SPDX-License-Identifier: Apache-2.0
"""Read pickles of unknown origin as data. Python's own reader, which runs what a file names, is not used at all.

A pickle is a program for a small stack machine. Here that machine is written out for plain containers, numbers, texts
and numpy arrays; objects of chumpy and scipy.sparse become stand-ins. A global of any other name is refused at once,
and none is ever imported or called. Files of Python 2 are read, their byte strings as latin-1. Work and memory are
bounded by the size of the file: arrays are views of its content, and what shares its parts (a "billion laughs") is
refused where it were too large if written out. Imports: ikol.errors, ikol.restricted_pickle.
"""

import codecs
import io
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

from ikol.errors import FileFormatError
from ikol.files import read_limited
from ikol.restricted_pickle.calls import made_by_call
from ikol.restricted_pickle.finish import Finisher
from ikol.restricted_pickle.objects import ChumpyObject, Opaque, PendingArray, PendingDtype, SparseMatrix
from ikol.restricted_pickle.rules import PickleLimits, RefusedError, checked_global, checked_key, checked_pairs

DEFAULT_LIMITS = PickleLimits()

_READERS: Final = {opcode.code.encode("latin1"): opcode for opcode in pickletools.opcodes}
_MARK: Final = Opaque("pickle", "mark")
# Bytes that calls may copy: a text is named once, a file of Python 2 copies an array's content twice
_COPIES: Final = 4
_FREE: Final = 1 << 20
_ESCAPED: Final = re.compile(rb"(?:[^\\]+|\\[\\'\"abfnrtv]|\\x[0-9a-fA-F]{2})*")
_VALUES: Final = (
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES "
    "SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8"
)


def load_pickle(path: Path, limits: PickleLimits = DEFAULT_LIMITS) -> object:
    """Return what the pickle in a file holds; see `read_pickle`."""
    return read_pickle(read_limited(path, limits.max_bytes), path.name, limits)


def read_pickle(data: bytes, source: str, limits: PickleLimits = DEFAULT_LIMITS) -> object:
    """Return what a pickle holds: None, numbers, texts, bytes, lists, tuples, dicts, sets, arrays and stand-ins.

    Arrays are read-only. `resolve_array` gives the value of a stand-in.

    Args:
        data: the file's content.
        source: what to call the file in messages.
        limits: how much is accepted.

    Raises:
        FileFormatError: not a pickle, damaged, too large, or it names something that is none of the above.
    """
    if len(data) > limits.max_bytes:
        raise FileFormatError(f"{source} is larger than {limits.max_bytes} bytes, which is the most that is read")
    try:
        made = _Machine(limits, len(data)).run(data)
        return Finisher(limits).finish(made)
    except RefusedError as error:
        raise FileFormatError(f"{source} {error}") from error
    except (ValueError, TypeError, IndexError, KeyError, OverflowError) as error:
        text = str(error)[:200]
        raise FileFormatError(f"{source} is not a pickle that can be read, it may be truncated: {text}") from error


class _Machine:
    """The stack machine of one pickle of `size` bytes."""

    def __init__(self, limits: PickleLimits, size: int) -> None:
        self._limits = limits
        self._may_copy = _COPIES * size + _FREE
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}
        self._plain = self._plain_steps()
        push = self._stack.append
        self._with_argument: dict[str, Callable[[object], None]] = {
            **dict.fromkeys(_VALUES.split(), push),
            **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), self._get),
            **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), self._put),
            **dict.fromkeys(("PROTO", "FRAME"), _ignore),
            "GLOBAL": self._find,
        }

    def run(self, data: bytes) -> object:
        """Return what the program leaves on the stack."""
        stream = io.BytesIO(data)
        for _ in range(self._limits.max_steps):
            opcode = _READERS.get(stream.read(1))
            if opcode is None:
                raise ValueError("it has no end" if stream.tell() >= len(data) else "it has an unknown instruction")
            name = opcode.name
            if name == "STOP":
                if len(self._stack) != 1 or self._stack[0] is _MARK:
                    raise ValueError(f"it leaves {len(self._stack)} values")
                return self._stack.pop()
            if name in self._plain:
                self._plain[name]()
            elif name in self._with_argument:
                read = _TEXT_READERS.get(name) or (opcode.arg.reader if opcode.arg else _ignore)
                self._with_argument[name](read(stream))
            else:
                raise RefusedError(f"has the pickle instruction {name}, which is not read from files")
        raise RefusedError(f"takes more than {self._limits.max_steps} steps to read, which is too many")

    def _plain_steps(self) -> dict[str, Callable[[], None]]:
        """Return what is done at each instruction without an argument; what is not here is refused."""
        push, pop, pop_to_mark = self._stack.append, self._pop, self._pop_to_mark
        return {
            "MARK": lambda: push(_MARK),
            "POP": lambda: _ignore(self._stack.pop()),
            "POP_MARK": lambda: _ignore(pop_to_mark()),
            "DUP": lambda: push(self._top()),
            "MEMOIZE": lambda: self._put(len(self._memo)),
            "NONE": lambda: push(None),
            "NEWTRUE": lambda: push(True),
            "NEWFALSE": lambda: push(False),
            "EMPTY_LIST": lambda: push([]),
            "EMPTY_TUPLE": lambda: push(()),
            "EMPTY_DICT": lambda: push({}),
            "EMPTY_SET": lambda: push(set[object]()),
            "LIST": lambda: push(pop_to_mark()),
            "TUPLE": lambda: push(tuple(pop_to_mark())),
            "TUPLE1": lambda: push((pop(),)),
            "TUPLE2": lambda: push((pop(), pop())[::-1]),
            "TUPLE3": lambda: push((pop(), pop(), pop())[::-1]),
            "DICT": lambda: push(dict(checked_pairs(pop_to_mark()))),
            "FROZENSET": lambda: push(frozenset(map(checked_key, pop_to_mark()))),
            "APPEND": lambda: self._append([pop()]),
            "APPENDS": lambda: self._append(pop_to_mark()),
            "ADDITEMS": lambda: self._add(pop_to_mark()),
            "SETITEM": lambda: self._set_items([pop(), pop()][::-1]),
            "SETITEMS": lambda: self._set_items(pop_to_mark()),
            "STACK_GLOBAL": lambda: push(checked_global(*(pop(), pop())[::-1])),
            "REDUCE": self._call,
            "NEWOBJ": self._call,
            "BUILD": self._build,
        }

    def _pop(self) -> object:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("a value is missing")
        return value

    def _top(self) -> object:
        if self._stack[-1] is _MARK:
            raise ValueError("a value is missing")
        return self._stack[-1]

    def _pop_to_mark(self) -> list[object]:
        """Return the values above the topmost mark, and drop both."""
        above: list[object] = []
        while (value := self._stack.pop()) is not _MARK:
            above.append(value)
        above.reverse()
        return above

    def _put(self, index: object) -> None:
        self._memo[cast(int, index)] = self._top()

    def _get(self, index: object) -> None:
        self._stack.append(self._memo[cast(int, index)])

    def _append(self, values: list[object]) -> None:
        target = self._top()
        if not isinstance(target, list):
            raise ValueError(f"items are appended to a {type(target).__name__}")
        cast(list[object], target).extend(values)

    def _add(self, values: list[object]) -> None:
        target = self._top()
        if not isinstance(target, set):
            raise ValueError(f"items are added to a {type(target).__name__}")
        cast(set[object], target).update(map(checked_key, values))

    def _set_items(self, values: list[object]) -> None:
        target = self._top()
        if not isinstance(target, dict):
            raise ValueError(f"items are set in a {type(target).__name__}")
        cast(dict[object, object], target).update(checked_pairs(values))

    def _find(self, names: object) -> None:
        self._stack.append(checked_global(*cast(tuple[str, str], names)))

    def _call(self) -> None:
        arguments, function = self._pop(), self._pop()
        self._charge(arguments)
        self._stack.append(made_by_call(function, arguments))

    def _build(self) -> None:
        state, target = self._pop(), self._top()
        self._charge(state)
        match target:
            case PendingDtype() | PendingArray():
                target.build(state)
            case ChumpyObject() | SparseMatrix():
                if not isinstance(state, dict):
                    raise ValueError(f"a {target.class_name} has no attributes")
                names = {key: value for key, value in cast(dict[object, object], state).items() if isinstance(key, str)}
                target.state.update(names)
            case _:
                raise RefusedError(f"changes a {type(target).__name__} from outside, which is not done for files")

    def _charge(self, values: object) -> None:
        """Count what a call is given and may copy, so that the same text cannot be copied again and again."""
        for value in cast(tuple[object, ...], values) if isinstance(values, tuple) else (values,):
            if isinstance(value, str | bytes | bytearray | list | tuple | dict):
                each = 1 if isinstance(value, str | bytes | bytearray) else 8
                self._may_copy -= each * len(cast(list[object], value))
        if self._may_copy < 0:
            raise RefusedError("copies its own parts too often")


def _ignore(_: object) -> None:
    """Do nothing: what a pickle says about itself is not needed."""


def _python2_text(stream: io.BytesIO) -> str:
    """Return the quoted, escaped string of a line; any byte may be in it."""
    line = stream.readline()
    is_quoted = len(line) > 2 and line[:1] in (b"'", b'"') and line[-2:] == line[:1] + b"\n"
    if not is_quoted or not _ESCAPED.fullmatch(line[1:-2]):
        raise ValueError("a text is not quoted as Python 2 does")
    return codecs.escape_decode(line[1:-2])[0].decode("latin1")


def _two_lines(stream: io.BytesIO) -> tuple[str, str]:
    """Return the module and the name of a global."""
    module, name = stream.readline().decode("ascii"), stream.readline().decode("ascii")
    return module.removesuffix("\n"), name.removesuffix("\n")


# pickletools reads these two as ASCII only, and warns of escapes that mean nothing
_TEXT_READERS: Final[dict[str, Callable[[io.BytesIO], object]]] = {"STRING": _python2_text, "GLOBAL": _two_lines}

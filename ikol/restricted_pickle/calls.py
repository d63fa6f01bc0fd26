# SPDX-License-Identifier: Apache-2.0
"""What calling an allowed global would have given, made here. Imports: ikol.restricted_pickle.{objects, rules}."""

from typing import cast

from ikol.restricted_pickle.objects import (
    ChumpyObject,
    Opaque,
    PendingArray,
    PendingDtype,
    SparseMatrix,
    array_of_bytes,
    bytes_of,
)
from ikol.restricted_pickle.rules import RefusedError, checked_key


def made_by_call(function: object, arguments: object) -> object:
    """Return what a call gives.

    Raises:
        RefusedError: the call is none that is known.
        ValueError: its arguments are not.
    """
    if not isinstance(function, Opaque) or not isinstance(arguments, tuple):
        raise ValueError(f"a {type(function).__name__} is called")
    given = cast(tuple[object, ...], arguments)
    match function.module.partition(".")[0], function.name:
        case "chumpy", name:
            return ChumpyObject(name)
        case "scipy", name:
            return SparseMatrix(name)
        case (("copyreg" | "copy_reg"), _):
            return _reconstructed(given)
        case "_codecs", _:
            return bytes_of(*given)
        case "collections", _:
            return _mapping(given)
        case "numpy", "dtype":
            return PendingDtype.of(given[0])
        case "numpy", "_reconstruct":
            return PendingArray()
        case "numpy", "scalar":
            return array_of_bytes(given[1], given[0], (), is_fortran=False)[()]
        case "numpy", "_frombuffer":
            content, kind, shape, order = given
            return array_of_bytes(content, kind, shape, is_fortran=order == "F")
        case _, name:
            return _builtin(name, given)


def _reconstructed(given: tuple[object, ...]) -> ChumpyObject | SparseMatrix:
    """Return the stand-in for an object that Python 2 makes out of its class."""
    made = given[0]
    if isinstance(made, Opaque) and made.module.startswith("chumpy"):
        return ChumpyObject(made.name)
    if isinstance(made, Opaque) and made.module.startswith("scipy"):
        return SparseMatrix(made.name)
    raise RefusedError("makes an object of a class whose objects are not read")


def _mapping(given: tuple[object, ...]) -> dict[object, object]:
    """Return what OrderedDict makes of a list of pairs (Python 2); defaultdict's entries come later."""
    if not given or isinstance(given[0], Opaque):
        return {}
    pairs = cast(list[list[object]], given[0])
    return {checked_key(key): value for key, value in pairs}


def _builtin(name: str, given: tuple[object, ...]) -> object:
    first = given[0] if given else ()
    if name in ("bytes", "bytearray") and len(given) <= 2:
        return bytes_of(given[0] if given else b"", *given[1:])
    if name == "complex" and len(given) == 2 and all(type(part) is float for part in given):
        return complex(*cast(tuple[float, float], given))
    if name in ("set", "frozenset", "list", "tuple") and isinstance(first, list | tuple):
        items = cast(list[object], first)
        match name:
            case "set" | "frozenset":
                return {checked_key(item) for item in items}
            case "list":
                return list(items)
            case _:
                return tuple(items)
    if name == "dict" and not given:
        return {}
    raise RefusedError(f"calls {name} in a way that is not known")

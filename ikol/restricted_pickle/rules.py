# SPDX-License-Identifier: Apache-2.0
"""What is accepted of a pickle: how much, which globals, which keys. Imports: ikol.restricted_pickle.objects."""

from dataclasses import dataclass
from typing import Final, cast

from ikol.restricted_pickle.objects import SPARSE_CLASSES, Opaque

MAX_KEY: Final = 1 << 32  # larger whole numbers can be chosen so that a dictionary looks each up in the others' places
MAX_KEY_PARTS: Final = 8

_PLAIN: Final = {"set", "frozenset", "list", "dict", "tuple", "object", "bytearray", "bytes", "complex"}
_MULTIARRAY: Final = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC: Final = ("numpy.core.numeric", "numpy._core.numeric")


@dataclass(frozen=True)
class PickleLimits:
    """How much of a file is accepted."""

    max_bytes: int = 1 << 30
    """Of the file. SMPL-X with 400 shape directions and pose blend shapes has 230 MB."""
    max_steps: int = 5_000_000
    """Instructions, each about 2 microseconds. An array takes some 20."""
    max_items: int = 20_000_000
    """Values in all containers, as if what they share were written out."""
    max_depth: int = 100
    """Containers within containers."""


class RefusedError(Exception):
    """The pickle asks for what is not allowed. The text goes on after the file's name."""


def checked_global(module: object, name: object) -> Opaque:
    """Return the stand-in of a global that may be named.

    Raises:
        RefusedError: it may not.
    """
    if not isinstance(module, str) or not isinstance(name, str):
        raise ValueError("a global's name is no text")
    root = module.partition(".")[0]
    is_known = (
        (module in ("builtins", "__builtin__") and name in _PLAIN)
        or (module == "collections" and name in ("OrderedDict", "defaultdict"))
        or (module in ("copyreg", "copy_reg") and name == "_reconstructor")
        or (module == "_codecs" and name == "encode")
        or (module == "numpy" and name in ("ndarray", "dtype"))
        or (module in _MULTIARRAY and name in ("_reconstruct", "scalar"))
        or (module in _NUMERIC and name == "_frombuffer")
        or (root == "chumpy" and name.isidentifier())
        or (module.startswith("scipy.sparse") and name in SPARSE_CLASSES)
    )
    if not is_known:
        raise RefusedError(
            f"names {module[:60]}.{name[:60]}, which is not read: a pickle can run code, and only plain containers, "
            "numpy arrays, and objects of chumpy and scipy.sparse are taken from it; do not open this file with other "
            "programs unless you trust who made it"
        )
    return Opaque("builtins" if module == "__builtin__" else module, name)


def checked_key(value: object) -> object:
    """Return a value that may be a key: one whose hash costs nothing and cannot be chosen to collide.

    Raises:
        RefusedError: it may not.
    """
    parts = cast(tuple[object, ...], value) if isinstance(value, tuple) else (value,)
    for part in parts:
        if not (part is None or isinstance(part, str | bytes) or (isinstance(part, int) and abs(part) < MAX_KEY)):
            raise RefusedError(f"has a {type(part).__name__} as a key; texts and small whole numbers are read")
    if len(parts) > MAX_KEY_PARTS:
        raise RefusedError(f"has a key of more than {MAX_KEY_PARTS} parts")
    return value


def checked_pairs(values: list[object]) -> list[tuple[object, object]]:
    """Return alternating keys and values as pairs."""
    if len(values) % 2:
        raise ValueError("a key has no value")
    return [(checked_key(key), value) for key, value in zip(values[::2], values[1::2], strict=True)]

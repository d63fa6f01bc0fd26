# SPDX-License-Identifier: Apache-2.0
"""The compiled kernels' libraries: where they are, loading them, and threads that call them.

Imports: ctypes, the standard library.
"""

import ctypes
import hashlib
import json
import logging
import os
import platform
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "native"
VARIANTS = ("base", "avx2", "avx512")


def library_path(kernel: str) -> Path:
    """Return where the library of a kernel is for this platform, or would be; `kernel`: "tree" or "general"."""
    machine = {"amd64": "x86_64", "arm64": "arm64" if sys.platform == "darwin" else "aarch64"}
    name = platform.machine().lower()
    system = {"linux": "linux", "darwin": "macos", "win32": "windows"}.get(sys.platform, sys.platform)
    file_name = {"macos": f"libikol_{kernel}.dylib", "windows": f"ikol_{kernel}.dll"}.get(
        system, f"libikol_{kernel}.so"
    )
    return FOLDER / "lib" / f"{system}-{machine.get(name, name)}" / file_name


def open_library(path: Path) -> ctypes.CDLL:
    """Load a library as it was built: a truncated one would take the process with it.

    Raises:
        OSError: it is missing, changed, or not for this machine.
    """
    listed = json.loads((FOLDER / "lib" / "SHA256.json").read_text()).get(f"{path.parent.name}/{path.name}")
    content = path.read_bytes()
    if listed is not None and hashlib.sha256(content).hexdigest() != listed:
        raise OSError(f"{path.name} is not the file that was built; install ikol again")
    return ctypes.CDLL(str(path))


@dataclass(frozen=True)
class Library:
    """A loaded kernel."""

    run: Callable[..., int]
    """What the library exports: (addresses and choices ..., variant) -> 0, or what went wrong."""
    variant: int
    """The best of `VARIANTS` that this processor runs."""
    is_threaded: bool = True
    """Whether several threads share a call's frames; on a GPU it spreads them itself."""


def load_kernel(path: Path, kernel: str, arguments: Sequence[type], sizes: tuple[str, int] | None = None) -> Library:
    """Load a library.

    Args:
        path: where it is.
        kernel: after which its functions are named.
        arguments: the types of those that `run` takes.
        sizes: the function that tells those of the structures that it is given, and what they are here.

    Raises:
        OSError: it is missing, changed or not for this machine, or means other structures.
        AttributeError: it is another library.
    """
    handle = open_library(path)
    run = getattr(handle, f"ikol_{kernel}_run")
    run.argtypes, run.restype = tuple(arguments), ctypes.c_int
    if sizes is not None and getattr(handle, sizes[0])() != sizes[1]:
        raise OSError(f"{path.name} was built from other sources")
    return Library(run, int(handle.ikol_best_variant()))


def try_loading(load: Callable[[], Library], logger: logging.Logger, what: str) -> Library | None:
    """Return a kernel, or None with one line in the log when it cannot be used; `what`: what the user should know."""
    try:
        return load()
    except (OSError, AttributeError) as error:
        logger.warning("%s: %s", what, error)
        return None


def source_hash(sources: Sequence[str]) -> str:
    """Return the SHA-256 of sources, one after the other, with Unix line ends."""
    content = b"".join((FOLDER / source).read_bytes() for source in sources)
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()


def library_source_hash(path: Path) -> str:
    """Return the SHA-256 of the sources that a library for this machine was made from."""
    function = ctypes.CDLL(str(path)).ikol_source_hash
    function.restype = ctypes.c_char_p
    return bytes(function()).decode()


def run_parts(run: Callable[[int, int], int], frames: int, least: int, threads: int) -> int:
    """Call run(first, count) for all frames, in parts on several threads where that pays; return the worst code.

    Args:
        run: lets go of the interpreter's lock, as ctypes does.
        frames: how many there are.
        least: frames for which a thread of its own pays.
        threads: at most.
    """
    threads = min(threads, frames // least)
    if threads < 2:
        return run(0, frames)
    share = -(-frames // threads)
    firsts = range(0, frames, share)
    return max(pool(threads).map(run, firsts, (min(share, frames - first) for first in firsts)))


@lru_cache(maxsize=4)
def pool(threads: int) -> ThreadPoolExecutor:
    """Return threads that wait for work."""
    return ThreadPoolExecutor(threads, thread_name_prefix="ikol-native")


if hasattr(os, "register_at_fork"):  # threads do not live on in a forked process, as a data loader's worker is
    os.register_at_fork(after_in_child=pool.cache_clear)

# SPDX-License-Identifier: Apache-2.0
"""Compiles C++ for tests of the native kernels, with whatever compiler is there."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

from ikol.solver.directions.native import FOLDER

SUPPORT = Path(__file__).resolve().parent / "native"
FLAGS = ("-std=c++17", "-O2", "-shared", "-fPIC", "-ffp-contract=fast", "-fno-math-errno", f"-I{FOLDER}")


def find_clang() -> tuple[str, ...] | None:
    """Return the command of a compiler with Clang's vectors: that of the `ziglang` package, or the system's."""
    if importlib.util.find_spec("ziglang"):
        return (sys.executable, "-m", "ziglang", "c++", "-fno-sanitize=all", "-march=native")
    found = shutil.which("clang++")
    return (found, "-march=native") if found else None


def find_any_compiler() -> tuple[str, ...] | None:
    """Return the command of any C++ compiler."""
    for name in ("g++", "c++", "clang++"):
        if found := shutil.which(name):
            return (found,)
    return find_clang()


def build(compiler: tuple[str, ...], source: Path, out: Path, *flags: str) -> Path:
    """Compile one source to a shared library. A warning is an error."""
    command = (*compiler, *FLAGS, "-Wall", "-Wextra", "-Werror", "-Wno-psabi", *flags, str(source), "-o", str(out))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out

# SPDX-License-Identifier: GPL-3.0-or-later
"""Which set of wheels a machine gets, and a sentence for the machines that get none."""

from .errors import Fix, InstallError
from .install_plan import Lock, find_variants, set_name


def choose_set(lock: Lock, python: tuple[int, int], system: str, variant: str, has_nvidia: bool) -> str:
    """Return the name of the set for a machine.

    Args:
        lock: What there is.
        python: Version of Blender's Python.
        system: As `platform_name` spells it.
        variant: cpu, cuda or auto.
        has_nvidia: Whether the machine has a graphics card that CUDA needs.

    Raises:
        InstallError: There is none; the sentence says what can be done.
    """
    variants = find_variants(lock, python, system)
    if variant == "auto":
        variant = "cuda" if has_nvidia and "cuda" in variants else next(iter(variants), "cpu")
    if variant in variants:
        return set_name(python, system, variant)
    raise _no_set(lock, python, system, variant, variants)


def _no_set(lock: Lock, python: tuple[int, int], system: str, variant: str, variants: tuple[str, ...]) -> InstallError:
    version = f"{python[0]}.{python[1]}"
    if system == "macos-x64":
        return InstallError(
            "PyTorch is not made for Macs with Intel processors any more, so the solver cannot be installed on this "
            "one; if you have a Python with PyTorch and the solver all the same, name it in the preferences",
            Fix.OPEN_PREFERENCES,
        )
    if variants and variant == "cpu":
        return InstallError(
            f"for Python {version} the package index has PyTorch for CUDA only; it is larger and runs without a "
            "graphics card too",
            Fix.INSTALL_CUDA,
        )
    if variants:
        return InstallError(
            "for this system the package index has PyTorch for the processor only; choose Processor or Automatic, or "
            "name a Python in the preferences that has PyTorch for CUDA and the solver",
            Fix.OPEN_PREFERENCES,
        )
    pythons = {name.partition("-")[0] for name in lock.sets if name.partition("-")[2].startswith(system + "-")}
    known = ", ".join(sorted(pythons, key=lambda name: int(name.partition(".")[2]))) or "no version of it"
    return InstallError(
        f"this Blender has Python {version}; for {system} the solver can be installed with {known}; name a Python in "
        "the preferences that has the solver",
        Fix.OPEN_PREFERENCES,
    )

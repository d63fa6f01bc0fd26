# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths that are too long for the system are found before anything is fetched.

Windows takes 259 letters unless its long paths are switched on, and in that PyTorch's deepest file has 167 of its own:
in Blender's folder of the user, some 130 letters long, it cannot be written. There a short folder is taken instead.
"""

from collections.abc import Sequence
from pathlib import Path, PurePath

from .errors import Fix, InstallError

WINDOWS_LIMIT = 259
"""Letters of a path in Windows: 260 with the zero at its end."""

_BELOW_ROOT = len("/a/Lib/site-packages/")


def longest_path(root: PurePath, longest: int) -> int:
    """Return the letters of the longest path of an installation, from that of a file below site-packages."""
    return len(str(root)) + _BELOW_ROOT + longest


def choose_root(roots: Sequence[Path], longest: int, limit: int) -> Path:
    """Return where to install: where that was done, else the first folder that is short enough, else the last."""
    for root in roots:
        if (root / "installed.json").is_file():
            return root
    return next((root for root in roots if longest_path(root, longest) <= limit), roots[-1])


def check_path(root: PurePath, longest: int, limit: int) -> None:
    """Compare the longest path with what the system takes.

    Raises:
        InstallError: It is too long.
    """
    letters = longest_path(root, longest)
    if letters > limit:
        text = (
            f"the longest path in {root} would have {letters} letters and Windows takes {limit}; allow long paths in "
            "Windows and start Blender again, or install the solver into a short folder yourself and name its Python "
            "in the preferences"
        )
        raise InstallError(text, Fix.OPEN_PREFERENCES)
